"""Many callers on one connection: nobody is told of as his neighbour, however requests are tried and edited.

What is known of a caller is one object for all his requests; nothing on their way may change it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.callers import keys, static, with_key, with_token
from tests.proxy.raw import attack, connected
from tests.proxy.recorder import OK, Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Message
from tests.proxy.test_threats_identity import request

IDENTITY = keys(
    static("ann", roles=["user"], tenant="acme"),
    static("bob", roles=["user"], tenant="globex"),
    forward={"X-User": "id", "X-Tenant-Id": "tenant"},
)
CALLERS: list[tuple[list[str], tuple[str | None, str | None]]] = [
    ([with_key("ann")], ("ann", "acme")),
    ([with_key("bob")], ("bob", "globex")),
    ([with_token(sub="eve")], ("eve", None)),
    ([], (None, None)),
    ([with_key("bob").replace("X-API-Key: ", "Authorization: Bearer ")], ("bob", "globex")),
    ([with_token(sub="eve"), with_key("ann")], ("eve", None)),
    (["Connection: x-api-key", with_key("ann")], (None, None)),
    (["Connection: x-user", with_key("ann"), "X-User: root"], ("ann", "acme")),
]
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hidden": {"identity": {**IDENTITY, "hide_credentials": True}},
    "edited": {"route": {"headers": {"request": {"set": {"X-Plan": "a", "X-Real-IP": "{client}"}}}}},
    "chosen by header": {"identity": {**IDENTITY, "tenant": {"header": "X-Org"}}},
    "tried again": {"retry": {"attempts": 2, "on": [503], "backoff": {"base": 0.001}, "budget": {"percent": 100}}},
    "in time": {"timeout": {"deadline_header": "X-Deadline"}},
}


def told(message: Message, name: str) -> str | None:
    found = [value for key, value in message.fields if key == name]
    assert len(found) < 2, message.fields
    return found[0] if found else None


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("together", [True, False], ids=["pipelined", "one by one"])
def test_nobody_is_told_of_as_his_neighbour(way: dict[str, Any], together: bool) -> None:
    tried: set[str] = set()
    fails = "retry" in way

    def script(_: Seen, message: Message) -> bytes:
        target = message.start[1]
        if fails and target not in tried:
            tried.add(target)
            return OK.replace(b"200 OK", b"503 Service Unavailable")
        return OK

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        requests = [
            request(*lines, target=f"/{number}") for number, (lines, _) in enumerate(CALLERS[place] for place in ORDER)
        ]
        async with connected(rig) as client:
            if together:
                await client.send(b"".join(requests))
            for each in requests:
                if not together:
                    await client.send(each)
                assert (await client.response()).status == 200
        seen = [(int(each.start[1][1:]), told(each, "x-user"), told(each, "x-tenant-id")) for each in upstream.requests]
        assert len(seen) == len(ORDER) * (2 if fails else 1)
        for number, user, tenant in seen:
            assert (user, tenant) == CALLERS[ORDER[number]][1]

    # Every caller behind every other one.
    attack(scenario, Recorder(script), **{"identity": IDENTITY, "auth": "optional", **way})


ORDER = [place for first in range(len(CALLERS)) for other in range(len(CALLERS)) for place in (first, other)]
