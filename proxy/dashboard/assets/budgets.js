// Budgets as burn-downs: what is left, from the window's start to its end, and where it leads if it goes on so.

import { Chart, Figures } from "./chart.js";
import { plural, time, usd } from "./format.js";
import { html, useMemo, useState } from "./lib.js";
import { State } from "./state.js";

const FIRST = 6;
const LEVELS = { early: "well", within: "well", over: "care", reached: "bad" };
const WORDS = { early: "on course", within: "on course", over: "too fast", reached: "used up" };

export function Budgets({ budgets, costs, scheme }) {
  const [all, showAll] = useState(false);
  const ranked = [...budgets].sort((a, b) => Number(b.used_percent) - Number(a.used_percent));
  const shown = all ? ranked : ranked.slice(0, FIRST);
  return html`<section aria-labelledby="budgets">
    <h2 id="budgets">Budgets</h2>
    ${costs === null && html`<p class="empty">The store has not told yet how budgets stand.</p>`}
    ${costs !== null && budgets.length === 0 && html`<p class="empty">No budget is set: spending is counted, and not bounded. <code>LLM_DAILY_BUDGET=25</code> would bound it to $25 a day.</p>`}
    <div class="cards">${shown.map((one) => html`<${Budget} key=${one.name + one.scope} one=${one} scheme=${scheme} />`)}</div>
    ${ranked.length > FIRST && html`<button type="button" class="outline" aria-expanded=${all} onClick=${() => showAll(!all)}>${all ? `Only the ${FIRST} most used` : `All ${ranked.length} budgets`}</button>`}
    ${costs?.budgets_left_out > 0 && html`<p class="note">${plural(costs.budgets_left_out, "budget")} more, less used, ${costs.budgets_left_out === 1 ? "is" : "are"} not shown.</p>`}
  </section>`;
}

function Budget({ one, scheme }) {
  const level = LEVELS[one.projection.state];
  const limit = Number(one.limit_usd);
  const title = one.name.endsWith("=*") ? `${one.window === "day" ? "daily" : "monthly"} of ${one.scope}` : one.name;
  const data = useMemo(() => curve(one, limit), [one, limit]);
  const summary = `${usd(one.left_usd)} of ${usd(one.limit_usd)} are left. ${leads(one)}`;
  const lines = [
    { label: "left", stroke: "chart-1", fill: "chart-1-fill" },
    { label: "if it goes on so", stroke: level === "well" ? "chart-2" : "bad", dash: [6, 4] },
    { label: "evenly", stroke: "chart-text", dash: [1, 5], width: 1 },
  ];
  return html`<article class="card" data-budget=${one.scope} data-window=${one.window}>
    <header><h3 title=${title}>${title}</h3><${State} level=${level}>${WORDS[one.projection.state]}<//></header>
    <p class="amount"><strong>${usd(one.left_usd)}</strong> left of ${usd(one.limit_usd)}</p>
    <p class="leads">${leads(one)}</p>
    <${Chart} title="What is left of ${title}" summary=${summary} series=${lines} data=${data} value=${(n) => usd(String(n))} scheme=${scheme} height=${150} range=${[0, limit]} span=${[one.starts_at_ms / 1_000, one.ends_at_ms / 1_000]} legend="static" />
    <dl class="figures">
      <div><dt>Spent</dt><dd title="$${one.spent_usd}">${usd(one.spent_usd)}</dd></div>
      <div><dt>Held</dt><dd title="$${one.held_usd}, for requests in flight">${usd(one.held_usd)}</dd></div>
      ${Number(one.unproven_usd) > 0 && html`<div><dt>Unproven</dt><dd title="What a vendor may have billed beyond that">${usd(one.unproven_usd)}</dd></div>`}
      <div><dt>Used</dt><dd>${one.used_percent} %</dd></div>
      <div><dt>Anew</dt><dd>${time(one.resets_at)}</dd></div>
    </dl>
    <${Figures} caption="What was used of ${title}" heads=${["At", "Used"]} rows=${() => [...one.points].reverse().map(([at, used]) => [time(at), usd(used)])} />
  </article>`;
}

function leads(one) {
  const { state, used_at_end_usd: atEnd, reached_at: reached } = one.projection;
  if (state === "reached") return `Used up since ${time(reached)}; anew at ${time(one.resets_at)}.`;
  if (state === "early") return "It is too early to say where this leads.";
  if (state === "over") return `At this pace it is used up at ${time(reached)}, before ${time(one.resets_at)}.`;
  return `At this pace ${usd(atEnd)} are used by ${time(one.resets_at)}.`;
}

// [moments, left, projected, evenly]
function curve(one, limit) {
  const seen = one.points.map(([at, used]) => [at, limit - Number(used)]);
  const [now, left] = seen[seen.length - 1];
  const rows = new Map(seen.map(([at, value]) => [at, [Math.max(value, 0), null, null]]));
  const put = (at, place, value) => rows.set(at, (rows.get(at) ?? [null, null, null]).map((old, n) => (n === place ? value : old)));
  const { state, used_at_end_usd: atEnd, reached_at: reached } = one.projection;
  if (state === "within" || state === "over") {
    put(now, 1, left);
    if (state === "within") put(one.ends_at_ms, 1, limit - Number(atEnd));
    else put(Date.parse(reached), 1, 0);
  }
  put(one.starts_at_ms, 2, limit);
  put(one.ends_at_ms, 2, 0);
  const order = [...rows.keys()].sort((a, b) => a - b);
  const column = (place) => order.map((at) => rows.get(at)[place]);
  return [order.map((at) => at / 1_000), column(0), spanned(order, column(1)), spanned(order, column(2))];
}

// A straight line needs a value wherever another line has one: uPlot draws from one moment to the next.
function spanned(order, column) {
  const known = column.flatMap((value, n) => (value === null ? [] : [n]));
  if (known.length < 2) return column;
  const [first, last] = [known[0], known[known.length - 1]];
  const slope = (column[last] - column[first]) / (order[last] - order[first]);
  return column.map((_, n) => (n < first || n > last ? null : column[first] + slope * (order[n] - order[first])));
}
