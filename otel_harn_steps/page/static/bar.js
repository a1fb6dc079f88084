// The bar at the top: the filters, which live in the address, and whether the page is live.

import { element, named, shown } from "./dom.js";
import { exactly, overviewWith, PERIOD } from "./place.js";

const PERIODS = { "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", "90d": "last 90 days", all: "all time" };

/** The bar. `choices` are the names that there are by filter; `go` moves to an address. */
export function bar({ asked, choices, state, source, go }) {
  const change = (changes) => go(overviewWith(asked, changes));
  const home = element("a", { class: "home", href: "#/" }, "harn steps");
  if (!source.live) return [home, element("p", { class: "soft" }, named(source.filter))];
  return [
    home,
    element("form", { class: "filters", role: "search", "aria-label": "Filter", on: { submit: (event) => event.preventDefault() } },
      period(asked, change), select("program", "all programs", asked, choices, change), stepField(asked, choices, change),
      select("model", "all models", asked, choices, change), ...others(asked)),
    element("span", { class: `state ${state}` }, { live: "live", lost: "not connected", waiting: "…" }[state]),
  ];
}

function period(asked, change) {
  const since = asked.get("since") ?? PERIOD;
  const until = asked.get("until");
  const options = Object.entries(PERIODS).map(([value, text]) => option(value, text, value === since && !until));
  if (until || !(since in PERIODS)) options.unshift(option("", until ? between(since, until) : `since ${since}`, true));
  return element("label", {}, element("span", { class: "unseen" }, "Period"), element("select", { name: "since", on: {
    change: (event) => event.target.value && change({ since: event.target.value === PERIOD ? null : event.target.value, until: null }),
  } }, options));
}

function between(since, until) {
  const next = new Date(`${since}T00:00:00Z`);
  const isDay = !Number.isNaN(next.getTime()) && new Date(next.getTime() + 86400e3).toISOString().slice(0, 10) === until;
  return isDay ? since : `${since} to ${until}`.replaceAll("T", " ");
}

function select(name, all, asked, choices, change) {
  const chosen = asked.get(name) ?? "";
  const patterns = new Map((choices?.[name] ?? []).map((each) => [exactly(each), each]));
  if (chosen && !patterns.has(chosen)) patterns.set(chosen, chosen);
  return element("label", {}, element("span", { class: "unseen" }, name), element("select", { name, on: { change: (event) => change({ [name]: event.target.value }) } },
    option("", all, !chosen), [...patterns].map(([pattern, each]) => option(pattern, shown(each), pattern === chosen))));
}

function stepField(asked, choices, change) {
  const chosen = asked.get("step") ?? "";
  return element("label", {}, element("span", { class: "unseen" }, "step"),
    element("input", { name: "step", type: "text", placeholder: "all steps", value: chosen, list: "step-names", autocomplete: "off", spellcheck: "false", title: "a name or a pattern such as re*",
      on: { change: (event) => change({ step: event.target.value.trim() }) } }),
    element("datalist", { id: "step-names" }, (choices?.step ?? []).map((each) => element("option", { value: exactly(each) }))));
}

// Filters without a field of their own: shown as links that take them away.
function others(asked) {
  return ["agent", "provider", "label"].filter((name) => asked.has(name)).map((name) => element("a", {
    class: "chip", href: overviewWith(asked, { [name]: null }), title: "take this filter away",
  }, `${name} ${shown(asked.get(name))} ×`));
}

function option(value, text, selected) {
  return element("option", { value, selected }, text);
}
