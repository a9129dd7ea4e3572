// What the pages about usage share: by what it is summed, whose names belong to which ids, filters.

import * as api from "./api.js";
import { h } from "./dom.js";
import { NONE, text } from "./format.js";
import { badge, link } from "./ui.js";

/** Dimensions: where their sums are, and the field that has the value. */
export const DIMENSIONS = {
  provider: { path: "by-provider", field: "provider_name", label: "Provider", many: "providers" },
  model: { path: "by-model", field: "model", label: "Model", many: "models" },
  task: { path: "by-task", field: "task_type", label: "Task", many: "tasks" },
  service: { path: "by-service", field: "service_name", label: "Service", many: "services" },
  user: { path: "by-customer", field: "user_id", label: "User", many: "users" },
  key: { path: "by-key", field: "key_id", label: "Key", many: "keys" },
};

export const DAYS = [["1", "1 d"], ["7", "7 d"], ["30", "30 d"], ["90", "90 d"], ["365", "1 y"]];

/** How a filter says "those that have none"; the API says it by an empty text. */
export const WITHOUT = "(none)";

/** A query of the API: what is null is left out, `WITHOUT` is an empty text. */
export function query(path, filters) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) {
    if (value === WITHOUT) said.set(name, "");
    else if (value !== null && value !== undefined && value !== "") said.set(name, value);
  }
  const words = said.toString();
  return path + (words ? `?${words}` : "");
}

const MOST_USERS = 2000;

async function users(signal) {
  const found = new Map();
  for (let offset = 0; offset < MOST_USERS; offset += 500) {
    const page = await api.get("/api/v1/users", { limit: 500, offset }, signal);
    for (const user of page.users) found.set(user.id, user.email ?? user.name);
    if (offset + page.users.length >= page.total || !page.users.length) break;
  }
  return found;
}

async function keys(signal) {
  const found = await api.get("/api/v1/keys", {}, signal);
  return new Map(found.map((key) => [key.id, key.name]));
}

/** Names of users and keys by their ids, of those that the caller may know. */
export async function namesOf(ctx) {
  const [user, key] = await Promise.all([ctx.isAdmin ? users(ctx.signal) : new Map(), keys(ctx.signal)]);
  const own = ctx.session.user;
  if (own) user.set(own.id, own.email ?? own.name);
  return { user, key };
}

export const NO_NAMES = { user: new Map(), key: new Map() };

/** A value of a dimension: the name that people know it by, its id below. */
export function named(dimension, value, names) {
  if (value === null || value === "") return h("span.muted", {}, WITHOUT);
  const name = names[dimension]?.get(value);
  return name ? h("span", {}, name, h("span.id", {}, value)) : h("span", {}, value);
}

const OUTCOMES = { ok: "good", failed: "bad", client_closed: "warn", unknown: "warn" };
export const OUTCOME_WORDS = { ok: "ok", failed: "failed", client_closed: "client left", unknown: "unknown" };

/** How a request or an attempt ended. */
export const ended = (row) =>
  h("span", {}, badge(OUTCOME_WORDS[row.outcome] ?? row.outcome, OUTCOMES[row.outcome] ?? "plain"),
    row.cached ? [" ", badge("cache")] : null,
    row.error_code ? h("span.id", {}, row.error_code) : null);

/** Who asked: the user or the service, and the key, by their names where those are known. */
export function caller(row, names) {
  const said = (dimension, id) => names[dimension].get(id) ?? id;
  const parts = [row.user_id && said("user", row.user_id), row.service_name, row.key_id && said("key", row.key_id)].filter(Boolean);
  if (!parts.length) return h("span.muted", {}, text(row.role));
  return h("span", {}, parts[0], parts.slice(1).map((part) => h("span.id", {}, part)));
}

/** The model that answered, and below it where. */
export const model = (row) =>
  row.model === null
    ? h("span", {}, h("span.muted", {}, text(row.name)))
    : h("span", {}, row.model, h("span.id", {}, row.provider_name ?? NONE));

/** Where a request is shown by itself. */
export const requestLink = (ctx, row, words) => link(words, ctx.link("request", { id: row.request_id }));

/** Changes what stands after the ? without drawing the page again, which would take the focus away. */
export function note(ctx, page, params) {
  const address = ctx.link(page, params);
  if (address !== location.hash) history.pushState(null, "", address);
}

/** The line that a first request is made with. */
export function firstRequest() {
  const base = location.origin + location.pathname.replace(/\/$/, "");
  return [
    `curl ${base}/v1/chat/completions \\`,
    '  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\',
    `  -d '{"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}]}'`,
  ].join("\n");
}
