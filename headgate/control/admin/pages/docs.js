/* Shows the OpenAPI document of this listener. Nothing in it becomes markup; the token stays in this page's memory. */

const said = document.getElementById("said");
const form = document.getElementById("ask");

function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Follow references, but not into a shape that is being written out already. */
function plain(schema, whole, above = []) {
  if (schema === null || typeof schema !== "object") return schema;
  if (Array.isArray(schema)) return schema.map((each) => plain(each, whole, above));
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return above.includes(name) ? `(${name})` : plain(whole.components.schemas[name], whole, [...above, name]);
  }
  const kept = Object.entries(schema).filter(([key]) => key !== "title");
  return Object.fromEntries(kept.map(([key, value]) => [key, plain(value, whole, above)]));
}

function shape(content, whole) {
  const [kind, found] = Object.entries(content ?? {})[0] ?? [];
  if (!found?.schema) return [];
  return [made("details", {}, made("summary", { textContent: kind }), made("pre", { textContent: JSON.stringify(plain(found.schema, whole), null, 2) }))];
}

function table(head, rows) {
  const line = (cells, kind) => made("tr", {}, ...cells.map((cell) => made(kind, {}, ...[cell].flat())));
  return made("table", {}, made("thead", {}, line(head, "th")), made("tbody", {}, ...rows.map((row) => line(row, "td"))));
}

function operation(path, method, found, whole) {
  const body = made("div", { className: "body" }, made("p", { textContent: found.description ?? "" }));
  if (found.parameters?.length) {
    const rows = found.parameters.map((each) => [
      `${each.name}${each.required ? "" : " (optional)"}`, each.in, each.description ?? "",
    ]);
    body.append(made("h4", { textContent: "Parameters" }), table(["Name", "In", ""], rows));
  }
  if (found.requestBody) body.append(made("h4", { textContent: "Body" }), ...shape(found.requestBody.content, whole));
  const answers = Object.entries(found.responses).map(([status, each]) => [status, [each.description, ...shape(each.content, whole)]]);
  body.append(made("h4", { textContent: "Answers" }), table(["Status", ""], answers));
  const title = made("summary", {},
    made("span", { className: "method", textContent: method.toUpperCase() }), made("code", { textContent: path }), ` ${found.summary ?? ""}`);
  return made("details", {}, title, body);
}

function show(whole) {
  said.replaceChildren(`Version ${whole.info.version}. The document: `, made("a", { href: "openapi.json", textContent: "openapi.json" }));
  const groups = new Map();
  for (const [path, methods] of Object.entries(whole.paths)) {
    for (const [method, found] of Object.entries(methods)) {
      const tag = found.tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), operation(path, method, found, whole)]);
    }
  }
  const sections = [...groups].map(([tag, found]) => made("section", {}, made("h2", { textContent: tag }), ...found));
  document.getElementById("paths").replaceChildren(...sections);
}

async function load(token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch("openapi.json", { headers, credentials: "same-origin", cache: "no-store" });
  if (answer.ok) {
    form.hidden = true;
    show(await answer.json());
    return;
  }
  const found = await answer.json().catch(() => ({}));
  said.textContent = token ? (found.error ?? `Status ${answer.status}`) : "Sign in at the dashboard, or give a token.";
  form.hidden = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(document.getElementById("token").value).catch((error) => (said.textContent = String(error)));
});
load("").catch((error) => (said.textContent = String(error)));
