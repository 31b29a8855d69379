"""What `headgate demo` says to try."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from headgate.cli.terminal import bold, dim
from headgate.config.admin_settings import TOKEN_VARIABLE
from headgate.control.admin_token import FILE
from headgate.control.state import FOLDER_VARIABLE, state_path

# The configuration of the demo has its hash. It opens nothing but the demo.
_KEY = "demo_key_that_everybody_can_read"
_TRY = (
    ("a JSON service, two endpoints in turn", "curl {gateway}/hello"),
    ("the same with a body", 'curl -d \'{{"name": "Ada"}}\' "{gateway}/hello/you?lang=en"'),
    ("the same over HTTP/2", "curl -i --http2-prior-knowledge {gateway}/hello"),
    ("server-sent events, one by one as they come", "curl -N {gateway}/stream"),
    (
        "a WebSocket (greets, then waits; Ctrl-C leaves)",
        "curl -isN --max-time 2 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
        "-H 'Sec-WebSocket-Key: c2FtcGxlIG5vbmNlIDEyMw==' --output - {gateway}/socket",
    ),
    (
        "a canary: one of five goes to hello-next",
        "for i in 1 2 3 4 5; do curl -si {gateway}/split | grep -i served; done",
    ),
    ("the same, held by a header", "curl -si -H 'X-User: ada' {gateway}/split | grep -i served"),
    ("a path made anew: /llama/run/answer", "curl {gateway}/v1/models/llama/answer"),
    (
        "a limit: three in ten seconds, then 429",
        "for i in 1 2 3 4; do curl -si {gateway}/limited | grep -iE '^HTTP|ratelimit|retry-after'; done",
    ),
    (
        "an answer that is kept for ten seconds",
        "for i in 1 2 3; do curl -si {gateway}/cached | grep -iE '^age|cache-status'; done",
    ),
    (
        "what the cache answered and holds; and it is forgotten",
        "{operator} cache --admin {admin_address}; {operator} cache purge --all --admin {admin_address}",
    ),
    ("a redirect", "curl -i {gateway}/old"),
    ("no such route: problem details", "curl -i {gateway}/nowhere"),
    ("a method that is not allowed", "curl -i -X DELETE {gateway}/hello"),
    ("a service that is down", "curl -i {gateway}/broken"),
    (
        "its circuit breaker: 503 at once, after three failures",
        "for i in 1 2 3 4; do curl -s {gateway}/broken; done; {operator} breaker list --admin {admin_address}",
    ),
    ("a route that asks who is there: 401", "curl -i {gateway}/private"),
    (
        "with a token: the service is told whose",
        'curl -H "Authorization: Bearer $({headgate} token -c {file} --sub ada --tenant acme)" {gateway}/private',
    ),
    ("with an API key", "curl -H 'X-API-Key: {key}' {gateway}/private"),
    ("a role that is missing: 403; the log says which", "curl -i -H 'X-API-Key: {key}' {gateway}/private/admin"),
    (
        "with that role",
        'curl -H "Authorization: Bearer $({headgate} token -c {file} --role admin)" {gateway}/private/admin',
    ),
    ("why it was refused", "{headgate} explain -c {file} -H 'X-API-Key: {key}' GET /private/admin"),
    (
        "what a browser asks first for a page of another origin: answered here",
        "curl -i -X OPTIONS -H 'Origin: https://app.example.com' -H 'Access-Control-Request-Method: PUT' "
        "{gateway}/private",
    ),
    (
        "what was decided on the way of one request, each try and each gate",
        "curl -s -H 'X-Request-ID: try-me' {gateway}/broken; "
        "{operator} explain --request try-me --admin {admin_address}",
    ),
    ("an instance of a service that nobody has configured registers itself ...", "{register} {admin}/services"),
    ("... and has requests a moment later, as long as it is heard of or answers checks", "curl {gateway}/joined"),
    ("services, limits and endpoints in the terminal, each second (q quits)", "{operator} top --admin {admin_address}"),
    ("health of this gateway", "curl {gateway}/health"),
    ("metrics, on the admin address", "curl {admin}/metrics"),
    ("why a request goes where it goes", "{headgate} explain -c {file} GET /split"),
)


def guide(host: str, port: int, admin_port: int, file: Path, sample: int) -> str:
    """Write the list of commands for a gateway at that address; `sample` is the port of a service to register."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    gateway = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    admin = f"http://127.0.0.1:{admin_port}"
    lines = ["", bold(f"Headgate is at {gateway}. Try, in another terminal:"), ""]
    for what, command in commands(gateway, admin, file, sample):
        lines += [f"  {dim(f'# {what}')}", f"  {command}"]
    dashboard = bold(f"The dashboard is at {admin}/ui/")
    lines += [
        "",
        f"{dashboard} and asks for the token that this prints: {_print_token(os.environ)}",
        "",
        f"Its configuration: {_short(file)} (change it; it is reloaded). Ctrl-C ends everything.",
        "",
    ]
    return "\n".join(lines)


def commands(gateway: str, admin: str, file: Path, sample: int) -> list[tuple[str, str]]:
    """Return (what it shows, command) for each."""
    names = {"gateway": gateway, "admin": admin, "file": _short(file), "headgate": _own_command(), "key": _KEY}
    names["admin_address"] = admin.removeprefix("http://")
    names["operator"] = f"{_finding_token(os.environ)}{names['headgate']}"
    instance = f'{{"name": "joined", "host": "127.0.0.1", "port": {sample}}}'
    names["register"] = (
        f'curl -H "Authorization: Bearer $({_print_token(os.environ)})" -H "Content-Type: application/json" '
        f"-d '{instance}'"
    )
    return [(what, command.format(**names)) for what, command in _TRY]


def _print_token(environ: Mapping[str, str]) -> str:
    """Return the command that prints the token of the admin API, which is made while the gateway starts."""
    if environ.get(TOKEN_VARIABLE):
        return f'echo "${TOKEN_VARIABLE}"'
    return f"cat {shlex.quote(str(state_path(None, environ) / FILE))}"


def _finding_token(environ: Mapping[str, str]) -> str:
    """Return what to write before a command that asks the admin API: the token is in the folder of this demo."""
    if environ.get(TOKEN_VARIABLE):
        return ""
    return f"{FOLDER_VARIABLE}={shlex.quote(str(state_path(None, environ)))} "


def _own_command() -> str:
    """Return what to type for this program: its name if the shell finds it, else how it was called."""
    if shutil.which("headgate"):
        return "headgate"
    own = Path(sys.argv[0]).absolute()
    return f"{_short(Path(sys.executable))} -m headgate" if own.name == "__main__.py" else str(_short(own))


def _short(file: Path) -> Path:
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
