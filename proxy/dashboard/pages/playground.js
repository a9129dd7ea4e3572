// A chat with any model, and all that the gateway says of each answer.

import * as api from "../lib/api.js";
import { MOST, fill, h } from "../lib/dom.js";
import { FORMS } from "../lib/snippets.js";
import { count, exactUsd, ms, text, usd } from "../lib/format.js";
import { table } from "../lib/table.js";
import { badge, button, card, choices, copy, empty, facts, fault, field, head, link, select, state } from "../lib/ui.js";

export const title = "Playground";
export const roles = ["admin", "user"];
const CACHE = [["", "as configured"], ["no-cache", "no-cache: ask again"], ["no-store", "no-store: neither read nor kept"], ["exact", "exact: only the same"], ["semantic", "semantic: other words too"], ["only-if-cached", "only-if-cached: never ask"]];
const BOOKED = [150, 250, 400, 700, 1000, 1500, 2000, 3000]; // ms between looks into the books

export function render(ctx) {
  const turns = []; // whole exchanges only: {role, content}
  const talk = h("div.talk", { role: "log", "aria-label": "Conversation", tabindex: "0" });
  const result = h("div"), code = h("div");
  const settings = form(ctx, () => codes());
  const box = h("textarea", { name: "message", placeholder: "Ask something", on: { input: () => codes(), keydown: (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
  } } });
  const go = button("Send", () => send(), { class: "primary" });
  const stop = button("Stop", () => run?.abort(), { hidden: true });
  const clear = button("Clear", () => { turns.length = 0; fill(result); draw(); box.focus(); });
  let run = null, form_of = "curl";
  ctx.signal.addEventListener("abort", () => run?.abort());

  const draw = () => {
    fill(talk, turns.length ? turns.map((turn, at) => bubble(turn.role, turn.content,
      turn.role === "user" ? button("Edit from here", () => { box.value = turn.content; turns.length = at; draw(); box.focus(); }, { class: "plain" }) : null))
      : empty("Nothing said yet."));
    codes();
  };

  /** Long messages are written out only when the program is copied: it is made at every keystroke. */
  function codes() {
    const said = (most) => {
      const messages = turns.length && !box.value ? turns.slice(0, -1) : [...turns, { role: "user", content: box.value || "Hello" }];
      const { body, headers } = request(settings.read(), messages.map((one) => ({ ...one, content: one.content.slice(0, most) })));
      return FORMS.find(([key]) => key === form_of)[2](api.baseUrl(), body, headers);
    };
    fill(code, h("pre", { role: "region", tabindex: "0", "aria-label": "As a program", data: { figure: "snippet" } }, said(MOST)), h("div.actions", {}, copy("Copy", () => said(Infinity))));
  }

  async function send() {
    const said = box.value.trim();
    if (!said || run !== null) return;
    const wanted = request(settings.read(), [...turns, { role: "user", content: said }]);
    const answer = h("div.words"), began = performance.now();
    let shown = 0;
    const seen = { began, first: null, ended: null, status: null, headers: null, usage: null, finish: null, content: "", end: "whole", error: null };
    fill(talk, turns.map((turn) => bubble(turn.role, turn.content)), bubble("user", said), bubble("assistant", answer));
    fill(result);
    box.value = "";
    run = new AbortController();
    busy(true);
    try {
      await ask(wanted, seen, run.signal, (words) => {
        if (shown > MOST) return; // what is not seen need not be drawn again with every word
        shown = words.length;
        fill(answer, words);
        talk.scrollTop = talk.scrollHeight;
      });
    } catch (error) {
      seen.end = error.name === "AbortError" ? "stopped" : seen.status === 200 ? "broken" : "refused";
      seen.error = error;
      if (error instanceof api.ApiError) Object.assign(seen, { status: error.status, headers: error.headers });
    }
    seen.ended = performance.now();
    run = null;
    busy(false);
    if (ctx.signal.aborted) return;
    if (seen.end === "whole") {
      turns.push({ role: "user", content: said }, { role: "assistant", content: seen.content });
      draw();
    } else {
      box.value ||= said;
      fill(talk, turns.map((turn) => bubble(turn.role, turn.content)), bubble("user", said), unfinished(seen));
      codes();
    }
    tell(ctx, seen, result);
    box.focus();
  }

  function busy(is) {
    go.disabled = clear.disabled = is;
    stop.hidden = !is;
    talk.setAttribute("aria-live", is ? "off" : "polite");
  }

  draw();
  return [
    head("Playground", "Asks through the gateway as you. It is booked, limited and cached like any call."),
    h("div.grid", {},
      card("Conversation", {}, talk, field("Message", box, "Ctrl + Enter sends."), h("div.actions", {}, clear, stop, go)),
      settings.node),
    result,
    card("As a program", {}, h("p.muted.small", {}, "The same call against /v1, with the message that stands above, else the last one that was sent; put your key in. ", link("Make a key", ctx.link("keys"))),
      choices("Language", FORMS.map(([key, label]) => [key, label]), form_of, (to) => { form_of = to; codes(); }), code),
  ];
}

