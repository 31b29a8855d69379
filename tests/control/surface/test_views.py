"""Every view that can be configured is answered by somebody, of a record that is what templates are checked against."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from headgate.config.admin_settings import LOCAL_VIEWS, View
from headgate.config.surface_names import NAMES, Many, Shape
from headgate.control.log import Line
from headgate.control.surface import records
from headgate.control.surface.listed import _SUMMARIES
from headgate.control.surface.own_answers import _health_states
from headgate.control.surface.views import VIEWS, Question
from tests.control.admin.subject import Subject
from tests.control.telemetry.records import record
from tests.loops import on_plain_loop

_TOLD = {
    *("metrics", "metric_points", "circuit_breakers", "status", "services_status", "service_health"),
    *("service_metrics", "rate_limiters", "requests", "spans", "logs"),
}
# Of endpoints that nobody has configured so, there is none here to look at.
_SOMETIMES = {"error_rate", "window", "minimum_requests", "window_size", "discovery"}


def test_control_answers_each_view_that_workers_do_not() -> None:
    assert set(VIEWS) == set(get_args(View)) - {*LOCAL_VIEWS, "proxy"}
    assert set(_SUMMARIES) == set(get_args(View))
    assert set(NAMES) == set(get_args(View)) - {"proxy"}


def config() -> dict[str, Any]:
    """Return a configuration in which each view has something to show."""
    chat = {
        "name": "chat",
        "endpoints": ["http://127.0.0.1:1"],
        "circuit_breaker": {"threshold": 3},
        "rate_limit": {"requests": 10, "window": 60},
        "health": {"path": "/health"},
        "routes": [{"name": "chat", "match": {"path": "/chat", "host": "a.example", "headers": {"X-A": "b"}}}],
    }
    found = {"name": "found", "discovery": {"type": "environment", "default": "http://127.0.0.1:2"}}
    dependency = {"name": "redis", "url": "redis://127.0.0.1:1"}
    return {
        "services": [chat, found],
        "health": {"dependencies": [dependency]},
        "telemetry": {"tracing": {"enabled": True}},
    }


async def made(subject: Subject, view: str) -> Mapping[str, Any]:
    """Return the record of a view."""
    if view == "health":
        return _health_states(records.health(subject), {})["now"][1]
    if view in LOCAL_VIEWS:
        found: Mapping[str, Any] = getattr(records, view)(subject)
        return found
    return (await VIEWS[view](Question(subject, [], [], {"service": "chat"}, {}))).record


def surprises(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """List what stands in a record and has no name in its shape."""
    if isinstance(shape, Many):
        for each in value.values() if isinstance(value, dict) else value:
            yield from surprises(each, shape.each, f"{path}[]")
    elif shape is not None and isinstance(value, dict):
        for name, inner in value.items():
            if name in shape:
                yield from surprises(inner, shape[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"


def missed(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """List what has a name in a shape and does not stand in a record that has its like."""
    if isinstance(shape, Many):
        listed = list(value.values() if isinstance(value, dict) else value)
        if listed:
            # Each has what it has need of; together they have everything.
            in_each = (set(missed(each, shape.each, f"{path}[]")) for each in listed)
            yield from sorted(set.intersection(*in_each))
    elif shape is not None and isinstance(value, dict):
        for name, inner in shape.items():
            if name in value:
                yield from missed(value[name], inner, f"{path}.{name}")
            elif name not in _SOMETIMES:
                yield f"{path}.{name}"


@on_plain_loop
async def test_templates_are_checked_against_what_records_are() -> None:
    subject = Subject(config=config())
    parts = subject.parts
    parts.exposition.follow(subject.config)
    parts.discovery.follow(subject.config)
    parts.own_health.follow(subject.config)
    parts.telemetry.follow(subject.config)
    optional = {"correlation_id": "c", "parent_id": "b" * 16, "trace_state": "a=b", "cache": "miss", "grpc_status": 0}
    parts.telemetry.take(record(1, **optional, breaker="closed", error="dns", detail="words"))
    parts.telemetry.take_line(Line(1.0, "error", "control", "words", {}))
    wrong: list[str] = []
    asked: list[str] = []

    async def fetch() -> None:
        asked.append(view)

    parts.latest.fetch = fetch  # type: ignore[method-assign]
    for view, names in NAMES.items():
        shown = await made(subject, view)
        wrong += [f"not described: {each}" for each in surprises(shown, names, view)]
        wrong += [f"not there: {each}" for each in missed(shown, names, view)]
    parts.telemetry.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert "\n".join(wrong) == ""
    # Of what happened, and of what was counted of it, workers are asked first.
    assert set(asked) == _TOLD
    assert len(asked) == len(_TOLD)
