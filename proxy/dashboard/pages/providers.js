// Providers: whether each is asked, how its circuits are, and those that were made here.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { count, time } from "../lib/format.js";
import { table } from "../lib/table.js";
import { badge, button, card, confirm, dialog, during, empty, field, head, select, state, toast } from "../lib/ui.js";

export const title = "Providers";
export const roles = ["admin"];
const PATH = "/api/v1/providers";
const DIALECTS = [["", "as the vendor of that name"], ["openai", "OpenAI"], ["anthropic", "Anthropic"], ["gemini", "Gemini"], ["ollama", "Ollama"]];
const LISTED = 6;

export function render(ctx) {
  const body = h("div"), circuits = h("div");
  let breakers = [];

  const load = () => during(body, async () => {
    const [providers, states] = await Promise.all([api.get(PATH, {}, ctx.signal), api.get("/api/v1/breakers", {}, ctx.signal)]);
    breakers = states.breakers;
    fill(body, card("All providers", {}, providers.length ? list(providers) : nothing()));
    fill(circuits, circuitCard());
  });

  /** Not while somebody is at a button of it. */
  const watch = async () => {
    if (circuits.contains(document.activeElement)) return;
    breakers = (await api.get("/api/v1/breakers", {}, ctx.signal)).breakers;
    fill(circuits, circuitCard());
  };

  const list = (providers) => table({
    caption: "Providers",
    rows: providers,
    key: (row) => row.name,
    columns: [
      { name: "name", label: "Provider", cell: (row) => [row.name, row.display_name === row.name ? null : h("div.muted.small", {}, row.display_name)] },
      { name: "state", label: "State", cell: isOn },
      { name: "source", label: "From", cell: (row) => badge(row.source === "file" ? "file" : "API") },
      { name: "dialect", label: "Dialect", cell: (row) => row.dialect },
      { name: "models", label: "Models", cell: models },
      { name: "priority", label: "Priority", right: true, cell: (row) => count(row.priority) },
      { name: "circuit", label: "Circuit", cell: (row) => circuitOf(row.name) },
      { name: "key", label: "Key", cell: (row) => (row.masked_key ? h("code", {}, row.masked_key) : h("span.muted", {}, "none")) },
      { name: "actions", label: "", cell: actions },
    ],
  });

  function actions(row) {
    const said = h("div.small", { role: "status", data: { figure: `test_${row.name}` } });
    const named = (word) => ({ "aria-label": `${word} ${row.name}` });
    return h("div", {}, h("div.actions", {},
      button("Test", (event) => test(row, event.currentTarget, said), named("Test")),
      row.source === "api" ? [button("Edit", () => edit(row), named("Edit")), button("Remove", () => remove(row), named("Remove"))] : null), said);
  }

  async function test(row, pressed, said) {
    pressed.disabled = true;
    fill(said, "Testing …");
    try {
      const { success, error } = await api.post(`${PATH}/${encodeURIComponent(row.id)}/test`);
      fill(said, success ? badge("reached; it takes the key", "good") : [badge("failed", "bad"), h("div", {}, error)]);
    } catch (error) {
      fill(said, badge("not tested", "bad"), h("div", {}, error.message));
    } finally {
      pressed.disabled = false;
    }
  }

  function circuitOf(name) {
    const one = breakers.find((each) => each.kind === "provider" && owner(each) === name);
    const inside = breakers.filter((each) => each.kind !== "provider" && owner(each) === name && each.state !== "CLOSED");
    return [state(one?.state ?? "CLOSED"), inside.length ? h("div.small.muted", {}, `${count(inside.length)} below it not closed`) : null];
  }

  const circuitCard = () => card("Circuits", {},
    h("p.muted", {}, "An open circuit is left alone until its next attempt. Those that no request has touched are closed, and not listed. They are of this process."),
    breakers.length ? [
      table({
        caption: "Circuits",
        rows: [...breakers].sort((one, other) => (one.state === "CLOSED") - (other.state === "CLOSED")),
        key: (row) => row.name,
        columns: [
          { name: "name", label: "Circuit", cell: (row) => h("code", {}, row.name) },
          { name: "state", label: "State", cell: (row) => state(row.state) },
          { name: "failures", label: "Failures in a row", right: true, cell: (row) => count(row.failures) },
          { name: "next", label: "Next attempt", cell: (row) => time(row.next_attempt_at) },
          { name: "actions", label: "", cell: (row) => (row.state === "CLOSED" ? null : h("div.actions", {}, button(`Reset ${owner(row)}`, () => reset(owner(row)), { "aria-label": `Reset ${owner(row)}: all its circuits, for ${row.name}` }))) },
        ],
      }),
      h("div.actions", {}, button("Reset all circuits", () => reset(null))),
    ] : empty("No circuit has had a reason to be looked at: all are closed."));

  const reset = (provider) => confirm(provider === null ? "Reset all circuits?" : `Reset the circuits of ${provider}?`, "Requests go there again at once. If it still fails, they open again.", "Reset", async () => {
    const done = await api.post("/api/v1/breakers/reset", provider === null ? {} : { provider });
    toast(`${count(done.reset)} circuits closed`);
    await load();
  });

  const add = () => dialog("Add a provider", fields(null), "Add", async (data) => {
    await api.post(PATH, asked(data, null));
    toast("Added; it serves at once");
    await load();
  });

  const edit = (row) => dialog(`Edit ${row.name}`, fields(row), "Save", async (data) => {
    await api.patch(`${PATH}/${encodeURIComponent(row.id)}`, asked(data, row));
    toast("Saved");
    await load();
  });

  const remove = (row) => confirm(`Remove ${row.name}?`, "Names that lead to it alone are unknown from now on. Its key is deleted.", "Remove", async () => {
    await api.del(`${PATH}/${encodeURIComponent(row.id)}`);
    toast("Removed");
    await load();
  });

  load();
  ctx.every(5000, () => watch().catch((error) => { if (error.name !== "AbortError" && error.status !== 401) fill(circuits, h("div.notice.bad", {}, error.message)); }));
  return [
    head("Providers", "Those of the configuration file are changed there; those made here serve at once.", button("Add a provider", add, { class: "primary" })),
    body, circuits,
  ];
}

