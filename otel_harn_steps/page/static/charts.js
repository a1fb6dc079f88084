// The charts, drawn by uPlot. Each stands beside a table with the same numbers.

import { element, named } from "./dom.js";
import { dollars } from "./numbers.js";

const drawn = new Set();
const BAR_SHARE = 0.62;
const WIDEST_BAR = 64;

/** Stacked bars of a series: `onPick(bucket, key index or null)` is called for a click; it may be null. */
export function stackedBars(series, colours, clock, onPick) {
  const sums = stacked(series.values);
  const totals = sums.at(-1) ?? series.buckets.map(() => 0);
  const tip = element("div", { class: "tip", hidden: true });
  const box = element("div", { class: "chart", "aria-hidden": "true" }, tip);
  const label = (index) => clock.bucket(series.buckets, index);
  const options = {
    height: 200,
    padding: [12, 8, 0, 0],
    legend: { show: false },
    cursor: { x: false, y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: [-0.5, series.buckets.length - 0.5] },
      y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.05 : 1] },
    },
    axes: [
      {
        stroke: () => token("--soft"), font: font(), grid: { show: false }, ticks: { show: false }, size: 28, gap: 8,
        incrs: [1, 2, 3, 4, 6, 7, 12, 14, 28, 56, 84, 168, 336], space: 76,
        values: (_plot, at) => at.map((each) => (Number.isInteger(each) && each in series.buckets ? label(each) : "")),
      },
      {
        stroke: () => token("--soft"), font: font(), size: 58, gap: 8, ticks: { show: false }, space: 44,
        grid: { stroke: () => token("--line"), width: 1 },
        values: (_plot, at) => at.map((each) => (each === 0 ? "0" : axisDollars(each, at))),
      },
    ],
    series: [
      {},
      ...sums.map((_sum, index) => index).reverse().map((index) => ({
        fill: () => token(colours[index]), stroke: () => token("--ground"), width: 1, points: { show: false },
        paths: uPlot.paths.bars({ size: [BAR_SHARE, WIDEST_BAR], align: 0 }),
      })),
    ],
    hooks: { setCursor: [(plot) => showTip(plot, tip, series, colours, totals, label)] },
  };
  // Where nothing was spent, there is no bar: not one without height.
  const bars = sums.map((sum) => sum.map((each) => each || null));
  const data = [series.buckets.map((_at, index) => index), ...bars.reverse()];
  draw(box, options, data);
  if (onPick) box.classList.add("pick");
  if (onPick) box.addEventListener("click", (event) => {
    const plot = plotOf(box);
    const bounds = plot.over.getBoundingClientRect();
    const bucket = Math.round(plot.posToVal(event.clientX - bounds.left, "x"));
    const height = plot.posToVal(event.clientY - bounds.top, "y");
    if (!(bucket in series.buckets) || !totals[bucket]) return;
    const key = sums.findIndex((sum) => height <= sum[bucket]);
    onPick(bucket, key < 0 ? null : key);
  });
  return box;
}

/** A line without axes, as wide as a word. */
export function sparkline(values, { width = 72, height = 20 } = {}) {
  const box = element("span", { class: "spark", "aria-hidden": "true", vars: { width: `${width}px`, height: `${height}px` } });
  if (values.length < 2 || values.every((each) => !each)) return box;
  const line = {
    stroke: () => token("--soft"), width: 1.25, points: { show: false }, fill: () => token("--faint"),
  };
  const options = {
    width, height, padding: [2, 1, 1, 1], legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false }, y: { range: (_plot, _least, most) => [0, most || 1] } },
    axes: [{ show: false }, { show: false }],
    series: [{}, line],
  };
  draw(box, options, [values.map((_each, index) => index), values], { fixed: true });
  return box;
}

/** Draw all charts again: the colours have changed. */
export function redraw() {
  for (const box of drawn) plotOf(box)?.redraw(false);
}

/** Forget the charts that are on the page no more. */
export function forgetOldCharts() {
  for (const box of drawn) {
    if (box.isConnected) continue;
    plotOf(box)?.destroy();
    plots.delete(box);
    drawn.delete(box);
  }
}

const plots = new WeakMap();

function plotOf(box) {
  return plots.get(box);
}

// A chart is made once it has a place on the page, and follows its width.
function draw(box, options, data, { fixed = false } = {}) {
  drawn.add(box);
  const place = () => {
    const width = fixed ? options.width : Math.floor(box.clientWidth);
    if (!width) return;
    const plot = plotOf(box);
    if (plot) plot.setSize({ width, height: options.height });
    else plots.set(box, new uPlot({ ...options, width }, data, box));
  };
  if (fixed) place();
  else new ResizeObserver(place).observe(box);
}

function showTip(plot, tip, series, colours, totals, label) {
  const { idx, left, top } = plot.cursor;
  if (idx === null || idx === undefined || left < 0 || !totals[idx]) {
    tip.hidden = true;
    return;
  }
  const rows = series.names.map((name, index) => ({ name, colour: colours[index], value: series.values[index][idx] }));
  tip.replaceChildren(
    element("p", {}, label(idx), element("b", {}, dollars(totals[idx]))),
    element("table", {}, rows.filter((row) => row.value).map((row) => element("tr", {},
      element("td", {}, swatch(row.colour), named(row.name)), element("td", {}, dollars(row.value))))),
  );
  tip.hidden = false;
  const room = plot.over.clientWidth - tip.offsetWidth;
  const beside = left + 18 > room ? left - tip.offsetWidth - 18 : left + 18;
  tip.style.transform = `translate(${plot.over.offsetLeft + Math.max(0, beside)}px, ${Math.max(0, Math.min(top, 60))}px)`;
}

/** The mark of a colour. */
export function swatch(colour) {
  return element("span", { class: "swatch", vars: { colour: colour ? `var(${colour})` : "transparent" } });
}

function stacked(values) {
  const sums = [];
  for (const row of values) {
    const below = sums.at(-1);
    sums.push(below ? row.map((each, index) => each + below[index]) : [...row]);
  }
  return sums;
}

// Round numbers need no more digits than tell them apart.
function axisDollars(picousd, all) {
  const step = (all[1] ?? picousd) / 1e12;
  const digits = step >= 1 ? 0 : Math.max(2, Math.min(4, Math.ceil(-Math.log10(step) - 1e-9)));
  return `$${(picousd / 1e12).toFixed(digits)}`;
}

function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function font() {
  return `11px ${getComputedStyle(document.body).fontFamily}`;
}
