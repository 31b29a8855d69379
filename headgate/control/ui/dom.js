/* The page as a function of what is known: `h` describes an element, `patch` makes the document like the description.
 *
 * Laws: text is set as text and never parsed, so that no name of a service, path or error can become markup; no
 * attribute is made from text that could hold code (handlers are functions, links are made by `link` of parts.js);
 * an element that stays is kept, and with it focus, selection, scroll position and what is typed.
 */

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "path", "line", "rect", "circle", "title", "polyline"]);
// These are of the live element: its attribute is only what it began with.
const LIVE = new Set(["value", "checked", "disabled", "open"]);

/** Describe an element. `props` are attributes, on... functions, and `key`: which of its siblings it was before. */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, key: props?.key, children: children.flat(Infinity).filter(isShown) };
}

/** Make the children of `parent` like `children`. */
export function patch(parent, children) {
  const focused = document.activeElement;
  patchChildren(parent, [children].flat(Infinity).filter(isShown));
  // A row that moved lost the focus on its way.
  if (focused !== document.activeElement && focused?.isConnected && parent.contains(focused)) focused.focus();
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false && child !== true;
}

function patchChildren(parent, children) {
  const wanted = new Set(children.map((child) => child.key));
  const keyed = new Map();
  for (const node of [...parent.childNodes]) {
    const key = node.known?.key;
    if (key === undefined) continue;
    // What is gone goes first, so that what stays need not move.
    if (wanted.has(key)) keyed.set(key, node);
    else node.remove();
  }
  let cursor = parent.firstChild;
  for (const child of children) {
    const found = reusable(child, cursor, keyed);
    const node = found ?? create(child);
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
    update(node, child);
  }
  while (cursor) {
    const next = cursor.nextSibling;
    cursor.remove();
    cursor = next;
  }
}

function reusable(child, cursor, keyed) {
  if (typeof child !== "object") return cursor?.nodeType === Node.TEXT_NODE ? cursor : null;
  if (child.key !== undefined) {
    const node = keyed.get(child.key);
    keyed.delete(child.key);
    return node?.known.tag === child.tag ? node : null;
  }
  const known = cursor?.known;
  return known && known.tag === child.tag && known.key === undefined ? cursor : null;
}

function create(child) {
  if (typeof child !== "object") return document.createTextNode("");
  const node = DRAWN.has(child.tag) ? document.createElementNS(SVG, child.tag) : document.createElement(child.tag);
  node.known = { tag: child.tag, key: child.key, props: {} };
  return node;
}

function update(node, child) {
  if (typeof child !== "object") {
    const text = String(child);
    if (node.data !== text) node.data = text;
    return;
  }
  const before = node.known.props;
  for (const name of Object.keys(before)) if (!(name in child.props)) setProp(node, name, null);
  // Children first: a select can take its value only when it has its options.
  patchChildren(node, child.children);
  for (const [name, value] of Object.entries(child.props)) if (before[name] !== value) setProp(node, name, value);
  node.known.props = child.props;
}

function setProp(node, name, value) {
  if (name === "key") return;
  if (name.startsWith("on")) {
    node[name] = value ?? null;
  } else if (LIVE.has(name)) {
    node[name] = value ?? "";
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}
