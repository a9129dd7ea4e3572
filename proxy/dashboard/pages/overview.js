// How it goes: the figures of a period, their course, and the newest requests as they come.

import * as api from "../lib/api.js";
import { chart } from "../lib/chart.js";
import { fill, h } from "../lib/dom.js";
import { ago, compact, count, ms, percent, time, usd } from "../lib/format.js";
import { table } from "../lib/table.js";
import { button, card, choices, copy, during, empty, fault, head, link, stat, stats } from "../lib/ui.js";
import { NO_NAMES, caller, ended, firstRequest, model, namesOf, note, requestLink } from "../lib/usage.js";

export const title = "Overview";
export const roles = ["admin", "user"];

const PERIODS = { "1h": "the last hour", "6h": "the last 6 hours", "24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days", "90d": "the last 90 days" };
const SUMMED = { "24h": 1, "7d": 7, "30d": 30, "90d": 90 };
const TAIL = 15;
const POLL = 2000;
const REFRESH = 30000;

export function render(ctx) {
  let period = Object.hasOwn(PERIODS, ctx.params.get("period") ?? "") ? ctx.params.get("period") : "24h";
  let turn = 0;
  const figures = h("div");
  const charts = h("div");
  async function draw() {
    const mine = ++turn;
    const [points, summary] = await Promise.all([course(ctx, period), summed(ctx, period)]);
    if (mine !== turn) return;
    const sums = summary ?? added(points);
    fill(figures, shown(sums));
    fill(charts, sums.total_requests ? drawn(points) : nothing(period));
  }
  const show = () => during(charts, () => during(figures, draw));
  const periods = choices("Period", Object.keys(PERIODS).map((key) => [key, key]), period, (to) => {
    period = to;
    note(ctx, "overview", { period });
    show();
  });
  ctx.every(REFRESH, () => { if (!charts.querySelector("details[open]")) show(); });
  show();
  const whose = ctx.isAdmin ? "All requests through this gateway." : "Your own requests.";
  return h("div", {}, head(title, whose, periods), figures, charts, tail(ctx));
}

async function course(ctx, period) {
  const { points } = await api.get("/api/v1/usage/series", { period }, ctx.signal);
  return points.map((point) => ({ ...point, at: Date.parse(point.begins) }));
}

const summed = (ctx, period) => (period in SUMMED ? api.get("/api/v1/usage/summary", { days: SUMMED[period] }, ctx.signal) : null);

/** What the API sums for whole days, from the steps of a few hours. Percentiles can't be added up:
 *  they are the mean of the steps', by their requests. */
function added(points) {
  const sum = (of) => points.reduce((all, point) => all + (of(point) ?? 0), 0);
  const mean = (of) => {
    const known = points.filter((point) => of(point) !== null && of(point) !== undefined);
    const weight = known.reduce((all, point) => all + point.requests, 0);
    return weight ? known.reduce((all, point) => all + of(point) * point.requests, 0) / weight : null;
  };
  const requests = sum((point) => point.requests);
  const share = (part) => (requests ? part / requests : 0);
  const errors = sum((point) => point.errors);
  const cached = sum((point) => point.cached);
  return {
    total_requests: requests, error_requests: errors, cached_requests: cached,
    error_rate: share(errors), cache_hit_rate: share(cached),
    input_tokens: sum((point) => point.input_tokens), output_tokens: sum((point) => point.output_tokens),
    total_tokens: sum((point) => point.total_tokens),
    total_cost_usd: sum((point) => point.cost_usd), saved_usd: sum((point) => point.saved_usd),
    p50_latency_ms: mean((point) => point.p50_latency_ms), p95_latency_ms: mean((point) => point.p95_latency_ms),
    avg_first_token_ms: mean((point) => point.avg_first_token_ms),
  };
}

const shown = (sums) => stats(
  stat("Requests", count(sums.total_requests), null, "requests"),
  stat("Tokens", compact(sums.total_tokens), `${compact(sums.input_tokens)} in, ${compact(sums.output_tokens)} out`, "tokens"),
  stat("Cost", usd(sums.total_cost_usd), other(sums.total_cost, sums.currency), "cost"),
  stat("Saved by the cache", usd(sums.saved_usd), other(sums.saved, sums.currency), "saved"),
  stat("Error rate", percent(sums.total_requests ? sums.error_rate : null), `${count(sums.error_requests)} failed`, "error-rate"),
  stat("Cache hit rate", percent(sums.total_requests ? sums.cache_hit_rate : null), `${count(sums.cached_requests)} hits`, "hit-rate"),
  stat("Latency p50", ms(sums.p50_latency_ms), null, "p50"),
  stat("Latency p95", ms(sums.p95_latency_ms), null, "p95"),
  stat("First token", ms(sums.avg_first_token_ms), "mean", "first-token"),
);

