/* Charts over time: lines, or areas on top of each other, with one crosshair over all of them.
 *
 * Each says in words what it shows (aria-label), can be walked through with the arrow keys, and has its figures as a
 * table for whoever wants them. A gap in the values is a gap in the line: nothing is made up between two points.
 */

import { h } from "./dom.js";
import { clock, span } from "./format.js";
import { know, say, state } from "./state.js";

const WIDE = 600;
const HIGH = 150;
const LINES = 4;
const TABLE_ROWS = 12;

/** Draw a chart. `series` are {name, tone, values} with a value, or null, for each of the moments `at`; `unit` writes
 * a value for people; `stacked` puts areas on each other in their order; `most` is the least upper end. */
export function chart({ id, title, at, series, unit, stacked = false, most = 0, note = "" }) {
  const to = at.length ? at[at.length - 1] : state.now;
  const from = to - state.range;
  const drawn = stacked ? piled(series) : series;
  const top = ceiling(Math.max(most, ...drawn.flatMap(({ values }) => values.map((value) => value ?? 0))));
  const x = (moment) => (WIDE * (moment - from)) / (to - from);
  const y = (value) => HIGH - (HIGH * value) / top;
  const place = pointedPlace(at);
  const known = series.some(({ values }) => values.some((value) => value > 0));
  return h(
    "figure",
    { class: "chart", key: id },
    h(
      "figcaption",
      null,
      h("h3", null, title),
      note && h("span", { class: "faint" }, note),
      legend(series, place, unit),
    ),
    h(
      "div",
      { class: "plot" },
      h("div", { class: "scale", "aria-hidden": "true" }, marks(top).map((value) => h("span", null, unit(value)))),
      h(
        "svg",
        {
          viewBox: `0 0 ${WIDE} ${HIGH}`,
          preserveAspectRatio: "none",
          role: "img",
          tabindex: "0",
          "aria-label": summary(title, series, unit),
          "data-chart": id,
          onpointermove: (event) => point(event, at, from, to),
          onpointerleave: () => know({ pointed: null }),
          onblur: () => know({ pointed: null }),
          onkeydown: (event) => walk(event, at, series, unit),
        },
        marks(top).map((value) => h("line", { class: "grid", x1: 0, x2: WIDE, y1: y(value), y2: y(value) })),
        stacked
          ? drawn.map((each) => h("path", { key: each.name, class: `area ${each.tone}`, d: area(at, each, x, y) }))
          : drawn.map(
            (each) => h("path", { key: each.name, class: `line ${each.tone}`, d: line(at, each.values, x, y) }),
          ),
        place !== null &&
          h("line", { key: "cross", class: "cross", x1: x(at[place]), x2: x(at[place]), y1: 0, y2: HIGH }),
      ),
      !known && h("p", { class: "nothing" }, `Nothing in the last ${span(state.range)}`),
    ),
    h("div", { class: "times", "aria-hidden": "true" }, times(from, to)),
    table(id, title, at, series, unit),
  );
}

/** Draw the course of one number, small, for beside a figure that says it. */
export function spark(values, tone) {
  const top = Math.max(...values.map((value) => value ?? 0), 1e-9);
  const at = values.map((_, place) => place);
  const x = (place) => (100 * place) / Math.max(1, values.length - 1);
  const y = (value) => 23 - (22 * value) / top;
  const whole = { values, base: values.map(() => 0) };
  return h(
    "svg",
    { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    h("path", { class: `wash ${tone}`, d: area(at, whole, x, y) }),
    h("path", { class: `line ${tone}`, d: line(at, values, x, y) }),
  );
}

function piled(series) {
  let base = series[0]?.values.map(() => 0) ?? [];
  return series.map(({ name, tone, values }) => {
    const top = values.map((value, place) => base[place] + (value ?? 0));
    const laid = { name, tone, values: top, base };
    base = top;
    return laid;
  });
}

function line(at, values, x, y) {
  let path = "";
  let drawing = false;
  for (const [place, value] of values.entries()) {
    if (value === null || value === undefined) {
      drawing = false;
      continue;
    }
    // A point between two gaps is a dot: a line of no length with round ends.
    const alone = !drawing && (values[place + 1] ?? null) === null;
    path += `${drawing ? "L" : "M"}${x(at[place]).toFixed(1)} ${y(value).toFixed(1)}${alone ? "h.1" : ""}`;
    drawing = true;
  }
  return path;
}

function area(at, { values, base }, x, y) {
  if (!values.length) return "";
  const upper = values.map((value, place) => `${x(at[place]).toFixed(1)} ${y(value ?? 0).toFixed(1)}`);
  const lower = base.map((value, place) => `${x(at[place]).toFixed(1)} ${y(value).toFixed(1)}`).reverse();
  return `M${upper.join("L")}L${lower.join("L")}Z`;
}

/** The least upper end of a scale whose marks are round. */
function ceiling(most) {
  if (!(most > 0)) return 1;
  const rough = most / LINES;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999) * power;
  return step * Math.ceil((most / step) * 0.999);
}

