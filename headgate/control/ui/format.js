/* Numbers with their units, times, and words for people. */

const NONE = "–";
const SIZES = ["B", "kB", "MB", "GB", "TB"];
const SPELLED = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(
  undefined,
  { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
);
const WHOLE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

/** Three figures of a number that is not negative: 0, 0.012, 4.5, 12.3, 123, 1,234. */
export function figures(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return "0";
  if (value >= 100) return WHOLE.format(value);
  if (value >= 10) return trimmed(value, 1);
  if (value >= 1) return trimmed(value, 2);
  return trimmed(value, 3);
}

function trimmed(value, places) {
  return String(Number(value.toFixed(places)));
}

/** A count. */
export function count(value) {
  return value === null || value === undefined ? NONE : WHOLE.format(value);
}

/** Requests a second as [figure, unit]. */
export function rate(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return [NONE, ""];
  return value >= 10_000 ? [figures(value / 1000), "k/s"] : [figures(value), "/s"];
}

/** Seconds that something took, as [figure, unit]. */
export function took(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return [NONE, ""];
  if (seconds === 0) return ["0", "ms"];
  if (seconds < 0.000_95) return [figures(seconds * 1e6), "µs"];
  if (seconds < 0.9995) return [figures(seconds * 1000), "ms"];
  return [figures(seconds), "s"];
}

/** A share from 0 to 1 as [figure, unit]. */
export function share(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return [NONE, ""];
  const percent = value * 100;
  return [percent > 0 && percent < 0.01 ? "<0.01" : figures(percent), "%"];
}

/** Both parts of a figure as one text. */
export function text([figure, unit]) {
  return unit === "" || unit === "%" || unit.startsWith("/") ? figure + unit : `${figure} ${unit}`;
}

/** Bytes. */
export function bytes(value) {
  let size = value ?? 0;
  let unit = 0;
  while (size >= 1000 && unit < SIZES.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${figures(size)} ${SIZES[unit]}`;
}

/** A span of time in words that are short: 12 s, 4 min, 3 h 20 min, 5 d. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** How long a moment, in seconds since 1970, is ago. */
export function ago(moment, now) {
  if (!moment) return NONE;
  const gone = now - moment;
  return gone < 1 ? "just now" : `${span(gone)} ago`;
}

/** The time of day of a moment in seconds since 1970. */
export function clock(moment) {
  return CLOCK.format(new Date(moment * 1000));
}

/** The whole date of a moment in seconds since 1970. */
export function date(moment) {
  return SPELLED.format(new Date(moment * 1000));
}

/** A moment as seconds since 1970, whether a program wrote a number or a date (RFC 3339); null when it is neither. */
export function moment(value) {
  if (typeof value === "number") return value;
  const read = Date.parse(value ?? "");
  return Number.isNaN(read) ? null : read / 1000;
}

/** `1 endpoint`, `2 endpoints`. */
export function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

/** A word of the interface from a word of the API: half_open becomes half-open. */
export function word(value) {
  return String(value ?? NONE).replaceAll("_", "-");
}
