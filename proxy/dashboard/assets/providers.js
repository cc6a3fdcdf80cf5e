// Each provider as a tile: how it is, why, since when, what its models do; and a button that closes its circuits by hand.

import { Chart, sparse } from "./chart.js";
import { reset } from "./connection.js";
import { compact, count, milliseconds, percent, plural, time } from "./format.js";
import { html, useCallback, useMemo, useRef, useState } from "./lib.js";
import { circuit, State } from "./state.js";

const WORDS = { well: "well", idle: "idle", care: "with care", bad: "failing" };

export function Providers({ providers, turns, series, scheme }) {
  const [asked, ask] = useState(null);
  return html`<section aria-labelledby="providers">
    <h2 id="providers">Providers</h2>
    ${providers.length === 0 && html`<p class="empty">No provider has a key. Set <code>OPENAI_API_KEY</code>, <code>ANTHROPIC_API_KEY</code> or <code>GEMINI_API_KEY</code> and start again.</p>`}
    <div class="tiles">
      ${providers.map((one) => html`<${Tile} key=${one.name} one=${one} turns=${turns} series=${series} scheme=${scheme} ask=${ask} />`)}
    </div>
    ${asked && html`<${Confirm} key=${asked.provider + asked.model} asked=${asked} close=${() => ask(null)} />`}
  </section>`;
}

function Tile({ one, turns, series, scheme, ask }) {
  const { name, line, health } = one;
  const models = Object.entries(health.models);
  const used = models.filter(([, model]) => inUse(model));
  const attempts = sum(series.attempts[name], 15);
  const failures = sum(series.failures[name], 15);
  const fast = used.map(([, model]) => model.first_part_ms.p50 ?? model.total_ms.p50).filter((value) => value !== null);
  const history = turns.filter((turn) => turn.provider === name);
  const shut = [health, health.own.line, ...models.map(([, model]) => model)].some((each) => each.state !== "closed");
  return html`<article class="tile ${line.level}" aria-label=${`${name} ${line.what}`} data-provider=${name} data-level=${line.level}>
    <header>
      <h3 title=${name}>${name}</h3>
      <${State} level=${line.level}>${line.level === "care" ? PART.exec(line.what)[1] : WORDS[line.level]}<//>
    </header>
    ${line.level === "bad" || line.level === "care" ? html`<p class="why">${why(line)}</p>` : null}
    <dl class="figures">
      <div><dt>Attempts, 15 min</dt><dd>${compact(attempts)}</dd></div>
      <div><dt>Failed</dt><dd>${attempts ? percent(failures / attempts) : "–"}</dd></div>
      <div><dt>Answers in</dt><dd>${fast.length ? milliseconds(Math.min(...fast)) : "–"}</dd></div>
    </dl>
    <${Recent} name=${name} series=${series} scheme=${scheme} />
    <details>
      <summary>${plural(models.length, "model")}${used.length < models.length ? `, ${count(used.length)} in use` : ""}</summary>
      <${Models} provider=${name} models=${models} ask=${ask} />
    </details>
    <details>
      <summary>${history.length ? `${plural(history.length, "change")} in 3 hours` : "No changes in 3 hours"}</summary>
      ${history.length > 0 && html`<ol class="turns">${history.map((turn) => html`<li key=${turn.at + turn.scope + turn.model}><time datetime=${turn.at}>${time(turn.at, true)}</time><${State} level=${circuit(turn.state)[0]}>${circuit(turn.state)[1]}<//><span class="what">${turn.scope === "model" ? turn.model : turn.scope === "line" ? "our way there" : "all of it"}${turn.why ? ` (${turn.why})` : ""}</span></li>`)}</ol>`}
    </details>
    ${shut && html`<button type="button" class="outline" onClick=${() => ask({ provider: name, model: null })}>Reset ${name}…</button>`}
  </article>`;
}

