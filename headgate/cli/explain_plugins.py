"""What the plugins of a route make of a request that is explained.

Law: they are made anew and asked as in a worker, but for those that read the body, which an explanation has not; what
they set is named and never shown, since it may be secret.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from headgate.cli.explain_traffic import Asked
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.core.identity import Identity
from headgate.core.message import Fields
from headgate.core.trace import kind_of
from headgate.plugin.base import Plugin
from headgate.plugin.loading import hooks_of, load, name_of
from headgate.plugin.records import Headers, Request
from headgate.plugin.verdicts import Answer, BadVerdict, Delay, Deny, Pass, Rules, check_answer, check_delay, check_deny
from headgate.proxy.plugins import rules_of


class Consulted(NamedTuple):
    """A line for each plugin, and the verdict on the request where one of them has the last word."""

    lines: list[str]
    verdict: str = ""


def consult(
    config: ResolvedConfig,
    route: ResolvedRoute,
    params: Mapping[str, str],
    asked: Asked,
    identity: Identity | None,
    address: str,
) -> Consulted:
    """Ask the plugins of a route, up to the one that refuses or answers; none where it is not known who asks."""
    if identity is None:
        return Consulted([f"{name_of(each)}: not asked here, the caller is not known" for each in route.plugins])
    for_requests, for_answers = rules_of(config)
    query = (asked.query or b"").decode("utf-8", "surrogateescape")
    service = "" if route.settings.respond or route.settings.redirect else route.destinations[0].service_name
    fields: Fields = asked.fields
    lines: list[str] = []
    for setting in route.plugins:
        name = name_of(setting)
        plugin = load(setting)
        if "on_request" not in hooks_of(plugin):
            lines.append(f"{name}: sees the answer only")
            continue
        if plugin.needs_body:
            lines.append(f"{name}: not asked here, it reads up to {plugin.needs_body} bytes of the body")
            continue
        request = Request(
            *(asked.method, asked.path, query, Headers(fields), None, params, identity, "http", asked.host, address),
            *("explained", route.name, service, time.time()),
        )
        try:
            said = _ask(plugin, request, for_requests, for_answers)
        except BadVerdict as error:
            line, ends = f"gives no verdict that can be obeyed: {error}", setting.on_error == "closed"
        except (Exception, SystemExit) as error:
            line, ends = f"raises {kind_of(error)}", setting.on_error == "closed"
        else:
            line, ends, fields = said.line, said.ends, said.edited(fields)
        lines.append(f"{name}: {line}")
        if ends:
            return Consulted(lines, f"by plugin {name} of route {route.name}: {line}")
    return Consulted(lines)


class _Said(NamedTuple):
    line: str
    ends: bool = False
    edits: tuple[Rules, Pass] | None = None

    def edited(self, fields: Fields) -> Fields:
        if self.edits is None:
            return fields
        rules, verdict = self.edits
        return rules.edits(verdict).apply(fields)


def _ask(plugin: Plugin, request: Request, for_requests: Rules, for_answers: Rules) -> _Said:
    verdict: object = plugin.on_request(request)
    match verdict:
        case None:
            return _Said("passes it")
        case Pass():
            for_requests.edits(verdict)
            parts = [f"sets {', '.join(verdict.set_headers)}"] if verdict.set_headers else []
            parts += [f"takes off {', '.join(verdict.remove_headers)}"] if verdict.remove_headers else []
            return _Said(", ".join(["passes it", *parts]), edits=(for_requests, verdict))
        case Deny():
            check_deny(verdict)
            return _Said(f"refuses it with {verdict.status}" + (f": {verdict.reason}" if verdict.reason else ""), True)
        case Answer():
            check_answer(verdict, for_answers)
            return _Said(f"answers it with {verdict.status}", True)
        case Delay():
            return _Said(f"passes it after {check_delay(verdict):g} s")
    raise BadVerdict(f"expected a verdict or None, got {type(verdict).__name__}")
