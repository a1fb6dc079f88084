// Times, in the zone of the machine that the numbers are from.

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HOUR_NS = 3600e9;
export const DAY_NS = 24 * HOUR_NS;

/** A clock: texts of moments given in nanoseconds since the epoch. `zone` is {name, offset_s}. */
export function clock(zone, now) {
  const fields = (ns) => {
    const at = new Date(Math.floor(ns / 1e6) + zone.offset_s * 1000);
    return {
      year: at.getUTCFullYear(), month: at.getUTCMonth(), day: at.getUTCDate(), weekday: at.getUTCDay(),
      time: at.toISOString().slice(11, 16), seconds: at.toISOString().slice(11, 23), date: at.toISOString().slice(0, 10),
    };
  };
  const today = fields(now);
  return {
    now,
    /** `14:03` of today, `Tue 14:03` of this week, `14 Nov 14:03`. */
    moment(ns) {
      const at = fields(ns);
      if (at.date === today.date) return at.time;
      if (now - ns < 6 * DAY_NS && ns < now) return `${DAYS[at.weekday]} ${at.time}`;
      const year = at.year === today.year ? "" : ` ${at.year}`;
      return `${at.day} ${MONTHS[at.month]}${year} ${at.time}`;
    },
    /** The whole moment with its zone, for who hovers. */
    whole(ns) {
      const at = fields(ns);
      return `${at.date} ${at.seconds} ${zone.name}`;
    },
    /** The name of a bucket. Its middle counts: its beginning may be an hour off where the clocks have changed. */
    bucket(buckets, index) {
      if (isDays(buckets)) {
        const at = fields(buckets[index] + DAY_NS / 2);
        return `${DAYS[at.weekday]} ${at.day} ${MONTHS[at.month]}`;
      }
      return fields(buckets[index]).time;
    },
    /** What the address says for a bucket: a day, or a moment; the beginning, and the end that is not part of it. */
    period(buckets, index) {
      if (isDays(buckets)) {
        const middle = buckets[index] + DAY_NS / 2;
        return { since: fields(middle).date, until: fields(middle + DAY_NS).date };
      }
      const end = buckets[index + 1] ?? buckets[index] + HOUR_NS;
      const text = (at) => `${at.date}T${at.time}`;
      return { since: text(fields(buckets[index])), until: text(fields(end)) };
    },
  };
}

export function isDays(buckets) {
  return buckets.length < 2 || buckets[1] - buckets[0] > 12 * HOUR_NS;
}
