// Virtual keys: an admin's view of all, a user's of the own.

import * as api from "../lib/api.js";
import { bar } from "../lib/chart.js";
import { fill, h } from "../lib/dom.js";
import { date, time, usd } from "../lib/format.js";
import * as limits from "../lib/limits.js";
import { table } from "../lib/table.js";
import { badge, button, card, choices, confirm, copy, dialog, during, empty, field, head, secret, select, toast } from "../lib/ui.js";

export const title = "Keys";
export const roles = ["admin", "user"];
const PATH = "/api/v1/keys";

export function render(ctx) {
  const body = h("div");
  const all = ctx.params.get("show") === "all";
  let users = [];

  const load = () => during(body, async () => {
    const [keys, budgets, people] = await Promise.all([
      api.get(PATH, {}, ctx.signal),
      api.get("/api/v1/budgets", {}, ctx.signal),
      ctx.isAdmin ? api.get("/api/v1/users", { limit: 500 }, ctx.signal) : { users: [] },
    ]);
    users = people.users;
    const spent = new Map(budgets.data.filter((one) => one.kind === "key").map((one) => [one.scope, one]));
    const shown = keys.filter((key) => all || state(key) === "live").sort((a, b) => b.created_at - a.created_at);
    fill(body, card(all ? "All keys" : "Keys in use", {}, shown.length ? list(shown, spent) : nothing(keys.length)));
  });

  const owner = (id) => {
    if (id === null) return h("span.muted", {}, "nobody");
    return users.find((one) => one.id === id)?.email ?? (id === ctx.session.user?.id ? "you" : id);
  };

  const list = (keys, spent) => table({
    caption: "Keys",
    rows: keys,
    key: (row) => row.id,
    columns: [
      { name: "name", label: "Name", cell: (row) => [row.name ?? h("span.muted", {}, "no name"), h("div.muted.small.mono", {}, row.id)] },
      ctx.isAdmin ? { name: "owner", label: "Owner", cell: (row) => owner(row.user_id) } : null,
      { name: "models", label: "Models", cell: (row) => (row.models === null ? "all" : row.models.join(", ") || "none") },
      { name: "limits", label: "Limits", cell: (row) => h("div", {}, limits.list(row.limits)) },
      { name: "spent", label: "Spent of budget", cell: (row) => of(spent.get(`key:${row.id}`)) },
      { name: "expiry", label: "Ends", cell: (row) => (row.expires_at === null ? h("span.nowrap", {}, "never") : h("span.nowrap", { title: time(row.expires_at) }, date(row.expires_at))) },
      { name: "tags", label: "Tags", cell: (row) => (row.tags.length ? h("span", {}, row.tags.map((tag) => [badge(tag), " "])) : h("span.muted.nowrap", {}, "none")) },
      { name: "state", label: "State", cell: (row) => badge(state(row), { live: "good", expired: "warn", revoked: "bad" }[state(row)]) },
      { name: "actions", label: "", cell: (row) => (row.revoked_at === null ? actions(row) : null) },
    ].filter(Boolean),
  });

  const actions = (row) => h("div.actions", {}, [["Edit", edit], ["Rotate", rotate], ["Revoke", revoke]].map(([word, act]) =>
    button(word, () => act(row), { "aria-label": `${word} ${row.name ?? row.id}` })));

  const fields = (row) => [
    field("Name", h("input", { name: "name", value: row.name ?? "", maxlength: 200, autocomplete: "off" }), "Which program it is for."),
    field("Models", h("input", { name: "models", value: (row.models ?? []).join(", "), autocomplete: "off", spellcheck: "false" }), "Names with commas between, * at the end for all that begin so. Empty: all."),
    h("div.row", {},
      field("Ends after", h("input", { name: "expires", placeholder: row.expires_at ? "stays" : "never", autocomplete: "off", pattern: "[0-9.]+(ms|s|m|h|d)?|never", title: "Such as 12h or 30d, or never" }), row.expires_at ? `Now ${time(row.expires_at)}; “never” takes it back.` : "From now, such as 12h or 30d."),
      field("Tags", h("input", { name: "tags", value: row.tags.join(", "), autocomplete: "off" }), "With commas between.")),
    ctx.isAdmin ? limits.fields(row.limits) : h("p.hint", {}, "Limits are set by an admin."),
  ];

  const add = () => dialog("Make a key", [
    ctx.isAdmin ? field("Owner", select([["", "nobody: a key of the team"], ...users.map((one) => [one.id, one.email])], "", null, { name: "owner" }), "Its usage is the owner's.") : null,
    fields({ name: null, models: null, expires_at: null, tags: [], limits: {} }),
  ], "Make", async (data) => {
    const made = await api.post(PATH, { ...asked(data, ctx.isAdmin), ...(data.get("owner") ? { user_id: data.get("owner") } : {}) });
    await load();
    return once(made);
  });

  const edit = (row) => dialog(`Edit ${row.name ?? row.id}`, fields(row), "Save", async (data) => {
    const path = `${PATH}/${encodeURIComponent(row.id)}`;
    const change = asked(data, ctx.isAdmin);
    change.name ??= null;
    change.models ??= null;
    change.tags ??= [];
    if (ctx.isAdmin && limits.dropsAny(row.limits, change.limits ?? {})) await api.patch(path, { limits: null });
    await api.patch(path, change);
    toast("Saved");
    await load();
  });

  const rotate = (row) => confirm(`Rotate ${row.name ?? row.id}?`, "It gets another secret, and the one of now ends at once: programs that use it need the new one.", "Rotate", async () => {
    const made = await api.post(`${PATH}/${encodeURIComponent(row.id)}/rotate`);
    await load();
    return once(made);
  });

  const revoke = (row) => confirm(`Revoke ${row.name ?? row.id}?`, "Programs that use it are refused from now on. This can't be taken back; what it used stays in the books.", "Revoke", async () => {
    await api.del(`${PATH}/${encodeURIComponent(row.id)}`);
    toast("Revoked");
    await load();
  });

  load();
  return [
    head("Keys", ctx.isAdmin ? "What programs call the gateway with." : "What your programs call the gateway with.",
      choices("Which keys", [["live", "In use"], ["all", "Ended too"]], all ? "all" : "live", (to) => ctx.set({ show: to === "all" ? "all" : null })),
      button("Make a key", add, { class: "primary" })),
    body,
  ];
}

