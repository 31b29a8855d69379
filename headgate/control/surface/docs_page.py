"""A page of an OpenAPI document: to read, and to send requests from to the gateway that shows it.

Laws: nothing on it is fetched from anywhere; its policy lets no other script run than the one below, and no request go
to another host. What is answered is shown as text, never as markup.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from hashlib import sha256
from typing import Any, Final

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def page(document: dict[str, Any]) -> str:
    """Return the page of a document.

    Raises:
        LookupError, TypeError, AttributeError: it is no OpenAPI document.
    """
    rows = []
    title, version = (html.escape(str(document["info"][name])) for name in ("title", "version"))
    for path, operations in document["paths"].items():
        for method, said in operations.items():
            statuses = html.escape(", ".join(said["responses"]))
            verb, target = html.escape(method.upper()), html.escape(path)
            choice = f'<button type="button" data-method="{verb}" data-path="{target}">Try</button>'
            cells = (f"<code>{verb}</code>", f"<code>{target}</code>", html.escape(str(said["summary"])), statuses)
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*cells, choice))}</tr>")
    written = html.escape(json.dumps(document, indent=2))
    methods = "".join(f"<option>{method}</option>" for method in METHODS)
    listed = "\n".join(rows)
    return _PAGE.format(rows=listed, document=written, title=title, version=version, methods=methods, script=_SCRIPT)


_SCRIPT: Final = """
"use strict";
const form = document.getElementById("try"), answer = document.getElementById("answer");
const { verb, target, fields, content } = form.elements;
for (const each of document.querySelectorAll("button[data-path]")) {
  each.addEventListener("click", () => {
    verb.value = each.dataset.method;
    target.value = each.dataset.path;
    form.scrollIntoView();
    target.focus();
  });
}
const headers = () => {
  const found = new Headers();
  for (const line of fields.value.split("\\n").filter((each) => each.trim())) {
    const at = line.indexOf(":");
    found.append(line.slice(0, Math.max(at, 0)).trim(), line.slice(at + 1).trim());
  }
  return found;
};
const ask = async () => {
  const options = { method: verb.value, headers: headers() };
  if (content.value && !["GET", "HEAD"].includes(verb.value)) {
    options.body = content.value;
    if (!options.headers.has("Content-Type")) options.headers.set("Content-Type", "application/json");
  }
  const came = await fetch(new URL(target.value, location.origin), options);
  const said = [...came.headers].map(([name, value]) => `${name}: ${value}`);
  return [`${came.status} ${came.statusText}`, ...said, "", await came.text()].join("\\n");
};
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  answer.textContent = "";
  try {
    answer.textContent = await ask();
  } catch (error) {
    answer.textContent = `Nothing was answered: ${error.message}`;
  }
});
"""

# A page that sends requests must not be framed by who would have somebody click there.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'",
        "connect-src 'self'",
        *(f"{each} 'none'" for each in ("base-uri", "form-action", "frame-ancestors")),
    )
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ border-bottom: 1px solid #8886; padding: .4rem .6rem; text-align: left; vertical-align: top; }}
pre {{ overflow: auto; border: 1px solid #8886; padding: 1rem; white-space: pre-wrap; }}
form {{ display: grid; gap: .6rem; }}
label {{ display: grid; }}
input, select, textarea, button {{ font: inherit; }}
textarea {{ font-family: ui-monospace, monospace; }}
button {{ justify-self: start; }}
</style></head><body>
<h1>Own endpoints</h1>
<p>What this gateway ({title} {version}) answers by itself on this address.</p>
<table><thead><tr><th>Method</th><th>Path</th><th>What</th><th>Answers</th><th></th></tr></thead><tbody>
{rows}
</tbody></table>
<h2>Try it</h2>
<p>Paths of services may be asked from here, too. The answer is what this browser got.</p>
<form id="try">
<label>Method <select name="verb">{methods}</select></label>
<label>Path <input name="target" value="/" required></label>
<label>Header fields, one on a line
<textarea name="fields" rows="2" placeholder="Authorization: Bearer ..."></textarea></label>
<label>Body <textarea name="content" rows="4"></textarea></label>
<button>Send</button>
</form>
<pre id="answer" role="status"></pre>
<h2>OpenAPI</h2>
<pre>{document}</pre>
<script>{script}</script>
</body></html>
"""
