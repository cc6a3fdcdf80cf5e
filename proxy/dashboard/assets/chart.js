// A chart: uPlot in a place that may change its size and its colours, and its figures as a table for whoever sees none.

import { count, milliseconds } from "./format.js";
import { html, Plot, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const AXIS = () => ({
  stroke: colour("chart-text"),
  grid: { stroke: colour("chart-grid"), width: 1 },
  ticks: { stroke: colour("chart-grid"), width: 1, size: 4 },
  font: "12px system-ui, sans-serif",
});

const TIMES = (_, splits, __, ___, step) =>
  splits.map((at) => {
    const when = new Date(at * 1_000);
    if (step >= 86_400) return String(when.getDate());
    return `${String(when.getHours()).padStart(2, "0")}:${String(when.getMinutes()).padStart(2, "0")}`;
  });

const WHOLE = [1, 2, 5].flatMap((n) => [n, n * 10, n * 100, n * 1_000, n * 10_000, n * 100_000, n * 1_000_000]).sort((a, b) => a - b);
const LOW = 120; // pixels; a chart below this has its labels closer, so that its scale is told by more than a zero

// `series`: [{label, stroke: a colour's name, dash, fill, width, show}]; `value(n)` as text; `range` of y and of x.
// What is counted, or shown in whole milliseconds, is never labelled by halves.
function options({ series, value, width, height, range, span, legend }) {
  return {
    width,
    height,
    padding: [10, 18, 0, 0],
    cursor: { y: false, points: { size: 6 } },
    legend: { show: legend !== "none", live: legend === "live" },
    scales: { x: { time: true, range: span }, y: { range: range ?? ((_, __, most) => [0, most > 0 ? most * 1.1 : 1]) } },
    axes: [
      { ...AXIS(), values: TIMES, space: 56, size: 34 },
      { ...AXIS(), values: (_, splits) => splits.map(value), size: 62, space: height < LOW ? 16 : 32, incrs: value === count || value === milliseconds ? WHOLE : undefined },
    ],
    series: [
      { value: (_, at) => (at === null ? "–" : TIMES(null, [at], 0, 0, 60)[0]) },
      ...series.map((one) => ({
        width: 2,
        points: { show: false },
        ...one,
        stroke: colour(one.stroke),
        fill: one.fill ? colour(one.fill) : undefined,
        value: (_, n) => (n === null || n === undefined ? "–" : value(n)),
      })),
    ],
  };
}

export function Chart({ title, summary, series, data, value, scheme, height = 180, range, span, legend = "live" }) {
  const place = useRef(null);
  const plot = useRef(null);
  const names = series.map((one) => one.label).join("|");

  useLayoutEffect(() => {
    const width = () => Math.max(place.current.clientWidth, 120);
    plot.current = new Plot(options({ series, value, width: width(), height, range, span, legend }), data, place.current);
    const seen = new ResizeObserver(() => {
      if (plot.current && width() !== plot.current.width) plot.current.setSize({ width: width(), height });
    });
    seen.observe(place.current);
    return () => {
      seen.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [scheme, names, height, String(span), String(range)]);

  useEffect(() => plot.current?.setData(data), [data]);

  return html`<div class="chart" role="img" aria-label=${`${title}. ${summary}`} ref=${place}></div>`;
}

// Zeros that stand between zeros are not drawn: a line along the bottom would be seen before what it says.
export const sparse = (column) => column.map((n, at) => (n || column[at - 1] || column[at + 1] ? n : null));

// A table that is made only while somebody looks at it: a chart may stand on hundreds of figures.
export function Figures({ caption, heads, rows }) {
  const [open, setOpen] = useState(false);
  return html`<details class="figures-table" onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>Figures</summary>
    ${open &&
    html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
      <table class="striped">
        <caption>${caption}</caption>
        <thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
        <tbody>${rows().map(([first, ...rest]) => html`<tr key=${first}><th scope="row">${first}</th>${rest.map((one) => html`<td>${one}</td>`)}</tr>`)}</tbody>
      </table>
    </div>`}
  </details>`;
}
