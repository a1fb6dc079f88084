// The tree of a run: what each run of a step has spent, by itself and with all inside it.

import { cost } from "./amounts.js";
import { element, named } from "./dom.js";
import { dollars, share, spent } from "./numbers.js";
import { table } from "./table.js";

/** The runs of steps as a table, each inside the one that it ran in. */
export function treeTable(detail, { caption = "Steps", level = "h2", link, chosen = null, links = [] }) {
  const depths = depthsOf(detail.steps);
  const whole = spent(detail.run.spend) || 1;
  const rows = detail.steps.map((step) => ({ ...step, rowClass: step.step_id === chosen ? "chosen" : null }));
  const loose = looseSpend(detail);
  if (loose) rows.push({ ...loose, rowClass: chosen === "" ? "chosen" : null });
  return table({
    caption, level, rows, links, key: (step) => `tree-${step.step_id}`,
    columns: [
      { title: "Step", class: "wide-cell", cell: (step) => element("span", { class: "branch", vars: { depth: depths.get(step.step_id) ?? 0 } },
        element("a", { href: link(step.step_id), "aria-current": step.step_id === chosen ? "true" : null }, named(step.name)),
        step.detail ? named(step.detail, { class: "name soft" }) : null) },
      { title: "Status", from: "medium", cell: (step) => stepStatus(step) },
      { title: "Budget", from: "medium", cell: (step) => budget(step) },
      { title: "Own", number: true, from: "medium", cell: (step) => cost(step.own) },
      { title: "Total", number: true, cell: (step) => cost(step.total), share: (step) => spent(step.total) / whole },
    ],
  });
}

/** How a run of a step has ended, in a word. */
export function stepStatus(step) {
  if (!step.status) return "";
  const kind = { completed: "soft", running: "running", failed: "bad", escalated: "bad" }[step.status] ?? "warn";
  const over = step.breach && `over ${step.breach}`;
  const text = [step.status === "completed" && over ? null : step.status, over].filter(Boolean).join(", ");
  return element("span", { class: step.breach && kind === "soft" ? "warn" : kind, title: step.error ?? null }, text);
}

function budget(step) {
  const limit = step.limits.max_usd;
  if (!limit) return "";
  const used = spent(step.total) / (limit * 1e12);
  return element("span", { class: used > 1 ? "budget over" : used > 0.8 ? "budget near" : "budget", title: `${share(used)} of ${dollars(limit * 1e12)}` },
    element("span", { class: "gauge", "aria-hidden": "true", vars: { used: `${Math.min(100, 100 * used).toFixed(1)}%` } }), dollars(limit * 1e12));
}

function depthsOf(steps) {
  const depths = new Map();
  for (const step of steps) depths.set(step.step_id, step.parent_id === null ? 0 : (depths.get(step.parent_id) ?? -1) + 1);
  return depths;
}

// The calls that no step claims, as a row of their own.
function looseSpend(detail) {
  const calls = detail.calls.filter((call) => call.step_id === null);
  if (!calls.length) return null;
  const billed = calls.filter((call) => call.outcome === "answered" || call.outcome === "cut");
  const sum = (field) => billed.reduce((whole, call) => whole + (call[field] ?? 0), 0);
  const spend = {
    calls: billed.length, open_calls: calls.filter((call) => call.outcome === "open").length,
    cost_picousd: sum("cost_picousd"), estimated_cost_picousd: sum("estimated_cost_picousd"),
    priced_calls: billed.filter((call) => call.cost_picousd !== null).length,
    unknown_calls: billed.filter((call) => call.cost_picousd === null && !call.estimated_cost_picousd).length,
  };
  return { step_id: "", name: "(no step)", own: spend, total: spend, limits: {}, status: null };
}
