/* The admin API, asked with the session's cookie. No token is kept here, and none stands in a URL. */

// Relative to this file, so that the dashboard also works where a proxy puts a prefix before it.
const ROOT = new URL("..", import.meta.url);
const PATIENCE = 15_000;

/** The API said no, or nothing: a sentence for people, and the status, 0 when there was no answer. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Ask and return what was answered; `body` is sent as JSON. Throws Refused. */
export async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Refused(
      0,
      late ? `No answer within ${PATIENCE / 1000} s.` : "The gateway's control process does not answer.",
    );
  }
  const said = await answer.json().catch(() => null);
  if (answer.ok) return said;
  throw new Refused(answer.status, sentenceOf(said) ?? `The gateway answered with status ${answer.status}.`);
}

function sentenceOf(said) {
  if (typeof said?.error === "string") return said.error;
  if (Array.isArray(said?.problems) && said.problems.length) return said.problems.map(String).join("\n");
  return null;
}

/** Return who is signed in as {name, role}, or null. Throws Refused. */
export async function whoIs() {
  const session = await ask("GET", "ui/session");
  return session.role === null ? null : session;
}

/** Follow the stream of events; returns what the browser opened. */
export function follow(names, take) {
  const source = new EventSource(new URL("api/v1/telemetry/stream", ROOT));
  for (const name of names) source.addEventListener(name, (event) => take(name, JSON.parse(event.data)));
  return source;
}
