// Numbers as people read them: the rules of store/_numbers.py. A test holds both to the same texts.

const PICOUSD = 1e12;
const UNITS = [[1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"]];

/** `$0.0123`, `$12.34`, `$1,234`; `<$0.0001` for less, and `$0` only for nothing at all. */
export function dollars(picousd) {
  if (picousd === 0) return "$0";
  if (picousd < PICOUSD / 1e4) return "<$0.0001";
  const small = rounded(picousd, PICOUSD / 1e4);
  if (small < 10_000) return `$0.${String(small).padStart(4, "0")}`;
  const cents = rounded(picousd, PICOUSD / 100);
  if (cents < 100_000) return `$${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`;
  return `$${grouped(rounded(picousd, PICOUSD))}`;
}

/** The dollars to the last pico-dollar, for who hovers or copies. */
export function exactDollars(picousd) {
  const digits = String(Math.round(picousd)).padStart(13, "0");
  const part = digits.slice(-12).replace(/0+$/, "");
  return `$${digits.slice(0, -12)}${part && `.${part}`}`;
}

/** `840 ms`, `3.2 s`, `42 s`, `4 min`, `1.5 h`. */
export function duration(seconds) {
  if (seconds < 0.9995) return `${fixed(seconds * 1000, 0)} ms`;
  if (seconds < 9.95) return `${fixed(seconds, 1)} s`;
  if (seconds < 120) return `${fixed(seconds, 0)} s`;
  if (seconds < 7200) return `${fixed(seconds / 60, 0)} min`;
  return `${fixed(seconds / 3600, 1)} h`;
}

/** `840`, `1.2k`, `3.4M`, `12M`: for headlines. */
export function tokens(count) {
  if (count < 1000) return String(count);
  const [unit, name] = UNITS.find(([each]) => count < (999_500 * each) / 1000) ?? UNITS.at(-1);
  const tenths = rounded(count, unit / 10);
  return tenths < 100 ? `${(tenths / 10).toFixed(1)}${name}` : `${grouped(rounded(count, unit))}${name}`;
}

/** `1,234,567`. */
export function grouped(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 call`, `2 calls`. */
export function counted(count, what) {
  return `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;
}

/** `41 %`, `6.1 %` below ten, `<0.1 %`; `-` of nothing. */
export function percent(part, whole) {
  if (whole <= 0) return "-";
  const thousandths = rounded(part * 1000, whole);
  if (part && !thousandths) return "<0.1 %";
  if (thousandths < 100 && thousandths % 10) return `${Math.floor(thousandths / 10)}.${thousandths % 10} %`;
  return `${rounded(part * 100, whole)} %`;
}

/** A share between 0 and 1 as a percentage. */
export function share(value) {
  return percent(Math.round(value * 1e6), 1e6);
}

/** What was spent, and the marks behind it, as `cost_marks` of the terminal. */
export function costMarks(spend) {
  const marks = (spend.unknown_calls ? "?" : "") + (spend.open_calls ? "…" : "");
  if (!spend.calls || spend.unknown_calls === spend.calls) return [marks, ""];
  return [(spend.estimated_cost_picousd ? "~" : "") + dollars(spent(spend)), marks];
}

/** What a spend has cost, estimates included: in pico-dollars. */
export function spent(spend) {
  return spend.cost_picousd + spend.estimated_cost_picousd;
}

/** `+18 %`, `−4 %`; null where there is nothing to hold it against. */
export function change(now, before) {
  if (!before) return null;
  const changed = (100 * (now - before)) / before;
  if (Math.abs(changed) >= 1000) return `×${fixed(now / before, 0)}`;
  return `${changed < 0 ? "−" : "+"}${fixed(Math.abs(changed), 0)} %`;
}

// Half up, in whole numbers: a float would round some ties another way.
function rounded(amount, unit) {
  return Number((BigInt(amount) + BigInt(unit) / 2n) / BigInt(unit));
}

// As Python's format(): a tie goes to the even digit.
function fixed(value, digits) {
  const quarters = value * 4;
  if (digits === 0 && Math.abs(value % 1) === 0.5) return String(2 * Math.round(value / 2));
  if (digits === 1 && Number.isInteger(quarters) && value % 1 === 0.25) return (value - 0.05).toFixed(1);
  return value.toFixed(digits);
}
