/* The dashboard of a Headgate gateway. Read state.js, resources.js, live.js, then shell.js and the views.
 *
 * One way round: the API and the stream change the state, a change draws the page anew from it, what people do changes
 * the state or asks the API.
 */

import { whoIs } from "./api.js";
import { patch } from "./dom.js";
import { begin, open, stop } from "./live.js";
import { empty, link, problem } from "./parts.js";
import { refresh } from "./resources.js";
import { shell, VIEWS } from "./shell.js";
import { know, onChange, state } from "./state.js";
import { breakers } from "./views/breakers.js";
import { cache } from "./views/cache.js";
import { configuration } from "./views/configuration.js";
import { endpoints } from "./views/endpoints.js";
import { limits } from "./views/limits.js";
import { log } from "./views/log.js";
import { login } from "./views/login.js";
import { overview } from "./views/overview.js";
import { requests } from "./views/requests.js";
import { routes } from "./views/routes.js";
import { services } from "./views/services.js";

const DRAW = { overview, requests, routes, services, endpoints, breakers, limits, cache, log, configuration };

const page = document.getElementById("app");
let shown = null;

function draw() {
  if (state.session === undefined) return;
  if (state.session === null) {
    if (shown !== "login") stop("paused");
    patch(page, login(draw));
    if (shown !== "login") document.getElementById("token").focus();
    shown = "login";
    document.title = "Sign in · Headgate";
    return;
  }
  const { name, id } = state.view;
  patch(page, shell(content(name, id)));
  for (const dialog of document.querySelectorAll("dialog[data-modal]")) if (!dialog.open) dialog.showModal();
  arrive(`${name} ${id}`);
}

function content(name, id) {
  if (!(name in DRAW)) return empty("There is no such view", link("overview", null, "Overview"));
  try {
    return DRAW[name](id);
  } catch (error) {
    // An answer in another form than this page knows, as of a gateway that was upgraded under it: the others go on.
    console.error(error);
    return problem("The gateway answered in a form that this page does not know. Load the page anew.");
  }
}

/** Where another view has come, say so, and let the keyboard go on from there. */
function arrive(where) {
  if (where === shown) return;
  const first = shown === null || shown === "login";
  shown = where;
  const { name, id } = state.view;
  const title = VIEWS.find(([view]) => view === name)?.[1] ?? "Nothing here";
  document.title = `${id === null ? title : `${id} · ${title}`} · Headgate`;
  if (first) return;
  document.getElementById("main").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function go() {
  const [, name = "", id] = window.location.hash.split("/");
  let read = null;
  try {
    read = id === undefined ? null : decodeURIComponent(id);
  } catch {
    // Not written by this page: there is no such thing.
    read = id;
  }
  know({ view: { name: name || "overview", id: read }, menu: false, pointed: null });
  refresh();
}

async function start() {
  onChange(draw);
  window.addEventListener("hashchange", go);
  go();
  begin();
  try {
    know({ session: await whoIs() });
  } catch {
    know({ session: null });
  }
  if (state.session === null) return;
  refresh();
  open();
}

start();
