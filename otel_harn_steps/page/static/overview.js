// The overview: what was spent, where it went, and whether that is normal.

import { amount, cachedShare, cost, count, shortTokens } from "./amounts.js";
import { sparkline, stackedBars, swatch } from "./charts.js";
import { colourOf, coloursOf } from "./colours.js";
import { element, named, shown } from "./dom.js";
import { change, counted, dollars, duration, grouped, percent, share, spent, tokens } from "./numbers.js";
import { exactly, overviewWith, runAddress } from "./place.js";
import { table } from "./table.js";
import { treeTable } from "./tree.js";

const MOST_STEPS = 15;
const MOST_MODELS = 10;
const MOST_RUNS = 20;
const OTHER = "--colour-other";
const SPARK = { width: 96, height: 22 };
const MODELS = "by-model";
const BREACHES = "newest-breaches";
const RUNS_TREND = "runs-trend";

/**
 * The overview's parts, in their order. `around` is what stands around the numbers and may come later, as `fillIn`
 * says; null: it is not there yet.
 */
export function overview(data, around, { asked, clock, source, go }) {
  const colours = coloursOf(data.series.keys.slice(0, data.series.has_other ? -1 : undefined));
  if (data.series.has_other) colours.push(OTHER);
  const context = { asked, clock, source, colours };
  return [
    headline(data, around),
    spendByDay(data.series, context, go),
    element("div", { class: "pair" }, stepsTable(data, context),
      element("div", {}, element("div", { id: MODELS }, around && modelsTable(around.models, context)), wastedTable(data, context))),
    runsTable(data, context),
    element("div", { id: BREACHES }, around && breachesTable(around.breaches, context)),
    source.details() && expensiveRuns(data, context),
    element("footer", {}, footnotes(data)),
  ];
}

/** Put in what has come after the numbers. */
export function fillIn(around, { asked, clock, source }) {
  document.getElementById(MODELS)?.replaceChildren(modelsTable(around.models, { asked, source }));
  document.getElementById(RUNS_TREND)?.replaceChildren(runsTrend(around));
  document.getElementById(BREACHES)?.replaceChildren(breachesTable(around.breaches, { clock, source }));
}

function runsTrend(around) {
  return sparkline(around.runs_trend, SPARK);
}

function headline(data, around) {
  const { total, before, runs, before_runs: runsBefore, costs, trend } = data.steps;
  const now = spent(total);
  const failed = data.steps.failed_picousd;
  const against = before && change(now, spent(before));
  const figures = [
    {
      label: "Spend", value: cost(total), spark: sparkline(trend, SPARK),
      note: [against && element("span", { title: `the period before: ${dollars(spent(before))}` }, against)],
    },
    {
      label: runs === 1 ? "Run" : "Runs", value: grouped(runs), spark: element("span", { id: RUNS_TREND }, around && runsTrend(around)),
      note: [runsBefore ? element("span", { title: `the period before: ${grouped(runsBefore)}` }, change(runs, runsBefore)) : null],
    },
    {
      label: "Per run", value: runs ? amount(Math.round(now / runs)) : "–",
      note: [costs.p50_picousd === null ? "no price is known" : `p50 ${dollars(costs.p50_picousd)}, p95 ${dollars(costs.p95_picousd)}`],
    },
    {
      label: "Wasted", value: now ? percent(data.steps.wasted_picousd, now) : "–",
      note: [data.steps.wasted_picousd ? `${dollars(data.steps.wasted_picousd)}, ${dollars(failed)} in failed steps` : "nothing in failed or skipped steps"],
    },
    {
      label: data.steps.breached === 1 ? "Breach" : "Breaches", value: grouped(data.steps.breached),
      note: [data.steps.breached ? `in ${counted(data.steps.breached_steps, "step")}` : "every budget held"],
    },
    {
      label: "Cached input", value: total.input_tokens ? percent(total.cache_read_tokens, total.input_tokens) : "–",
      note: [element("span", { title: `${grouped(total.input_tokens)} and ${grouped(total.output_tokens)} tokens` },
        `${tokens(total.input_tokens)} in, ${tokens(total.output_tokens)} out`)],
    },
  ];
  return element("dl", { class: "figures" }, figures.map((figure) => element("div", {},
    element("dt", {}, figure.label), element("dd", { class: "value" }, figure.value),
    element("dd", { class: "under" }, figure.spark, figure.note))));
}

