"""One request for an own endpoint, one answer: found by the configured items, filled from the record of its view.

Laws: what is no configured item is 404, and so are names that nothing has; an answer never says more of an error than a
sentence of our own. Lists come in pages, newest first, as those of the admin API do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from headgate.config.admin_settings import LOCAL_VIEWS, Surface
from headgate.config.body_templates import Body, Refused
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.control.breakers import ACTIONS
from headgate.control.exposition import preferred
from headgate.control.log import Log
from headgate.control.surface import listed, records
from headgate.control.surface.numbers import Numbers
from headgate.control.surface.records import Record
from headgate.control.surface.subject import Subject
from headgate.control.telemetry.requests import spans_of
from headgate.control.telemetry.ring import page, part
from headgate.core.clock import wall
from headgate.policy.route import Matched, RouteRule, RouteTable
from headgate.telemetry.audit import Actor

JSON = "application/json"
MOST_ITEMS = 1000
_DEFAULT_ITEMS = 100
_SERVICE_NOT_FOUND = {"detail": "Service not found"}


class Given(NamedTuple):
    """One answer."""

    status: int
    content_type: str
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()


class Asked(NamedTuple):
    """One request, as the worker passed it on."""

    method: str
    path: str
    query: str = ""
    accept: str = ""
    caller: str = ""


class NotFound(Exception):
    """There is nothing of that name; the body says so."""

    def __init__(self, body: Mapping[str, str]) -> None:
        super().__init__()
        self.body = body


class Item(NamedTuple):
    """A configured endpoint and its body, compiled."""

    surface: Surface
    route: ResolvedRoute
    body: Body | None


class Answers:
    """All own endpoints that control answers."""

    def __init__(self, subject: Subject, log: Log) -> None:
        self._subject = subject
        self._log = log
        self._table: RouteTable[Item] = RouteTable([])
        self._exposed: list[str] = []
        self.items: list[Item] = []

    def follow(self, config: ResolvedConfig) -> None:
        """Answer what this configuration has, from now on."""
        self.items = [
            Item(surface, route, compiled(surface))
            for surface, route in zip(config.surface, config.own_routes, strict=True)
        ]
        self._exposed = list(config.admin.expose)
        own = [item for item in self.items if item.surface.view not in (*LOCAL_VIEWS, "proxy")]
        self._table = RouteTable(
            [RouteRule(each.route.name, each.route.settings.match, each, each.route.order) for each in own]
        )

    async def answer(self, asked: Asked) -> Given:
        """Answer one request."""
        found = self._table.match("", asked.path, asked.method, [], b"")
        if not isinstance(found, Matched):
            return _json(404, {"detail": "Not Found"})
        item: Item = found.payload
        params = {name: unquote(value) for name, value in found.params.items()}
        try:
            if item.surface.view == "metrics" and (given := await self._metrics_text(item, asked.accept)) is not None:
                return given
            if item.surface.view == "reset_breaker":
                self._reset(asked, params)
            record, default, fields = await self._record(item, asked, params)
            if item.body is None:
                if item.surface.view == "docs":
                    return Given(200, "text/html; charset=utf-8", listed.page(record).encode(), _PAGE_FIELDS)
                return _json(200, default, fields)
            text = item.body.render(record)
        except NotFound as missing:
            return _json(404, missing.body)
        except Refused as error:
            self._log("error", f"own endpoint {item.surface.path}: {error}")
            return _json(500, {"detail": "The answer cannot be made; the log of the gateway says why."})
        return Given(200, content_type_of(item.surface), text, fields)

    async def _record(self, item: Item, asked: Asked, params: dict[str, str]) -> tuple[Record, Any, _Fields]:
        """Return the record of a view, what is answered without a template, and fields beside it.

        Raises:
            NotFound: there is nothing of the name that was asked for.
        """
        view, subject = item.surface.view, self._subject
        if view in _PAGED:
            key = {"requests": "items", "metric_points": "metrics"}.get(view, view)
            found, following = await self._page(view, parse_qs(asked.query))
            # Templates have it as text.
            cursor = following or ""
            record = {**records.common(subject), key: found, "next": cursor}
            default = {"items": found, "next": cursor} if view == "requests" else found
            return record, default, (("Next-Cursor", cursor),) if cursor else ()
        if view in ("services_status", "service_metrics", "status", "service_health", "circuit_breakers", "metrics"):
            record = await self._counted(view, params)
            if view in _DEFAULT_NAMES:
                return record, record[_DEFAULT_NAMES[view]], ()
            return record, {name: value for name, value in record.items() if name not in _COMMON}, ()
        if view in ("openapi", "docs"):
            record = {**records.common(subject), "openapi": listed.document(self.items, self._exposed)}
            return record, record["openapi"], ()
        if view == "index":
            record = {
                **records.common(subject),
                "status": "running",
                "endpoints": listed.paths(self.items, self._exposed),
            }
            shown = ("service", "version", "description", "status", "endpoints")
            return record, {name: record[name] for name in shown}, ()
        if view == "rate_limiters":
            limiters = subject.parts.telemetry.limits_of_services()
            return {**records.common(subject), "rate_limiters": limiters}, limiters, ()
        if view == "services":
            record = records.services(subject)
            return record, record["services"], ()
        if view == "services_health":
            record = records.services_health(subject)
            return record, {name: record[name] for name in ("overall_status", "services", "last_check")}, ()
        if view == "reset_breaker":
            name = _service_in(params)
            record = {**records.common(subject), "name": name, **records.breakers_of(subject)[name]}
            record["message"] = f"circuit breaker {name} is told: {params.get('action') or 'reset'}"
            return record, {name: record[name] for name in ("message", "timestamp", "state")} | {"service": name}, ()
        return self._configured(view, subject.parts.discovery.effective(), params)

    def _configured(self, view: str, config: ResolvedConfig, params: dict[str, str]) -> tuple[Record, Any, _Fields]:
        services = records.config_services(config)
        record = {**records.common(self._subject), "services": services, "routes": records.config_routes(config)}
        if view == "config_service":
            name = _service_in(params)
            found = next((each for each in services if each["name"] == name), None)
            if found is None:
                raise NotFound(_SERVICE_NOT_FOUND)
            return {**record, "found": found}, found, ()
        if view == "config":
            return record, {"services": services}, ()
        return record, record["services" if view == "config_services" else "routes"], ()

    async def _counted(self, view: str, params: dict[str, str]) -> Record:
        """Return a record that needs what was counted: read in a thread, since it may be a lot."""
        subject = self._subject
        numbers = await subject.parts.exposition.counted("numbers", Numbers)
        if view == "metrics":
            shown = records.common(subject)
            made = numbers.record(shown["uptime"]["exact"])
            errors = subject.parts.telemetry.errors.newest()[:20]
            checks = subject.parts.own_health.checks()
            return {**shown, **made, "services": made["services_used"], "recent_errors": errors, "checks": checks}
        if view == "circuit_breakers":
            breakers = records.breakers_of(subject)
            for name, found in breakers.items():
                found |= {**numbers.calls(name), "failure_count": found["failure_count"]}
                found["success_count"] = numbers.calls(name)["success_count"]
            return {**records.common(subject), "circuit_breakers": breakers}
        services = records.services_of(subject)
        for name, service in services.items():
            calls = numbers.calls(name)
            service["response_time"] = calls["response_time"]
            for instance in service["instances"]:
                instance |= {"response_time": calls["response_time"], "error_count": None, "success_count": None}
                instance["health_score"] = 1.0 if instance["is_healthy"] else 0.0
                instance["failure_count"] = 0 if instance["is_healthy"] else 1
                instance["last_health_check"] = instance["last_check"]
        if view in ("status", "services_status"):
            summary = records.status(subject)["summary"]
            return {**records.common(subject), "services": services, "summary": summary}
        name = _service_in(params)
        if name not in services:
            raise NotFound(_SERVICE_NOT_FOUND)
        if view == "service_health":
            return {**records.common(subject), **services[name]}
        calls = numbers.calls(name)
        breaker = {"state": "closed", **records.breakers_of(subject).get(name, {})}
        breaker |= {key: calls[key] for key in ("success_count", "total_requests", "failure_rate")}
        breaker["failure_count"] = calls["failure_count"]
        return {**records.common(subject), "service": name, "calls": calls, "circuit_breaker": breaker}

    async def _metrics_text(self, item: Item, accept: str) -> Given | None:
        """Return the metrics as a scraper reads them; None where JSON is wanted, which the record is for."""
        asked = accept if accept and accept.strip() != "*/*" else item.surface.content_type or "text/plain"
        exposition = self._subject.parts.exposition
        if not exposition.enabled:
            raise NotFound({"error": "Metrics not enabled"})
        if item.body is not None and preferred(asked, False) == JSON:
            return None
        scrape = await exposition.scrape(asked)
        return Given(200, scrape.content_type, scrape.body)

    async def _page(self, view: str, query: Mapping[str, list[str]]) -> tuple[list[Any], str | None]:
        """Return one page of a list and the cursor of the next, None on the last."""
        telemetry = self._subject.parts.telemetry
        if view == "metric_points":
            points = await self._subject.parts.exposition.points(wall())
            first = _number(query, "cursor", 0)
            most = _number(query, "limit", len(points)) or len(points)
            return part(points, first, most)
        most = max(1, min(MOST_ITEMS, _number(query, "limit", _DEFAULT_ITEMS)))
        before = _number(query, "cursor", 0) or None
        if view == "logs":
            return page(telemetry.log_items(before=before), most)
        requests = telemetry.requests.ring.newest(before)
        if view == "requests":
            return page(requests, most)
        if not telemetry.settings.tracing.enabled:
            return [], None
        found, following = page(requests, max(1, most // 2))
        return [span for request in found for span in spans_of(request)], following

    def _reset(self, asked: Asked, params: dict[str, str]) -> None:
        name, wanted = _service_in(params), params.get("action") or "reset"
        action = next((each for each in ACTIONS if each == wanted), None)
        found = self._subject.parts.breakers.steer(name, action) if action is not None else None
        act, who = f"{asked.method} {asked.path}", _actor(asked.caller)
        self._subject.audit("admin.request", who, act, "done" if found else "failed", {"breaker": name}, wanted)
        if found is None:
            raise NotFound(_SERVICE_NOT_FOUND if action is not None else {"detail": "Not Found"})


_Fields = tuple[tuple[str, str], ...]
_PAGED = ("spans", "logs", "requests", "metric_points")
_DEFAULT_NAMES = {"services_status": "services", "circuit_breakers": "circuit_breakers"}
# Of the gateway as a whole, which is not what these views are asked for.
_COMMON = frozenset(("version", "description", "uptime", "plan", "draining", "workers", "features"))
# The page is made of nothing but itself.
_PAGE_FIELDS = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),)


def compiled(item: Surface) -> Body | None:
    """Compile the body of an item.

    Raises:
        Refused: with a sentence.
    """
    if item.body is None:
        return None
    return Body(item.body, item.content_type)


def content_type_of(item: Surface) -> str:
    """Return the Content-Type of what a template makes."""
    if item.content_type is not None:
        return item.content_type
    return "text/plain; charset=utf-8" if isinstance(item.body, str) else JSON


def _json(status: int, body: Any, fields: _Fields = ()) -> Given:
    return Given(status, JSON, json.dumps(body).encode(), fields)


def _service_in(params: Mapping[str, str]) -> str:
    return params.get("service") or params.get("service_name") or ""


def _number(query: Mapping[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [""])[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def _actor(caller: str) -> Actor:
    try:
        said = json.loads(caller)
        return Actor(said["kind"], said["id"], said["tenant"], said["method"], said["address"])
    except (ValueError, KeyError, TypeError):
        return Actor("anonymous")
