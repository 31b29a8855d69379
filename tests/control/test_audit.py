"""The audit log of operators: what came over the admin address, what a configuration did, what commands did."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from headgate.control.audit import HANGUP, START, Audit, CommandAudit, changed
from headgate.control.log import Log
from headgate.telemetry.settings import AuditLog
from tests.control.admin.subject import OWNER, TOKEN, Subject, as_role, ask
from tests.control.admin.test_breakers import with_breaker
from tests.control.driver import until
from tests.control.whole import Gateway, Service

Record = dict[str, Any]


def records(path: Path) -> list[Record]:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    # The last one may be on its way.
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def without(record: Record, *names: str) -> Record:
    return {name: value for name, value in record.items() if name not in names}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def settings(path: Path, **more: Any) -> AuditLog:
    return AuditLog(enabled=True, path=str(path), **more)


# -- the admin address --------------------------------------------------------------------------------------------


def acts(subject: Subject, path: Path) -> list[Record]:
    subject.audit.close()
    return [without(record, "timestamp") for record in records(path)]


def test_what_was_asked_of_a_breaker_by_whom(path: Path) -> None:
    subject = with_breaker()
    subject.audit.follow(settings(path))
    action = "/api/v1/circuit-breakers/api/open"
    assert ask(subject, "POST", action, peer="203.0.113.9").status_code == 200
    assert ask(subject, "POST", f"{action}?why=planted").status_code == 422
    assert ask(subject, "POST", action, {**OWNER, "authorization": f"Bearer {TOKEN}X"}).status_code == 401
    assert ask(subject, "POST", action, as_role("read")).status_code == 403
    assert ask(subject, "POST", action, {**OWNER, "host": "rebound.example"}).status_code == 421
    assert ask(subject, "POST", "/api/v1/circuit-breakers/shop/open").status_code == 404
    ask(subject, "GET", "/api/v1/circuit-breakers")
    done, unread, refused, below, misled, failed = acts(subject, path)
    assert done == {
        "event": "admin.request",
        "actor": {"kind": "operator", "id": "admin", "method": "token", "address": "203.0.113.9"},
        "action": f"POST {action}",
        "target": {"breaker": "api"},
        "outcome": "done",
        "status": 200,
    }
    assert refused == {
        "event": "admin.request",
        "actor": {"kind": "anonymous", "address": "127.0.0.1"},
        "action": f"POST {action}",
        "outcome": "refused",
        "status": 401,
    }
    assert (unread["action"], unread["outcome"], unread["status"]) == (f"POST {action}", "failed", 422)
    assert (below["actor"]["id"], below["outcome"], below["status"]) == ("read", "refused", 403)
    assert (misled["actor"]["kind"], misled["outcome"], misled["status"]) == ("anonymous", "refused", 421)
    assert (failed["outcome"], failed["status"], failed["target"]) == ("failed", 404, {"breaker": "shop"})
    assert not [word for word in ("planted", TOKEN, "rebound") if word in path.read_text()]


def test_an_endpoint_taken_out_is_named(path: Path) -> None:
    subject = Subject()
    subject.audit.follow(settings(path))
    target = {"service": "api", "endpoint": "a:80"}
    ask(subject, "POST", "/api/v1/endpoints", as_role("operate"), json={**target, "state": "disabled"})
    (act,) = acts(subject, path)
    assert act["actor"] == {"kind": "operator", "id": "operate", "method": "token", "address": "127.0.0.1"}
    assert (act["target"], act["detail"]) == (target, "disabled")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_whatever_is_more_than_reading_is_written_down_even_where_nothing_is(path: Path, method: str) -> None:
    subject = Subject()
    subject.audit.follow(settings(path))
    assert ask(subject, method, "/nowhere%0D%0A%1B").status_code == 404
    (act,) = acts(subject, path)
    assert act["action"] == f"{method} /nowhere\r\n\x1b"
    assert (act["actor"]["kind"], act["outcome"]) == ("anonymous", "failed")


# -- control ------------------------------------------------------------------------------------------------------


def test_a_configuration_is_written_down_with_its_cause_and_the_one_that_ends_the_log_too(path: Path) -> None:
    audit = Audit(Log("control"))
    audit.refused(START, 0, ("nobody listens yet",))
    audit.applied(settings(path), START, 1)
    audit.refused(changed([Path("a.yaml"), Path("b.yaml")]), 1, ("a.yaml:1:1: error: x", "b.yaml:2:2: error: y"))
    audit.applied(AuditLog(), HANGUP, 2)
    audit.applied(AuditLog(), HANGUP, 3)
    begun, refused, ended = records(path)
    assert (begun["event"], begun["actor"], begun["target"]) == ("config.applied", {"kind": "gateway"}, {"plan": "1"})
    assert (refused["event"], refused["outcome"], refused["target"]) == ("config.refused", "failed", {"plan": "1"})
    assert refused["actor"] == {"kind": "file"}
    assert refused["detail"] == "a.yaml:1:1: error: x; b.yaml:2:2: error: y"
    assert (ended["actor"], ended["target"]) == ({"kind": "signal", "id": "SIGHUP"}, {"plan": "2"})


def test_a_log_that_moves_tells_of_it_in_its_new_place(path: Path, tmp_path: Path) -> None:
    audit = Audit(Log("control"))
    audit.applied(settings(path), START, 1)
    audit.applied(settings(tmp_path / "moved"), HANGUP, 2)
    audit.close()
    assert [len(records(path)), len(records(tmp_path / "moved"))] == [1, 1]


def test_a_log_that_cannot_be_opened_costs_control_nothing_but_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    audit = Audit(Log("control"))
    audit.applied(settings(tmp_path / "nowhere" / "audit"), START, 1)
    audit.reopen()
    audit.close()
    assert "the audit log cannot be opened" in capfd.readouterr().err


# -- commands -----------------------------------------------------------------------------------------------------


def test_a_command_writes_who_ran_it(path: Path) -> None:
    write = CommandAudit(settings(path))
    write("key.revoked", "keys revoke", {"key": "k-1"}, "done", "left the company")
    (act,) = records(path)
    assert without(act, "timestamp") == {
        "event": "key.revoked",
        "actor": {"kind": "operator", "id": pwd.getpwuid(os.getuid()).pw_name, "method": "command"},
        "action": "keys revoke",
        "target": {"key": "k-1"},
        "outcome": "done",
        "detail": "left the company",
    }


def test_a_command_of_a_gateway_that_writes_to_a_stream_writes_to_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    CommandAudit(AuditLog(enabled=True, path="stdout"))("key.created", "keys create", {"key": "k-1"}, "done")
    said = capfd.readouterr()
    assert (said.out, json.loads(said.err)["event"]) == ("", "key.created")


def test_a_command_does_nothing_that_could_not_be_written_down(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the audit log cannot be opened"):
        CommandAudit(settings(tmp_path / "nowhere" / "audit"))
    CommandAudit(dataclasses.replace(settings(path), enabled=False))("key.created", "keys create", {}, "done")
    assert not path.exists()


# -- the whole gateway --------------------------------------------------------------------------------------------


def holders(gateway: Gateway, path: Path) -> list[str]:
    """Return the descriptors of a file in all processes of a gateway."""
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    found = []
    for each in (each for child in children for each in Path(f"/proc/{child}/fd").iterdir()):
        # One that is closed meanwhile is none.
        with suppress(FileNotFoundError):
            found += [str(each)] if each.readlink() == path else []
    return found


def test_two_workers_and_control_share_one_file_through_rotation_and_reloads(
    tmp_path: Path, path: Path, service: Service
) -> None:
    limits = [{"name": "few", "requests": 1, "window": 86400}]
    telemetry = {"access_log": {"enabled": False}, "audit": {"enabled": True, "path": str(path)}}
    upstream = {"url": f"http://{service.name}"}
    gateway = Gateway(tmp_path, 2, upstream, limits=limits, telemetry=telemetry)
    try:
        until(lambda: len(records(path)) == 1, "the start is written down")
        asked = 40
        statuses = [gateway.ask(f"/{number}")[0] for number in range(asked)]
        refused = {f"GET /{number}" for number, status in enumerate(statuses) if status == 429}
        assert len(refused) == asked - 1
        until(lambda: len(records(path)) == 1 + len(refused), "every refusal is written down")
        assert {each["action"] for each in records(path)[1:]} == refused

        gateway.reload()
        until(
            lambda: [each for each in records(path) if each["action"] == "POST /api/v1/reload"], "the reload is written"
        )
        rotated = tmp_path / "rotated"
        path.rename(rotated)
        gateway.process.send_signal(signal.SIGUSR1)
        until(lambda: not holders(gateway, rotated), "every process writes to the new file")
        gateway.write({**upstream, "balancer": "unheard_of"})
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_log("configuration refused")
        until(lambda: [each for each in records(path) if each["event"] == "config.refused"], "and the refusal")
        (last,) = [each for each in [*records(rotated), *records(path)] if each["event"] == "config.refused"]
        assert last["actor"]["kind"] in ("signal", "file")
        assert "unheard_of" in last["detail"]
    finally:
        gateway.close()
    told = [each["event"] for each in records(rotated)]
    assert told.count("config.applied") == 2
