// The colours of steps: the same step has the same colour, and no two in one view do as long as there are enough.

const COLOURS = 8;
const given = new Map();

/** The name of the custom property with the colour of each key, in the order of the keys. */
export function coloursOf(keys) {
  const taken = new Set();
  return keys.map((key) => {
    let colour = given.get(key) ?? hash(key) % COLOURS;
    for (let tried = 0; taken.has(colour) && tried < COLOURS; tried += 1) colour = (colour + 1) % COLOURS;
    taken.add(colour);
    given.set(key, colour);
    return `--colour-${colour + 1}`;
  });
}

/** The custom property of a key that a view has shown; null if none has. */
export function colourOf(key) {
  return given.has(key) ? `--colour-${given.get(key) + 1}` : null;
}

function hash(text) {
  let value = 2166136261;
  for (const each of text) value = Math.imul(value ^ each.codePointAt(0), 16777619);
  return value >>> 0;
}
