// What was spent on what: tabs for whom it is counted by, today or this month.

import { usd } from "./format.js";
import { html, useRef, useState } from "./lib.js";

const BY = [["provider", "Provider"], ["model", "Model"], ["user", "User"], ["agent", "Agent"], ["key", "Key"], ["team", "Team"]];
const WINDOWS = [["today", "Today"], ["this_month", "This month"]];
const NOBODY = { provider: "(none)", model: "(none)", user: "(nobody named)", agent: "(nobody named)", key: "(no key)", team: "(no team)" };

export function Costs({ costs }) {
  const [by, setBy] = useState("provider");
  const [window, setWindow] = useState("today");
  const tabs = useRef(null);
  if (costs === null) return null;

  function moved(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const places = BY.map(([name]) => name);
    const at = event.key === "Home" ? 0 : event.key === "End" ? places.length - 1 : step && (places.indexOf(by) + step + places.length) % places.length;
    if (at === undefined) return;
    event.preventDefault();
    setBy(places[at]);
    tabs.current.querySelectorAll("[role=tab]")[at].focus();
  }

  const found = costs[window];
  const { top, others } = found.by[by];
  const whole = Number(found.spent_usd);
  return html`<section aria-labelledby="costs">
    <h2 id="costs">Costs</h2>
    <article class="card">
      <header class="bar">
        <div role="tablist" aria-label="Counted by" ref=${tabs} onKeyDown=${moved}>
          ${BY.map(([name, word]) => html`<button type="button" role="tab" id="tab-${name}" aria-selected=${by === name} aria-controls="costs-by" tabindex=${by === name ? 0 : -1} onClick=${() => setBy(name)}>${word}</button>`)}
        </div>
        <fieldset class="switch" aria-label="Over">
          ${WINDOWS.map(([name, word]) => html`<label><input type="radio" name="window" checked=${window === name} onChange=${() => setWindow(name)} /><span>${word}</span></label>`)}
        </fieldset>
      </header>
      <div id="costs-by" role="tabpanel" aria-labelledby="tab-${by}">
        <p class="amount"><strong title="$${found.spent_usd}">${usd(found.spent_usd)}</strong> spent ${window === "today" ? `on ${found.date}` : `in ${found.month}`} (UTC)${Number(found.held_usd) > 0 ? `, ${usd(found.held_usd)} held for requests in flight` : ""}${Number(found.unproven_usd) > 0 ? `, ${usd(found.unproven_usd)} not proven` : ""}</p>
        ${top.length === 0
          ? html`<p class="empty">Nothing was spent yet.</p>`
          : html`<div class="scroll" tabindex="0" role="region" aria-label="Costs by ${by}">
              <table class="striped costs">
                <thead><tr><th scope="col">${BY.find(([name]) => name === by)[1]}</th><th scope="col" class="n">Spent</th><th scope="col" class="share"><span class="unseen">Share</span></th><th scope="col" class="n">Held</th><th scope="col" class="n">Unproven</th></tr></thead>
                <tbody>
                  ${top.map((row) => html`<${Row} key=${row.value} name=${row.value === "" ? NOBODY[by] : row.value} row=${row} whole=${whole} />`)}
                  ${others && html`<${Row} key="others" name="${others.values} others" row=${others} whole=${whole} />`}
                </tbody>
              </table>
            </div>`}
      </div>
    </article>
  </section>`;
}

const Row = ({ name, row, whole }) => html`<tr>
  <th scope="row" class="name" title=${name}>${name}</th>
  <td class="n" title="$${row.spent_usd}">${usd(row.spent_usd)}</td>
  <td class="share"><progress max="1" value=${whole > 0 ? Number(row.spent_usd) / whole : 0} aria-label="Share of ${name}"></progress></td>
  <td class="n">${usd(row.held_usd)}</td>
  <td class="n">${usd(row.unproven_usd)}</td>
</tr>`;
