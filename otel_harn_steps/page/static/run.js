// One run: its tree on the left, the calls of the chosen step on a time line on the right.

import { callCost, cost, count } from "./amounts.js";
import { element, named, shown } from "./dom.js";
import { counted, dollars, duration, grouped } from "./numbers.js";
import { runAddress } from "./place.js";
import { runStatus } from "./overview.js";
import { table } from "./table.js";
import { stepStatus, treeTable } from "./tree.js";

/** The page of a run. `at` is the id of the chosen step, "" for calls of no step, null for all. */
export function runPage(detail, { at, clock, source, back }) {
  const { run } = detail;
  const chosen = detail.steps.find((step) => step.step_id === at) ?? null;
  const inside = new Set(chosen ? idsBelow(detail.steps, chosen.step_id) : []);
  const calls = detail.calls.filter((call) => at === null || (at === "" ? call.step_id === null : inside.has(call.step_id)));
  return [
    element("p", { class: "crumbs" }, element("a", { href: back }, "All runs")),
    element("div", { class: "heading" },
      element("h1", {}, named(run.name || run.program)),
      element("p", { class: "soft" }, ...facts(run, clock))),
    element("div", { class: "pair run" },
      treeTable(detail, { link: (step) => runAddress(run.run_id, step === at ? null : step), chosen: at,
        links: source.live ? [element("a", { class: "format", href: source.link(`run/${run.run_id}`, "", "csv") }, "CSV"), element("a", { class: "format", href: source.link(`run/${run.run_id}`, "", "json") }, "JSON")] : [] }),
      element("div", { class: "calls" }, chosen ? stepFacts(chosen) : null, callsTable(calls, detail, chosen, at, clock))),
    ...notes(detail, clock),
  ];
}

function facts(run, clock) {
  const ended = run.ended_at === null ? [] : [duration((run.ended_at - run.started_at) / 1e9)];
  const limit = run.limits.max_usd ? ` of ${dollars(run.limits.max_usd * 1e12)}` : "";
  const parts = [
    element("b", {}, cost(run.spend), limit), runStatus(run), element("time", { title: clock.whole(run.started_at) }, clock.moment(run.started_at)),
    ...ended, counted(run.spend.calls, "call"), element("span", { class: "id" }, run.run_id),
    run.source === "journal" ? null : `from ${run.source}`,
  ].filter(Boolean);
  return parts.flatMap((part, index) => (index ? [" · ", part] : [part]));
}

function stepFacts(step) {
  const labels = Object.entries(step.labels).map(([name, value]) => `${name}=${value}`);
  const limits = Object.entries(step.limits).map(([name, value]) => `${name} ${value}`);
  const lasted = step.ended_at !== null && step.started_at !== null ? duration((step.ended_at - step.started_at) / 1e9) : null;
  const parts = [
    stepStatus(step), step.agent && ["agent ", named(step.agent)], lasted, limits.length && limits.join(", "),
    labels.length && named(labels.join(", ")), step.budget_events.length && step.budget_events.join(", "),
    step.trace_id && element("span", { class: "id", title: "trace id" }, step.trace_id),
  ].filter(Boolean);
  return element("div", { class: "chosen-step" },
    element("p", { class: "soft" }, parts.flatMap((part, index) => (index ? [" · ", part] : [part])).flat()),
    step.error ? element("p", { class: "bad error" }, shown(step.error)) : null);
}

