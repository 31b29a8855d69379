"""What workers are told of health, ready and live, so that they answer alone: each answer in each of its states.

Law: plain; a template that cannot be filled is answered by the record's status alone, for these three must answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from headgate.config.admin_settings import LOCAL_VIEWS
from headgate.config.body_templates import Refused
from headgate.control.log import Log
from headgate.control.own_health import worst
from headgate.control.surface import records
from headgate.control.surface.answers import Item, content_type_of
from headgate.control.surface.moments import in_words
from headgate.control.surface.records import Record
from headgate.control.surface.subject import Subject
from headgate.proxy.own import OwnAnswer

_EXPOSED = {"health": ("status", "uptime_seconds"), "ready": ("status", "reason")}
_SHOWN = {
    "health": ("status", "timestamp", "uptime", "checks", "dependencies", "services"),
    "ready": ("status", "reason"),
    "live": ("status",),
}


async def note_calls(subject: Subject, items: Iterable[Item]) -> None:
    """Have breakers know of their calls, if a template of these may tell of them."""
    if any(item.surface.view == "health" and item.body is not None for item in items):
        await records.numbers_of(subject)


def told(
    subject: Subject,
    items: Iterable[Item],
    exposed: Iterable[str],
    statuses: Mapping[Any, int],
    log: Log,
) -> dict[str, dict[str, OwnAnswer]]:
    """Return all answers by path and state (proxy.own.State).

    `exposed` are the paths of admin.expose.
    """
    states = {
        "health": _health_states(records.health(subject), statuses),
        "ready": _ready_states(records.ready(subject), subject.parts.own_health.not_ready()),
        "live": {"now": (200, records.live(subject))},
    }
    found: dict[str, dict[str, OwnAnswer]] = {}
    for path in exposed:
        view = path[1:]
        found[path] = {
            state: _plain(status, record, _EXPOSED[view]) for state, (status, record) in states[view].items()
        }
    for item in items:
        view = item.surface.view
        if view in LOCAL_VIEWS:
            found[item.surface.path] = {
                state: _filled(item, status, record, log) for state, (status, record) in states[view].items()
            }
    return found


def _health_states(record: Record, statuses: Mapping[Any, int]) -> dict[str, tuple[int, Record]]:
    record["uptime_seconds"] = record["uptime"]["exact"]
    stale = {**record, "stale": True, "status": worst("degraded", record["status"])}
    draining = {**record, "status": "draining", "draining": True}
    return {
        "now": (statuses.get(record["status"], 200), record),
        "stale": (statuses.get(stale["status"], 200), stale),
        "draining": (statuses.get("healthy", 200), draining),
    }


def _ready_states(record: Record, away: str) -> dict[str, tuple[int, Record]]:
    def unready(reason: str) -> tuple[int, Record]:
        found = {**record, "status": "not_ready", "ready": False, "reason": reason}
        return 503, {**found, "dependency": away if reason == "dependency" else ""}

    reasons = {reason: unready(reason) for reason in ("starting", "draining", "dependency")}
    return {"now": (200, record), **reasons}


def _plain(status: int, record: Record, names: Iterable[str]) -> OwnAnswer:
    shown = {name: record[name] for name in names if record.get(name) != ""}
    if isinstance(shown.get("services"), dict):
        shown["services"] = {"summary": shown["services"]["summary"]}
    return OwnAnswer(status, b"application/json", json.dumps(shown).encode())


def _filled(item: Item, status: int, record: Record, log: Log) -> OwnAnswer:
    if item.body is None:
        told = record if item.surface.times == "seconds" else in_words(record)
        return _plain(status, told, _SHOWN[item.surface.view])
    try:
        return OwnAnswer(status, content_type_of(item.surface).encode("latin-1", "replace"), item.body.render(record))
    except Refused as error:
        log("error", f"own endpoint {item.surface.path}: {error}")
        return _plain(status, record, ("status",))
