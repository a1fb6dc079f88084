// What the page says where it has no numbers to show.

import { element, shown } from "./dom.js";

const COMMAND = "otel-harn-steps run -- python app.py";

/** No run was ever recorded. */
export function noRuns() {
  const copy = element("button", { type: "button", class: "plain", on: { async click() {
    await navigator.clipboard.writeText(COMMAND).catch(() => getSelection().selectAllChildren(code));
    copy.textContent = "copied";
  } } }, "copy");
  const code = element("code", {}, COMMAND);
  return element("section", { class: "empty" }, element("h1", {}, "No runs yet"),
    element("p", {}, "Run your program like this. It needs no change, and its steps appear here as they happen."),
    element("p", { class: "command" }, code, copy));
}

/** There are runs, and none that the filter lets through. */
export function nothingMatches(cleared) {
  return element("section", { class: "empty" }, element("h1", {}, "Nothing matches"),
    element("p", {}, "No call in this period passes the filter. ", element("a", { href: cleared }, "Clear the filter")));
}

/** Something that cannot be shown. */
export function failure(error, back) {
  return element("section", { class: "empty" }, element("h1", {}, "That cannot be shown"),
    element("p", {}, shown(error.message)), element("p", {}, element("a", { href: back }, "Back to all runs")));
}
