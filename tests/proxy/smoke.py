"""Throw payloads at a real gateway and say what became of each; run as a program, in a Python of its own.

    python -O -m tests.proxy.smoke < payloads.json      texts in Latin-1; one verdict for each comes out, as JSON

Law: no `assert` decides anything here, because -O takes them away.
"""

from __future__ import annotations

import json
import sys

from tests.proxy.raw import attack, connected
from tests.proxy.recorder import Recorder
from tests.proxy.stage import Rig
from tests.proxy.strict import Incomplete, read_response

# Statuses the client read up to the end, and what the upstream was asked meanwhile.
Verdict = tuple[list[int], list[str]]

LAST = b"\r\n\r\nGET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
IMPATIENT = {"header_timeout": 0.3, "keepalive_timeout": 0.3, "body_timeout": 0.3}


def verdicts(payloads: list[bytes]) -> list[Verdict]:
    """Send each payload, with a last request behind it, on a connection of its own to one gateway."""
    found: list[Verdict] = []

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for payload in payloads:
            before = len(upstream.requests)
            async with connected(rig) as client:
                await client.send(payload + LAST)
                statuses = _statuses(await client.rest())
            found.append((statuses, [f"{each.method} {each.target}" for each in upstream.requests[before:]]))
        # The same worker still serves.
        async with connected(rig) as client:
            found.append(([(await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status], []))

    attack(scenario, http=IMPATIENT)
    return found


def _statuses(data: bytes) -> list[int]:
    """Read answers, the last of which may have been cut off: 0 stands for that."""
    statuses: list[int] = []
    while data:
        try:
            message, size = read_response(data, "HEAD" if data.find(b"\r\n\r\n") + 4 == len(data) else "GET", True)
        except Incomplete:
            return [*statuses, 0]
        statuses.append(message.status)
        data = data[size:]
    return statuses


if __name__ == "__main__":
    texts: list[str] = json.load(sys.stdin)
    print(json.dumps(verdicts([text.encode("latin-1") for text in texts])))
