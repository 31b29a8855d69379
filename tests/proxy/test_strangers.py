"""Paths that no route takes: who is told so, and what strangers get there (`unrouted`)."""

from __future__ import annotations

import json
from typing import Any

from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Upstream, answering, get, ok
from tests.proxy.stage import gateway, on_loop, to

DAY = 86400
WRONG = "X-API-Key: hg_wrong"
DOCUMENT: dict[str, Any] = {
    "unrouted": "known",
    "identity": keys(static("ann")),
    "route": {"match": {"path": "/api", "method": "GET"}},
}


@on_loop
async def test_strangers_are_asked_who_they_are_before_they_learn_that_there_is_nothing() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **DOCUMENT)) as rig:
        requests = [
            get("/api"),
            get("/no"),
            get("/no", WRONG),
            get("/no", with_key("ann")),
            get("/api", with_key("ann")),
        ]
        answers = [await rig.ask(request) for request in requests]
        assert [each.status for each in answers] == [401, 401, 401, 404, 200]
        there, nowhere = (json.loads(each.body) for each in answers[:2])
        assert there["detail"] == nowhere["detail"]
        assert answers[0].all("www-authenticate") == answers[1].all("www-authenticate") != []
        lines = await rig.logged(5)
        assert [each.get("error", "") for each in lines[1:4]] == [
            "missing_credentials",
            "invalid_api_key",
            "route_not_found",
        ]
        assert lines[3]["identity"] == "ann"
        # Own endpoints are no secret, and neither is what a path answers.
        assert (await rig.ask(get("/health"))).status == 200
        assert (await rig.ask(get("/api").replace(b"GET", b"PUT"))).status == 405


@on_loop
async def test_limits_count_them_as_who_they_are() -> None:
    limit = {"name": "caller", "key": "identity", "requests": 2, "window": DAY, "refused": True}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, **DOCUMENT, limits=[limit])) as rig,
    ):
        strangers = [(await rig.ask(get("/no"))).status for _ in range(3)]
        callers = [(await rig.ask(get("/no", with_key("ann")))).status for _ in range(3)]
        assert (strangers, callers) == ([401, 401, 429], [404, 404, 429])


@on_loop
async def test_where_nobody_is_asked_everybody_is_told() -> None:
    open_to_all = {**DOCUMENT, "auth": "none"}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **open_to_all)) as rig:
        assert (await rig.ask(get("/no"))).status == 404
