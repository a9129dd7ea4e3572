// Elements without markup in strings: whatever a page shows is text, so nothing that a caller of
// the gateway named himself can become a script.

/** An element. `props`: `class`, `on` ({event: listener}), `data`, ARIA and other attributes, or
 *  properties such as `value`; null, undefined and false are left out. Children: nodes, texts, lists. */
export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = name === "svg" || name === "path"
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name || "div");
  if (classes.length) node.classList.add(...classes);
  for (const [key, value] of Object.entries(props ?? {})) set(node, key, value);
  append(node, children);
  return node;
}

function set(node, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key === "class") node.classList.add(...value.split(" ").filter(Boolean));
  else if (key === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
  else if (key === "data") for (const [name, said] of Object.entries(value)) { if (said !== null && said !== undefined) node.dataset[name] = said; }
  else if (PROPERTIES.has(key)) node[key] = value;
  else node.setAttribute(key, value === true ? "" : String(value));
}

const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "htmlFor", "textContent", "open"]);

/** Characters of one text that are shown. What is longer would only make the page slow. */
export const MOST = 50000;

// Control characters, and those that turn the direction of what stands beside them: a name must not
// be able to look like another one. The words of a conversation may be in any script, and keep them.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const named = (one) => `⟨U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

/** A text as it is shown: cut, which it says, and without characters that nobody sees. */
export function visible(text, any = false) {
  const kept = text.length > MOST ? `${text.slice(0, MOST)} … (${text.length.toLocaleString("en-US")} characters)` : text;
  return any ? kept : kept.replace(/\r\n/g, "\n").replace(UNSEEN, named);
}

export function append(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : visible(String(child), node.classList?.contains("words")));
  }
}

/** Puts children in the place of all that a node has. */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

let last = 0;

/** An id that no other element has. */
export const newId = (prefix = "id") => `${prefix}-${++last}`;
