"""The audit log of a worker: one line for each request that a gate refuses, none for anything else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.stage import gateway, on_loop, to

KEY = "hg_planted-in-this-test-alone-0123456789"
LONG = 86400


def document(upstream: Upstream, path: Path, audit: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    written = {"enabled": True, "path": str(path)} if audit is None else audit
    return to(upstream, telemetry={"access_log": {"enabled": False}, "audit": written}, **more)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@on_loop
async def test_who_was_refused_what_and_why(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    few = {"limits": [{"name": "few", "requests": 1, "window": LONG}]}
    more: dict[str, Any] = {"route": few, "forwarding": {"trust": ["127.0.0.1"]}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(document(upstream, path, **more)) as rig:
        forwarded = get("/x?token=planted", "X-Forwarded-For: 192.0.2.7")
        assert [(await rig.ask(forwarded)).status for _ in range(3)] == [200, 429, 429]
        log = await rig.logged(3)
    refused = records(path)
    assert [each["request_id"] for each in refused] == [each["correlation_id"] for each in log[1:]]
    assert refused[0]["timestamp"] <= refused[1]["timestamp"]
    assert {key: value for key, value in refused[0].items() if key not in ("timestamp", "request_id")} == {
        "event": "request.refused",
        "actor": {"kind": "anonymous", "address": "192.0.2.7"},
        "action": "GET /x",
        "target": {"route": "all", "service": "api"},
        "outcome": "refused",
        "reason": "rate_limited",
        "detail": "few",
        "status": 429,
    }


@on_loop
async def test_a_caller_that_is_known_is_named_and_a_wrong_credential_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    static = {"id": "reader", "hash": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}", "tenant": "acme"}
    identity = {"api_keys": {"database": False, "static": [static]}}
    more: dict[str, Any] = {"identity": identity, "route": {"auth": {"roles": ["admin"]}}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(document(upstream, path, **more)) as rig:
        credentials = [f"X-API-Key: {KEY}", f"X-API-Key: {KEY}x", "X-Other: 1"]
        statuses = [(await rig.ask(get("/x", credential))).status for credential in credentials]
        assert statuses == [403, 401, 401]
    known, wrong, missing = records(path)
    assert known["actor"] == {
        "kind": "api_key",
        "id": "reader",
        "tenant": "acme",
        "method": "api_key",
        "address": "127.0.0.1",
    }
    assert (known["reason"], known["status"]) == ("forbidden", 403)
    assert wrong["actor"] == missing["actor"] == {"kind": "anonymous", "address": "127.0.0.1"}
    assert [wrong["reason"], missing["reason"]] == ["invalid_api_key", "missing_credentials"]
    assert KEY not in path.read_text()


@pytest.mark.parametrize("audit", [{}, {"enabled": False}, {"enabled": True, "refusals": False}])
@on_loop
async def test_nothing_is_written_unless_asked_for(tmp_path: Path, audit: dict[str, Any]) -> None:
    path = tmp_path / "audit"
    more: dict[str, Any] = {"limits": [{"name": "few", "requests": 1, "window": LONG}]}
    settings = {**audit, "path": str(path)}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(document(upstream, path, settings, **more)) as rig,
    ):
        assert [(await rig.ask(get("/x"))).status for _ in range(2)] == [200, 429]
    assert not path.exists()


@on_loop
async def test_what_no_gate_refused_is_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    async with Upstream(answering(lambda _: ok())) as upstream:
        made = document(upstream, path, route={"match": {"path": "/x"}})
        async with gateway(made) as rig:
            for target, status in (("/x", 200), ("/y", 404), ("/x/%00", 400)):
                assert (await rig.ask(get(target))).status == status
    assert records(path) == []


@on_loop
async def test_it_is_rotated_and_follows_a_reload(tmp_path: Path) -> None:
    more: dict[str, Any] = {"limits": [{"name": "none", "requests": 1, "window": LONG}]}
    names = ["first", "rotated", "second"]
    first, rotated, second = (tmp_path / name for name in names)
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(document(upstream, first, **more)) as rig:
        assert (await rig.ask(get("/passes"))).status == 200
        await rig.ask(get("/1"))
        await eventually(lambda: len(records(first)) == 1)
        first.rename(rotated)
        rig.gateway.reopen_logs()
        await eventually(first.exists)
        await rig.ask(get("/2"))
        rig.apply(document(upstream, second, **more))
        await rig.ask(get("/3"))
        # The thread of the log before writes on by itself.
        await eventually(lambda: len(records(first)) == 1)
    written = {name: [each["action"] for each in records(tmp_path / name)] for name in names}
    assert written == {"rotated": ["GET /1"], "first": ["GET /2"], "second": ["GET /3"]}


@on_loop
async def test_a_file_that_cannot_be_opened_refuses_the_configuration(tmp_path: Path) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream)) as rig:
        with pytest.raises(ValueError, match=r"the audit log cannot be opened: .*: No such file"):
            rig.apply(document(upstream, tmp_path / "nowhere" / "audit"))
        assert (await rig.ask(get("/x"))).status == 200
