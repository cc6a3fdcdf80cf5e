// How something is, three times over: by colour, by shape and by word; no one of them is needed to understand it.

import { html } from "./lib.js";

const SHAPES = {
  well: html`<circle cx="8" cy="8" r="7" /><path class="ink" d="M4.8 8.3l2.2 2.2 4.2-4.6" />`,
  idle: html`<circle class="hollow" cx="8" cy="8" r="6" />`,
  care: html`<path d="M8 1.2L15.4 14.4H.6z" /><path class="ink" d="M8 6v3.6M8 11.7v.6" />`,
  bad: html`<path d="M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5z" /><path class="ink" d="M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4" />`,
};

export const Mark = ({ level, size = 16 }) =>
  html`<svg class="mark ${level}" viewBox="0 0 16 16" width=${size} height=${size} aria-hidden="true">${SHAPES[level]}</svg>`;

export const State = ({ level, children }) => html`<span class="state ${level}"><${Mark} level=${level} />${children}</span>`;

const CIRCUITS = { closed: ["well", "well"], half_open: ["care", "being tried again"], open: ["bad", "failing"] };

// A circuit's state as a level and a word.
export const circuit = (state) => CIRCUITS[state] ?? ["care", state];
