// Tables: real ones, with what does not fit on a phone a tap away.

import { element, named } from "./dom.js";
import { counted } from "./numbers.js";

/**
 * A table.
 *
 * A column has `title`, `cell(row)`; `number` aligns it to the right; `from` "medium" or "wide" leaves it out on
 * narrower screens; `share(row)`, 0 to 1, puts a bar behind it. The first column is the row's header.
 * `of` is a name behind the caption.
 */
export function table({ caption, of = null, columns, rows, key, most = Infinity, links = [], note = null, level = "h2", after = null }) {
  const heading = element(level, { class: "caption", id: `${caption.toLowerCase().replace(/\W+/g, "-")}` }, caption, of && [" of ", named(of)]);
  const head = element("tr", {},
    columns.map((column) => element("th", { scope: "col", class: classes(column), title: column.hint }, column.title)),
    element("th", { scope: "col", class: "more" }, element("span", { class: "unseen" }, "More")));
  const body = element("tbody", {}, rows.slice(0, most).flatMap((row) => tableRow(columns, row, key, after)));
  const made = element("table", { "aria-labelledby": heading.id }, element("thead", {}, head), body);
  return element("section", { class: "block" },
    element("div", { class: "title" }, heading, element("span", { class: "links" }, links)),
    scrolling(made, heading.id),
    rows.length > most ? moreRows(rows.length - most, () => {
      body.append(...rows.slice(most).flatMap((row) => tableRow(columns, row, key, after)));
    }) : null,
    note && element("p", { class: "note" }, note));
}

// What can be scrolled can be reached by the keyboard; what cannot is no stop.
function scrolling(made, labelledBy) {
  const box = element("div", { class: "scroll", role: "group", "aria-labelledby": labelledBy }, made);
  new ResizeObserver(() => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }).observe(box);
  return box;
}

function tableRow(columns, row, key, after) {
  const cells = columns.map((column, index) => {
    const tag = index ? "td" : "th";
    const cell = element(tag, { class: classes(column), scope: index ? null : "row" }, column.cell(row));
    const share = column.share?.(row);
    if (share > 0) {
      cell.classList.add("share");
      cell.style.setProperty("--share", `${Math.max(1, Math.min(100, 100 * share)).toFixed(1)}%`);
    }
    return cell;
  });
  const made = element("tr", { "data-key": key(row), class: row.rowClass ?? null }, cells);
  made.append(element("td", { class: "more" }, moreButton(made, columns, row)));
  return [made, ...(after?.(row) ?? [])];
}

// What the screen has no room for, as a row below.
function moreButton(made, columns, row) {
  const hidden = columns.filter((column) => column.from);
  if (!hidden.length) return "";
  const button = element("button", { type: "button", class: "plain", "aria-expanded": "false", on: { click: toggle } }, "more");
  let opened = null;
  function toggle() {
    if (opened) opened.remove();
    opened = opened ? null : element("tr", { class: "opened" }, element("td", { colspan: columns.length + 1 },
      element("dl", {}, hidden.map((column) => element("div", { class: column.from },
        element("dt", {}, column.title), element("dd", {}, column.cell(row)))))));
    if (opened) made.after(opened);
    button.setAttribute("aria-expanded", String(Boolean(opened)));
    button.textContent = opened ? "less" : "more";
  }
  return button;
}

function moreRows(count, onClick) {
  return element("button", { type: "button", class: "plain rest", on: { click(event) {
    onClick();
    event.currentTarget.remove();
  } } }, `and ${counted(count, "more")}`.replace(/mores$/, "more"));
}

function classes(column) {
  return [column.number && "number", column.from, column.class].filter(Boolean).join(" ") || null;
}
