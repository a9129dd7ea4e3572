// Accounts: who may log in, as what, with which limits.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { count, date } from "../lib/format.js";
import * as limits from "../lib/limits.js";
import { table } from "../lib/table.js";
import { badge, button, card, confirm, dialog, during, empty, field, head, link, select, toast } from "../lib/ui.js";

export const title = "Users";
export const roles = ["admin"];
const PATH = "/api/v1/users";
const PAGE = 50;
const ROLES = [["user", "user: own usage, keys and playground"], ["admin", "admin: everything"]];

export function render(ctx) {
  const body = h("div");
  const offset = Number(ctx.params.get("from") ?? 0) || 0;

  const load = () => during(body, async () => {
    const page = await api.get(PATH, { limit: PAGE, offset }, ctx.signal);
    fill(body, card(`Accounts (${count(page.total)})`, {}, page.total ? list(page.users) : nothing(), pages(page.total)));
  });

  const list = (users) => table({
    caption: "Users",
    rows: users,
    key: (row) => row.email,
    columns: [
      { name: "email", label: "Email", cell: (row) => [row.email, row.name ? h("div.muted.small", {}, row.name) : null] },
      { name: "role", label: "Role", cell: (row) => badge(row.role, row.role === "admin" ? "warn" : "plain") },
      { name: "state", label: "State", cell: (row) => (row.is_active ? badge("active", "good") : badge("off", "bad")) },
      { name: "limits", label: "Limits", cell: (row) => h("div", {}, limits.list(row.limits)) },
      { name: "login", label: "Logs in by", cell: (row) => (row.external_id ? "identity provider" : "password") },
      { name: "created", label: "Since", cell: (row) => date(row.created_at) },
      {
        name: "actions", label: "", cell: (row) => h("div.actions", {},
          button("Edit", () => edit(row), { "aria-label": `Edit ${row.email}` }),
          button("Log out everywhere", () => logOut(row), { "aria-label": `Log out everywhere: ${row.email}` }),
          button("Remove", () => remove(row), { "aria-label": `Remove ${row.email}` })),
      },
    ],
  });

  const pages = (total) => (total <= PAGE ? null : h("div.actions", {},
    button("Before", () => ctx.set({ from: Math.max(0, offset - PAGE) || null }), { disabled: offset === 0 }),
    button("Next", () => ctx.set({ from: offset + PAGE }), { disabled: offset + PAGE >= total })));

  const add = () => dialog("Add a user", [
    field("Email", h("input", { name: "email", type: "email", required: true, autocomplete: "off" })),
    field("Name", h("input", { name: "name", maxlength: 200, autocomplete: "off" })),
    field("Password", h("input", { name: "password", type: "password", autocomplete: "new-password" }), "Empty: nobody can log in with a password yet."),
    field("Role", select(ROLES, "user", null, { name: "role" })),
    limits.fields(),
  ], "Add", async (data) => {
    const said = limits.read(data);
    await api.post(PATH, {
      email: data.get("email"),
      name: data.get("name") || null,
      password: data.get("password") || null,
      role: data.get("role"),
      limits: Object.keys(said).length ? said : null,
    });
    toast("Added");
    await load();
  });

  const edit = (row) => dialog(`Edit ${row.email}`, [
    field("Name", h("input", { name: "name", value: row.name ?? "", maxlength: 200, autocomplete: "off" })),
    field("Role", select(ROLES, row.role, null, { name: "role" })),
    h("label.check", {}, h("input", { type: "checkbox", name: "active", checked: row.is_active }), "May log in and call"),
    field("New password", h("input", { name: "password", type: "password", autocomplete: "new-password" }), "Empty: stays. A new one logs the user out everywhere."),
    limits.fields(row.limits),
  ], "Save", async (data) => {
    const said = limits.read(data);
    const change = { name: data.get("name") || null };
    if (data.get("role") !== row.role) change.role = data.get("role");
    if ((data.get("active") !== null) !== row.is_active) change.is_active = data.get("active") !== null;
    if (data.get("password")) change.password = data.get("password");
    const path = `${PATH}/${encodeURIComponent(row.id)}`;
    if (limits.dropsAny(row.limits, said)) await api.patch(path, { limits: null });
    if (Object.keys(said).length) change.limits = said;
    await api.patch(path, change);
    toast("Saved");
    await load();
  });

  const logOut = (row) => confirm("Log out everywhere?", `Every session and token of ${row.email} ends. Virtual keys stay.`, "Log out everywhere", async () => {
    await api.post(`${PATH}/${encodeURIComponent(row.id)}/revoke-tokens`);
    toast("Logged out everywhere");
  });

  const remove = (row) => confirm(`Remove ${row.email}?`, "Virtual keys and own keys of providers end with the account. What was used stays in the books.", "Remove", async () => {
    await api.del(`${PATH}/${encodeURIComponent(row.id)}`);
    toast("Removed");
    await load();
  });

  load();
  return [head("Users", "Who may log in here, and with which rights and limits.", button("Add a user", add, { class: "primary" })), body];
}

const nothing = () => empty("No accounts yet: so far only the master key opens this page. Add yourself as an admin, then your colleagues as users.",
  h("p", {}, link("A key for a program is made under Keys.", "#/keys")));