const other = (amount, currency) => (currency ? `${amount.toFixed(2)} ${currency}` : null);

function drawn(points) {
  const detailed = points.some((point) => point.p50_first_token_ms !== null && point.p50_first_token_ms !== undefined);
  const first = detailed
    ? [{ label: "p50", of: (point) => point.p50_first_token_ms, colour: 1 }, { label: "p95", of: (point) => point.p95_first_token_ms, colour: 2 }]
    : [{ label: "Mean", of: (point) => point.avg_first_token_ms, colour: 1 }];
  return h("div.grid", {},
    chart({ title: "Requests", name: "requests", points, format: compact, series: [
      { label: "Requests", of: (point) => point.requests, colour: 1, bars: true },
      { label: "Errors", of: (point) => point.errors, colour: 5 },
      { label: "Cache hits", of: (point) => point.cached, colour: 3 }] }),
    chart({ title: "Tokens", name: "tokens", points, format: compact, series: [
      { label: "In", of: (point) => point.input_tokens, colour: 1 },
      { label: "Out", of: (point) => point.output_tokens, colour: 2 }] }),
    chart({ title: "Cost", name: "cost", points, format: usd, series: [
      { label: "Cost", of: (point) => point.cost_usd, colour: 1, bars: true },
      { label: "Saved by the cache", of: (point) => point.saved_usd, colour: 3 }] }),
    chart({ title: "Latency", name: "latency", points, format: ms, series: [
      { label: "p50", of: (point) => point.p50_latency_ms, colour: 1 },
      { label: "p95", of: (point) => point.p95_latency_ms, colour: 2 }] }),
    chart({ title: "Time to the first token", name: "first-token", points, format: ms, series: first }));
}

const nothing = (period) => h("div.card", {}, empty(`No requests in ${PERIODS[period]}.`, h("p", {}, "This makes one; put in a key and a model of yours:")),
  h("pre", {}, firstRequest()), h("div.actions", {}, copy("Copy", firstRequest)));

/** The newest requests, looked for again and again while the page is in sight. */
function tail(ctx) {
  let names = NO_NAMES;
  let seen = null;
  let busy = false;
  let paused = false;
  const place = h("div", { data: { tail: "live" } });
  const trouble = h("div");
  const pause = button("Pause", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) look();
  });
  async function look() {
    if (busy || paused) return;
    busy = true;
    try {
      const { data } = await api.get("/api/v1/usage/requests", { limit: TAIL }, ctx.signal);
      fill(trouble);
      if (!paused) put(data);
    } catch (error) {
      if (error.name !== "AbortError") fill(trouble, fault(error));
    } finally {
      busy = false;
    }
  }
  function put(rows) {
    if (seen !== null && rows.length === seen.size && rows.every((row) => seen.has(row.request_id))) return;
    const focused = place.contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.row : null;
    fill(place, listed(ctx, rows, names));
    for (const row of place.querySelectorAll("tr[data-row]")) {
      if (seen !== null && !seen.has(row.dataset.row)) row.classList.add("new");
      if (focused && row.dataset.row === focused) row.querySelector("a").focus();
    }
    seen = new Set(rows.map((row) => row.request_id));
  }
  during(place, async () => {
    names = await namesOf(ctx);
    await look();
  });
  ctx.every(POLL, look);
  return card("Newest requests", {}, h("div.actions.lead", {}, pause, link("All requests", ctx.link("requests"))), trouble, place);
}

const listed = (ctx, rows, names) => table({
  caption: "Newest requests",
  rows,
  key: (row) => row.request_id,
  none: "No requests yet. They appear here as they come.",
  columns: [
    { name: "time", label: "Time", cell: (row) => h("span", { title: ago(row.created_at) }, requestLink(ctx, row, time(row.created_at))) },
    { name: "outcome", label: "Outcome", cell: ended },
    { name: "model", label: "Model", cell: model },
    { name: "caller", label: "Caller", cell: (row) => caller(row, names) },
    { name: "tokens", label: "Tokens", right: true, cell: (row) => `${compact(row.input_tokens)} → ${compact(row.output_tokens)}` },
    { name: "cost", label: "Cost", right: true, cell: (row) => usd(row.cost_usd) },
    { name: "took", label: "Took", right: true, cell: (row) => ms(row.duration_ms) },
  ],
});