function spendByDay(series, { asked, clock, colours, source }, go) {
  const days = clock.bucket(series.buckets, 0).includes(":") ? "hour" : "day";
  const title = `Spend by ${days} and step`;
  const pick = (bucket, key) => {
    const isStep = key !== null && series.keys[key] && !(series.has_other && key === series.keys.length - 1);
    go(overviewWith(asked, { ...clock.period(series.buckets, bucket), ...(isStep ? { step: exactly(series.keys[key]) } : {}) }), "runs");
  };
  const legend = series.names.map((name, index) => {
    const sum = series.values[index].reduce((one, other) => one + other, 0);
    const isOther = series.has_other && index === series.names.length - 1;
    const label = [swatch(colours[index]), named(name), element("span", { class: "soft" }, dollars(sum))];
    if (isOther || !series.keys[index] || !source.live) return element("li", {}, element("span", { class: "key" }, label));
    return element("li", {}, element("a", { class: "key", href: overviewWith(asked, { step: exactly(series.keys[index]) }) }, label));
  });
  const numbers = element("details", { class: "numbers" }, element("summary", {}, "Table"), dayTable(series, clock, asked, source));
  return element("section", { class: "block" },
    element("div", { class: "title" }, element("h2", { class: "caption" }, title)),
    stackedBars(series, colours, clock, source.live ? pick : null), element("ul", { class: "legend" }, legend), numbers);
}

function dayTable(series, clock, asked, source) {
  const rows = series.buckets.map((_at, index) => ({ index, values: series.values.map((each) => each[index]) }));
  const whole = (row) => row.values.reduce((one, other) => one + other, 0);
  return table({
    caption: "Spend in each period", level: "h3", rows: rows.filter(whole), key: (row) => `bucket-${row.index}`,
    columns: [
      { title: "Period", cell: (row) => filterLink(source, asked, clock.period(series.buckets, row.index), clock.bucket(series.buckets, row.index)) },
      ...series.names.map((name, index) => ({
        title: named(name), number: true, from: "medium", cell: (row) => (row.values[index] ? amount(row.values[index]) : "–"),
      })),
      { title: "Together", number: true, cell: (row) => amount(whole(row)) },
    ],
  });
}

function stepsTable(data, { asked, source }) {
  const most = Math.max(...data.steps.rows.map((row) => spent(row.total ?? row.spend)), 1);
  return table({
    caption: "Steps", rows: data.steps.rows, key: (row) => `step-${row.key}`, most: MOST_STEPS, links: links(source, "report", asked, { by: "step" }),
    columns: [
      { title: "Step", class: "wide-cell", cell: (row) => [swatch(colourOf(row.key)), row.key
        ? filterLink(source, asked, { step: exactly(row.key) }, row.name)
        : element("span", { class: "soft" }, row.name)] },
      { title: "Runs", number: true, from: "medium", cell: (row) => (row.key ? count(row.entered) : "") },
      { title: "Calls/run", number: true, from: "wide", hint: "calls of its own in one run of the step", cell: (row) => (row.entered ? perRun(row) : "") },
      { title: "Own", number: true, cell: (row) => cost(row.spend) },
      { title: "Total", number: true, from: "medium", hint: "with the steps inside it", cell: (row) => cost(row.total ?? row.spend), share: (row) => spent(row.total ?? row.spend) / most },
      { title: "p95", number: true, from: "medium", hint: "of the cost of one run of the step", cell: (row) => runCost(row) },
      { title: "Headroom", from: "wide", hint: "what the 95th percentile leaves of its budget in dollars", cell: (row) => headroom(row.headroom) },
      { title: "Breached", number: true, from: "medium", cell: (row) => count(row.breached, { class: "warn" }) },
      { title: "Trend", from: "wide", cell: (row) => sparkline(row.trend) },
    ],
  });
}

// Of the runs with a known cost. Where no call has one, that is of the runs that called nothing: not worth a number.
function runCost(row) {
  if (!row.key) return "";
  return amount(row.spend.calls && row.spend.unknown_calls === row.spend.calls ? null : row.costs.p95_picousd);
}

function perRun(row) {
  const each = row.spend.calls / row.entered;
  return each >= 10 || Number.isInteger(each) ? String(Math.round(each)) : each.toFixed(1);
}