// "is failing in part (gpt-4o)": how it is, for the head of a tile; and what that is said of, for where there is room.
const PART = /^(?:is )?([^(]*?)(?: \((.*)\))?$/s;

function why(line) {
  const since = line.since ? `Since ${time(line.since)}` : "";
  const until = line.until && Date.parse(line.until) > Date.now() ? `tried again at ${time(line.until)}` : "";
  const said = [[since, line.why].filter(Boolean).join(": "), until].filter(Boolean).join("; ");
  const of = PART.exec(line.what)[2];
  return of ? html`<strong>${of}</strong>. ${said}` : said;
}

const inUse = (model) => model.state !== "closed" || ["ok", "failed", "rate_limited", "others"].some((word) => model.totals[word]);
const sum = (column, n) => (column ?? []).slice(-n).reduce((a, b) => a + b, 0);
const LINES = [
  { label: "attempts", stroke: "chart-1", fill: "chart-1-fill" },
  { label: "failed", stroke: "bad", fill: "bad-fill", dash: [4, 2] },
];

function Recent({ name, series, scheme }) {
  const tried = series.attempts[name];
  const data = useMemo(() => {
    const at = series.requests.map((_, n) => (series.start_ms + n * series.step_ms) / 1_000);
    const none = at.map(() => 0);
    return [at, tried ?? none, sparse(series.failures[name] ?? none)];
  }, [series, name]);
  if (!tried) return html`<p class="empty">Nothing was asked of it in the last 3 hours.</p>`;
  const failed = sum(series.failures[name], data[0].length);
  const summary = `${plural(sum(tried, data[0].length), "attempt")} in 3 hours, ${count(failed)} of them failed.`;
  return html`<${Chart} title="Attempts at ${name} a minute" summary=${summary} series=${LINES} data=${data} value=${count} scheme=${scheme} height=${96} legend="none" />`;
}

function Models({ provider, models, ask }) {
  if (models.length === 0) return html`<p class="empty">None is known yet.</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Models of ${provider}">
    <table>
      <thead><tr><th scope="col">Model</th><th scope="col">State</th><th scope="col" class="n">First token p50 / p95</th><th scope="col" class="n">Well / failed</th><th scope="col"><span class="unseen">Reset</span></th></tr></thead>
      <tbody>
        ${models.map(([name, model]) => {
          const [level, word] = inUse(model) ? circuit(model.state) : ["idle", "idle"];
          return html`<tr key=${name}>
            <th scope="row" class="name" title=${name}>${name}</th>
            <td><${State} level=${level}>${word}<//></td>
            <td class="n">${milliseconds(model.first_part_ms.p50)} / ${milliseconds(model.first_part_ms.p95)}</td>
            <td class="n">${compact(model.totals.ok)} / ${compact(model.totals.failed)}</td>
            <td>${model.state !== "closed" && html`<button type="button" class="outline small" aria-label="Reset ${name}" onClick=${() => ask({ provider, model: name })}>Reset…</button>`}</td>
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

// Asks first: whoever closes a circuit sends traffic to somebody who may still be ill.
function Confirm({ asked, close }) {
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const name = asked.model ? `${asked.provider}/${asked.model}` : asked.provider;
  const back = useRef(null);

  const place = useRef(null);
  const shown = useCallback((dialog) => {
    place.current = dialog;
    if (dialog && !dialog.open) {
      back.current = document.activeElement;
      dialog.showModal();
    }
  }, []);

  function leave() {
    place.current?.close();
    close();
    if (back.current?.isConnected) back.current.focus();
  }

  async function sure() {
    setBusy(true);
    try {
      await reset(asked.provider, asked.model);
      leave();
    } catch (error) {
      setWrong(error.message);
      setBusy(false);
    }
  }

  return html`<dialog ref=${shown} aria-labelledby="confirm" onCancel=${(event) => (event.preventDefault(), leave())}>
    <article>
      <h3 id="confirm">Reset ${name}?</h3>
      <p>${asked.model ? "Its circuit is" : "Its circuits, and those of all its models, are"} closed on all replicas, and requests go there again at once. If it is still failing, it opens again by itself.</p>
      <p class="wrong" role="alert">${wrong}</p>
      <footer>
        <button type="button" class="secondary outline" onClick=${leave}>Cancel</button>
        <button type="button" aria-busy=${busy} disabled=${busy} onClick=${sure}>Reset ${name}</button>
      </footer>
    </article>
  </dialog>`;
}
