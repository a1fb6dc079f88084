// The page: reads the address, asks for the numbers, shows them, and again when something has changed.

import { bar } from "./bar.js";
import { forgetOldCharts, redraw } from "./charts.js";
import { element } from "./dom.js";
import { diffPage } from "./diff.js";
import { listenToKeys } from "./keyboard.js";
import { fillIn, overview } from "./overview.js";
import { diffAddress, overviewWith, readPlace } from "./place.js";
import { runPage } from "./run.js";
import { openSource } from "./source.js";
import { failure, noRuns, nothingMatches } from "./states.js";
import { clock } from "./times.js";

const source = openSource();
const main = document.getElementById("main");
const page = {
  state: "waiting", choices: null, lastOverview: new URLSearchParams(), shows: null, asks: 0, around: null, isWaiting: null, choicesOf: null, marked: null,
  hasChanged: false, isChanging: false, seen: new Map(),
};

function go(address, scrollTo = null) {
  page.scrollTo = scrollTo;
  location.hash = address.slice(1);
}

async function show() {
  const place = readPlace();
  page.asks += 1;
  const ask = page.asks;
  if (place.page === "overview") page.lastOverview = place.asked;
  const parts = await partsOf(place).catch((error) => [failure(error, overviewWith(page.lastOverview))]);
  if (ask !== page.asks) return; // the reader has gone on
  const isSame = page.shows === location.hash;
  if (!isSame) showBar();
  keepingFocus(isSame, () => main.replaceChildren(...parts.filter(Boolean)));
  forgetOldCharts();
  pulse(isSame);
  if (page.marked) showMark();
  page.shows = location.hash;
  if (page.scrollTo) document.getElementById(page.scrollTo)?.scrollIntoView({ block: "start" });
  else if (!isSame) scrollTo(0, 0);
  page.scrollTo = null;
  await showAround(ask, place, isSame);
}

// What stands around the numbers of the overview is asked for when they are there.
async function showAround(ask, place, isSame) {
  const view = page.isWaiting;
  page.isWaiting = null;
  if (!view) return;
  const around = await source.context(place.asked).catch(() => null);
  if (!around || ask !== page.asks) return;
  page.around = around;
  fillIn(around, view);
  forgetOldCharts();
  pulse(isSame);
  const period = `${place.asked.get("since")} ${place.asked.get("until")}`;
  if (!source.live || page.choicesOf === period) return;
  page.choices = await source.choices(place.asked).catch(() => null);
  page.choicesOf = page.choices && period;
  if (ask === page.asks) showBar();
}

// One view at a time: a store that is busy is not asked again before it has answered.
async function showChange() {
  page.hasChanged = true;
  if (page.isChanging) return;
  page.isChanging = true;
  while (page.hasChanged) {
    page.hasChanged = false;
    await show();
  }
  page.isChanging = false;
}

async function partsOf(place) {
  page.isWaiting = null;
  const back = overviewWith(page.lastOverview);
  if (place.page === "run") {
    const detail = await source.run(place.id);
    document.title = `${detail.run.program} · harn steps`;
    return runPage(detail, { at: place.asked.get("at"), clock: clock(source.zone, detail.now), source, back });
  }
  if (place.page === "diff") {
    const found = await source.diff(place.asked);
    document.title = "difference · harn steps";
    return diffPage(found, { clock: clock(source.zone, found.now), source, back, asked: place.asked });
  }
  const data = await source.overview(place.asked);
  document.title = "harn steps";
  if (!data.any) return [noRuns()];
  if (!data.steps.total.calls && !data.steps.total.open_calls && !data.runs.length) return [nothingMatches("#/?since=all")];
  const view = { asked: place.asked, clock: clock(source.zone, data.now), source, go };
  page.isWaiting = view;
  return overview(data, page.shows === location.hash ? page.around : null, view);
}

function showBar() {
  const isTyping = document.activeElement?.matches("#bar input") && document.activeElement.value !== (page.lastOverview.get("step") ?? "");
  if (isTyping) return;
  const focused = document.activeElement?.closest("#bar")?.contains(document.activeElement) && document.activeElement.name;
  document.getElementById("bar").replaceChildren(...bar({ asked: page.lastOverview, choices: page.choices, state: page.state, source, go }));
  if (focused) document.querySelector(`#bar [name=${focused}]`)?.focus();
}

// Where the reader was stays, when the same view is shown with new numbers.
function keepingFocus(isSame, replace) {
  const key = document.activeElement?.closest("tr[data-key]")?.dataset.key;
  const open = [...main.querySelectorAll("details")].map((each) => each.open);
  replace();
  if (!isSame) return;
  main.querySelectorAll("details").forEach((each, index) => { each.open = open[index] ?? false; });
  if (key) main.querySelector(`tr[data-key="${CSS.escape(key)}"] a`)?.focus({ preventScroll: true });
}

// A row that has come or changed pulses once.
function pulse(isNews) {
  const seen = new Map();
  for (const row of main.querySelectorAll("tr[data-key]")) {
    const { key } = row.dataset;
    seen.set(key, row.textContent);
    if (isNews && page.seen.get(key) !== row.textContent) row.classList.add("arrived");
  }
  page.seen = seen;
}

function setState(state) {
  if (state === "lost") document.getElementById("said").textContent = "The connection to the server is lost.";
  else if (page.state === "lost") document.getElementById("said").textContent = "The page is live again.";
  page.state = state;
  const shown = document.querySelector("#bar .state");
  if (shown) shown.replaceWith(...bar({ asked: page.lastOverview, choices: page.choices, state, source, go }).slice(-1));
}

// The first run is kept in mind, the second one is compared with it.
function compare(key) {
  const place = readPlace();
  const run = place.page === "run" ? place.id : key?.startsWith("run-") ? key.slice("run-".length) : null;
  if (!run || !source.diff) return;
  const first = page.marked;
  page.marked = first && first !== run ? null : run;
  if (first && first !== run) go(diffAddress(first, run));
  showMark();
}

function showMark() {
  document.getElementById("said").textContent = page.marked ? `Marked ${page.marked.slice(0, 8)}. Press d on another run.` : "";
  for (const row of main.querySelectorAll("tr[data-key]")) row.classList.toggle("chosen", row.dataset.key === `run-${page.marked}`);
}

addEventListener("hashchange", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("print");
  for (const each of main.querySelectorAll(".trees details")) each.open = true;
  redraw();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("print");
  redraw();
});
listenToKeys({
  compare,
  back: () => (readPlace().page === "overview" ? go("#/") : go(overviewWith(page.lastOverview))),
});
source.listen({
  change: showChange,
  state(state) {
    setState(state);
    if (state === "lost" && page.shows === null) showChange();
  },
  old() {
    if (document.querySelector(".old")) return;
    document.body.prepend(element("p", { class: "old" }, "This page is of an older version. ", element("a", { href: "", on: { click: () => location.reload() } }, "Reload")));
  },
});
if (!source.live) show(); // a server says when there is something to show
