// Tables. On a phone each row becomes a card, with the column's name before each value.

import { h } from "./dom.js";
import { empty } from "./ui.js";

/** `columns`: {name, label, cell(row) -> node or text, right: numbers}. `rows`: any values.
 *  `key(row)` marks rows for tests. `none`: what is said where there are no rows. */
export function table({ caption, columns, rows, key, none = "Nothing here yet.", hideCaption = true }) {
  if (!rows.length) return empty(none);
  const first = columns[0];
  return h("div.scroll", { role: "region", tabindex: "0", "aria-label": caption },
    h("table", {},
      h(hideCaption ? "caption.hidden" : "caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.right ? "right" : "" }, column.label)))),
      h("tbody", {}, rows.map((row) => h("tr", { data: key ? { row: key(row) } : {} }, columns.map((column) =>
        h(column === first ? "th" : "td", {
          scope: column === first ? "row" : null,
          class: column.right ? "right" : "",
          data: { label: column.label || null, column: column.name },
        }, one(column.cell(row)))))))));
}

/** On a phone a cell is the column's name and, opposite, one thing. */
const one = (content) => (Array.isArray(content) ? h("div", {}, content) : content);
