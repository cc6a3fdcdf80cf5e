// The last three hours by the minute, of all replicas: requests, errors, the time to the first token, cost, who was asked.

import { Chart, Figures, sparse } from "./chart.js";
import { clock, count, milliseconds, plural, usd } from "./format.js";
import { html, useMemo } from "./lib.js";

const FIRST = 6; // providers with a line of their own; more cannot be told apart
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [4, 4], [1, 5]];
const total = (column) => column.reduce((a, b) => a + Number(b), 0);

export function Traffic({ series, scheme }) {
  const at = useMemo(() => series.requests.map((_, n) => (series.start_ms + n * series.step_ms) / 1_000), [series.start_ms, series.requests.length]);
  const asked = useMemo(() => ranked(series.attempts), [series.attempts]);
  const requests = total(series.requests);
  return html`<section aria-labelledby="traffic">
    <h2 id="traffic">Traffic <small>last 3 hours, all replicas</small></h2>
    ${requests === 0
      ? html`<p class="empty">No request has ended yet. Point a client at <code>${location.origin}/v1</code>, and its requests appear here.</p>`
      : html`<p class="note">${plural(requests, "request")}; ${plural(total(series.retries), "retry", "retries")}, ${plural(total(series.hedges), "hedge")} (a second provider asked before the first had answered).</p>
        <div class="charts">
          <${Panel} title="Requests" unit="a minute" at=${at} scheme=${scheme} value=${count}
            summary="${plural(requests, "request")} in 3 hours, ${count(total(series.errors))} with an error, ${count(total(series.failed))} of them not the caller's fault."
            lines=${[
              { label: "all", stroke: "chart-1", fill: "chart-1-fill", of: series.requests },
              { label: "refused", stroke: "care", dash: [2, 3], of: series.errors.map((n, i) => n - series.failed[i]) },
              { label: "failed", stroke: "bad", dash: [6, 3], fill: "bad-fill", of: series.failed },
            ]} />
          <${Panel} title="Time to first token" unit="by the minute" at=${at} scheme=${scheme} value=${milliseconds}
            summary="The median and the 95th percentile of each minute."
            lines=${[
              { label: "median", stroke: "chart-1", of: series.first_part_ms.p50, points: { show: true, size: 4 } },
              { label: "95th percentile", stroke: "chart-2", dash: [6, 4], of: series.first_part_ms.p95, points: { show: true, size: 4 } },
            ]} />
          <${Panel} title="Cost" unit="a minute" at=${at} scheme=${scheme} value=${(n) => usd(String(n))}
            summary="${usd(String(total(series.cost_usd)))} in 3 hours."
            lines=${[{ label: "cost", stroke: "chart-3", fill: "chart-3-fill", of: series.cost_usd.map(Number) }]} />
          <${Panel} title="Who was asked" unit="attempts a minute" at=${at} scheme=${scheme} value=${count}
            summary=${asked.map(([name, of]) => `${name}: ${count(total(of))}`).join(", ")}
            lines=${asked.map(([name, of], n) => ({ label: name, stroke: `chart-${(n % 4) + 1}`, dash: DASHES[n % DASHES.length], of }))} />
        </div>`}
  </section>`;
}

// [name, attempts]: who was asked most, by name, so that a line keeps its colour; of many, the rest as one.
function ranked(attempts) {
  const all = Object.entries(attempts);
  if (all.length <= FIRST + 1) return all;
  const most = new Set([...all].sort((a, b) => total(b[1]) - total(a[1])).slice(0, FIRST).map(([name]) => name));
  const rest = all.filter(([name]) => !most.has(name)).map(([, of]) => of);
  const sum = rest[0].map((_, n) => rest.reduce((a, of) => a + of[n], 0));
  return [...all.filter(([name]) => most.has(name)), [`${rest.length} others`, sum]];
}

function Panel({ title, unit, summary, at, lines, value, scheme }) {
  const data = useMemo(() => [at, ...lines.map((one) => (one.dash ? sparse(one.of) : one.of))], [at, ...lines.map((one) => one.of)]);
  const rows = () =>
    at
      .map((moment, n) => [clock(moment * 1_000), ...lines.map((one) => value(one.of[n]))])
      .filter((_, n) => lines.some((one) => one.of[n]))
      .reverse();
  return html`<article class="card" aria-label=${title}>
    <header><h3>${title} <small>${unit}</small></h3></header>
    <${Chart} title="${title}, ${unit}" summary=${summary} series=${lines.map(({ of, ...line }) => line)} data=${data} value=${value} scheme=${scheme} height=${200} />
    <${Figures} caption="${title}, ${unit}" heads=${["Minute", ...lines.map((one) => one.label)]} rows=${rows} />
  </article>`;
}
