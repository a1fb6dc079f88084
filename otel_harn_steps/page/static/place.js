// Where the reader is: the part of the address after `#`, so that it works in a file as well as on a server.
//
//   #/?since=7d&step=plan        the overview, filtered
//   #/run/7f3a?at=STEP_ID        a run, with a step of it chosen
//   #/diff?a=7f3a&b=91c0         two runs

/** What is shown where the address names no beginning. */
export const PERIOD = "7d";

export function readPlace() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const asked = new URLSearchParams(query);
  const [page, id] = path.split("/");
  return { page: page || "overview", id: id ? decodeURIComponent(id) : null, asked };
}

/** The address of the overview with some of its filters changed; null takes one away. */
export function overviewWith(asked, changes = {}) {
  const next = new URLSearchParams(asked);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") next.delete(name);
    else next.set(name, value);
  }
  const query = next.toString();
  return `#/${query && `?${query}`}`;
}

/** The pattern that matches this name and no other. */
export function exactly(name) {
  return name.replace(/[[*?]/g, "[$&]");
}

export function runAddress(id, step = null) {
  return `#/run/${encodeURIComponent(id)}${step ? `?at=${encodeURIComponent(step)}` : ""}`;
}

export function diffAddress(first, second) {
  return `#/diff?${new URLSearchParams({ a: first, b: second })}`;
}
