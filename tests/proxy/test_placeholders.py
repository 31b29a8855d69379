"""What header edits may say of a request: how long it has taken, and how often an upstream was tried."""

from __future__ import annotations

import re

from headgate import __version__
from tests.proxy.peers import Message, Upstream, answering, get, ok
from tests.proxy.script import answer, scripted
from tests.proxy.stage import gateway, on_loop, to

EDITS = {
    "set": {
        "X-Process-Time": "{duration}",
        "X-Response-Time": "{duration_ms}ms",
        "X-Attempt-Count": "{attempts}",
        "X-Service-Response-Time": "{upstream_ms}",
    }
}


def taken(answer: Message) -> float:
    """Return the seconds an answer says it took, after a look at both of its spellings."""
    seconds, milliseconds = answer.get("x-process-time"), answer.get("x-response-time")
    assert seconds is not None
    assert milliseconds is not None
    assert re.fullmatch(r"\d+\.\d{6}", seconds)
    assert re.fullmatch(r"\d+\.\d\dms", milliseconds)
    assert abs(float(seconds) * 1000 - float(milliseconds[:-2])) < 1000
    return float(seconds)


@on_loop
async def test_an_answer_says_how_long_it_took_and_how_often_an_upstream_was_tried() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream:
        document = to(upstream, route={"match": {"path": "/here"}})
        async with gateway({**document, "headers": {"response": EDITS}}) as rig:
            answer = await rig.ask(get("/here"))
            refused = await rig.ask(get("/elsewhere"))
    assert taken(answer) > 0
    assert answer.get("x-attempt-count") == "1"
    assert 0 < float(answer.get("x-service-response-time") or 0) <= taken(answer) * 1000 + 0.01
    # Nobody was tried, so nothing is said of that.
    assert taken(refused) >= 0
    assert (refused.get("x-attempt-count"), refused.get("x-service-response-time")) == (None, None)


@on_loop
async def test_a_service_is_told_by_whom_and_with_which_try_it_is_asked() -> None:
    edits = {"set": {"X-Attempt": "{attempt}", "X-Gateway": "{version}", "X-Services": "{services}"}}
    retry = {"on": [503], "backoff": {"base": 0}}
    failing = scripted(answer(status=503), answer(status=503))
    async with failing as script, gateway(to(*script.upstreams, headers={"request": edits}, retry=retry)) as rig:
        assert (await rig.ask(get("/", "X-Attempt: 9"))).status == 200
        tries = [each.request for each in script.seen]
        assert [each.all("x-attempt") for each in tries] == [["1"], ["2"], ["3"]]
        assert {(each.get("x-gateway"), each.get("x-services")) for each in tries} == {(__version__, "1")}