function state(key) {
  if (key.revoked_at !== null) return "revoked";
  return key.expires_at !== null && key.expires_at <= Date.now() ? "expired" : "live";
}

const of = (budget) => (budget === undefined ? h("span.muted", {}, "no budget") : h("div", {},
  `${usd(budget.spent_usd)} of ${usd(budget.budget_usd)}`,
  bar(budget.spent_usd / budget.budget_usd, `${usd(budget.spent_usd)} of ${usd(budget.budget_usd)} a ${budget.per}`)));

const names = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

/** What a form says; what is empty is left out. */
function asked(data, isAdmin) {
  const body = {};
  if (data.get("name").trim()) body.name = data.get("name").trim();
  if (names(data.get("models")).length) body.models = names(data.get("models"));
  if (names(data.get("tags")).length) body.tags = names(data.get("tags"));
  const expires = data.get("expires").trim();
  if (expires) body.expires = expires === "never" ? null : expires;
  const said = isAdmin ? limits.read(data) : {};
  if (Object.keys(said).length) body.limits = said;
  return body;
}

function once(made) {
  const line = `export OPENAI_BASE_URL=${api.baseUrl()} OPENAI_API_KEY=${made.key}`;
  return h("div", {}, secret(made.key, "This is shown once. Only its hash is kept; a lost key is rotated."),
    h("p.hint", {}, "For any OpenAI SDK, in the shell:"), h("pre", { data: { figure: "export" } }, line), h("div.actions", {}, copy("Copy the line", line)));
}

const nothing = (ended) => empty(ended ? "No key is in use; those of before have ended." : "No keys yet. Make one for each program, so that each can be limited, watched and ended by itself.",
  h("pre", {}, `curl -sS ${api.baseUrl()}/chat/completions \\\n  -H 'authorization: Bearer KEY' -H 'content-type: application/json' \\\n  -d '{"model": "…", "messages": [{"role": "user", "content": "Hello"}]}'`));