function callsTable(calls, detail, chosen, at, clock) {
  const ends = calls.map((call) => (call.duration_ns === null ? endOf(detail) : call.sent_at + call.duration_ns));
  const from = Math.min(...calls.map((call) => call.sent_at));
  const length = Math.max(...ends) - from || 1;
  const steps = new Set(calls.map((call) => call.step_id));
  const sources = new Set(calls.map(priceSource));
  return table({
    caption: at === "" ? "Calls of no step" : "Calls", of: chosen?.name, rows: calls, key: (call) => `call-${call.call_id}`, most: 200,
    note: !calls.length ? "No calls." : sources.size === 1 ? `Prices: ${shown([...sources][0])}.` : null,
    columns: [
      { title: "Model", class: "wide-cell", cell: (call) => named(call.model ?? call.requested_model ?? "not named") },
      ...(steps.size > 1 ? [{ title: "Step", from: "medium", class: "step-cell", cell: (call) => named(call.step, { class: "name soft" }) }] : []),
      { title: calls.length ? `0 – ${duration(length / 1e9)}` : "Time", class: "line-cell", cell: (call) => line(call, from, length, clock) },
      { title: "In", number: true, from: "medium", cell: (call) => tokenCell(call, "input_tokens", call.cache_write_tokens && `${grouped(call.cache_write_tokens)} of them written to a cache`) },
      { title: "Cached", number: true, from: "wide", cell: (call) => count(call.cache_read_tokens) },
      { title: "Out", number: true, from: "medium", cell: (call) => tokenCell(call, "output_tokens", call.reasoning_tokens && `${grouped(call.reasoning_tokens)} of them reasoning`) },
      ...(sources.size > 1 ? [{ title: "From", from: "wide", class: "step-cell", cell: (call) => named(priceSource(call), { class: "name soft" }) }] : []),
      { title: "Cost", number: true, cell: (call) => callCost(call) },
    ],
  });
}

function line(call, from, length, clock) {
  const end = call.duration_ns === null ? from + length : call.sent_at + call.duration_ns;
  const text = call.duration_ns === null ? "in flight" : duration(call.duration_ns / 1e9);
  const start = (call.sent_at - from) / length;
  return element("span", { class: `line ${call.outcome}`, title: `${clock.whole(call.sent_at)}, ${text}`,
    vars: { from: `${(100 * start).toFixed(2)}%`, length: `${Math.max(0.6, (100 * (end - call.sent_at)) / length).toFixed(2)}%` } },
  element("span", { class: start > 0.6 ? "took before" : "took" }, call.outcome === "answered" ? text : call.outcome === "open" ? text : `${text}, ${call.outcome}`));
}

function tokenCell(call, field, title) {
  if (call[field] !== null) return element("span", { title: title || null }, grouped(call[field]));
  return element("span", { class: "unknown" }, call.outcome === "open" ? "…" : ["answered", "cut"].includes(call.outcome) ? "?" : "–");
}

// Where the price of a call is from, and how sure its numbers are.
function priceSource(call) {
  if (call.outcome === "open") return "in flight";
  if (!["answered", "cut"].includes(call.outcome)) return "not billed";
  return `${call.price_book ?? "no price"}, ${call.certainty}`;
}

function notes(detail, clock) {
  const gone = detail.processes.filter((each) => each.status === "left");
  const texts = [
    detail.processes.length > 1 && `${counted(detail.processes.length, "process")}`.replace(/sss$/, "sses"),
    gone.length && detail.calls.some((call) => call.outcome === "open") && "in flight when its process ended: what such a call has cost is not known",
    ...detail.notes.map(([event, , often]) => (often > 1 ? `${shown(event)} ×${often}` : shown(event))),
    detail.damaged.length && `${counted(detail.damaged.length, "damaged line")} left out: ${shown(detail.damaged.slice(0, 3).join("; "))}`,
  ].filter(Boolean);
  return texts.length ? [element("footer", {}, element("p", { class: "note" }, texts.join(" · ")))] : [];
}

function endOf(detail) {
  const last = Math.max(...detail.calls.map((call) => call.sent_at + (call.duration_ns ?? 0)));
  return detail.run.status === "running" ? Math.max(last, detail.now ?? 0) : last + 1e9;
}

function idsBelow(steps, id) {
  const found = new Set([id]);
  for (const step of steps) if (found.has(step.parent_id)) found.add(step.step_id);
  return found;
}
