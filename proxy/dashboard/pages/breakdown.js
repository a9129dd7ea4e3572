// Who and what the money goes to: sums by one dimension, and the course of one group of it.

import * as api from "../lib/api.js";
import { bar, chart } from "../lib/chart.js";
import { fill, h } from "../lib/dom.js";
import { compact, count, ms, percent, usd } from "../lib/format.js";
import { table } from "../lib/table.js";
import { button, choices, during, empty, head, link } from "../lib/ui.js";
import { DAYS, DIMENSIONS, NO_NAMES, WITHOUT, firstRequest, named, namesOf, note, query } from "../lib/usage.js";

export const title = "Breakdown";
export const roles = ["admin", "user"];

const MOST = 100; // groups that are shown; a thousand rows take the browser a third of a second
const COURSE = { 1: "24h", 7: "7d", 30: "30d", 90: "90d", 365: "90d" };

export function render(ctx) {
  const asked = ctx.params.get("by");
  const look = {
    by: Object.hasOwn(DIMENSIONS, asked ?? "") ? asked : "provider",
    days: DAYS.some(([value]) => value === ctx.params.get("days")) ? ctx.params.get("days") : "30",
    group: ctx.params.get("group") ?? null,
  };
  const groups = h("section.card", { "aria-label": "Groups" });
  const course = h("div", { "aria-live": "polite" });
  const keep = () => note(ctx, "breakdown", look);
  const show = () => during(groups, () => draw(ctx, { ...look }, look, groups, choose));
  const follow = () => during(course, () => drill(ctx, { ...look }, look, course, () => choose(null)));
  function choose(group) {
    look.group = group;
    keep();
    follow();
    for (const one of groups.querySelectorAll("button[data-group]")) one.setAttribute("aria-expanded", String(one.dataset.group === group));
  }
  const change = (what) => {
    Object.assign(look, what);
    keep();
    show();
    follow();
  };
  const dimensions = Object.keys(DIMENSIONS).filter((name) => ctx.isAdmin || name !== "user");
  const tabs = choices("Sum by", dimensions.map((name) => [name, DIMENSIONS[name].label]), look.by, (by) => change({ by, group: null }));
  const periods = choices("Period", DAYS, look.days, (days) => change({ days }));
  show();
  follow();
  const whose = ctx.isAdmin ? "What all requests cost, and where. Dearest first." : "What your own requests cost, and where. Dearest first.";
  return h("div", {}, head(title, whose, periods), h("div.tabs", {}, tabs), course, groups);
}

const isSame = (a, b) => a.by === b.by && a.days === b.days && a.group === b.group;

async function draw(ctx, mine, look, place, choose) {
  const { path, field, many } = DIMENSIONS[mine.by];
  const isNamed = mine.by === "user" || mine.by === "key";
  const [groups, whole, names] = await Promise.all([
    api.get(`/api/v1/usage/${path}`, { days: mine.days, limit: MOST }, ctx.signal),
    api.get("/api/v1/usage/summary", { days: mine.days }, ctx.signal),
    isNamed ? namesOf(ctx) : NO_NAMES,
  ]);
  if (mine.by !== look.by || mine.days !== look.days) return;
  const rows = groups.map((group) => ({ ...group, value: group[field] ?? WITHOUT }));
  if (!rows.length) {
    fill(place, empty("No requests in this period. This makes one; put in a key and a model of yours:"), h("pre", {}, firstRequest()));
    return;
  }
  fill(place, h("h2", {}, `By ${DIMENSIONS[mine.by].label.toLowerCase()}`), sums(rows, whole, mine, names, look.group, choose),
    groups.length === MOST ? h("p.muted.small", {}, `The ${MOST} dearest ${many} are shown; shares are of all.`) : null);
}

function sums(rows, whole, { by }, names, group, choose) {
  const { total_cost_usd: cost, total_requests: requests } = whole;
  const share = (row) => (cost ? row.total_cost_usd / cost : row.request_count / requests);
  return table({
    caption: `Usage by ${DIMENSIONS[by].label.toLowerCase()}`,
    rows,
    key: (row) => row.value,
    columns: [
      { name: "group", label: DIMENSIONS[by].label, cell: (row) => button(named(by, row.value === WITHOUT ? null : row.value, names),
        (event) => choose(event.currentTarget.getAttribute("aria-expanded") === "true" ? null : row.value),
        { class: "plain", data: { group: row.value }, "aria-expanded": String(row.value === group) }) },
      { name: "share", label: cost ? "Of the cost" : "Of the requests", cell: (row) => h("div", {}, bar(share(row), `${percent(share(row))} of all`), h("span.id", {}, percent(share(row)))) },
      { name: "requests", label: "Requests", right: true, cell: (row) => count(row.request_count) },
      { name: "tokens", label: "Tokens", right: true, cell: (row) => compact(row.total_tokens) },
      { name: "cost", label: "Cost", right: true, cell: (row) => usd(row.total_cost_usd) },
      { name: "saved", label: "Saved", right: true, cell: (row) => usd(row.saved_usd) },
      { name: "hits", label: "Cache hits", right: true, cell: (row) => count(row.cached_requests) },
      { name: "errors", label: "Errors", right: true, cell: (row) => count(row.error_requests) },
      { name: "latency", label: "Latency", right: true, cell: latency },
    ],
  });
}

/** The middle of all requests and of the slowest twentieth, or the mean where the API says no more. */
const latency = (row) => row.p50_latency_ms === undefined || row.p50_latency_ms === null
  ? h("span", {}, ms(row.avg_latency_ms), h("span.id", {}, "mean"))
  : h("span", {}, ms(row.p50_latency_ms), h("span.id", {}, `p95 ${ms(row.p95_latency_ms)}`));

async function drill(ctx, mine, look, place, close) {
  if (mine.group === null) {
    fill(place);
    return;
  }
  const period = COURSE[mine.days];
  const [{ points }, names] = await Promise.all([
    api.get(query("/api/v1/usage/series", { period, [mine.by]: mine.group }), {}, ctx.signal),
    mine.by === "user" || mine.by === "key" ? namesOf(ctx) : NO_NAMES,
  ]);
  if (!isSame(mine, look)) return;
  const timed = points.map((point) => ({ ...point, at: Date.parse(point.begins) }));
  const value = mine.group === WITHOUT ? null : mine.group;
  fill(place, h("section.card", { "aria-label": "One group", data: { drill: mine.group } },
    h("div.head", {}, h("h2", {}, `${DIMENSIONS[mine.by].label}: `, named(mine.by, value, names)),
      h("div.controls", {}, link("Its requests", ctx.link("requests", { [mine.by]: mine.group, days: mine.days }), { class: "button" }), button("Close", close))),
    h("div.grid", {}, charts(timed))));
}

const charts = (points) => [
  chart({ title: "Requests", name: "group-requests", points, format: compact, series: [
    { label: "Requests", of: (point) => point.requests, colour: 1, bars: true },
    { label: "Errors", of: (point) => point.errors, colour: 5 },
    { label: "Cache hits", of: (point) => point.cached, colour: 3 }] }),
  chart({ title: "Cost", name: "group-cost", points, format: usd, series: [
    { label: "Cost", of: (point) => point.cost_usd, colour: 1, bars: true },
    { label: "Saved by the cache", of: (point) => point.saved_usd, colour: 3 }] }),
  chart({ title: "Latency", name: "group-latency", points, format: ms, series: [
    { label: "p50", of: (point) => point.p50_latency_ms, colour: 1 },
    { label: "p95", of: (point) => point.p95_latency_ms, colour: 2 }] }),
];
