// What the month will cost, what another model would cost, how far budgets reach, and who was told.

import * as api from "../lib/api.js";
import { bar, chart } from "../lib/chart.js";
import { fill, h, newId } from "../lib/dom.js";
import { count, date, percent, text, time, usd } from "../lib/format.js";
import { table } from "../lib/table.js";
import { badge, button, card, during, empty, facts, field, head, stat, stats, toast } from "../lib/ui.js";

export const title = "Forecast & budgets";
export const roles = ["admin", "user"];

const PAST = 30;
const LASTING = 12; // budgets whose end is worked out: each is a forecast of its own
const DAY = 86_400_000;

export function render(ctx) {
  const outlook = h("div");
  const budgets = h("section.card", { "aria-label": "Budgets" });
  during(outlook, async () => {
    const [forecast, days] = await Promise.all([
      api.get("/api/v1/usage/forecast", {}, ctx.signal),
      api.get("/api/v1/usage/daily", { days: PAST }, ctx.signal),
    ]);
    fill(outlook, figures(forecast), course(forecast, days));
  });
  during(budgets, () => drawBudgets(ctx, budgets));
  const whose = ctx.isAdmin ? "Of all that goes through this gateway." : "Of your own requests.";
  return h("div", {}, head(title, whose), outlook, whatIf(ctx), budgets, ctx.isAdmin ? alerts(ctx) : null);
}

const span = (money) => `${usd(money.low)} to ${usd(money.high)}`;

function figures(forecast) {
  const { usd: sums, in_currency: other, currency } = forecast;
  const also = (amount) => (other ? `${amount(other).toFixed(2)} ${currency}` : null);
  const often = `${Math.round(forecast.interval * 100)} % interval`;
  return h("div", {}, stats(
    stat("Today so far", usd(forecast.today_so_far_usd), date(forecast.today), "today"),
    stat("This month so far", usd(sums.month_to_date), also((all) => all.month_to_date), "month-to-date"),
    stat("This month, expected", usd(sums.projected_month.expected), also((all) => all.projected_month.expected), "month-expected"),
    stat("This month, from – to", span(sums.projected_month), often, "month-interval"),
    stat("Made from", `${count(forecast.history_days)} days`, forecast.method, "history")),
    forecast.budget ? own(forecast.budget) : null);
}

const own = (budget) => h("p.notice", {}, `Your budget is ${usd(budget.amount_usd)} a ${budget.per}; ${usd(budget.spent_usd)} of it is spent. `, lasts(budget));

/** Days that were and days to come, in one line of time. */
function course(forecast, days) {
  const points = days.map((day) => ({ at: Date.parse(day.date), cost: day.total_cost_usd }));
  for (const day of forecast.usd.days) points.push({ at: Date.parse(day.date), expected: day.expected, low: day.low, high: day.high });
  return chart({ title: "Cost a day, and as it is expected", name: "forecast", points: filled(points), format: usd, height: 220, series: [
    { label: "Cost", of: (point) => point.cost, colour: 1, bars: true },
    { label: "Expected", of: (point) => point.expected, colour: 2 },
    { label: "Low", of: (point) => point.low, colour: 6 },
    { label: "High", of: (point) => point.high, colour: 4 }] });
}

/** Days on which nothing was asked cost nothing. */
function filled(points) {
  const found = [];
  for (const point of points) {
    for (let last = found.at(-1); last && point.at - last.at > DAY; last = found.at(-1)) found.push({ at: last.at + DAY, cost: 0 });
    found.push(point);
  }
  return found;
}

function whatIf(ctx) {
  const answer = h("div", { "aria-live": "polite" });
  const models = h("datalist", { id: newId("models") });
  const input = h("input", { name: "model", list: models.id, required: true, autocomplete: "off", spellcheck: "false", placeholder: "provider/model or an alias" });
  input.addEventListener("focus", () => during(answer, async () => {
    const found = await api.get("/api/v1/models", {}, ctx.signal);
    fill(models, [...new Set(found.models.map((model) => model.name))].map((name) => h("option", { value: name })));
  }), { once: true });
  const submit = (event) => {
    event.preventDefault();
    during(answer, async () => {
      const { what_if: then, usd: now } = await api.get("/api/v1/usage/forecast", { what_if_model: input.value.trim() }, ctx.signal);
      fill(answer, compared(then, now));
    });
  };
  return card("What if another model had answered?", {},
    h("form.inline", { on: { submit } }, field("Model", input, "Its prices are put on the tokens of this month."), h("button.primary", { type: "submit" }, "Compare"), models), answer);
}

