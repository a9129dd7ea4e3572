// Lines over time, or over a number, drawn by uPlot (vendor/, MIT). The numbers are below each chart
// as a table too: a canvas says nothing to a screen reader.

import { h, newId } from "./dom.js";
import { time } from "./format.js";
import { table } from "./table.js";

const alive = new Set();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

function redraw() {
  for (const chart of alive) chart.draw();
}

const TIME = { label: "Time", format: time, scale: 1 / 1000, time: true };

/** A figure. `points`: [{at: epoch milliseconds, ...}]; `series`: [{label, of: (point) -> number or
 *  null, colour: 1..6, bars}]; `format` of a value. `name` is for tests. `axis` {label, format} makes
 *  `at` a plain number, such as a score. */
export function chart({ title, points, series, format, name, axis = null, height = 180 }) {
  const x = axis === null ? TIME : { scale: 1, time: false, ...axis };
  const id = newId("chart");
  const area = h("div.plot", { "aria-hidden": "true" });
  const numbers = h("details", {}, h("summary", {}, "As a table"));
  numbers.addEventListener("toggle", () => {
    if (numbers.open && numbers.children.length === 1) numbers.append(asTable(title, points, series, format, x));
  });
  const key = h("ul.legend", {}, series.map((one) => h("li", {}, h(`i.c${one.colour}`, { "aria-hidden": "true" }), one.label)));
  const figure = h("figure.card.chart", { "aria-labelledby": id, data: { chart: name } }, h("figcaption", { id }, title), key, area, numbers);
  let plot = null;
  const one = {
    draw() {
      if (!area.isConnected) return one.end();
      plot?.destroy();
      plot = new window.uPlot(options(area.clientWidth, height, series, format, x), data(points, series, x), area);
    },
    end() {
      alive.delete(one);
      watcher.disconnect();
      plot?.destroy();
      plot = null;
    },
  };
  const watcher = new ResizeObserver(() => {
    if (!area.isConnected) one.end();
    else if (plot === null) one.draw();
    else if (area.clientWidth && plot.width !== area.clientWidth) plot.setSize({ width: area.clientWidth, height });
  });
  alive.add(one);
  watcher.observe(area);
  return figure;
}

const data = (points, series, x) => [points.map((point) => point.at * x.scale), ...series.map((one) => points.map((point) => one.of(point) ?? null))];

// Steps of the time axis, as long as 24 hours have them: [least step in seconds, words, then what is
// added below where a year, month, day, hour, minute, second begins, and how].
const TIMES = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, ":{ss}", "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

/** Places with nothing known at either side: no line would show them. */
const alone = (values) =>
  [...values.keys()].filter((at) => values[at] !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null);

function options(width, height, series, format, x) {
  const muted = colour("--muted");
  const axis = { stroke: muted, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const room = (plot) => (series.some((one) => one.bars) && plot.data[0].length > 1 ? (plot.data[0][1] - plot.data[0][0]) / 2 : 0);
  const longest = (words) => Math.max(3, ...(words ?? []).map((word) => word.length));
  return {
    width: Math.max(width, 120),
    height,
    legend: { show: false },
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    scales: {
      x: { time: x.time, range: (plot, low, high) => [low - room(plot), high + room(plot)] },
      y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.1 : 1] },
    },
    axes: [{ ...axis, space: x.time ? 80 : 50, values: x.time ? TIMES : (_, values) => values.map(x.format) }, { ...axis, size: (_, words) => 18 + 7 * longest(words), values: (_, values) => values.map(format) }],
    hooks: { setCursor: [tell(series, format, x)] },
    series: [{}, ...series.map((one) => ({
      label: one.label,
      stroke: colour(`--c${one.colour}`),
      width: 2,
      fill: one.bars ? `${colour(`--c${one.colour}`)}55` : undefined,
      paths: one.bars ? window.uPlot.paths.bars({ size: [0.7, 40] }) : undefined,
      points: { show: !one.bars, size: 5, filter: (plot, number) => alone(plot.data[number]) },
      spanGaps: false,
    }))],
  };
}

/** The values under the pointer. */
function tell(series, format, x) {
  return (plot) => {
    let tip = plot.over.querySelector(".tip");
    if (tip === null) plot.over.append((tip = h("div.tip")));
    const at = plot.cursor.idx;
    tip.hidden = at === null || at === undefined;
    if (tip.hidden) return;
    tip.replaceChildren(h("div.muted", {}, x.format(plot.data[0][at] / x.scale)),
      ...series.map((one, number) => h("div", {}, h(`i.c${one.colour}`), ` ${one.label}: `, h("b", {}, format(plot.data[number + 1][at])))));
    tip.classList.toggle("left", plot.cursor.left > plot.over.clientWidth / 2);
  };
}

const asTable = (title, points, series, format, x) => table({
  caption: title,
  rows: points,
  columns: [
    { name: "at", label: x.label, cell: (point) => x.format(point.at) },
    ...series.map((one) => ({ name: one.label, label: one.label, right: true, cell: (point) => format(one.of(point)) })),
  ],
});

/** A share as a bar, 0 to 1. */
export const bar = (share, label) => {
  const node = h("div.bar", { role: "img", "aria-label": label }, h("div"));
  node.firstChild.style.width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
  return node;
};
