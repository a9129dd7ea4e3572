// Where a customer's calls of `generate` go instead.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { date } from "../lib/format.js";
import { table } from "../lib/table.js";
import { baseUrl } from "../lib/api.js";
import { button, card, confirm, copy, dialog, during, empty, field, head, select, toast } from "../lib/ui.js";

export const title = "Overrides";
export const roles = ["admin"];
const PATH = "/api/v1/overrides";

export function render(ctx) {
  const body = h("div");
  let providers = [];

  const load = () => during(body, async () => {
    const [found, all] = await Promise.all([api.get(PATH, {}, ctx.signal), api.get("/api/v1/providers", {}, ctx.signal)]);
    providers = all.filter((one) => one.is_enabled && !one.off);
    fill(body, card("Overrides in force", {}, found.length ? list(found) : nothing()));
  });

  const list = (found) => table({
    caption: "Overrides",
    rows: found,
    key: (row) => row.id,
    columns: [
      { name: "user", label: "Customer", cell: (row) => row.user_id },
      { name: "service", label: "Service", cell: (row) => row.service_name ?? h("span.muted", {}, "all") },
      { name: "target", label: "Goes to", cell: (row) => h("code", {}, `${row.provider_name}/${row.model_name}`) },
      { name: "created", label: "Made", cell: (row) => date(row.created_at) },
      { name: "actions", label: "", cell: (row) => h("div.actions", {}, button("Remove", () => remove(row), { "aria-label": `Remove the override of ${row.user_id}` })) },
    ],
  });

  const remove = (row) => confirm("Remove this override?", `Calls of ${row.user_id} go to the usual provider again.`, "Remove", async () => {
    await api.del(`${PATH}/${encodeURIComponent(row.id)}`);
    toast("Removed");
    await load();
  });

  function add() {
    const known = h("datalist", { id: "override-models" });
    const names = (name) => fill(known, (providers.find((one) => one.name === name)?.models ?? []).map((model) => h("option", { value: model })));
    const provider = select(providers.map((one) => one.name), providers[0]?.name, names, { name: "provider", required: true });
    names(provider.value);
    dialog("Add an override", [
      field("Customer", h("input", { name: "user", required: true, maxlength: 256, autocomplete: "off" }), "The user_id that calls name."),
      field("Service", h("input", { name: "service", maxlength: 256, autocomplete: "off" }), "Empty: all services."),
      field("Provider", provider),
      field("Model", h("input", { name: "model", required: true, maxlength: 256, list: "override-models", autocomplete: "off" })),
      known,
    ], "Add", async (data) => {
      await api.post(PATH, {
        user_id: data.get("user"),
        service_name: data.get("service") || null,
        provider_name: data.get("provider"),
        model_name: data.get("model"),
      });
      toast("Added");
      await load();
    });
  }

  load();
  return [head("Overrides", "Where the calls of one customer to POST /api/v1/generate go instead.", button("Add an override", add, { class: "primary" })), body];
}

function nothing() {
  const line = `curl -sS '${baseUrl().replace(/\/v1$/, "")}${PATH}' \\
  -H 'authorization: Bearer MASTER_KEY' \\
  -d '{"user_id": "customer-17", "provider_name": "openai", "model_name": "gpt-4o-mini"}'`;
  return empty("All customers go where the configuration says. Add an override above, or:", h("pre", {}, line), copy("Copy", line));
}