function compared(then, now) {
  const more = then.difference_usd;
  const words = more > 0 ? `${usd(more)} more` : more < 0 ? `${usd(-more)} less` : "the same";
  return facts([
    ["Model", then.model, "what-if-model"],
    ["This month so far", `${usd(then.month_to_date_usd)} instead of ${usd(now.month_to_date)}`, "what-if-so-far"],
    ["This month, expected", `${usd(then.projected_month_usd.expected)} instead of ${usd(now.projected_month.expected)}`, "what-if-month"],
    ["Interval", span(then.projected_month_usd), "what-if-interval"],
    ["Difference", words, "what-if-difference"],
  ]);
}

async function drawBudgets(ctx, place) {
  const { data } = await api.get("/api/v1/budgets", {}, ctx.signal);
  const rows = data.map((budget) => ({ ...budget, share: budget.budget_usd ? budget.spent_usd / budget.budget_usd : 1 }));
  const ends = new Map(rows.map((row) => [row.scope, h("span.muted", {}, "…")]));
  fill(place, h("h2", {}, "Budgets"), listed(rows, ends));
  await Promise.all(rows.map((row, number) => (number < LASTING ? foretell(ctx, row, ends.get(row.scope)) : fill(ends.get(row.scope), "–"))));
}

async function foretell(ctx, row, place) {
  const [kind, id] = [row.scope.slice(0, row.scope.indexOf(":")), row.scope.slice(row.scope.indexOf(":") + 1)];
  const whose = kind === "key" ? { key_id: id } : ctx.isAdmin ? { user_id: id } : {};
  const { budget } = await api.get("/api/v1/usage/forecast", whose, ctx.signal);
  place.classList.remove("muted");
  fill(place, budget ? lasts(budget) : "–");
}

const lasts = (budget) => {
  if (budget.exhausted_on) return `Ends on ${date(budget.exhausted_on)} as expected`;
  return budget.earliest_on ? `May end on ${date(budget.earliest_on)}` : "Lasts";
};

const tone = (share) => (share >= 1 ? "bad" : share >= 0.8 ? "warn" : "good");

const listed = (rows, ends) => table({
  caption: "Budgets, nearest to their end first",
  rows,
  key: (row) => row.scope,
  none: "No key or user has a budget. A key gets one on the page Keys, or with PATCH /api/v1/keys/{id} {\"limits\": {\"budget\": 20}}.",
  columns: [
    { name: "name", label: "Whose", cell: (row) => h("span", {}, row.name, h("span.id", {}, row.scope)) },
    { name: "share", label: "Spent", cell: (row) => h("div", {}, bar(row.share, `${percent(row.share)} of the budget spent`), badge(percent(row.share), tone(row.share))) },
    { name: "spent", label: "Of it so far", right: true, cell: (row) => usd(row.spent_usd) },
    { name: "budget", label: "Budget", right: true, cell: (row) => `${usd(row.budget_usd)} a ${row.per}` },
    { name: "resets", label: "Begins anew", cell: (row) => time(row.resets_at) },
    { name: "lasts", label: "Forecast", cell: (row) => ends.get(row.scope) },
  ],
});

function alerts(ctx) {
  const list = h("div");
  const said = h("div", { role: "status" });
  const show = () => during(list, async () => {
    const { data } = await api.get("/api/v1/alerts", {}, ctx.signal);
    fill(list, told(data));
  });
  const test = button("Send a test alert", () => during(said, async () => {
    test.disabled = true;
    try {
      const { success, error } = await api.post("/api/v1/alerts/test", {}, ctx.signal);
      fill(said, h(`div.notice${success ? "" : ".bad"}`, { data: { figure: "alert-test" } }, success ? "The webhook took the test event." : `The webhook did not take it: ${error}`));
      if (success) toast("Test alert sent");
    } finally {
      test.disabled = false;
    }
  }));
  show();
  return card("Alerts", {}, h("div.actions.lead", {}, test), said, list);
}

const STATES = { delivered: "good", waiting: "warn", expired: "bad", superseded: "plain" };

const told = (rows) => table({
  caption: "Alerts, newest first",
  rows,
  key: (row) => row.id,
  none: "No share of a budget was crossed yet. Where to is alerts.webhook in the configuration.",
  columns: [
    { name: "at", label: "Time", cell: (row) => time(row.at) },
    { name: "name", label: "Whose", cell: (row) => h("span", {}, row.name, h("span.id", {}, row.scope)) },
    { name: "threshold", label: "Share", right: true, cell: (row) => `${row.threshold_percent} %` },
    { name: "spent", label: "Spent then", right: true, cell: (row) => usd(row.spent_usd) },
    { name: "budget", label: "Budget", right: true, cell: (row) => `${usd(row.budget_usd)} a ${row.per}` },
    { name: "state", label: "State", cell: (row) => badge(row.state, STATES[row.state] ?? "plain") },
    { name: "tries", label: "Tries", right: true, cell: (row) => count(row.tries) },
    { name: "delivered", label: "Told", cell: (row) => (row.delivered_at ? time(row.delivered_at) : row.next_try_at ? `again ${time(row.next_try_at)}` : text(null)) },
  ],
});
