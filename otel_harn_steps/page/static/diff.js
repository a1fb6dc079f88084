// Two runs: what changed, as sentences between them, and then the table.

import { amount } from "./amounts.js";
import { element, named } from "./dom.js";
import { counted, dollars, exactDollars, grouped, percent, share } from "./numbers.js";
import { diffAddress, runAddress } from "./place.js";
import { table } from "./table.js";

const MOST_SENTENCES = 8;

/** The page of a difference. */
export function diffPage(found, { clock, source, back, asked }) {
  const { total } = found;
  const changed = found.rows.filter((row) => row.change_picousd);
  return [
    element("p", { class: "crumbs" }, element("a", { href: back }, "All runs")),
    element("div", { class: "heading" },
      element("h1", {}, signed(total.change_picousd)),
      element("p", { class: "soft" }, found.change_share === null ? "nothing was spent before" : `${found.change_share < 0 ? "−" : "+"}${share(Math.abs(found.change_share))}`,
        " · ", element("a", { href: diffAddress(asked.get("b"), asked.get("a")) }, "the other way round"))),
    element("div", { class: "sides" },
      side(found.base_run, total.base, clock),
      element("ul", { class: "sentences" }, changed.length ? changed.slice(0, MOST_SENTENCES).map(sentence) : element("li", {}, "Nothing has changed.")),
      side(found.head_run, total.head, clock)),
    table({
      caption: "Steps", rows: found.rows, key: (row) => `diff-${row.key}`, most: 50, note: found.notes.join(" · ") || null,
      links: [element("a", { class: "format", href: source.link("diff", asked, "csv") }, "CSV"), element("a", { class: "format", href: source.link("diff", asked, "json") }, "JSON")],
      columns: [
        { title: "Step", class: "wide-cell", cell: (row) => named(row.key) },
        { title: "Calls", number: true, from: "medium", cell: (row) => both(row, (each) => grouped(each.calls)) },
        { title: "Input", number: true, from: "medium", hint: "tokens a call", cell: (row) => both(row, (each) => aCall(each, each.input_tokens)) },
        { title: "Cached", number: true, from: "wide", cell: (row) => both(row, (each) => percent(each.cache_read_tokens, each.input_tokens)) },
        { title: "Output", number: true, from: "medium", hint: "tokens a call", cell: (row) => both(row, (each) => aCall(each, each.output_tokens)) },
        { title: "Before", number: true, from: "medium", cell: (row) => sideCost(row.base) },
        { title: "After", number: true, from: "medium", cell: (row) => sideCost(row.head) },
        { title: "Change", number: true, cell: (row) => element("span", { class: "money", title: exactDollars(Math.abs(row.change_picousd)) }, signed(row.change_picousd)) },
      ],
    }),
  ];
}

function side(run, total, clock) {
  return element("div", {},
    element("p", { class: "caption" }, element("a", { href: runAddress(run.run_id) }, named(run.name || run.program))),
    element("p", { class: "value" }, sideCost(total)),
    element("p", { class: "soft" }, element("time", { title: clock.whole(run.started_at) }, clock.moment(run.started_at)), " · ", element("span", { class: "id" }, run.run_id.slice(0, 8))),
    element("p", { class: "soft" }, counted(total.calls, "call")),
    element("p", { class: "soft" }, named(Object.keys(total.models).join(", "))));
}

function sentence(row) {
  return element("li", {}, named(row.key, { class: "name step-name" }), " ", element("b", { class: row.change_picousd > 0 ? "warn" : null }, signed(row.change_picousd)),
    element("span", { class: "soft" }, `: ${row.reasons.join(", ")}`));
}

function sideCost(side) {
  if (!side.calls) return element("span", { class: "soft" }, "–");
  if (side.unknown_calls === side.calls) return amount(null);
  return element("span", { class: side.estimated_picousd ? "estimated" : "money", title: exactDollars(side.cost_picousd) },
    `${side.estimated_picousd ? "~" : ""}${dollars(side.cost_picousd)}${side.unknown_calls ? "?" : ""}`);
}

function both(row, text) {
  const [before, after] = [row.base, row.head].map((each) => (each.calls ? text(each) : "–"));
  return before === after ? element("span", { class: "soft" }, after) : element("span", {}, element("span", { class: "soft" }, `${before} → `), after);
}

function aCall(side, count) {
  return side.metered_calls ? grouped(Math.round(count / side.metered_calls)) : "?";
}

function signed(picousd) {
  return picousd ? `${picousd < 0 ? "−" : "+"}${dollars(Math.abs(picousd))}` : "$0";
}
