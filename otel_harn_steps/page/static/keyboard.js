// The keyboard: `/` filter, `j` `k` rows, `enter` open, `esc` back, `d` difference, `?` help.

import { element } from "./dom.js";

const KEYS = [
  ["/", "filter by step"], ["j  k", "next, previous row"], ["enter", "open the row"], ["esc", "back"],
  ["d", "mark a run; on another one: their difference"], ["?", "this list"],
];

/** Listens to keys. `back()` leaves the view, `compare` gets the key of the row that has the focus, or null. */
export function listenToKeys({ back, compare }) {
  const help = document.getElementById("help");
  help.append(element("h2", { id: "help-title" }, "Keyboard"), element("dl", {}, KEYS.map(([key, text]) =>
    element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, text)))),
  element("form", { method: "dialog" }, element("button", { class: "plain" }, "close")));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const isTyping = event.target.matches("input, select, textarea");
    if (event.key === "Escape" && isTyping) {
      if (event.target.matches("input")) event.target.value = event.target.defaultValue; // what was only typed is left out
      event.target.blur();
    }
    if (event.key === "Escape" && !isTyping) back();
    if (isTyping) return;
    const act = { "/": focusFilter, j: () => move(1), k: () => move(-1), "?": () => help.showModal(), d: () => compare(currentRow()?.dataset.key ?? null) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function focusFilter() {
  document.querySelector("input[name=step]")?.focus();
}

function currentRow() {
  return document.activeElement?.closest("tr[data-key]");
}

function move(by) {
  const rows = [...document.querySelectorAll("main tr[data-key]")].filter((row) => row.checkVisibility() && row.querySelector("a"));
  const at = rows.indexOf(currentRow());
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by;
  rows[next]?.querySelector("a").focus();
}
