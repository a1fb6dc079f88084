// Where the numbers come from: the server, or the file itself.

import { PERIOD } from "./place.js";

/** The numbers of this page, by what it brought along. */
export function openSource() {
  const brought = JSON.parse(document.getElementById("data").textContent);
  return brought.live ? liveSource(brought) : fileSource(brought);
}

function fileSource(brought) {
  return {
    live: false,
    zone: brought.zone,
    filter: brought.filter,
    overview: async () => brought.overview,
    context: async () => brought.context,
    async run(id) {
      const found = brought.details[id];
      if (!found) throw new Error("This file has the trees of its most expensive runs, and this run is none of them.");
      return { now: brought.overview.now, ...found };
    },
    hasRun: (id) => id in brought.details,
    details: () => brought.details,
    link: () => null,
    listen: () => {},
  };
}

function liveSource(brought) {
  return {
    live: true,
    zone: brought.zone,
    overview: (asked) => fetched(`/api/overview?${withPeriod(asked)}`),
    diff: (asked) => fetched(`/api/diff?${asked}`),
    context: (asked) => fetched(`/api/context?${withPeriod(asked)}`),
    choices: (asked) => fetched(`/api/choices?${withPeriod(asked)}`),
    run: (id) => fetched(`/api/run/${encodeURIComponent(id)}`),
    hasRun: () => true,
    details: () => null,
    /** The address of a view as `format`. */
    link: (path, asked, format, extra = {}) => {
      const query = path === "diff" ? new URLSearchParams(asked) : withPeriod(asked);
      for (const [name, value] of Object.entries({ ...extra, ...(format === "csv" ? { format } : {}) })) query.set(name, value);
      return `/api/${path}?${query}`;
    },
    /** Calls `on.change`, `on.state("live" | "lost")` and `on.old` as the server says. */
    listen(on) {
      const events = new EventSource("/events");
      events.addEventListener("page", (event) => {
        on.state("live");
        on.change(); // also what has changed while there was no connection
        if (event.data !== brought.version) on.old();
      });
      events.addEventListener("change", () => on.change());
      events.addEventListener("error", () => on.state("lost"));
    },
  };
}

// What is asked of the server says its period, so that the address of a CSV means the same as the page.
function withPeriod(asked) {
  const query = new URLSearchParams(asked);
  if (!query.has("since")) query.set("since", PERIOD);
  return query;
}

async function fetched(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `The server answered ${answer.status}.`);
  return body;
}