const NAMES = { user: "You", assistant: "Answer" };
const bubble = (role, content, ...more) => h(`div.turn.${role}`, { data: { turn: role } },
  h("div.turn-head", {}, h("strong.small", {}, NAMES[role]), more), content instanceof Node ? content : h("div.words", {}, content));

const UNFINISHED = {
  broken: ["broken", "This answer broke off. What is here is not the whole of it, and it is not part of the conversation."],
  stopped: ["stopped", "You stopped this answer. It is not part of the conversation."],
  refused: ["no answer", "It is not part of the conversation."],
};

function unfinished(seen) {
  const [word, words] = UNFINISHED[seen.end];
  return h("div.turn.assistant", { data: { turn: seen.end } },
    h("div.turn-head", {}, h("strong.small", {}, "Answer"), badge(word, seen.end === "stopped" ? "warn" : "bad")),
    seen.content ? h("div.words", {}, seen.content) : null,
    seen.end === "stopped" ? null : fault(seen.error), h("p.small.muted", {}, words));
}

/** The settings; `read()` says them. */
function form(ctx, changed) {
  const on = { input: changed };
  const model = h("select", { name: "model", on: { change: changed } });
  const price = h("span", {}, "…");
  const system = h("textarea.low", { name: "system", on });
  const temperature = h("input", { name: "temperature", type: "number", min: 0, max: 2, step: 0.1, placeholder: "not said", on });
  const tokens = h("input", { name: "max_tokens", type: "number", min: 1, step: 1, placeholder: "not said", on });
  const stream = h("input", { type: "checkbox", name: "stream", checked: true, on: { change: changed } });
  const cache = select(CACHE, "", changed, { name: "cache" });
  const trouble = h("div");
  api.get("/api/v1/playground/models", {}, ctx.signal).then(({ data }) => {
    if (!data.length) return void fill(trouble, h("div.notice.warn", {}, "There is no model that you may use: no provider is on. ", link("Providers", ctx.link("providers"))));
    const groups = [["Names", (id, one) => !id.startsWith("task/") && !id.startsWith(`${one.provider}/`)], ["Tasks", (id) => id.startsWith("task/")], ["Models of providers", (id, one) => id.startsWith(`${one.provider}/`)]];
    fill(model, groups.map(([label, fits]) => {
      const found = data.filter((one) => fits(one.id, one));
      return found.length ? h("optgroup", { label }, found.map((one) => h("option", { value: one.id }, one.id))) : null;
    }));
    const wanted = ctx.params.get("model");
    if (data.some((one) => one.id === wanted)) model.value = wanted;
    const say = () => fill(price, about(data.find((one) => one.id === model.value)));
    model.addEventListener("change", say);
    say();
    changed();
  }).catch((error) => { if (error.name !== "AbortError") fill(trouble, fault(error)); });
  const number = (input) => (input.value === "" ? null : Number(input.value));
  return {
    node: card("Settings", {}, trouble, field("Model, alias or task", model, price), field("System prompt", system),
      h("div.row", {}, field("Temperature", temperature), field("Most tokens", tokens)),
      field("Cache", cache), h("label.check", {}, stream, "Stream the answer")),
    read: () => ({ model: model.value, system: system.value.trim(), temperature: number(temperature), max_tokens: number(tokens), stream: stream.checked, cache: cache.value }),
  };
}

function about(one) {
  const { pricing } = one;
  const rate = (value) => usd(Number(value));
  const price = pricing && pricing.input !== undefined && pricing.input !== null ? `${rate(pricing.input)} in, ${rate(pricing.output)} out per million tokens` : "price not known";
  return `First at ${one.provider}; ${price}${one.context_window ? `; ${count(one.context_window)} tokens of context` : ""}`;
}

/** The call as `/v1/chat/completions` takes it. */
function request(settings, messages) {
  const system = settings.system ? [{ role: "system", content: settings.system }] : [];
  const body = { model: settings.model, messages: [...system, ...messages] };
  if (settings.temperature !== null) body.temperature = settings.temperature;
  if (settings.max_tokens !== null) body.max_tokens = settings.max_tokens;
  if (settings.stream) Object.assign(body, { stream: true, stream_options: { include_usage: true } });
  return { body, headers: settings.cache ? { "x-turnout-cache": settings.cache } : {} };
}

