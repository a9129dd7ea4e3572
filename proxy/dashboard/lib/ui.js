// The parts that all pages are made of.

import { fill, h, newId } from "./dom.js";

/** A page's head: the one h1, what it is about, and controls at its right. */
export const head = (title, note, ...controls) =>
  h("header.head", {}, h("div", {}, h("h1", {}, title), note && h("p.muted", {}, note)), controls.length ? h("div.controls", {}, controls) : null);

/** A card with a heading; `id` of it for tests and links. */
export function card(title, props = {}, ...children) {
  const id = newId("card");
  return h("section.card", { "aria-labelledby": id, ...props }, h("h2", { id }, title), children);
}

/** One figure. `name` is how tests find it. */
export const stat = (label, value, note, name) =>
  h("div.stat", {}, h("dt", {}, label), h("dd", { data: name ? { figure: name } : {} }, value), note ? h("dd.muted.small", {}, note) : null);
export const stats = (...all) => h("dl.stats", {}, all);

/** A word on a coloured ground; the word alone says it too. `tone`: good, bad, warn, plain. */
export const badge = (word, tone = "plain") => h(`span.badge.${tone}`, {}, word);

const TONES = { completed: "good", ok: "good", served: "good", CLOSED: "good", failed: "bad", OPEN: "bad", HALF_OPEN: "warn", cancelled: "warn", refused: "warn", unknown: "warn" };
export const state = (word) => badge(word ?? "–", TONES[word] ?? "plain");

export const button = (label, click, props = {}) => h("button", { type: "button", on: { click }, ...props }, label);
export const link = (label, href, props = {}) => h("a", { href, ...props }, label);

/** A message that goes by itself; it is read aloud too. */
export function toast(words, tone = "good") {
  const node = h(`div.toast.${tone}`, {}, words);
  document.getElementById("toasts").append(node);
  setTimeout(() => node.remove(), tone === "bad" ? 10000 : 5000);
}

/** What went wrong, in place. */
export const fault = (error) =>
  h("div.notice.bad", { role: "alert" }, h("strong", {}, "This did not work: "), error.message,
    error.requestId ? h("span.muted.small", {}, ` (${error.requestId})`) : null);

export const empty = (words, ...more) => h("div.empty", {}, h("p", {}, words), more);

/** A labelled control. `control` is an input, select or textarea. */
export function field(label, control, hint) {
  if (!control.id) control.id = newId("field");
  const described = hint ? newId("hint") : null;
  if (described) control.setAttribute("aria-describedby", described);
  return h("div.field", {}, h("label", { htmlFor: control.id }, label), control, hint ? h("p.hint", { id: described }, hint) : null);
}

/** A select. `options`: [value, label] pairs or plain values. */
export function select(options, value, change, props = {}) {
  const node = h("select", { on: change ? { change: (event) => change(event.target.value) } : {}, ...props });
  for (const option of options) {
    const [key, label] = Array.isArray(option) ? option : [option, option];
    node.append(h("option", { value: key, selected: key === value }, label));
  }
  return node;
}

/** Choices of which one is taken, such as periods. `label` names the group. */
export function choices(label, options, value, change) {
  const name = newId("choice");
  return h("fieldset.choices", {}, h("legend.hidden", {}, label),
    options.map(([key, words]) => h("label", {},
      h("input", { type: "radio", name, value: key, checked: key === value, on: { change: () => change(key) } }), h("span", {}, words))));
}

/** A dialog with a form. `submit(data)` gets the form's elements by name and may throw; the dialog
 *  closes when it has ended well. Its answer replaces the form if it is a node (a secret shown once). */
export function dialog(title, fields, action, submit, tone = "primary") {
  const id = newId("dialog");
  const trouble = h("div");
  const go = h(`button.${tone}`, { type: "submit" }, action);
  const form = h("form", { method: "dialog", novalidate: false, on: { submit: run } }, h("h2", { id }, title), fields, trouble,
    h("div.actions", {}, button("Cancel", () => node.close()), go));
  const node = h("dialog", { "aria-labelledby": id, on: { close } }, form);
  /** What opened it may be gone, drawn anew: then the keyboard goes on from the page's beginning. */
  function close() {
    node.remove();
    if (document.activeElement === document.body) document.getElementById("main")?.focus({ preventScroll: true });
  }
  async function run(event) {
    event.preventDefault();
    go.disabled = true;
    fill(trouble);
    try {
      const answer = await submit(new FormData(form), form);
      if (answer instanceof Node) fill(form, h("h2", { id }, title), answer, h("div.actions", {}, h("button.primary", { type: "button", on: { click: () => node.close() } }, "Done")));
      else node.close();
    } catch (error) {
      fill(trouble, fault(error));
    } finally {
      go.disabled = false;
    }
  }
  document.body.append(node);
  node.showModal();
  return node;
}

/** Asks before something that can't be taken back. */
export const confirm = (title, words, action, run) =>
  dialog(title, h("p", {}, words), action, run, "danger");

/** Copies a text, and says so. */
export const copy = (label, text) =>
  button(label, async () => {
    const said = typeof text === "function" ? text() : text;
    try {
      await navigator.clipboard.writeText(said);
      toast("Copied");
    } catch (error) {
      toast(`Not copied: ${error.message}`, "bad");
    }
  });

/** A secret that is shown this once. */
export const secret = (value, words) =>
  h("div", {}, h("p", {}, words), h("code.secret", { data: { figure: "secret" } }, value), copy("Copy", value));

/** Name and value pairs. */
export const facts = (pairs) =>
  h("dl.facts", {}, pairs.filter(Boolean).map(([name, value, figure]) => [h("dt", {}, name), h("dd", { data: figure ? { figure } : {} }, value)]));

/** Runs `work` while `node` says so; what goes wrong is shown in its place. */
export async function during(node, work) {
  node.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") fill(node, fault(error));
  } finally {
    node.removeAttribute("aria-busy");
  }
}
