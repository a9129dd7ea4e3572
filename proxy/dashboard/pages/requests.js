// All requests, chosen by filters, page by page; the same as a file.

import * as api from "../lib/api.js";
import { fill, h, newId } from "../lib/dom.js";
import { count, ms, text, time, usd } from "../lib/format.js";
import { table } from "../lib/table.js";
import { during, empty, fault, field, head, link, select } from "../lib/ui.js";
import { DAYS, DIMENSIONS, NO_NAMES, OUTCOME_WORDS, WITHOUT, caller, ended, firstRequest, model, namesOf, query, requestLink } from "../lib/usage.js";

export const title = "Requests";
export const roles = ["admin", "user"];

const LIMIT = 50;
const OUTCOMES = [["", "Any"], ...["ok", "failed", "client_closed"].map((name) => [name, OUTCOME_WORDS[name]])];

export function render(ctx) {
  const chosen = filters(ctx);
  const rows = h("div");
  during(rows, async () => {
    const path = query("/api/v1/usage/requests", { ...chosen, limit: LIMIT, cursor: ctx.params.get("cursor") });
    const [page, names] = await Promise.all([api.get(path, {}, ctx.signal), namesOf(ctx)]);
    fill(rows, page.data.length ? [listed(ctx, page.data, names), pages(ctx, page)] : nothing(ctx, chosen));
  });
  const whose = ctx.isAdmin ? "Newest first." : "Your own, newest first.";
  return h("div", {}, head(title, whose, files(chosen)), form(ctx, chosen), h("section.card", { "aria-label": "Requests" }, rows));
}

/** The filters that the address has; nothing else of it is sent. */
function filters(ctx) {
  const found = { days: ctx.params.get("days") ?? "30" };
  for (const name of [...Object.keys(DIMENSIONS), "outcome"]) {
    const value = ctx.params.get(name);
    if (value) found[name] = value;
  }
  return found;
}

function form(ctx, chosen) {
  const mine = Object.keys(DIMENSIONS).filter((name) => ctx.isAdmin || name !== "user");
  const outcome = select(OUTCOMES, chosen.outcome ?? "", null, { name: "outcome" });
  const lengths = [...new Set([...DAYS.map(([value]) => value), chosen.days])];
  const days = select(lengths.map((value) => [value, value === "1" ? "1 day" : `${value} days`]), chosen.days, null, { name: "days" });
  const one = h("input", { name: "id", placeholder: "req_…", autocomplete: "off", spellcheck: "false" });
  const trouble = h("div");
  const submit = (event) => {
    event.preventDefault();
    const { id, ...given } = Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value.trim() || null]));
    if (id) ctx.go("request", { id });
    else ctx.set({ ...given, cursor: null });
  };
  return h("form.card", { "aria-label": "Filters", on: { submit } },
    h("div.row", {}, mine.map((name) => suggested(ctx, name, chosen, trouble)), field("Outcome", outcome), field("Period", days), field("Request id", one)), trouble,
    h("div.actions", {}, link("Reset", ctx.link("requests")), h("button.primary", { type: "submit" }, "Apply")));
}

/** A field that knows, once it is looked at, which values there are. */
function suggested(ctx, name, chosen, trouble) {
  const { path, field: column, label } = DIMENSIONS[name];
  const list = h("datalist", { id: newId("values") });
  const input = h("input", { name, value: chosen[name] ?? "", list: list.id, placeholder: "Any", autocomplete: "off", spellcheck: "false" });
  input.addEventListener("focus", async () => {
    try {
      const [groups, names] = await Promise.all([
        api.get(`/api/v1/usage/${path}`, { days: chosen.days, limit: 100 }, ctx.signal),
        name === "user" || name === "key" ? namesOf(ctx) : NO_NAMES,
      ]);
      fill(list, groups.map((group) => option(name, group[column], names)));
    } catch (error) {
      if (error.name !== "AbortError") fill(trouble, fault(error));
    }
  }, { once: true });
  return h("div", {}, field(label, input), list);
}

const option = (name, value, names) =>
  value === null ? h("option", { value: WITHOUT }) : h("option", { value }, names[name]?.get(value) ?? null);

const files = (chosen) => ["csv", "jsonl"].map((format) =>
  link(`Export ${format === "csv" ? "CSV" : "JSON Lines"}`, query("api/v1/usage/export", { ...chosen, format }), { download: `usage.${format}`, class: "button" }));

const pages = (ctx, page) => h("nav.actions", { "aria-label": "Pages of requests" },
  ctx.params.get("cursor") ? link("Newest", ctx.link("requests", { ...Object.fromEntries(ctx.params), cursor: null }), { class: "button" }) : null,
  page.has_more ? link("Older", ctx.link("requests", { ...Object.fromEntries(ctx.params), cursor: page.next_cursor }), { class: "button" }) : h("span.muted", {}, "These are the oldest."));

function nothing(ctx, chosen) {
  if (Object.keys(chosen).length > 1) return empty("No request is like that.", h("p", {}, link("Without filters", ctx.link("requests"))));
  return h("div", {}, empty("No requests in this period. This makes one; put in a key and a model of yours:"), h("pre", {}, firstRequest()));
}

const listed = (ctx, rows, names) => table({
  caption: "Requests",
  rows,
  key: (row) => row.request_id,
  columns: [
    { name: "time", label: "Time", cell: (row) => requestLink(ctx, row, time(row.created_at)) },
    { name: "outcome", label: "Outcome", cell: ended },
    { name: "model", label: "Model", cell: model },
    { name: "caller", label: "Caller", cell: (row) => caller(row, names) },
    { name: "task", label: "Task", cell: (row) => text(row.task_type) },
    { name: "input", label: "In", right: true, cell: (row) => count(row.input_tokens) },
    { name: "output", label: "Out", right: true, cell: (row) => count(row.output_tokens) },
    { name: "cost", label: "Cost", right: true, cell: (row) => usd(row.cost_usd) },
    { name: "saved", label: "Saved", right: true, cell: (row) => usd(row.saved_usd) },
    { name: "took", label: "Took", right: true, cell: (row) => ms(row.duration_ms) },
  ],
});