function headroom(left) {
  if (left === null) return "";
  const used = Math.max(0, Math.min(1, 1 - left));
  const text = left < 0 ? `−${share(-left)}` : share(left);
  return element("span", { class: left < 0 ? "budget over" : left < 0.2 ? "budget near" : "budget", title: left < 0 ? `over by ${share(-left)}` : `${share(left)} left` },
    element("span", { class: "gauge", "aria-hidden": "true", vars: { used: `${(100 * used).toFixed(1)}%` } }), text);
}

function modelsTable(models, { asked, source }) {
  const most = Math.max(...models.rows.map((row) => spent(row.spend)), 1);
  return table({
    caption: "Models", rows: models.rows, key: (row) => `model-${row.key}`, most: MOST_MODELS, links: links(source, "report", asked, { by: "model" }),
    columns: [
      { title: "Model", class: "wide-cell", cell: (row) => (row.key ? filterLink(source, asked, { model: exactly(row.key) }, row.name) : row.name || "not named") },
      { title: "Calls", number: true, from: "medium", cell: (row) => count(row.spend.calls) },
      { title: "In", number: true, from: "medium", cell: (row) => shortTokens(row.spend.input_tokens) },
      { title: "Cached", number: true, from: "medium", cell: (row) => cachedShare(row.spend) },
      { title: "Out", number: true, from: "medium", cell: (row) => shortTokens(row.spend.output_tokens) },
      { title: "Cost", number: true, cell: (row) => cost(row.spend), share: (row) => spent(row.spend) / most },
      { title: "$ / 1k calls", number: true, from: "wide", cell: (row) => (row.spend.calls && spent(row.spend) ? amount(Math.round((1000 * spent(row.spend)) / row.spend.calls)) : "") },
    ],
  });
}

function runsTable(data, { asked, clock, source }) {
  const byCost = asked.get("order") === "cost" || !source.live;
  const most = Math.max(...data.runs.map((run) => spent(run.spend)), 1);
  const choice = source.live ? [
    orderLink("newest", "Newest", !byCost, asked), orderLink("cost", "Most expensive", byCost, asked),
  ] : [];
  return table({
    caption: source.live ? "Runs" : "Most expensive runs", rows: data.runs, key: (run) => `run-${run.run_id}`, most: MOST_RUNS,
    links: [...choice, ...links(source, "runs", asked)],
    columns: [
      { title: "Program", class: "wide-cell", cell: (run) => runLink(run.run_id, run.name || run.program, source) },
      { title: "Run", from: "medium", cell: (run) => element("span", { class: "id", title: run.run_id }, run.run_id.slice(0, 8)) },
      { title: "When", from: "medium", cell: (run) => element("time", { title: clock.whole(run.started_at) }, clock.moment(run.started_at)) },
      { title: "Status", from: "medium", cell: (run) => runStatus(run) },
      { title: "Steps", number: true, from: "wide", cell: (run) => count(run.entered) },
      { title: "Calls", number: true, from: "medium", cell: (run) => count(run.spend.calls) },
      { title: "Duration", number: true, from: "medium", cell: (run) => (run.ended_at === null ? "…" : duration((run.ended_at - run.started_at) / 1e9)) },
      { title: "Breached", number: true, from: "wide", cell: (run) => count(run.breached, { class: "warn" }) },
      { title: "Cost", number: true, cell: (run) => cost(run.spend), share: (run) => spent(run.spend) / most },
    ],
  });
}

function orderLink(order, text, isCurrent, asked) {
  return element("a", { href: overviewWith(asked, { order: order === "newest" ? null : order }), "aria-current": isCurrent ? "true" : null }, text);
}

// A name that filters the page by it: in a file there is nothing to ask.
function filterLink(source, asked, changes, name) {
  return source.live ? element("a", { href: overviewWith(asked, changes) }, named(name)) : named(name);
}

function runLink(id, text, source) {
  return source.hasRun(id) ? element("a", { href: runAddress(id) }, named(text)) : named(text);
}

/** How a run has ended, in a word. */
export function runStatus(run) {
  if (run.status === "running") return element("span", { class: "running" }, "running");
  if (run.over) return element("span", { class: "bad" }, `over ${run.over}`);
  if (run.status === "left") return element("span", { class: "warn", title: "its processes are gone, and nobody has seen its end" }, "left");
  if (run.exit_code) return element("span", { class: "bad" }, `exit ${run.exit_code}`);
  return element("span", { class: "soft" }, "ended");
}

