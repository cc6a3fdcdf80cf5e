// The one place that says where the libraries are.
export * from "./vendor/htm/preact-standalone.module.js";
export { default as Plot } from "./vendor/uplot/uPlot.esm.js";
