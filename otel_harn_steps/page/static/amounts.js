// Cells with money and tokens: an estimate has a tilde, what is not known has a question mark, never a zero.

import { element } from "./dom.js";
import { costMarks, counted, dollars, exactDollars, grouped, percent, spent, tokens } from "./numbers.js";

/** What a spend has cost. */
export function cost(spend) {
  const [text, marks] = costMarks(spend);
  const kind = text.startsWith("~") ? "estimated" : text.startsWith("$") ? null : "unknown";
  return element("span", { class: "money", title: explained(spend) },
    element("span", { class: kind }, text || "–"), marks && element("span", { class: "marks" }, marks));
}

/** An amount that may hold estimates; null is not known. */
export function amount(picousd) {
  if (picousd === null || picousd === undefined) return element("span", { class: "unknown" }, "?");
  return element("span", { class: "money", title: exactDollars(picousd) }, dollars(picousd));
}

/** What one call has cost. */
export function callCost(call) {
  if (call.outcome === "open") return element("span", { class: "soft", title: "in flight" }, "…");
  if (["failed", "refused", "void"].includes(call.outcome)) return element("span", { class: "soft" }, "–");
  if (call.estimated_cost_picousd) {
    const whole = (call.cost_picousd ?? 0) + call.estimated_cost_picousd;
    return element("span", { class: "estimated", title: `${exactDollars(whole)}, estimated` }, `~${dollars(whole)}`);
  }
  if (call.cost_picousd === null) return element("span", { class: "unknown", title: "no price is known" }, "?");
  return amount(call.cost_picousd);
}

/** Tokens in few digits, with the exact count on hover. */
export function shortTokens(count) {
  return element("span", { title: `${grouped(count)} tokens` }, tokens(count));
}

/** The share of the input that a cache has answered. */
export function cachedShare(spend) {
  return spend.cache_read_tokens ? percent(spend.cache_read_tokens, spend.input_tokens) : element("span", { class: "soft" }, "–");
}

/** A count; nothing is a dash. */
export function count(value, attributes = {}) {
  return value ? element("span", attributes, grouped(value)) : element("span", { class: "soft" }, "–");
}

function explained(spend) {
  return [
    exactDollars(spend.cost_picousd),
    spend.estimated_cost_picousd && `and ${exactDollars(spend.estimated_cost_picousd)} estimated`,
    spend.unknown_calls && `${counted(spend.unknown_calls, "call")} without a price`,
    spend.open_calls && `${counted(spend.open_calls, "call")} in flight`,
  ].filter(Boolean).join("; ");
}