function breachesTable(breaches, { clock, source }) {
  if (!breaches.length) return quiet("Breaches", "No step has crossed a limit in the newest runs.");
  return table({
    caption: "Breaches", rows: breaches, key: (step) => `breach-${step.step_id}`, most: 10,
    columns: [
      { title: "Step", class: "wide-cell", cell: (step) => (source.hasRun(step.run_id) ? element("a", { href: runAddress(step.run_id, step.step_id) }, named(step.name)) : named(step.name)) },
      { title: "When", from: "medium", cell: (step) => (step.started_at === null ? "" : element("time", { title: clock.whole(step.started_at) }, clock.moment(step.started_at))) },
      { title: "Limit", from: "medium", cell: (step) => element("span", { class: "id" }, step.breach) },
      { title: "Run", from: "medium", cell: (step) => element("span", { class: "id", title: step.run_id }, step.run_id.slice(0, 8)) },
      { title: "Why", from: "wide", class: "why", cell: (step) => (step.error ? named(step.error, { class: "name soft" }) : "") },
      { title: "Then", from: "medium", cell: (step) => element("span", { class: step.status === "failed" ? "bad" : "soft" }, step.status) },
      { title: "Of", number: true, from: "medium", cell: (step) => (step.limits.max_usd ? amount(step.limits.max_usd * 1e12) : "") },
      { title: "Spent", number: true, cell: (step) => cost(step.total) },
    ],
  });
}

function wastedTable(data, { asked, source }) {
  const rows = data.steps.rows.filter((row) => row.wasted_picousd).sort((one, other) => other.wasted_picousd - one.wasted_picousd);
  if (!rows.length) return quiet("Wasted spend", "Nothing was spent in steps that failed or were skipped.");
  const most = rows[0].wasted_picousd;
  return table({
    caption: "Wasted spend", rows, key: (row) => `wasted-${row.key}`, most: 8,
    note: "Spent in runs of steps that failed or were skipped, and in the steps inside them.",
    columns: [
      { title: "Step", class: "wide-cell", cell: (row) => filterLink(source, asked, { step: exactly(row.key) }, row.name) },
      { title: "Of its spend", number: true, from: "medium", cell: (row) => percent(row.wasted_picousd, spent(row.total ?? row.spend)) },
      { title: "Wasted", number: true, cell: (row) => amount(row.wasted_picousd), share: (row) => row.wasted_picousd / most },
    ],
  });
}

function expensiveRuns(data, { clock, source }) {
  const details = source.details();
  const runs = data.runs.filter((run) => run.run_id in details);
  return element("section", { class: "block trees" },
    element("div", { class: "title" }, element("h2", { class: "caption" }, "Their trees")),
    runs.map((run) => element("details", {},
      element("summary", {}, named(run.program), element("span", { class: "soft" }, clock.moment(run.started_at)), cost(run.spend)),
      treeTable(details[run.run_id], { caption: `Steps of ${run.run_id.slice(0, 8)}`, level: "h3", link: (step) => runAddress(run.run_id, step) }))));
}

function quiet(caption, text) {
  return element("section", { class: "block" }, element("div", { class: "title" }, element("h2", { class: "caption" }, caption)), element("p", { class: "note" }, text));
}

function footnotes(data) {
  const { total, refused, failed, damaged } = data.steps;
  const notes = [
    total.unknown_calls && `${counted(total.unknown_calls, "call")} without a price`,
    total.estimated_calls && `${counted(total.estimated_calls, "call")} with an estimate (~)`,
    total.open_calls && `${counted(total.open_calls, "call")} in flight`,
    refused && `${counted(refused, "call")} refused by a budget`,
    failed && `${counted(failed, "call")} rejected by the provider, billed to nobody`,
  ].filter(Boolean);
  return [
    notes.length ? element("p", { class: "note" }, notes.join(" · ")) : null,
    damaged ? element("p", { class: "note" }, `${counted(damaged, "damaged line")} left out: ${shown(data.damaged.join("; "))}`) : null,
  ];
}

function links(source, path, asked, extra = {}) {
  return ["csv", "json"].map((format) => {
    const address = source.link(path, asked, format, extra);
    return address && element("a", { href: address, class: "format", target: "_blank", rel: "noopener" }, format.toUpperCase());
  }).filter(Boolean);
}
