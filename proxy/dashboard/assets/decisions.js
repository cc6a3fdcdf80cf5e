// The last requests to this replica: where each went, and why. Every name in here is somebody else's word: text, never HTML.

import { milliseconds, plural, time, usd } from "./format.js";
import { html, useState } from "./lib.js";
import { State } from "./state.js";

const FIRST = 12;
const level = (one) => (one.status >= 500 ? "bad" : one.status >= 400 || one.code ? "care" : "well");

export function Decisions({ decisions, replica }) {
  const [all, showAll] = useState(false);
  const { latest } = decisions;
  return html`<section aria-labelledby="decisions">
    <h2 id="decisions">Latest decisions <small>of replica <code>${replica}</code></small></h2>
    ${latest.length === 0 && html`<p class="empty">None yet. Each request appears here with whom it could have gone to, and why it went where it did.</p>`}
    <div class="decisions">${latest.slice(0, all ? undefined : FIRST).map((one) => html`<${Decision} key=${one.request_id} one=${one} />`)}</div>
    ${latest.length > FIRST && html`<button type="button" class="outline" aria-expanded=${all} onClick=${() => showAll(!all)}>${all ? `Only the last ${FIRST}` : `The last ${latest.length}`}</button>`}
  </section>`;
}

function Decision({ one }) {
  const [open, setOpen] = useState(false);
  const served = one.served_by ? `${one.served_by.provider}/${one.served_by.model}` : "nobody";
  return html`<details class="decision" onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>
      <time datetime=${one.at}>${time(one.at, true)}</time>
      <span class="went"><span class="name" title=${one.model}>${one.model ?? "(no model)"}</span><span class="arrow" aria-label="went to">→</span><span class="name" title=${served}>${served}</span></span>
      <${State} level=${level(one)}>${one.status ?? "–"}${one.code ? ` ${one.code}` : ""}<//>
      <span class="n">${one.attempts.length > 1 ? plural(one.attempts.length, "attempt") : ""}</span>
      <span class="n">${one.cost_usd === null ? "" : usd(one.cost_usd)}</span>
      <span class="n">${milliseconds(one.total_milliseconds)}</span>
    </summary>
    ${open && html`<${Reasons} one=${one} />`}
  </details>`;
}

function Reasons({ one }) {
  const facts = [
    ["Request", html`<code>${one.request_id}</code>`],
    ["User", one.user],
    ["Strategy", one.strategy && [one.strategy, one.group && `for the group ${one.group}`, one.task && `task ${one.task}`].filter(Boolean).join(", ")],
    ["First part", one.first_part_milliseconds === null ? null : milliseconds(one.first_part_milliseconds)],
    ["Waited", one.waited_milliseconds > 0 ? `${milliseconds(one.waited_milliseconds)} for a rate limit` : null],
    ["Hedged", one.hedged ? "a second one was asked before the first had answered" : null],
    ["Cost", one.cost_usd === null ? "not known" : `$${one.cost_usd}${one.estimated ? " (estimated: the vendor did not say what was used)" : ""}`],
  ].filter(([, value]) => value);
  return html`<div class="reasons">
    <dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${one.least_bad && html`<p>All circuits were open: the one that was least ill was asked all the same.</p>`}
    ${one.order.length > 0 && html`<h4>To be asked, in this order</h4><ol>${one.order.map((name) => html`<li>${name}</li>`)}</ol>`}
    ${one.out.length > 0 && html`<h4>Not to be asked</h4><ul>${one.out.map((out) => html`<li><strong>${out.name}</strong>: ${out.said}${out.until ? ` (until ${time(out.until)})` : ""}</li>`)}</ul>`}
    ${one.attempts.length > 0 && html`<h4>What came of it</h4><ol>${one.attempts.map((each) => html`<li><strong>${each.provider}/${each.model}</strong>: ${each.outcome} after ${milliseconds(each.milliseconds)}${each.message ? html`<br /><span class="said">${each.message}</span>` : ""}</li>`)}</ol>`}
  </div>`;
}
