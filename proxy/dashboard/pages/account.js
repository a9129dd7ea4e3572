// One's own: the keys of providers that calls are made with, and the password.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { date } from "../lib/format.js";
import { table } from "../lib/table.js";
import { badge, button, card, confirm, dialog, during, empty, fault, field, head, link, toast } from "../lib/ui.js";

export const title = "My keys of providers";
export const roles = ["admin", "user"];
const PATH = "/api/v1/users/me/api-keys";
const SOURCES = { user: ["your own key", "good"], system: ["the gateway's key", "plain"], none: ["no key: can't be asked", "warn"] };

export function render(ctx) {
  const top = head(title, "With a key of your own, your calls to that provider are on your account there.");
  if (ctx.session.user === null) return [top, card("No account", {}, empty("The master key is no person, so it has no keys of its own. Providers' keys of the gateway are in its configuration; accounts are made under Users.", h("p", {}, link("Users", ctx.link("users")))))];
  const keys = h("div");

  const load = () => during(keys, async () => {
    const found = await api.get(PATH, {}, ctx.signal);
    fill(keys, card("Providers", {}, list(found)));
  });

  const list = (found) => table({
    caption: "Own keys of providers",
    rows: found,
    key: (row) => row.provider,
    none: "No provider here takes keys of users.",
    columns: [
      { name: "provider", label: "Provider", cell: (row) => row.provider },
      { name: "source", label: "Calls are made with", cell: (row) => badge(...SOURCES[row.source]) },
      { name: "key", label: "Key", cell: (row) => (row.is_set ? h("code", {}, row.masked_key) : h("span.muted", {}, "none")) },
      { name: "updated", label: "Saved", cell: (row) => date(row.updated_at) },
      {
        name: "actions", label: "", cell: (row) => h("div.actions", {},
          button(row.is_set ? "Replace" : "Set", () => set(row), { "aria-label": `${row.is_set ? "Replace" : "Set"} the key of ${row.provider}` }),
          row.is_set ? button("Remove", () => remove(row), { "aria-label": `Remove the key of ${row.provider}` }) : null),
      },
    ],
  });

  const set = (row) => dialog(`Your key of ${row.provider}`, [
    field("Key", h("input", { name: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false" }), "Sealed when saved, and never shown again."),
    h("label.check", {}, h("input", { type: "checkbox", name: "test", checked: true }), "Test it at the provider first; save it only if it is taken"),
  ], "Save", async (data) => {
    const test = data.get("test") !== null;
    await api.patch(PATH, { keys: { [row.provider]: data.get("key") }, test });
    toast(test ? `${row.provider} took the key; it is saved` : "Saved without a test");
    await load();
  });

  const remove = (row) => confirm(`Remove your key of ${row.provider}?`, "It is deleted here. Revoke it at the provider too, if it is no longer needed.", "Remove", async () => {
    await api.del(PATH, { provider: row.provider });
    toast("Removed");
    await load();
  });

  load();
  return [top, keys, password(ctx)];
}

/** A new password ends every session, this one too: so it logs in again. */
function password(ctx) {
  const input = (name, autocomplete) => h("input", { name, type: "password", required: true, autocomplete });
  const old = input("old", "current-password"), fresh = input("new", "new-password"), again = input("again", "new-password");
  const said = h("div");
  const go = h("button.primary", { type: "submit" }, "Change the password");
  const form = h("form.narrow", { on: { submit } }, field("Password now", old), field("New password", fresh), field("The new one again", again), said, h("div.actions", {}, go));
  async function submit(event) {
    event.preventDefault();
    fill(said);
    if (fresh.value !== again.value) return void fill(said, fault(new Error("The two new ones differ.")));
    go.disabled = true;
    try {
      await api.post("/api/v1/users/me/password", { old: old.value, new: fresh.value });
      await api.login({ email: ctx.session.user.email, password: fresh.value });
      form.reset();
      toast("Changed; every other session has ended");
    } catch (error) {
      fill(said, fault(error));
    } finally {
      go.disabled = false;
    }
  }
  return card("Password", {}, form);
}
