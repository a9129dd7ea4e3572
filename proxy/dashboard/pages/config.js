// The configuration in force, with secrets masked, and how the books are.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { ago, count, time } from "../lib/format.js";
import { badge, card, copy, during, facts, head } from "../lib/ui.js";

export const title = "Configuration";
export const roles = ["admin"];

export function render(ctx) {
  const trouble = h("div"), now = h("div.grid"), file = h("div");
  let shown = null, config = null, known = null;

  /** The text is read again only when health says that it is another, or has faults, which it does not tell. */
  const load = async () => {
    const health = await api.get("/health", {}, ctx.signal);
    const said = JSON.stringify(health.config);
    if (said !== known || health.config.error !== null) config = await api.get("/api/v1/config", {}, ctx.signal);
    known = said;
    fill(trouble, config.error === null ? null : broken(config));
    fill(now, inForce(config), books(health));
    if (shown !== config.text) {
      shown = config.text;
      fill(file, card("What is in force", {}, h("p.muted", {}, "What differs from the defaults, read from the file and the environment; secrets are masked."),
        h("pre.tall", { role: "region", tabindex: "0", "aria-label": "Configuration as YAML", data: { figure: "config_text" } }, config.text),
        h("div.actions", {}, copy("Copy", config.text))));
    }
  };

  during(now, load);
  ctx.every(2000, () => load().catch((error) => {
    if (error.name !== "AbortError" && error.status !== 401) fill(trouble, h("div.notice.bad", { role: "alert" }, `The gateway does not answer: ${error.message}`));
  }));
  return [head("Configuration", "Saving the file reloads it; a file with faults is left alone."), trouble, now, file];
}

const broken = (config) => h("div.notice.bad", { role: "alert", data: { figure: "config_error" } },
  h("strong", {}, "The file that was saved last is not in force. "),
  `What was read ${ago(config.loaded_at * 1000)} serves on. Correct the file and save it; `, h("code", {}, "turnout check"), " tells its faults too.",
  h("pre", {}, config.error));

const inForce = (config) => card("In force", {}, facts([
  ["Version", h("code", {}, config.version), "config_version"],
  ["Read", `${time(config.loaded_at * 1000)} (${ago(config.loaded_at * 1000)})`],
  ["File", config.path ?? "none: the built-in one", "config_path"],
  ["State", config.error === null ? badge("as saved", "good") : badge("an older one serves", "bad"), "config_state"],
]));

function books(health) {
  const { pending, lost, unspooled, degraded } = health.ledger;
  const well = !lost && !unspooled && degraded === null;
  return card("The books", {}, facts([
    ["State", well ? badge("ok", "good") : badge(degraded ?? "rows were lost", "bad"), "ledger_state"],
    ["Rows on their way", count(pending), "ledger_pending"],
    ["Rows lost", count(lost), "ledger_lost"],
    ["Rows not on disk", count(unspooled), "ledger_unspooled"],
    ["Database", health.database],
  ]), well ? null : h("p.small", {}, "The log says more; docs/ledger.md says what to do."));
}