function marks(top) {
  const rough = top / LINES;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999) * power;
  return Array.from({ length: Math.round(top / step) + 1 }, (_, place) => place * step).reverse();
}

function times(from, to) {
  return Array.from({ length: 5 }, (_, place) => h("span", null, clock(from + ((to - from) * place) / 4)));
}

function legend(series, place, unit) {
  return h(
    "ul",
    { class: "legend" },
    series.map(({ name, tone, values }) =>
      h(
        "li",
        { key: name },
        h("i", { class: `swatch ${tone}`, "aria-hidden": "true" }),
        h("span", { class: "name" }, name),
        h("b", null, unit(place === null ? latest(values) : values[place])),
      ),
    ),
  );
}

/** The newest value that is one. */
export function latest(values) {
  return values?.findLast((value) => value !== null && value !== undefined) ?? null;
}

function summary(title, series, unit) {
  const said = series.map(({ name, values }) => {
    const known = values.filter((value) => value !== null && value !== undefined);
    if (!known.length) return `${name}: nothing`;
    const least = unit(Math.min(...known));
    return `${name}: now ${unit(known.at(-1))}, lowest ${least}, highest ${unit(Math.max(...known))}`;
  });
  return `${title}, last ${span(state.range)}. ${said.join(". ")}. Arrow keys go through the points.`;
}

function pointedPlace(at) {
  if (state.pointed === null || !at.length) return null;
  const place = at.findIndex((moment) => moment >= state.pointed);
  return place < 0 ? at.length - 1 : place;
}

function point(event, at, from, to) {
  const box = event.currentTarget.getBoundingClientRect();
  const moment = from + ((to - from) * (event.clientX - box.left)) / box.width;
  if (at.length) know({ pointed: Math.max(at[0], moment) });
}

function walk(event, at, series, unit) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (event.key === "Escape") know({ pointed: null });
  if (!(event.key in steps) || !at.length) return;
  event.preventDefault();
  const place = pointedPlace(at) ?? at.length - 1;
  const next = Math.min(at.length - 1, Math.max(0, place + steps[event.key]));
  know({ pointed: at[next] });
  say(`${clock(at[next])}: ${series.map(({ name, values }) => `${name} ${unit(values[next])}`).join(", ")}`);
}

function table(id, title, at, series, unit) {
  const every = Math.max(1, Math.floor(at.length / TABLE_ROWS));
  const places = at.map((_, place) => place).filter((place) => (at.length - 1 - place) % every === 0);
  return h(
    "details",
    { class: "figures", key: `${id}-figures` },
    h("summary", null, "Figures", h("span", { class: "unseen" }, ` of ${title} as a table`)),
    h(
      "table",
      null,
      h("caption", { class: "unseen" }, title),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "col" }, "Time"),
          series.map(({ name }) => h("th", { scope: "col", class: "number" }, name)),
        ),
      ),
      h(
        "tbody",
        null,
        places.map((place) =>
          h(
            "tr",
            { key: at[place] },
            h("th", { scope: "row" }, clock(at[place])),
            series.map(({ values }) => h("td", { class: "number" }, unit(values[place]))),
          ),
        ),
      ),
    ),
  );
}
