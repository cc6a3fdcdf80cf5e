// Figures as people read them. Money comes as exact decimals of dollars; what is shown is rounded, never what is told.

const COUNT = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const CENTS = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const SMALL = new Intl.NumberFormat("en", { maximumSignificantDigits: 2, maximumFractionDigits: 9 });

export const count = (n) => COUNT.format(n);
export const compact = (n) => (Math.abs(n) < 10_000 ? COUNT.format(n) : COMPACT.format(n));

export function usd(text) {
  if (text === null || text === undefined) return "unknown";
  const value = Number(text);
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  return `${sign}$${size === 0 || size >= 0.1 ? CENTS.format(size) : SMALL.format(size)}`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 1) return "< 1 ms";
  if (value < 1_000) return `${Math.round(value)} ms`;
  return `${(value / 1_000).toFixed(value < 10_000 ? 2 : 1)} s`;
}

export const percent = (part) => (part === null || part === undefined ? "–" : `${(part * 100).toFixed(part && part < 0.1 ? 1 : 0)} %`);

const moment = (at) => (typeof at === "number" ? new Date(at) : new Date(at));
const two = (n) => String(n).padStart(2, "0");
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function clock(at, seconds = false) {
  const when = moment(at);
  return `${two(when.getHours())}:${two(when.getMinutes())}${seconds ? `:${two(when.getSeconds())}` : ""}`;
}

// "14:02" today, "Mon 14:02" within a week, else "3 Nov 14:02".
export function time(at, seconds = false) {
  const when = moment(at);
  const now = new Date();
  if (when.toDateString() === now.toDateString()) return clock(when, seconds);
  const near = Math.abs(when - now) < 6 * 86_400_000;
  const day = near ? DAYS[when.getDay()] : `${when.getDate()} ${MONTHS[when.getMonth()]}`;
  return `${day} ${clock(when, seconds)}`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