/** Puts into `seen` what comes; throws for whatever is no whole answer. */
async function ask({ body, headers }, seen, signal, show) {
  const reply = await api.open("/api/v1/playground/chat/completions", { json: body, headers }, signal);
  Object.assign(seen, { status: reply.status, headers: reply.headers });
  if (!body.stream) {
    const answer = await reply.json();
    add(seen, answer, answer.choices[0].message?.content);
    return show(seen.content);
  }
  const events = api.events(reply);
  for (;;) {
    const { value, done } = await events.next();
    if (done) {
      if (!value) throw new Error("The stream ended without saying that it was whole.");
      return;
    }
    if (value.error) throw new Error(`${value.error.message} (${value.error.code ?? value.error.type})`);
    add(seen, value, value.choices?.[0]?.delta?.content);
    show(seen.content);
  }
}

function add(seen, answer, words) {
  if (words) {
    seen.first ??= performance.now();
    seen.content += words;
  }
  seen.usage = answer.usage ?? seen.usage;
  seen.finish = answer.choices?.[0]?.finish_reason ?? seen.finish;
}

const ENDS = { whole: "good", broken: "bad", stopped: "warn", refused: "bad" };

/** What is known at once, and what the books say a moment later. */
function tell(ctx, seen, result) {
  const { headers, usage } = seen;
  const id = headers?.get("x-request-id") ?? null;
  const books = h("div");
  const shown = [...(headers ?? [])].filter(([name]) => name.startsWith("x-turnout-") || name.startsWith("x-ratelimit-"));
  fill(result, h("div.grid", {},
    card("This answer", {}, facts([
      ["Ended", badge(seen.end, ENDS[seen.end]), "answer_end"],
      ["Status", text(seen.status), "answer_status"],
      ["Request", id === null ? "–" : h("a", { href: ctx.link("request", { id }) }, h("code", {}, id)), "answer_id"],
      ["Finish", text(seen.finish)],
      ["Cache", text(headers?.get("x-turnout-cache")), "answer_cache"],
      ["Tokens", usage ? `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out` : "–", "answer_tokens"],
      ["Cost", exactUsd(usage?.cost_usd ?? number(headers?.get("x-turnout-cost-usd"))), "answer_cost"],
      ["First words here after", seen.first === null ? "–" : ms(seen.first - seen.began), "answer_first"],
      ["All of it after", ms(seen.ended - seen.began)],
    ]),
    h("h3", {}, "Headers"), facts(shown.map(([name, value]) => [h("code", {}, name), value, name]))),
    card("In the books", {}, books)));
  if (id === null) fill(books, empty("Nothing reached the gateway, or it did not say which request it was."));
  else book(ctx, id, books);
}

const number = (value) => (value === null || value === undefined ? null : Number(value));

/** Rows are written a moment after an answer. The list is looked through first, which has no 404. */
async function book(ctx, id, books) {
  fill(books, h("p.muted", {}, "Not booked yet …"));
  try {
    for (const pause of BOOKED) {
      await new Promise((done) => { setTimeout(done, pause); });
      if (ctx.signal.aborted || !books.isConnected) return;
      const page = await api.get("/api/v1/usage/requests", { days: 1, limit: 100 }, ctx.signal);
      if (!page.data.some((row) => row.request_id === id)) continue;
      return void fill(books, booked(await api.get(`/api/v1/usage/requests/${encodeURIComponent(id)}`, {}, ctx.signal)));
    }
    fill(books, empty("It is not in the books yet.", button("Look again", () => book(ctx, id, books))));
  } catch (error) {
    if (error.name !== "AbortError") fill(books, fault(error));
  }
}

function booked(row) {
  return [
    facts([
      ["Outcome", state(row.outcome), "booked_outcome"],
      ["Answered by", row.provider_name === null ? "–" : `${row.provider_name}/${row.model}`, "booked_target"],
      ["Cost", exactUsd(row.cost_usd), "booked_cost"],
      ["Saved", exactUsd(row.saved_usd), "booked_saved"],
      ["Tokens", `${count(row.input_tokens)} in, ${count(row.output_tokens)} out (${row.usage_source})`, "booked_tokens"],
      ["First token after", ms(row.first_token_ms), "booked_first"],
      ["Took", ms(row.duration_ms)],
      ["From the cache", row.cached ? "yes" : "no", "booked_cached"],
      row.error_message ? ["Error", row.error_message] : null,
    ]),
    h("h3", {}, "Attempts"),
    table({
      caption: "Attempts",
      rows: row.attempt_list,
      key: (one) => `attempt:${one.number}`,
      none: "No provider was asked.",
      columns: [
        { name: "number", label: "No.", cell: (one) => count(one.number) },
        { name: "target", label: "Target", cell: (one) => `${one.provider_name}/${one.model}` },
        { name: "outcome", label: "Outcome", cell: (one) => [state(one.outcome), one.error_code ? h("div.small.muted", {}, one.error_code) : null] },
        { name: "status", label: "Status", right: true, cell: (one) => text(one.status_code) },
        { name: "first", label: "First token", right: true, cell: (one) => ms(one.first_token_ms) },
        { name: "took", label: "Took", right: true, cell: (one) => ms(one.duration_ms) },
      ],
    }),
  ];
}
