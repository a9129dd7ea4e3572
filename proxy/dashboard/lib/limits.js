// Limits of keys and users: as words, and as a form. An empty field is the configuration's default,
// "none" is no limit (docs/limits.md).

import { h } from "./dom.js";
import { count, usd } from "./format.js";
import { field, select } from "./ui.js";

const COUNTS = [
  ["rpm", "Requests a minute"], ["tpm", "Tokens a minute"], ["rpd", "Requests a day"],
  ["tpd", "Tokens a day"], ["concurrency", "Requests at once"],
];
const UNITS = { rpm: "requests/min", tpm: "tokens/min", rpd: "requests/day", tpd: "tokens/day", concurrency: "at once" };

/** `{rpm: 60, budget: {amount: 5, per: "day"}}` -> ["60 requests/min", "$5.00 a day"]. */
export function words(limits) {
  const said = COUNTS.filter(([name]) => name in limits).map(([name]) =>
    limits[name] === null ? `no limit of ${UNITS[name]}` : `${count(limits[name])} ${UNITS[name]}`);
  if (limits.budget === null) said.push("no budget");
  else if (limits.budget) said.push(`${usd(limits.budget.amount)} a ${limits.budget.per}`);
  return said;
}

export const list = (limits) => {
  const said = words(limits);
  return said.length ? said.map((each) => h("div", {}, each)) : h("span.muted", {}, "as configured");
};

const shown = (limits, name) => (name in limits ? limits[name] ?? "none" : "");

/** The fields, filled with what is said now. */
export function fields(limits = {}) {
  const budget = limits.budget;
  const number = (name, value, pattern) =>
    h("input", { name, value: String(value), inputmode: "decimal", pattern, placeholder: "default", title: "A number above 0, or none", autocomplete: "off" });
  return h("fieldset.plain", {}, h("legend", {}, "Limits"),
    h("p.hint", {}, "Empty: as configured. “none”: no limit."),
    h("div.row", {}, COUNTS.map(([name, label]) => field(label, number(name, shown(limits, name), "[1-9][0-9]*|none")))),
    h("div.row", {},
      field("Budget, USD", number("budget", budget === undefined ? "" : budget?.amount ?? "none", "[0-9]*\\.?[0-9]+|none")),
      field("Budget is for", select([["month", "a month"], ["day", "a day"]], budget?.per ?? "month", null, { name: "per" }))));
}

/** What a form says, as the API takes it. */
export function read(data) {
  const limits = {};
  for (const [name] of COUNTS) {
    const given = data.get(name).trim();
    if (given) limits[name] = given === "none" ? null : Number(given);
  }
  const budget = data.get("budget").trim();
  if (budget) limits.budget = budget === "none" ? null : { amount: Number(budget), per: data.get("per") };
  return limits;
}

/** Whether a field that said something says nothing now: only taking all back says that. */
export const dropsAny = (before, after) => Object.keys(before).some((name) => !(name in after));
