"""The check of the soak in which clients use HTTP/2 as a weapon; its laws stand in bench/checks.py."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress

from bench import client, proc
from bench.client import Ending
from bench.gate import Gate
from bench.measure import MEGABYTE
from bench.scene import CLIENTS, Scene, Verdict, shown, strictly
from bench.stage import say
from bench.upstream import Upstream

_GROWTH_MEGABYTES = 10.0
_ROUNDS = 20
_CONNECTIONS = 10
_SECONDS_TO_END = 5.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_CANCEL = struct.pack(">I", 8)


def _frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def _literal(name: bytes, value: bytes, remembered: bool = False) -> bytes:
    size = len(value)
    length = bytes((size,)) if size < 127 else bytes((127, (size - 127) & 127 | 128, (size - 127) >> 7))
    return (b"\x40" if remembered else b"\x00") + bytes((len(name),)) + name + length + value


# GET and http by their places in the static table.
_HEAD = b"\x82\x86" + _literal(b":authority", b"example.test") + _literal(b":path", b"/api/slow?delay=5")
_GREETING = _PREFACE + _frame(_SETTINGS, 0, 0)
_ENTRY = _literal(b"cookie", b"y" * 4000, remembered=True)


def _heads(count: int, behind: Callable[[int], bytes], more: bytes = b"") -> bytes:
    numbers = range(1, 2 * count, 2)
    return b"".join(_frame(_HEADERS, _END_STREAM | _END_HEADERS, n, _HEAD + more) + behind(n) for n in numbers)


WEAPONS: dict[str, bytes] = {
    "rapid reset": _GREETING + _heads(5_000, lambda n: _frame(_RST_STREAM, 0, n, _CANCEL)),
    "resets of ours": _GREETING + _heads(500, lambda n: _frame(_WINDOW_UPDATE, 0, n, b"\x7f\xff\xff\xff")),
    "empty continuations": _GREETING + _frame(_HEADERS, 0, 1, _HEAD) + _frame(_CONTINUATION, 0, 1) * 50_000,
    "continuations": _GREETING + _frame(_HEADERS, 0, 1, _HEAD) + _frame(_CONTINUATION, 0, 1, bytes(16_000)) * 100,
    "a bomb of references": _GREETING + _frame(_HEADERS, 5, 1, _HEAD + _ENTRY + b"\xbe" * 4_000),
    "small bombs, windows closed": _PREFACE
    + _frame(_SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    + _frame(_HEADERS, 5, 1, _HEAD + _ENTRY)
    + b"".join(_frame(_HEADERS, 5, n, _HEAD + b"\xbe" * 15) for n in range(3, 201, 2)),
    "pings": _GREETING + _frame(_PING, 0, 0, bytes(8)) * 50_000,
    "settings": _GREETING + _frame(_SETTINGS, 0, 0) * 50_000,
    "settings that mean nothing": _GREETING
    + b"".join(_frame(_SETTINGS, 0, 0, struct.pack(">HI", n, 1)) for n in range(0x1000, 0xF000)),
    "empty data": _GREETING + _frame(_HEADERS, _END_HEADERS, 1, _HEAD) + _frame(_DATA, 0, 1) * 50_000,
}
"""What is sent on one connection, at once."""


async def weapons(scene: Scene, rounds: int = _ROUNDS) -> Verdict:
    """Floods, resets and bombs of HTTP/2 on ten connections at a time: memory stays flat, and others are served.

    From the first round on memory grows by less than 10 MB, whatever comes; what does not end by itself is left alone
    with its windows closed while the next ones come.
    """
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port)
    await gate.start()
    crowd = gate.crowd({client.small: 1}, _fairly)
    crowd.start(CLIENTS)
    (worker,) = await gate.workers()
    deadline = scene.deadline()
    most: dict[str, float] = {}
    first = 0.0
    done = 0
    while done < rounds and asyncio.get_running_loop().time() < deadline:
        for name, sent in WEAPONS.items():
            await asyncio.gather(*(_attack(gate, sent) for _ in range(_CONNECTIONS)))
            if done:
                most[name] = max(most.get(name, 0.0), proc.resident(worker) / MEGABYTE - first)
        done += 1
        if done == 1:
            first = proc.resident(worker) / MEGABYTE
    await crowd.stop()
    await upstream.close()
    worst = max(most, key=most.__getitem__, default="")
    grown = most.get(worst, 0.0)
    alive = await gate.workers() == [worker]
    say(f"  {done} rounds, {crowd.total:,} requests of others")
    words = f"{len(WEAPONS)} weapons, {done} rounds: {grown:+.1f} MB at most ({worst}), {len(crowd.failures)} failed"
    words += "" if alive else "; FAILED: the worker was replaced"
    held = alive and done > 1 and grown < _GROWTH_MEGABYTES and not crowd.failures
    return Verdict(held, words + shown(crowd.failures))


def _fairly(ending: Ending) -> str:
    """Judge a request of others: the worker may be too busy for it, and then says so."""
    return "" if ending.words == "503 shed" else strictly(ending)


async def _attack(gate: Gate, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_SECONDS_TO_END):
            for at in range(0, len(sent), 65_536):
                writer.write(sent[at : at + 65_536])
                await writer.drain()
            while await reader.read(65_536):
                pass
    writer.transport.abort()
