// One request: what was asked and by whom, what it took, and each attempt.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { count, exactUsd, ms, text, time } from "../lib/format.js";
import { table } from "../lib/table.js";
import { card, copy, during, empty, facts, head, link } from "../lib/ui.js";
import { ended, named, namesOf } from "../lib/usage.js";

export const title = "Request";
export const under = "requests";
export const roles = ["admin", "user"];

export function render(ctx) {
  const id = ctx.params.get("id") ?? "";
  const body = h("div");
  if (!id) fill(body, empty("Which request? The address names none.", h("p", {}, link("All requests", ctx.link("requests")))));
  else during(body, async () => {
    const [row, names] = await Promise.all([api.get(`/api/v1/usage/requests/${encodeURIComponent(id)}`, {}, ctx.signal), namesOf(ctx)]);
    fill(body, drawn(ctx, row, names));
  });
  return h("div", {}, head(title, id, id ? copy("Copy id", id) : null, link("All requests", ctx.link("requests"), { class: "button" })), body);
}

const drawn = (ctx, row, names) => [
  row.error_message ? h("div.notice.bad", {}, h("strong", {}, `${row.error_code ?? "Failed"}: `), h("span", { data: { figure: "error" } }, row.error_message)) : null,
  h("div.grid", {}, asked(row), who(ctx, row, names), costs(row), times(row)),
  card("Attempts", {}, attempts(row)),
  card("Metadata", {}, row.metadata && Object.keys(row.metadata).length
    ? h("pre", { data: { figure: "metadata" } }, JSON.stringify(row.metadata, null, 2))
    : empty("None. A caller sends it as the header x-turnout-metadata, a JSON object.")),
];

const asked = (row) => card("What was asked", {}, facts([
  ["Request id", h("code", {}, row.request_id), "request-id"],
  ["Time", time(row.created_at), "time"],
  ["Outcome", ended(row), "outcome"],
  ["Status", text(row.status_code), "status"],
  ["Endpoint", text(row.endpoint), "endpoint"],
  ["Stream", row.stream ? "yes" : "no", "stream"],
  ["Asked for", text(row.name), "name"],
  ["Answered by", row.model === null ? "nobody" : `${row.provider_name} / ${row.model}`, "answered"],
  ["Kind of usage", text(row.usage_type), "usage-type"],
]));

function who(ctx, row, names) {
  const of = (dimension, value) => (value === null ? text(null) : link(named(dimension, value, names), ctx.link("requests", { [dimension]: value })));
  return card("Who asked", {}, facts([
    ["User", of("user", row.user_id), "user"],
    ["Key", of("key", row.key_id), "key"],
    ["Service", of("service", row.service_name), "service"],
    ["Task", of("task", row.task_type), "task"],
    ["Job", text(row.job_id), "job"],
    ["Role", text(row.role), "role"],
  ]));
}

const costs = (row) => card("Tokens and money", {}, facts([
  ["Cost", row.cost_usd === null && row.usage_source !== "none" ? "nobody knows the price" : exactUsd(row.cost_usd), "cost"],
  ["Saved by the cache", exactUsd(row.saved_usd), "saved"],
  ["Input tokens", count(row.input_tokens), "input"],
  ["of those from the provider's cache", count(row.cached_tokens), "cached-tokens"],
  ["of those written to it", count(row.cache_write_tokens), "cache-write-tokens"],
  ["Output tokens", count(row.output_tokens), "output"],
  ["of those thought", count(row.reasoning_tokens), "reasoning"],
  ["Images", count(row.images), "images"],
  ["Counted by", SOURCES[row.usage_source] ?? row.usage_source, "source"],
]));

const SOURCES = { provider: "the provider", estimated: "an estimate", none: "nobody" };

const times = (row) => card("Time and cache", {}, facts([
  ["Took", ms(row.duration_ms), "took"],
  ["First token after", ms(row.first_token_ms), "first-token"],
  ["Attempts", count(row.attempts), "attempts"],
  ["Cache", cache(row), "cache"],
]));

function cache(row) {
  if (row.cached) return `Answered from the cache: ${exactUsd(row.saved_usd)} saved`;
  return row.attempts ? "Not from the cache: a provider was asked" : "Not from the cache, and nobody was asked";
}

function attempts(row) {
  const list = row.attempt_list;
  if (!list.length) return empty(row.cached ? "None: the answer was kept from an earlier request." : "None: it ended before anybody was asked.");
  const start = Date.parse(row.created_at);
  const ends = list.map((attempt) => Date.parse(attempt.created_at) - start + attempt.duration_ms);
  const whole = Math.max(1, row.duration_ms, ...ends);
  return table({
    caption: "Attempts",
    rows: list,
    key: (attempt) => attempt.number,
    columns: [
      { name: "number", label: "No.", cell: (attempt) => count(attempt.number) },
      { name: "target", label: "Target", cell: (attempt) => h("span", {}, attempt.model, h("span.id", {}, `${attempt.provider_name}, key ${attempt.credential}`)) },
      { name: "outcome", label: "Outcome", cell: ended },
      { name: "status", label: "Status", cell: (attempt) => text(attempt.status_code) },
      { name: "error", label: "Error", cell: (attempt) => text(attempt.error_message) },
      { name: "tokens", label: "Tokens", right: true, cell: (attempt) => `${count(attempt.input_tokens)} → ${count(attempt.output_tokens)}` },
      { name: "cost", label: "Cost", right: true, cell: (attempt) => exactUsd(attempt.cost_usd) },
      { name: "took", label: "Took", right: true, cell: (attempt) => ms(attempt.duration_ms) },
      { name: "when", label: "When", cell: (attempt) => span(Date.parse(attempt.created_at) - start, attempt.duration_ms, whole) },
    ],
  });
}

/** When an attempt was under way, within the time of the request. */
function span(from, took, whole) {
  const node = h("div.bar", { role: "img", "aria-label": `from ${ms(Math.max(0, from))}, for ${ms(took)}` }, h("div"));
  const begins = Math.min(98, (Math.max(0, from) / whole) * 100);
  node.firstChild.style.marginLeft = `${begins}%`;
  node.firstChild.style.width = `${Math.max(2, Math.min(100 - begins, (took / whole) * 100))}%`;
  return node;
}
