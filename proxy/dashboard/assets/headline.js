// The top of the page: whether all is well, in words; whether what is shown is fresh; and the switches.

import { clock, compact, milliseconds, percent, time, usd } from "./format.js";
import { html } from "./lib.js";
import { Mark } from "./state.js";
import { THEMES } from "./themes.js";

const FIRST = 5; // lines: what is worst is said first, and a page that lists all is not read at a glance
const WORDS = { auto: "Auto", light: "Light", dark: "Dark" };

export function Masthead({ about, theme, setTheme, leave }) {
  return html`<header class="masthead">
    <div class="container">
      <h1><img src="/dashboard/assets/icon.svg" alt="" width="28" height="28" />tollhouse</h1>
      <p class="about">${about && html`<span>version ${about.version}</span><span>replica <code>${about.replica}</code></span>`}</p>
      <fieldset class="switch" aria-label="Colours">
        ${THEMES.map(
          (one) => html`<label>
            <input type="radio" name="theme" checked=${theme === one} onChange=${() => setTheme(one)} />
            <span>${WORDS[one]}</span>
          </label>`,
        )}
      </fieldset>
      ${about?.signed_in && html`<button type="button" class="outline quiet" onClick=${leave}>Sign out</button>`}
    </div>
  </header>`;
}

export const Connection = ({ lost }) =>
  html`<div role="alert">
    ${lost && html`<p class="banner"><${Mark} level="care" /><span>Connection lost since ${clock(lost.since, true)}. What you see may be old; it is tried again by itself. ${lost.why}</span></p>`}
  </div>`;

export function Headline({ headline, series, at }) {
  const lately = recent(series, 5);
  return html`<section class="headline ${headline.level}" aria-labelledby="headline">
    <div role="status" aria-live="polite">
      <h2 id="headline"><${Mark} level=${headline.level} size=${30} /><span>${headline.text}</span></h2>
      ${headline.lines.length > 0 && html`<${Lines} lines=${headline.lines.slice(0, FIRST)} />`}
      ${headline.lines.length > FIRST && html`<details><summary>${headline.lines.length - FIRST} more</summary><${Lines} lines=${headline.lines.slice(FIRST)} /></details>`}
    </div>
    <dl class="figures">
      <div><dt>Requests, 5 min</dt><dd>${compact(lately.requests)}</dd></div>
      <div><dt>Failed</dt><dd>${lately.requests ? percent(lately.failed / lately.requests) : "–"}</dd></div>
      <div><dt>First token, median</dt><dd>${milliseconds(lately.p50)}</dd></div>
      <div><dt>Cost, 5 min</dt><dd>${usd(String(lately.cost))}</dd></div>
      <div><dt>As of</dt><dd>${clock(at, true)}</dd></div>
    </dl>
  </section>`;
}

const Lines = ({ lines }) =>
  html`<ul>${lines.map((line) => html`<li key=${line.subject + line.what}><${Mark} level=${line.level} /><span>${sentence(line)}</span></li>`)}</ul>`;

export function sentence(line) {
  const since = line.since ? ` since ${time(line.since)}` : "";
  const why = line.why ? `: ${line.why}` : "";
  const until = line.until && line.level !== "idle" && Date.parse(line.until) > Date.now() ? ` (until ${time(line.until)})` : "";
  return html`<strong>${line.subject}</strong> ${line.what}${since}${why}${until}`;
}

// What happened in the last `n` minutes, the one under way among them.
export function recent(series, n) {
  const sum = (column) => column.slice(-n).reduce((a, b) => a + Number(b), 0);
  const timed = series.first_part_ms.p50.slice(-n).filter((value) => value !== null);
  return {
    requests: sum(series.requests),
    errors: sum(series.errors),
    failed: sum(series.failed),
    cost: sum(series.cost_usd),
    p50: timed.length ? timed[timed.length - 1] : null,
  };
}

