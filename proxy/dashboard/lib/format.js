// Numbers and times as people read them. An unknown value is an en dash, never a zero.

export const NONE = "–";
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
const whole = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (known(value) ? whole.format(value) : NONE);
export const compact = (value) => (known(value) ? (Math.abs(value) < 10000 ? whole.format(value) : short.format(value)) : NONE);
export const percent = (share, digits = 1) => (known(share) ? `${(share * 100).toFixed(digits)} %` : NONE);

/** US dollars: cents for what is large, six places for what is small. */
export function usd(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  const places = size === 0 || size >= 1 ? 2 : size >= 0.01 ? 4 : 6;
  return `${value < 0 ? "−" : ""}$${size.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places })}`;
}

/** All nine places that the books have. */
export const exactUsd = (value) => (known(value) ? `$${Number(value).toFixed(9).replace(/0{1,7}$/, "")}` : NONE);

export function ms(value) {
  if (!known(value)) return NONE;
  if (value < 1000) return `${Math.round(value)} ms`;
  return value < 60000 ? `${(value / 1000).toFixed(2)} s` : `${Math.floor(value / 60000)} min ${Math.round((value % 60000) / 1000)} s`;
}

export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${at ? value.toFixed(1) : value} ${units[at]}`;
}

const asDate = (value) => new Date(typeof value === "number" ? value : String(value));
const day = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "2-digit" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Times are ISO texts, or epoch milliseconds; shown by the reader's clock. */
export const time = (value) => (known(value) ? `${day.format(asDate(value))}, ${clock.format(asDate(value))}` : NONE);
export const date = (value) => (known(value) ? day.format(asDate(value)) : NONE);

export function ago(value) {
  if (!known(value)) return NONE;
  const seconds = Math.max(0, (Date.now() - asDate(value).getTime()) / 1000);
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
}

export const text = (value) => (value === null || value === undefined || value === "" ? NONE : String(value));
