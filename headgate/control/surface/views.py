"""Each view that control answers: the record that its template sees, and what is answered without a template.

docs/surface.md describes them. Lists come in pages, newest first, as those of the admin API do.

Law: whoever has seen the answer of a request finds it told and counted in every view asked for afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from headgate.control.surface import listed, records
from headgate.control.surface.records import Record
from headgate.control.surface.subject import Subject
from headgate.control.telemetry.requests import spans_of
from headgate.control.telemetry.ring import page, part
from headgate.core.clock import wall

if TYPE_CHECKING:
    from headgate.control.surface.answers import Item

MOST_ITEMS: Final = 1000
SERVICE_NOT_FOUND: Final[Mapping[str, str]] = {"detail": "Service not found"}
_MOST_ERRORS: Final = 20
# Of the gateway as a whole, which is not what most views are asked for.
_COMMON: Final = frozenset(("version", "description", "uptime", "plan", "draining", "workers", "features"))


class NotFound(Exception):
    """There is nothing of that name; the body says so."""

    def __init__(self, body: Mapping[str, str]) -> None:
        super().__init__()
        self.body = body


class Question(NamedTuple):
    """What a view is asked: `params` stand in the path, `query` behind it; `items` and `exposed` are all that is."""

    subject: Subject
    items: Sequence[Item]
    exposed: Sequence[str]
    params: Mapping[str, str]
    query: Mapping[str, list[str]]

    @property
    def service(self) -> str:
        """Return the service that the path names."""
        return self.params.get("service") or self.params.get("service_name") or ""

    def number(self, name: str, default: int) -> int:
        """Return a number of the query."""
        text = self.query.get(name, [""])[0]
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default

    def record(self, **more: Any) -> Record:
        """Return what stands in every record, and more."""
        return {**records.common(self.subject), **more}


class Shown(NamedTuple):
    """A record, what of it is answered without a template, and fields beside it."""

    record: Record
    plain: Any
    fields: tuple[tuple[str, str], ...] = ()


def _some(record: Record, names: Iterable[str]) -> Shown:
    return Shown(record, {name: record[name] for name in names})


def _own(record: Record) -> Shown:
    return _some(record, [name for name in record if name not in _COMMON])


# -- the gateway ---------------------------------------------------------------------------------------------------


async def _index(asked: Question) -> Shown:
    record = asked.record(status="running", endpoints=listed.paths(asked.items, asked.exposed))
    return _some(record, ("service", "version", "description", "status", "endpoints"))


async def _openapi(asked: Question) -> Shown:
    document = listed.document(asked.items, asked.exposed)
    config = asked.subject.parts.configuration.resolved
    whole = listed.whole(document, config.routes) if config is not None else document
    return Shown(asked.record(openapi=document, whole=whole), document)


async def _metrics(asked: Question) -> Shown:
    numbers, parts = await records.latest_numbers(asked.subject), asked.subject.parts
    shown = asked.record()
    made = numbers.record(shown["uptime"]["exact"])
    errors, checks = parts.telemetry.errors.newest()[:_MOST_ERRORS], parts.own_health.checks()
    config = parts.configuration.resolved
    used = {"total_services": len(config.services) if config is not None else 0, **made["services_used"]}
    return _own({**shown, **made, "services_used": used, "services": used, "recent_errors": errors, "checks": checks})


async def _rate_limiters(asked: Question) -> Shown:
    await asked.subject.parts.latest.fetch()
    limiters = asked.subject.parts.telemetry.limits_of_services()
    return Shown(asked.record(rate_limiters=limiters), limiters)


async def _circuit_breakers(asked: Question) -> Shown:
    numbers = await records.latest_numbers(asked.subject)
    breakers = records.breakers_of(asked.subject)
    for name, found in breakers.items():
        found |= {key: value for key, value in numbers.calls(name).items() if key not in found}
    return Shown(asked.record(circuit_breakers=breakers), breakers)


async def _reset_breaker(asked: Question) -> Shown:
    """Show a breaker that was just told something (answers)."""
    name = asked.service
    record = asked.record(**records.breakers_of(asked.subject)[name])
    record["message"] = f"circuit breaker {name} is told: {asked.params.get('action') or 'reset'}"
    return Shown(record, {**{each: record[each] for each in ("message", "timestamp", "state")}, "service": name})


# -- services ------------------------------------------------------------------------------------------------------


async def _services(asked: Question) -> Shown:
    record = records.services(asked.subject)
    return Shown(record, record["services"])


async def _services_health(asked: Question) -> Shown:
    return _some(records.services_health(asked.subject), ("overall_status", "services", "last_check"))


async def _status(asked: Question) -> Shown:
    summary = records.status(asked.subject)["summary"]
    return _own(asked.record(services=await _counted(asked), summary=summary))


async def _services_status(asked: Question) -> Shown:
    shown = await _status(asked)
    return Shown(shown.record, shown.record["services"])


async def _service_health(asked: Question) -> Shown:
    found = (await _counted(asked)).get(asked.service)
    if found is None:
        raise NotFound(SERVICE_NOT_FOUND)
    return _own({**asked.record(), **found})


async def _service_metrics(asked: Question) -> Shown:
    name = asked.service
    if name not in records.services_of(asked.subject):
        raise NotFound(SERVICE_NOT_FOUND)
    calls = (await records.latest_numbers(asked.subject)).calls(name)
    counted = {key: calls[key] for key in ("failure_count", "success_count", "total_requests", "failure_rate")}
    # A service without one has what is known of its calls.
    breaker = {"state": "closed", **counted, **records.breakers_of(asked.subject).get(name, {})}
    return _own({**asked.record(), "service": name, "calls": calls, "circuit_breaker": breaker})


async def _counted(asked: Question) -> dict[str, Record]:
    """Return all services with what was counted of their calls."""
    numbers, services = await records.latest_numbers(asked.subject), records.services_of(asked.subject)
    for name, service in services.items():
        # Where nobody checks, the calls tell.
        calls = numbers.calls(name)
        if service["response_time"] is None:
            service["response_time"] = calls["response_time"]
        told = {"response_time": calls["response_time"]}
        if len(service["instances"]) == 1:
            # Of several, nobody knows whose calls they were.
            told |= {"success_count": calls["success_count"], "error_count": calls["failure_count"]}
        for instance in service["instances"]:
            instance |= {key: value for key, value in told.items() if instance[key] is None}
            instance["health_score"] = 1.0 if instance["is_healthy"] else 0.0
            instance["last_health_check"] = instance["last_check"]
    return services


# -- configuration -------------------------------------------------------------------------------------------------


async def _config(asked: Question) -> Shown:
    return _some(_configured(asked), ("services",))


async def _config_services(asked: Question) -> Shown:
    record = _configured(asked)
    return Shown(record, record["services"])


async def _config_routes(asked: Question) -> Shown:
    record = _configured(asked)
    return Shown(record, record["routes"])


async def _config_service(asked: Question) -> Shown:
    record = _configured(asked)
    found = next((each for each in record["services"] if each["name"] == asked.service), None)
    if found is None:
        raise NotFound(SERVICE_NOT_FOUND)
    return Shown({**record, "found": found}, found)


def _configured(asked: Question) -> Record:
    config = asked.subject.parts.discovery.effective()
    return asked.record(services=records.config_services(config), routes=records.config_routes(config))


# -- what happened -------------------------------------------------------------------------------------------------


async def _requests(asked: Question) -> Shown:
    await asked.subject.parts.latest.fetch()
    shown = _paged(
        asked, "items", *page(asked.subject.parts.telemetry.requests.ring.newest(_before(asked)), _most(asked))
    )
    return shown._replace(plain={name: shown.record[name] for name in ("items", "next")})


async def _spans(asked: Question) -> Shown:
    telemetry = asked.subject.parts.telemetry
    if not telemetry.settings.tracing.enabled:
        return _paged(asked, "spans", [], None)
    await asked.subject.parts.latest.fetch()
    # A request has two spans or more.
    found, following = page(telemetry.requests.ring.newest(_before(asked)), max(1, _most(asked) // 2))
    return _paged(asked, "spans", [span for request in found for span in spans_of(request)], following)


async def _logs(asked: Question) -> Shown:
    await asked.subject.parts.latest.fetch()
    return _paged(asked, "logs", *page(asked.subject.parts.telemetry.log_items(before=_before(asked)), _most(asked)))


async def _metric_points(asked: Question) -> Shown:
    await asked.subject.parts.latest.fetch()
    points = await asked.subject.parts.exposition.points(wall())
    most = asked.number("limit", len(points)) or len(points)
    return _paged(asked, "metrics", *part(points, asked.number("cursor", 0), most))


def _paged(asked: Question, name: str, found: Sequence[Any], following: str | None) -> Shown:
    # Templates have the cursor as text.
    cursor = following or ""
    return Shown(asked.record(**{name: found, "next": cursor}), found, (("Next-Cursor", cursor),) if cursor else ())


def _most(asked: Question) -> int:
    return max(1, min(MOST_ITEMS, asked.number("limit", MOST_ITEMS)))


def _before(asked: Question) -> int | None:
    return asked.number("cursor", 0) or None


VIEWS: Final[Mapping[str, Callable[[Question], Awaitable[Shown]]]] = {
    "index": _index,
    "openapi": _openapi,
    "docs": _openapi,
    "metrics": _metrics,
    "rate_limiters": _rate_limiters,
    "circuit_breakers": _circuit_breakers,
    "reset_breaker": _reset_breaker,
    "services": _services,
    "services_health": _services_health,
    "status": _status,
    "services_status": _services_status,
    "service_health": _service_health,
    "service_metrics": _service_metrics,
    "config": _config,
    "config_services": _config_services,
    "config_routes": _config_routes,
    "config_service": _config_service,
    "requests": _requests,
    "spans": _spans,
    "logs": _logs,
    "metric_points": _metric_points,
}
"""By the view's name; the others are answered by workers (admin_settings.LOCAL_VIEWS, proxy)."""
