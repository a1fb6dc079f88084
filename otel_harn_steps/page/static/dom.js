// Elements, made by hand. All text becomes text nodes: nothing that a user named is ever read as HTML.

/** An element. `on` has listeners by event, `vars` has custom properties of CSS; an attribute that is null is left out. */
export function element(tag, { on = {}, vars = {}, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  for (const [name, value] of Object.entries(vars)) made.style.setProperty(`--${name}`, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A name that a user gave: cut with an ellipsis by the style, whole on hover, in its own direction of writing. */
export function named(text, attributes = {}) {
  const safe = shown(text);
  return element("bdi", { class: "name", title: safe, ...attributes }, safe);
}

/** A text whose invisible characters are written out, as `shown` of the terminal does. */
export function shown(text) {
  return String(text).replace(/[\p{C}\p{Z}]/gu, (each) => (each === " " ? each : escaped(each)));
}

function escaped(character) {
  const short = { "\t": "\\t", "\n": "\\n", "\r": "\\r" }[character];
  if (short) return short;
  const code = character.codePointAt(0);
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
