/* What views are made of: cards, tables, badges, states of nothing, of waiting and of failure. */

import { h } from "./dom.js";
import { know, may, say, state } from "./state.js";

/** A link to a view: only its name and the id, which is written as a part of a path. */
export function link(view, id, ...children) {
  const [first] = children;
  const props = typeof first === "object" && !Array.isArray(first) && !first?.tag ? children.shift() : {};
  return h("a", { ...props, href: address(view, id) }, children);
}

/** The address of a view. */
export function address(view, id) {
  return id === null || id === undefined ? `#/${view}` : `#/${view}/${encodeURIComponent(id)}`;
}

/** A part of the page with a heading; `tools` stand at its right. */
export function card(title, { id, tools, note, wide, flush } = {}, ...children) {
  const name = `card-${id}`;
  return h(
    "section",
    { class: `card${wide ? " wide" : ""}${flush ? " flush" : ""}`, "aria-labelledby": name, key: name },
    h(
      "header",
      null,
      h("h2", { id: name }, title),
      note !== undefined && h("span", { class: "faint" }, note),
      tools && h("div", { class: "tools" }, tools),
    ),
    children,
  );
}

/** A state in a word, with a colour and a mark of its own, so that the colour is never all. */
export function badge(tone, text, title) {
  return h("span", { class: `badge ${tone}`, title }, h("i", { "aria-hidden": "true" }), text);
}

/** A button; `can` false shows it, but disabled, with the reason. */
export function button(text, act, { kind = "", can = true, why = "", label } = {}) {
  return h(
    "button",
    { type: "button", class: kind, disabled: !can, title: can ? undefined : why, "aria-label": label, onclick: act },
    text,
  );
}

/** A button for what needs the role operate. */
export function deed(text, act, { kind = "small", label } = {}) {
  return button(text, act, { kind, label, can: may("operate"), why: "Needs a token of the role operate" });
}

/** A figure with its unit in a smaller type. */
export function figure([value, unit]) {
  return [value, unit && h("small", null, unit === "%" || unit.startsWith("/") ? unit : ` ${unit}`)];
}

/** What stands where a list has nothing in it. */
export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "strong" }, title), more.length > 0 && h("p", null, more));
}

/** The content of resources once they are all there; until then that they load, or why they do not. */
export function ready(names, content) {
  const missing = names.filter((name) => state.got[name] === undefined);
  const failed = names.find((name) => state.failed[name]);
  if (missing.length && failed) return problem(state.failed[failed]);
  if (missing.length) return h("div", { class: "loading", role: "status" }, h("span", { class: "unseen" }, "Loading"));
  return [
    failed && h("p", { class: "stale", role: "status", key: "stale" }, `Not fresh: ${state.failed[failed]}`),
    content(),
  ];
}

/** Something that went wrong. */
export function problem(sentence) {
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", { class: "strong" }, "This could not be loaded."),
    h("p", null, sentence),
  );
}

/** Names and values. */
export function facts(rows) {
  return h(
    "dl",
    { class: "facts" },
    rows.filter(Boolean).map(
      ([name, value]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value ?? "–")),
    ),
  );
}

/** How much of something is used up, from 0 to 1, drawn. The figure stands beside it, in words. */
export function bar(part, tone = "") {
  const width = `${(100 * Math.min(1, Math.max(0, part))).toFixed(1)}%`;
  return h(
    "svg",
    { class: `bar ${tone}`, "aria-hidden": "true" },
    h("rect", { class: "all", width: "100%", height: "100%", rx: 2 }),
    h("rect", { class: "part", width, height: "100%", rx: 2 }),
  );
}

/** A table. `columns` are {name, title, number, cell(row), sort(row)}; a column with `sort` can be sorted by. */
export function table(id, caption, columns, rows, { key, tone = () => "", none }) {
  const chosen = state.sorts[id];
  const by = columns.find(({ name, sort }) => sort && name === chosen?.name);
  const shown = by ? [...rows].sort((a, b) => compare(by.sort(a), by.sort(b)) * (chosen.up ? 1 : -1)) : rows;
  if (!rows.length) return none;
  return h(
    "div",
    { class: "scroll", key: `table-${id}` },
    h(
      "table",
      // Narrow screens lay rows out as blocks, which would take these meanings away.
      { "data-table": id, role: "table" },
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        { role: "rowgroup" },
        h("tr", { role: "row" }, columns.map((column) => heading(id, column, by === column ? chosen : null))),
      ),
      h(
        "tbody",
        { role: "rowgroup" },
        shown.map(
          (row) => h(
            "tr",
            { key: key(row), class: tone(row), role: "row" },
            columns.map((column, place) => cell(column, row, place)),
          ),
        ),
      ),
    ),
  );
}

/** The column of what can be done about a row. */
export function deeds(content) {
  return { name: "act", title: h("span", { class: "unseen" }, "Actions"), kind: "act", cell: content };
}

/** The column of the service that a row is of. */
export const SERVICE = {
  name: "service",
  title: "Service",
  cell: (row) => link("services", row.service, row.service),
  sort: (row) => row.service,
};

function cell({ number, cell: content, title, kind }, row, place) {
  const props = {
    class: [number && "number", kind].filter(Boolean).join(" ") || undefined,
    "data-title": typeof title === "string" ? title : undefined,
  };
  if (place === 0) return h("th", { ...props, scope: "row", role: "rowheader" }, content(row));
  return h("td", { ...props, role: "cell" }, content(row));
}

function heading(id, { name, title, number, sort, kind }, chosen) {
  const props = {
    key: name,
    scope: "col",
    role: "columnheader",
    class: [number && "number", kind].filter(Boolean).join(" ") || undefined,
  };
  if (!sort) return h("th", props, title);
  const order = chosen ? (chosen.up ? "ascending" : "descending") : undefined;
  const act = () => {
    // Numbers are first wanted from above, names from below.
    const up = chosen ? !chosen.up : !number;
    know({ sorts: { ...state.sorts, [id]: { name, up } } });
    say(`Sorted by ${title}, ${up ? "ascending" : "descending"}`);
  };
  return h("th", { ...props, "aria-sort": order }, h("button", { type: "button", class: "sort", onclick: act }, title));
}

function compare(a, b) {
  if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, undefined, { numeric: true });
  return (a ?? -Infinity) - (b ?? -Infinity);
}

/** A field that filters what is listed below it. */
export function filter(id, label, placeholder) {
  return h("input", {
    type: "search",
    class: "filter",
    "aria-label": label,
    placeholder,
    value: state.filters[id] ?? "",
    oninput: (event) => know({ filters: { ...state.filters, [id]: event.target.value } }),
  });
}

/** Tell whether any of the texts has what was typed into a filter. */
export function passes(id, ...texts) {
  const wanted = (state.filters[id] ?? "").trim().toLowerCase();
  return !wanted || texts.some((text) => String(text ?? "").toLowerCase().includes(wanted));
}

/** One of several choices, as buttons side by side. */
export function choice(label, options, chosen, choose) {
  return h(
    "div",
    { class: "choice", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h(
        "button",
        { type: "button", key: value, "aria-pressed": String(value === chosen), onclick: () => choose(value) },
        text,
      ),
    ),
  );
}
