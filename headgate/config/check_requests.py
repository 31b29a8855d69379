"""What cannot be right in how requests are recorded, redacted and made a part of traces."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.problems import did_you_mean
from headgate.config.schema import Config
from headgate.telemetry.log_fields import PLACEHOLDERS, unknown_placeholders
from headgate.telemetry.redaction import REDACTABLE
from headgate.wire import http1

_SHORTEST_KEY = 16


def check_requests(config: Config) -> Iterator[Finding]:
    """Check it."""
    yield from _check_redaction(config)
    yield from _check_sampling(config)
    yield from _check_log(config)
    tracing = config.telemetry.tracing
    if tracing.enabled and not tracing.send and not tracing.accept:
        hint = "name a form to accept or to send, or enabled: false"
        yield Finding(("telemetry", "tracing"), "no form of trace context is read or sent", hint, "warning")


def _check_redaction(config: Config) -> Iterator[Finding]:
    telemetry = config.telemetry
    for name in telemetry.redact:
        if name not in REDACTABLE:
            message = f"{name} is nothing that can be redacted"
            yield Finding(("telemetry", "redact", name), message, f"one of {', '.join(REDACTABLE)}")
    if "hash" in telemetry.redact.values() and len(telemetry.redact_key) < _SHORTEST_KEY:
        message = f"hash needs a redact_key of at least {_SHORTEST_KEY} characters"
        yield Finding(("telemetry", "redact"), message, "such as redact_key: ${HEADGATE_REDACT_KEY}")
    if telemetry.redact_key and "hash" not in telemetry.redact.values():
        message = "nothing is hashed, so the key does nothing"
        yield Finding(("telemetry", "redact_key"), message, "write hash for what is to be told apart", "warning")


def _check_log(config: Config) -> Iterator[Finding]:
    log = config.telemetry.access_log
    path = ("telemetry", "access_log", "fields")
    for name in dict.fromkeys(unknown_placeholders(log.fields)):
        yield Finding(path, f"there is no {{{name}}}", did_you_mean(name, PLACEHOLDERS) or "see docs/telemetry.md")
    if log.fields and log.format == "console":
        yield Finding(path, "lines for a terminal have their own form", "write format: json", "warning")


def _check_sampling(config: Config) -> Iterator[Finding]:
    sampling = config.telemetry.sampling
    services = {service.name for service in config.services}
    routes = {route.name for service in config.services for route in service.routes}
    for at, rule in enumerate(sampling.rules):
        where = ("telemetry", "sampling", "rules", at)
        for key, wanted, known in (("route", rule.route, routes), ("service", rule.service, services)):
            for name in wanted:
                if name not in known:
                    yield Finding((*where, key), f"there is no {key} {name}")
        for method in rule.method:
            if method.upper() not in http1.METHODS:
                yield Finding((*where, "method"), f"{method} is no method that is served")
        if rule.path is not None and not rule.path.startswith("/"):
            yield Finding((*where, "path"), f"{rule.path} does not begin with a slash")
        unbounded = not (rule.route or rule.service or rule.method or (rule.path or "/").rstrip("/"))
        if unbounded and at + 1 < len(sampling.rules):
            yield Finding(where, "it holds for every request, so the rules behind it never decide", "", "warning")
