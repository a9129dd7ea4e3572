// The frame around all pages: who is logged in, which page the address names, the menu.
//
// A page is a module in pages/ with `title`, `roles` (who sees it in the menu) and
// `render(ctx)`, which gives its node at once and fills it as answers come. ctx has
//   session           what GET /api/v1/session says
//   isAdmin           whether that is an admin
//   params            Map of what stands after the ? of the address
//   go(page, params)  to another page; `link(page, params)` is its address
//   set(params)       changes what stands after the ? (null drops), which draws the page again
//   signal            aborts when the page is left
//   every(ms, call)   repeats `call` until the page is left, while it is in sight

import * as api from "./lib/api.js";
import { fill, h } from "./lib/dom.js";
import { button, choices, fault, field } from "./lib/ui.js";
import * as account from "./pages/account.js";
import * as breakdown from "./pages/breakdown.js";
import * as budgets from "./pages/budgets.js";
import * as cache from "./pages/cache.js";
import * as config from "./pages/config.js";
import * as keys from "./pages/keys.js";
import * as overrides from "./pages/overrides.js";
import * as overview from "./pages/overview.js";
import * as playground from "./pages/playground.js";
import * as providers from "./pages/providers.js";
import * as request from "./pages/request.js";
import * as requests from "./pages/requests.js";
import * as users from "./pages/users.js";

const PAGES = { overview, requests, request, breakdown, budgets, cache, providers, keys, users, overrides, playground, account, config };

const app = document.getElementById("app");
let session = null;
let leaving = new AbortController();

export function address(page, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

function here() {
  const [page, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: Object.hasOwn(PAGES, page) ? page : "overview", params: new Map(new URLSearchParams(query)) };
}

const sees = (page) => PAGES[page].roles.includes(session.role);

function context(page, params) {
  const { signal } = leaving;
  const go = (to, more) => { location.hash = address(to, more); };
  return {
    session,
    isAdmin: session.role === "admin",
    params,
    link: address,
    go,
    set: (change) => go(page, { ...Object.fromEntries(params), ...change }),
    signal,
    every(ms, call) {
      const timer = setInterval(() => { if (!document.hidden) call(); }, ms);
      signal.addEventListener("abort", () => clearInterval(timer));
    },
  };
}

function show() {
  if (session === null) return;
  leaving.abort();
  leaving = new AbortController();
  const { page, params } = here();
  const main = document.getElementById("main");
  for (const entry of document.querySelectorAll("nav a")) {
    if (entry.hash === address(PAGES[page].under ?? page)) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  document.title = `${PAGES[page].title} · Turnout`;
  document.body.classList.remove("menu-open");
  const same = main.dataset.page === page;
  main.dataset.page = page;
  fill(main, sees(page) ? PAGES[page].render(context(page, params)) : fault(new Error("This page is for admins.")));
  if (!same) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

const GROUPS = [
  ["See", ["overview", "requests", "breakdown", "budgets", "cache"]],
  ["Try", ["playground"]],
  ["Run", ["providers", "keys", "users", "overrides", "config", "account"]],
];

function menu() {
  return h("nav", { "aria-label": "Pages" }, GROUPS.map(([, pages]) =>
    h("ul", {}, pages.filter(sees).map((page) => h("li", {}, h("a", { href: address(page) }, PAGES[page].title))))));
}

function themes() {
  const now = document.documentElement.dataset.theme ?? "auto";
  return choices("Theme", [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]], now, (theme) => {
    if (theme === "auto") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("turnout.theme");
    } else {
      document.documentElement.dataset.theme = theme;
      localStorage.setItem("turnout.theme", theme);
    }
  });
}

function frame() {
  const toggle = button("Menu", () => {
    const open = document.body.classList.toggle("menu-open");
    toggle.setAttribute("aria-expanded", String(open));
  }, { class: "menu-button", "aria-expanded": "false" });
  const who = session.user?.email ?? session.user?.name ?? session.role;
  fill(app,
    h("header.side", {},
      h("div.brand", {}, h("img", { src: "ui/icon.svg", alt: "", width: 26, height: 26 }), h("a", { href: address("overview") }, "Turnout"), toggle),
      h("div.menu", {}, menu(), h("div.foot", {}, themes(),
        h("p.small", {}, h("span", { data: { figure: "who" } }, who), h("span.muted", {}, ` · ${session.role}`)),
        h("p.small.muted", {}, `Version ${session.version}`),
        session.role === "anonymous" ? null : button("Log out", leave)))),
    h("main", { id: "main", tabindex: "-1" }));
  show();
}

async function leave() {
  await api.logout();
  left();
}

function left() {
  session = null;
  leaving.abort();
  enter();
}

/** The login: a user's email and password, or the master key of whoever runs the gateway. */
function enter(trouble = null) {
  document.title = "Log in · Turnout";
  document.body.classList.remove("menu-open");
  const byKey = location.hash === "#/login?key";
  const said = h("div", {}, trouble && fault(trouble));
  const email = h("input", { name: "email", type: "email", autocomplete: "username", required: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const key = h("input", { name: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const keyHint = "Of whoever runs this gateway: the file master_key in TURNOUT_HOME, or auth.master_key.";
  const go = h("button.primary", { type: "submit" }, "Log in");
  const fields = h("div");
  let way = byKey ? "key" : "email";
  const draw = () => fill(fields, way === "email" ? [field("Email", email), field("Password", password)] : field("Master key", key, keyHint));
  draw();
  const form = h("form.card.login", { on: { submit } },
    h("div.brand", {}, h("img", { src: "ui/icon.svg", alt: "", width: 32, height: 32 }), h("h1", {}, "Turnout")),
    choices("How to log in", [["email", "Email"], ["key", "Master key"]], way, (to) => { way = to; draw(); }),
    fields, said, go);
  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    try {
      await api.login(way === "email" ? { email: email.value, password: password.value } : { key: key.value });
      await begin();
    } catch (error) {
      fill(said, fault(error));
    } finally {
      go.disabled = false;
    }
  }
  fill(app, h("main.alone", { id: "main", tabindex: "-1" }, form));
}

async function begin() {
  try {
    session = await api.session();
  } catch (error) {
    if (error.status === 401) return enter();
    return enter(error);
  }
  if (!Object.keys(PAGES).some(sees)) return enter(); // who calls without a credential, or as a service
  if (location.hash.startsWith("#/login")) location.hash = address("overview");
  frame();
}

api.whenLeft(left);
addEventListener("hashchange", show);
begin();