/** `provider/NAME`, `deployment/NAME/MODEL`, `credential/NAME#0`. */
const owner = (circuit) => circuit.name.split(/[/#]/)[1];

function isOn(row) {
  if (!row.is_enabled && row.off === null) return badge("switched off", "warn");
  if (row.off === null) return badge("on", "good");
  return [badge("off", "warn"), h("div.small", {}, row.off), wayOn(row)];
}

/** How one that lacks its key gets it. */
function wayOn(row) {
  const names = / (is|are) not set/.test(row.off) ? row.off.match(/\b[A-Z][A-Z0-9_]+\b/g) : null;
  if (names === null) return null;
  return h("details", {}, h("summary", {}, "How to switch it on"),
    h("p.small", {}, "Write this into the file ", h("code", {}, ".env"), " beside the configuration; it is read when it is saved. Or set it in the gateway's environment and start it again."),
    h("pre", {}, names.map((name) => `${name}=…`).join("\n")));
}

function models(row) {
  if (!row.models.length) return h("span.muted", {}, "any");
  if (row.models.length <= LISTED) return h("div", {}, row.models.map((name) => h("div", {}, name)));
  return h("details", {}, h("summary", {}, `${count(row.models.length)} models`), row.models.map((name) => h("div", {}, name)));
}

function fields(row) {
  const rate = (name, value) => h("input", { name, type: "number", min: 1, step: 1, value: value === null ? "" : String(value), placeholder: "no limit" });
  return [
    h("div.row", {},
      field("Name", h("input", { name: "name", value: row?.name ?? "", required: true, pattern: "[a-z0-9][a-z0-9_\\-]{0,63}", autocomplete: "off", spellcheck: "false", title: "a-z, 0-9, _ and -" }), "Before the / of its models."),
      field("Shown as", h("input", { name: "display_name", value: row?.display_name ?? "", maxlength: 200, autocomplete: "off" }))),
    field("Base URL", h("input", { name: "base_url", type: "url", value: row?.base_url ?? "", autocomplete: "off", placeholder: "the vendor's usual one" }), "At a public address, unless the operator allowed others."),
    h("div.row", {},
      field("Dialect", select(row === null ? DIALECTS : DIALECTS.slice(1), row?.dialect ?? "", null, { name: "dialect" })),
      field("Priority", h("input", { name: "priority", type: "number", step: 1, required: true, value: String(row?.priority ?? 10) }), "Higher is first in generate.")),
    field("API key", h("input", { name: "api_key", type: "password", required: row === null, autocomplete: "off", spellcheck: "false" }), row === null ? "Sealed when saved, and never shown again." : "Empty: stays. To another host it has to be given again."),
    field("Models", h("textarea", { name: "models", required: true, spellcheck: "false", value: (row?.models ?? []).join("\n") }), "One a line; no other model of it can be asked for."),
    h("div.row", {}, field("Requests a minute", rate("rate_limit_rpm", row === null ? 60 : row.rate_limit_rpm)), field("Tokens a minute", rate("rate_limit_tpm", row === null ? 100000 : row.rate_limit_tpm))),
    h("label.check", {}, h("input", { type: "checkbox", name: "is_enabled", checked: row?.is_enabled ?? true }), "Ask it"),
    h("label.check", {}, h("input", { type: "checkbox", name: "allow_private", checked: row?.allow_private ?? false }), "It is at a private address (takes server.private_providers)"),
  ];
}

/** What a form says; of one that is there only what differs. */
function asked(data, row) {
  const number = (name) => (data.get(name) === "" ? null : Number(data.get(name)));
  const said = {
    name: data.get("name"),
    display_name: data.get("display_name").trim() || data.get("name"),
    base_url: data.get("base_url").trim() || null,
    models: data.get("models").split("\n").map((one) => one.trim()).filter(Boolean),
    priority: number("priority"),
    rate_limit_rpm: number("rate_limit_rpm"),
    rate_limit_tpm: number("rate_limit_tpm"),
    is_enabled: data.get("is_enabled") !== null,
    allow_private: data.get("allow_private") !== null,
  };
  if (data.get("dialect")) said.dialect = data.get("dialect");
  if (row !== null) for (const [name, value] of Object.entries(said)) if (JSON.stringify(value) === JSON.stringify(row[name])) delete said[name];
  if (data.get("api_key")) said.api_key = data.get("api_key");
  return said;
}

const nothing = () => empty("No provider is configured. Write one into config.yaml, or add one here:",
  h("pre", {}, 'providers:\n  openai: {dialect: openai, base_url: https://api.openai.com/v1, api_key: "${OPENAI_API_KEY}"}'));
