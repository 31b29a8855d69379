/* The stream of events: opened while somebody is signed in and looks, opened again when it broke, closed when the page
 * is hidden. The clock of everything that is asked for again and again ticks here, too.
 */

import { follow, whoIs } from "./api.js";
import { refresh, reload, take } from "./resources.js";
import { know, say, state } from "./state.js";

const NAMES = ["tick", "request", "log", "change"];
const CLOCK = 1000;
const LONGEST_WAIT = 30_000;

let source = null;
let wait = null;
let failures = 0;

/** Begin, once. */
export function begin() {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop("paused");
    else if (state.session) {
      reload("status", "history");
      open();
    }
  });
  window.setInterval(() => {
    know({ now: Date.now() / 1000 });
    refresh();
  }, CLOCK);
}

/** Open the stream. */
export function open() {
  stop("connecting");
  if (document.hidden) return;
  source = follow(NAMES, take);
  source.onopen = () => {
    if (failures > 0) {
      say("Live again");
      // What happened in between.
      reload("status", "history", "requests");
    }
    failures = 0;
    know({ stream: "live" });
  };
  source.onerror = () => {
    // The browser's own attempts stop for good at any answer but 200, so all of them are made here.
    stop("lost");
    if (failures === 0) say("Live updates are interrupted");
    failures += 1;
    // With chance in it, so that not all pages ask in the same moment after a restart.
    const longest = Math.min(LONGEST_WAIT, 500 * 2 ** failures);
    wait = window.setTimeout(again, longest * (0.5 + Math.random() / 2));
  };
}

/** Close it; `why` is shown. */
export function stop(why) {
  window.clearTimeout(wait);
  source?.close();
  source = null;
  know({ stream: why });
}

async function again() {
  // A stream says nothing of why it ended: it may be the session that has.
  const session = await whoIs().catch(() => state.session);
  if (session === null) know({ session });
  else open();
}
