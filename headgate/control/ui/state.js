/* What is known, in one object, and who wants to hear that it has changed.
 *
 * Law: only `know` changes it; whoever shows it is called at most once a frame, and never while nobody looks.
 */

export const state = {
  // undefined: not known yet; null: nobody is signed in; else {name, role}.
  session: undefined,
  view: { name: "overview", id: null },
  // How the stream of events is: connecting, live, lost, paused.
  stream: "connecting",
  // Seconds that charts show.
  range: 300,
  now: Date.now() / 1000,
  // What the API answered, by the name of the resource (resources.js), and the sentence of what failed.
  got: {},
  failed: {},
  // Records of requests, newest first, and lines of the log.
  requests: [],
  log: [],
  // What people chose: how tables are sorted and filtered, and what is held still.
  sorts: {},
  filters: {},
  held: false,
  menu: false,
  // The point in time under the pointer, an index into the history.
  pointed: null,
  dialog: null,
  notice: null,
};

let show = () => {};
let waits = false;

/** Have `render` called after each change. */
export function onChange(render) {
  show = render;
}

/** Take over what has changed. */
export function know(changes) {
  Object.assign(state, changes);
  if (waits) return;
  waits = true;
  requestAnimationFrame(() => {
    waits = false;
    show();
  });
}

/** Say something to who cannot see it. */
export function say(sentence) {
  document.getElementById("said").textContent = sentence;
}

/** Tell whether the session may do what a role may. */
export function may(role) {
  const order = ["read", "register", "operate", "admin"];
  return order.indexOf(state.session?.role) >= order.indexOf(role);
}
