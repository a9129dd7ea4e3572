// What the cache answers and what it does not, what that saves, and how sure the tier by meaning is.

import * as api from "../lib/api.js";
import { chart } from "../lib/chart.js";
import { fill, h } from "../lib/dom.js";
import { bytes, count, ms, percent, usd } from "../lib/format.js";
import { table } from "../lib/table.js";
import { badge, button, card, choices, confirm, copy, during, empty, facts, fault, field, head, select, stat, stats, toast } from "../lib/ui.js";

export const title = "Cache";
export const roles = ["admin"];
const DAYS = [["1", "1 day"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];
const total = (counts) => Object.values(counts).reduce((sum, one) => sum + one, 0);

export function render(ctx) {
  const days = ctx.params.get("days") ?? "30";
  const figures = h("div"), meaning = h("div");
  const load = async () => {
    const found = await api.get("/api/v1/cache/metrics", { days }, ctx.signal);
    fill(figures, summary(found, days), reasons(found));
    fill(meaning, byMeaning(found.semantic));
  };
  const again = () => during(figures, load);
  again();
  return [
    head("Cache", "Counts are of this process since it began; the books are of all processes.",
      choices("How far back in the books", DAYS, days, (to) => ctx.set({ days: to })), button("Refresh", again)),
    figures, meaning,
    h("div.grid", {}, purging(again), warming(ctx, again)),
  ];
}

function summary(found, days) {
  const { hits, misses, bypasses, ledger } = found;
  const asked = total(hits) + total(misses);
  return [
    stats(
      stat("Hit rate", asked ? percent(found.hit_rate) : "–", `${count(total(hits))} of ${count(asked)} looked up`, "hit_rate"),
      stat("Exact hits", count(hits.exact), "the same request", "hits_exact"),
      stat("Hits by meaning", count(hits.semantic), "the same in other words", "hits_semantic"),
      stat("Misses", count(total(misses)), `${count(found.joined)} shared one under way`, "misses"),
      stat("Not looked up", count(total(bypasses)), "bypasses", "bypasses"),
      stat("Kept now", count(found.entries), `${count(found.stored)} stored, ${count(found.purged)} dropped by hand`, "entries"),
      stat("Size", bytes(found.bytes), found.bytes === null ? "Redis can't tell" : "of answers", "bytes"),
      stat("Saved", usd(found.saved_usd), `${usd(found.net_saved_usd)} net of checks`, "saved_usd"),
      stat("Tokens saved", count(found.saved_tokens), null, "saved_tokens")),
    ledger === null ? h("div.notice.warn", {}, "The database is away: what the books say is not shown.") : stats(
      stat("In the books", count(ledger.requests), `requests of ${days === "1" ? "a day" : `${days} days`}`, "ledger_requests"),
      stat("From the cache", count(ledger.cached), ledger.requests ? percent(ledger.cached / ledger.requests) : null, "ledger_cached"),
      stat("Saved in that time", usd(ledger.saved_usd), null, "ledger_saved_usd"),
      stat("Spent on checks", usd(ledger.shadow_usd), null, "ledger_shadow_usd")),
    asked ? null : h("section.card", {}, cold()),
  ];
}

function cold() {
  const line = `curl -sSi ${api.baseUrl()}/chat/completions \\
  -H 'authorization: Bearer KEY' -H 'content-type: application/json' \\
  -d '{"model": "…", "temperature": 0, "messages": [{"role": "user", "content": "Hello"}]}' | grep x-turnout-cache`;
  return empty("Nothing has been looked up since this process began. Ask the same twice, and the second is a hit:", h("pre", {}, line), copy("Copy", line));
}

function reasons(found) {
  const by = (title, counts, note, name) => card(title, {}, h("p.muted.small", {}, note), table({
    caption: title,
    rows: Object.entries(counts).sort(([, one], [, other]) => other - one),
    key: ([reason]) => `${name}:${reason}`,
    none: "None.",
    columns: [
      { name: "reason", label: "Reason", cell: ([reason]) => h("code", {}, reason) },
      { name: "count", label: "Requests", right: true, cell: ([, number]) => count(number) },
    ],
  }));
  const stages = Object.entries(found.stages).filter(([, stage]) => stage.count);
  return h("div.grid", {},
    by("Misses", found.misses, "Looked up and not there, so the provider was asked.", "miss"),
    by("Bypasses", found.bypasses, "Not looked up at all.", "bypass"),
    by("Not kept", found.not_stored, "Answers that may not serve again.", "not_stored"),
    card("Time it takes", {}, table({
      caption: "Stages",
      rows: stages,
      key: ([name]) => `stage:${name}`,
      none: "Nothing measured yet.",
      columns: [
        { name: "stage", label: "Stage", cell: ([name]) => name },
        { name: "count", label: "Times", right: true, cell: ([, stage]) => count(stage.count) },
        { name: "p50", label: "p50", right: true, cell: ([, stage]) => longest(stage.p50_ms) },
        { name: "p99", label: "p99", right: true, cell: ([, stage]) => longest(stage.p99_ms) },
      ],
    })));
}

/** The upper end of a step; null is more than the last. */
const longest = (value) => (value === null ? "> 500 ms" : value < 1 ? `≤ ${value} ms` : `≤ ${ms(value)}`);

const STATES = { on: ["on", "good"], shadow: ["watching only", "warn"], off: ["off", "plain"] };

function byMeaning(semantic) {
  const parts = [h("p.muted", {}, "Serves what was asked in other words, where labels of real answers show that at most the promised share would be wrong.")];
  if (semantic.state === "off") return card("By meaning", {}, parts, how());
  const { wrong } = semantic;
  parts.push(facts([
    ["State", badge(...(STATES[semantic.state] ?? [semantic.state, "bad"])), "semantic_state"],
    ["Promised", `at most ${percent(semantic.max_wrong)} of what is served by meaning is wrong`, "max_wrong"],
    ["Threshold in force", semantic.threshold === null ? "none: nothing is served before labels certify it" : `score ${semantic.threshold.toFixed(3)} and more`, "threshold"],
    ["It rests on", semantic.threshold === null ? "–" : semantic.certified ? "labels of this gateway" : "the shipped prior"],
    ["Wrong so far", wrong.rate === null ? "no labels of served answers yet" : `${percent(wrong.rate)} (95 %: ${percent(wrong.low)} to ${percent(wrong.high)}; ${count(wrong.labels)} labels)`, "wrong_rate"],
    ["Labels", count(semantic.labels), "labels"],
    ["Questions kept", count(semantic.entries), "semantic_entries"],
    ["Found wrong, never served again", count(semantic.quarantined), "quarantined"],
    ["Checks", `${count(semantic.shadow.requests)} for ${usd(semantic.shadow.usd)}`, "shadow"],
    ["Embedder", h("code", {}, semantic.embedder ?? "–")],
    ["Not looked at below a cosine of", String(semantic.floor)],
    ...Object.entries(semantic.thresholds).filter(([most]) => Number(most) !== semantic.max_wrong).map(([most, score]) =>
      [`Where ${percent(Number(most))} is allowed`, score === null ? "nothing is served" : `score ${score.toFixed(3)} and more`]),
  ]));
  return [card("By meaning", {}, parts), semantic.curve.length ? curve(semantic) : card("Calibration", {},
    empty("No labels yet. They come by themselves: a near question that is not served is asked anyway, and its answer tells whether the near one would have been right."))];
}

const curve = (semantic) => chart({
  title: `Calibration: what serving from a score up would do${semantic.threshold === null ? "" : ` (in force: ${semantic.threshold.toFixed(3)})`}`,
  name: "calibration",
  points: semantic.curve.map((point) => ({ ...point, at: point.score })),
  axis: { label: "Score", format: (score) => score.toFixed(3) },
  format: (share) => percent(share),
  height: 240,
  series: [
    { label: "Served", of: (point) => point.served, colour: 1 },
    { label: "Wrong of served", of: (point) => point.wrong, colour: 5 },
    { label: "Upper bound (95 %)", of: (point) => point.high, colour: 2 },
    { label: "Allowed", of: () => semantic.max_wrong, colour: 6 },
  ],
});

function how() {
  const lines = "pip install 'turnout[semantic]'\n\n# config.yaml\ncache: {semantic: {enabled: true, max_wrong: 5%}}";
  return empty("It is off. To switch it on:", h("pre", {}, lines), copy("Copy", lines), h("p.small", {}, "With serve: false it only watches, and shows here what it would do."));
}

function purging(again) {
  const model = h("input", { name: "model", autocomplete: "off", spellcheck: "false" });
  const task = h("input", { name: "task", autocomplete: "off", spellcheck: "false" });
  const tag = h("input", { name: "tag", autocomplete: "off", spellcheck: "false" });
  const said = h("div");
  const drop = async (body) => {
    const { invalidated } = await api.post("/api/v1/cache/invalidate", body);
    toast(`${count(invalidated)} ${invalidated === 1 ? "answer" : "answers"} dropped`);
    await again();
  };
  const form = h("form", { on: { submit: (event) => {
    event.preventDefault();
    const body = {};
    for (const input of [model, task, tag]) if (input.value.trim()) body[input.name] = input.value.trim();
    fill(said);
    if (!Object.keys(body).length) return void fill(said, fault(new Error("Say which: a model, a task or a tag.")));
    const words = Object.entries(body).map(([name, value]) => `${name} ${value}`).join(", ");
    confirm("Drop these answers?", `Those of ${words}. They are asked for again when they are wanted.`, "Drop", () => drop(body));
  } } },
  h("div.row", {}, field("Model", model), field("Task", task), field("Tag", tag)),
  h("p.hint", {}, "What agrees in all that is said goes. Tags are those of x-turnout-cache: tag=NAME."),
  said,
  h("div.actions", {},
    button("Drop all", () => confirm("Drop all answers?", "The cache begins anew: every question is asked of its provider again.", "Drop all", () => drop({})), { class: "danger" }),
    h("button", { type: "submit" }, "Drop these")));
  return card("Drop answers", {}, form);
}

function warming(ctx, again) {
  const prompts = h("textarea", { name: "prompts", required: true, spellcheck: "false", placeholder: "How high is it?\nAnd how wide?" });
  const model = select([["", "…"]], "", null, { name: "model", required: true });
  const system = h("input", { name: "system", autocomplete: "off" });
  const temperature = h("input", { name: "temperature", type: "number", min: 0, max: 2, step: "any", placeholder: "not said" });
  const dry = h("input", { type: "checkbox", name: "dry" });
  const said = h("div", { role: "status" }), go = h("button.primary", { type: "submit" }, "Warm up");
  const stop = button("Stop", () => run?.abort(), { hidden: true });
  let run = null;
  api.get("/api/v1/playground/models", {}, ctx.signal)
    .then(({ data }) => fill(model, data.map((one) => h("option", { value: one.id }, one.id))))
    .catch((error) => { if (error.name !== "AbortError") fill(said, fault(error)); });

  async function submit(event) {
    event.preventDefault();
    const body = { model: model.value, prompts: prompts.value.split("\n").map((line) => line.trim()).filter(Boolean), dry_run: dry.checked };
    if (system.value.trim()) body.system = system.value;
    if (temperature.value !== "") body.parameters = { temperature: Number(temperature.value) };
    run = new AbortController();
    const ended = () => run.abort();
    ctx.signal.addEventListener("abort", ended);
    go.disabled = true;
    stop.hidden = false;
    try {
      await follow(await api.open("/api/v1/cache/warm", { json: body }, run.signal), body.prompts, said);
      await again();
    } catch (error) {
      fill(said, error.name === "AbortError" ? h("p.notice.warn", {}, "Stopped; what was kept until then stays.") : fault(error));
    } finally {
      ctx.signal.removeEventListener("abort", ended);
      go.disabled = false;
      stop.hidden = true;
    }
  }
  return card("Warm up", {}, h("form", { on: { submit } },
    field("Prompts, one a line", prompts), field("Model, alias or task", model, "Callers who ask for the same name find what is kept here."),
    h("div.row", {}, field("System prompt", system), field("Temperature", temperature)),
    h("label.check", {}, dry, "Only say what it may cost"),
    h("div.actions", {}, stop, go), said));
}

async function follow(reply, prompts, said) {
  const failed = [];
  let summary = null;
  for await (const line of api.lines(reply)) {
    if (line.summary) summary = line.summary;
    else {
      if (line.reason) failed.push(line);
      fill(said, h("p", {}, `${count(line.done)} of ${count(line.total)} …`));
    }
  }
  if (summary === null) throw new Error("The answer broke off; what was kept until then stays.");
  const words = [["stored", "kept now"], ["hit", "kept already"], ["not_kept", "answered, not kept"], ["failed", "failed"], ["planned", "would be asked"]];
  fill(said, h("p.notice", { data: { figure: "warmed" } },
    `${words.filter(([name]) => summary[name]).map(([name, label]) => `${count(summary[name])} ${label}`).join(", ")}; ${summary.planned ? "at most " : ""}${usd(summary.cost_usd)}`),
  failed.length ? h("ul", {}, failed.map((line) => h("li", {}, `${prompts[line.index]}: ${line.status}, `, h("code", {}, line.reason)))) : null);
}
