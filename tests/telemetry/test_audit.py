"""The audit log: the record people asked for, and one harmless line whatever anybody sends."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.core.failure import REASONS
from headgate.telemetry.access_log import MAX_PATH, MAX_TEXT
from headgate.telemetry.audit import MAX_DETAIL, REFUSALS, Act, Actor, audit_line
from tests.telemetry.test_access_log import ANY_TEXT, joined, text_of

WALL = 1764239400.123  # 2025-11-27T10:30:00.123Z
REFUSED = Act(
    WALL,
    "request.refused",
    Actor("user", "alice", "acme", "staff", "192.0.2.10"),
    "DELETE /admin/users/7",
    "refused",
    {"route": "admin", "service": ""},
    "forbidden",
    "none of the roles admin, auditor",
    403,
    "req-1",
)


def test_the_line_to_the_letter() -> None:
    assert audit_line(REFUSED) == (
        b'{"timestamp":"2025-11-27T10:30:00.123Z","event":"request.refused","actor":{"kind":"user","id":"alice",'
        b'"tenant":"acme","method":"staff","address":"192.0.2.10"},"action":"DELETE /admin/users/7",'
        b'"target":{"route":"admin"},"outcome":"refused","reason":"forbidden",'
        b'"detail":"none of the roles admin, auditor","status":403,"request_id":"req-1"}\n'
    )


def test_what_is_not_known_is_absent() -> None:
    line = audit_line(Act(0.0, "config.applied", Actor("signal", "SIGHUP"), "SIGHUP", "done"))
    assert json.loads(line) == {
        "timestamp": "1970-01-01T00:00:00.000Z",
        "event": "config.applied",
        "actor": {"kind": "signal", "id": "SIGHUP"},
        "action": "SIGHUP",
        "outcome": "done",
    }


@pytest.mark.parametrize(
    ("field", "longest"), [("action", MAX_PATH), ("detail", MAX_DETAIL), ("reason", MAX_TEXT), ("request_id", MAX_TEXT)]
)
def test_what_is_long_is_cut(field: str, longest: int) -> None:
    for text in ("x" * longest, "x" * 1_000_000):
        changes: dict[str, Any] = {field: text}
        record = json.loads(audit_line(REFUSED._replace(**changes)))
        assert record[field] == text_of(text, longest)
    actor = json.loads(audit_line(REFUSED._replace(actor=REFUSED.actor._replace(id="x" * 1000))))["actor"]
    assert actor["id"] == text_of("x" * 1000, MAX_TEXT)


@given(
    texts=st.lists(ANY_TEXT | ANY_TEXT.map(lambda text: text * 30), min_size=9, max_size=9),
    wall=st.floats(0, 4e9),
    status=st.integers(0, 599),
)
@example(texts=['"},"outcome":"done\r\n\x1b[2J'] * 9, wall=WALL, status=403)
def test_any_text_in_any_field_is_one_line_of_printable_ascii(texts: list[str], wall: float, status: int) -> None:
    id_, tenant, method, address, action, target, reason, detail, request_id = texts
    actor = Actor("api_key", id_, tenant, method, address)
    made = Act(wall, "request.refused", actor, action, "refused", {"route": target}, reason, detail, status, request_id)
    line = audit_line(made)
    assert re.fullmatch(rb"\{[ -~]*\}\n", line)
    pairs = json.loads(line, object_pairs_hook=list)
    record: dict[str, Any] = dict(pairs)
    assert len(record) == len(pairs), "no field twice"
    assert record["event"] == "request.refused"
    assert record["outcome"] == "refused"
    assert dict(record["actor"]).get("id", "") == joined(text_of(id_, MAX_TEXT))
    assert record.get("action", "") == joined(text_of(action, MAX_PATH))
    assert record.get("detail", "") == joined(text_of(detail, MAX_DETAIL))


def test_every_refusal_of_somebody_is_audited_and_nothing_that_is_only_malformed() -> None:
    assert REASONS.keys() >= REFUSALS
    refusing = {name for name, reason in REASONS.items() if reason.status in (401, 403, 429)}
    assert refusing <= REFUSALS
    assert not REFUSALS & {"bad_request", "route_not_found", "client_closed", "breaker_open", "shed", "overloaded"}
    assert not [name for name in REFUSALS if REASONS[name].side == "upstream"]
