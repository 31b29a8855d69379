"""What cannot be right in the admin listener and its tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from headgate.config.admin_settings import TOKEN_VARIABLE
from headgate.config.check_values import KNOWN_TO_ALL, Finding, is_example
from headgate.config.problems import did_you_mean
from headgate.config.schema import Config
from headgate.core.address import is_loopback, parse_listen

# RFC 6750 section 2.1 allows fewer characters; these are what an Authorization header can hold without doubt.
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PATH = re.compile(r"/[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHORTEST = 16
# What the admin listener answers to GET, as a path or a template of paths.
PATHS = (
    "/", "/health", "/ready", "/live", "/status", "/metrics", "/openapi.json", "/docs", "/docs/{name}",
    "/services", "/services/{id}", "/services/{id}/health",
    "/ui", "/ui/", "/ui/{name}", "/ui/session",
    "/api/v1/status", "/api/v1/health", "/api/v1/services", "/api/v1/services/health", "/api/v1/services/status",
    "/api/v1/services/{service}/health", "/api/v1/services/{service}/metrics",
    "/api/v1/config", "/api/v1/config/changes", "/api/v1/config/routes", "/api/v1/config/services",
    "/api/v1/config/services/{name}",
    "/api/v1/cache", "/api/v1/circuit-breakers", "/api/v1/discovery", "/api/v1/endpoints", "/api/v1/keys",
    "/api/v1/keys/{key_id}", "/api/v1/limits",
    "/api/v1/telemetry/circuit-breakers", "/api/v1/telemetry/errors", "/api/v1/telemetry/history",
    "/api/v1/telemetry/logs", "/api/v1/telemetry/metrics", "/api/v1/telemetry/rate-limiters",
    "/api/v1/telemetry/requests", "/api/v1/telemetry/requests/{request_id}", "/api/v1/telemetry/spans",
    "/api/v1/telemetry/stream",
)  # fmt: skip
_ANSWERED = re.compile("|".join(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path)) for path in PATHS))


def check_admin(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check it; `environ` is the environment that the gateway will have."""
    admin = config.admin
    yield from _tokens(config, environ)
    for place, path in enumerate(admin.public):
        if not _PATH.fullmatch(path):
            yield Finding(("admin", "public", place), "expected a path", "such as /metrics")
        elif not _ANSWERED.fullmatch(path):
            message = f"the admin listener answers nothing at {path}"
            yield Finding(("admin", "public", place), message, did_you_mean(path, PATHS), "warning")
    for place, host in enumerate(admin.hosts):
        if not _HOST.fullmatch(host):
            yield Finding(("admin", "hosts", place), "expected a name without a port", "such as admin.example.com")
    try:
        address = parse_listen(admin.address)
    except ValueError:
        # What is wrong with it is found where it is listened on.
        return
    if admin.hosts and (address.unix or not is_loopback(address.host)):
        message = "this is looked at only where admin.address is a loopback address"
        yield Finding(("admin", "hosts"), message, "", "warning")


def _tokens(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    admin, of_environment = config.admin, environ.get(TOKEN_VARIABLE, "")
    exposed = _is_exposed(admin.address)
    if admin.token and not _TOKEN.fullmatch(admin.token):
        yield Finding(
            ("admin", "token"), "a token is visible ASCII without spaces", "such as openssl rand -hex 32 makes"
        )
    elif admin.token and len(admin.token) < _SHORTEST and exposed:
        message = (
            f"a token of less than {_SHORTEST} characters can be guessed, and {admin.address} is no loopback address"
        )
        yield Finding(("admin", "token"), message, "make one: openssl rand -hex 32", "warning")
    elif not admin.token and 0 < len(of_environment) < _SHORTEST and exposed:
        message = f"the token of {TOKEN_VARIABLE} has less than {_SHORTEST} characters and can be guessed, and "
        message += f"{admin.address} is no loopback address"
        yield Finding(("admin", "address"), message, "make one: openssl rand -hex 32", "warning")
    elif is_example(admin.token or of_environment):
        at = "token" if admin.token else "address"
        message = KNOWN_TO_ALL if admin.token else f"the token of {TOKEN_VARIABLE}: {KNOWN_TO_ALL}"
        yield Finding(("admin", at), message, "make one: openssl rand -hex 32", "warning")
    names: set[str] = {"admin"}
    known = {admin.token} if admin.token else set()
    for place, each in enumerate(admin.tokens):
        if not each.name.isprintable():
            yield Finding(("admin", "tokens", place, "name"), "expected printable characters")
        elif each.name in names:
            message = "another token has this name" if each.name != "admin" else "that is the name of admin.token"
            yield Finding(("admin", "tokens", place, "name"), message, "give each its own name")
        names.add(each.name)
        if not _TOKEN.fullmatch(each.token):
            message = "a token is visible ASCII without spaces"
            yield Finding(("admin", "tokens", place, "token"), message, "such as openssl rand -hex 32 makes")
        elif len(each.token) < _SHORTEST:
            message = f"a token has at least {_SHORTEST} characters"
            yield Finding(("admin", "tokens", place, "token"), message, "make one: openssl rand -hex 32")
        elif each.token in known:
            yield Finding(("admin", "tokens", place, "token"), "another operator has this token", "give each its own")
        elif is_example(each.token):
            hint = "make one: openssl rand -hex 32"
            yield Finding(("admin", "tokens", place, "token"), KNOWN_TO_ALL, hint, "warning")
        known.add(each.token)


def _is_exposed(address: str) -> bool:
    try:
        parsed = parse_listen(address)
    except ValueError:
        return False
    return not parsed.unix and not is_loopback(parsed.host)
