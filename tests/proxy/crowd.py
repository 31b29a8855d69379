"""Clients and upstreams that act at random, drawn from a seed, and know what must never come of it.

Every request has an id, sent in a field and in its body; an upstream puts it into its answer. So everybody sees whose
bytes arrive: a client that gets another's answer, a second one, or one that is damaged and looks whole, and an upstream
that gets another's body, or one that is not whole. Each shows a credential or none: an upstream that is told of another
caller or tenant than its own, or that gets a request which shows a wrong one, sees it too.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from random import Random
from typing import NamedTuple

from tests.proxy.peers import Cut, Message, Wire, ok
from tests.proxy.stage import Rig
from tests.proxy.wallet import Shown, wallet

_PADDINGS = (0, 0, 40, 3000, 90_000)
_MOST_LATE = 0.12
_OUTAGE = 15


class Asked(NamedTuple):
    """A request of a client: its id, its bytes in pieces, and whether it asks for a tunnel."""

    id: str
    pieces: list[bytes]
    tunnel: bool


class Crowd:
    """All of them. `calm`: upstreams only answer from now on; `wrong`: what must not have happened."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.calm = False
        self.wrong: list[str] = []
        self.answered = 0
        self.cut = 0
        self._wallet = wallet()
        # By request id: what its client showed.
        self._shown: dict[str, Shown] = {}
        # How many of the next requests meet with an outage: nobody answers well and at once.
        self._outage = 0

    # -- upstreams -------------------------------------------------------------------------------------------------

    async def serve(self, link: Wire) -> None:
        """Play one connection of an upstream."""
        while True:
            if not self.calm and self.random.random() < 0.03:
                # Closed while it is idle, or before its first request.
                await self._late()
                link.close()
                return
            head = await link.head()
            if not self.calm and self.random.random() < 0.04:
                await link.send(self._answer(head, status=413, close=True))
                link.close()
                return
            if head.get("upgrade") == "websocket" and (self.calm or self.random.random() < 0.7):
                self._check_caller(head)
                await self._tunnel(link, head)
                return
            await link._body(head, until_close=False)
            self._check_request(head)
            if not await self._act(link, head):
                return

    def _check_caller(self, request: Message) -> None:
        shown = self._shown.get(request.get("x-request-id") or "", Shown((), ""))
        told = request.all("x-caller"), request.all("x-tenant")
        signed = re.findall(r"tenant=(\w*);", ",".join(request.all("x-tenant-signature")))
        if signed != [shown.tenant] * bool(shown.tenant):
            self.wrong.append(f"{request.get('x-request-id')}: signed for {signed} in place of {shown}")
        if shown.caller is None or told != ([shown.caller] * bool(shown.caller), [shown.tenant] * bool(shown.tenant)):
            self.wrong.append(f"{request.get('x-request-id')}: an upstream was told of {told} in place of {shown}")

    def _check_request(self, request: Message) -> None:
        self._check_caller(request)
        id_, times = request.get("x-request-id") or "", int(request.get("x-times") or 0)
        if request.body != id_.encode() * times:
            self.wrong.append(f"{id_}: an upstream got {len(request.body)} bytes of {len(id_) * times}, or others")

    async def _act(self, link: Wire, request: Message) -> bool:
        """Answer a request that was read, or do not; tells whether the connection goes on."""
        turn = 0.0 if self.calm else self.random.random()
        if self._outage:
            self._outage -= 1
            turn = max(turn, 0.55 + turn * 0.45) if not self.calm else 0.0
        elif turn > 0.98:
            self._outage = _OUTAGE
        if turn < 0.45:
            await link.send(self._answer(request))
        elif turn < 0.55:
            await self._late()
            await link.send(self._answer(request))
        elif turn < 0.68:
            status = self.random.choice((500, 502, 503, 504, 429))
            asked = self.random.choice(("Retry-After: 0", "Retry-After: 60", "X-None: 1"))
            await link.send(self._answer(request, asked, status=status))
        elif turn < 0.74:
            await link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", self._chunked(request))
        elif turn < 0.78:
            await link.send(self._answer(request, close=True))
            link.close()
            return False
        elif turn < 0.82:
            link.cut() if self.random.random() < 0.5 else link.close()
            return False
        elif turn < 0.9:
            whole = self.random.choice((self._answer(request), self._chunked(request)))
            await link.send(whole[: self.random.randrange(len(whole))])
            await self._late()
            link.cut() if self.random.random() < 0.5 else link.close()
            return False
        elif turn < 0.93:
            await link.send(b"BLARGH\r\n\r\n")
            await link.rest()
            return False
        elif turn < 0.96:
            whole = self._answer(request)
            half = self.random.randrange(len(whole))
            await link.send(whole[:half])
            await self._late()
            await link.send(whole[half:])
        else:
            await link.rest()
            return False
        return True

    async def _tunnel(self, link: Wire, request: Message) -> None:
        id_ = (request.get("x-request-id") or "").encode()
        lines = (b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: websocket", b"", id_)
        await link.send(b"\r\n".join(lines))
        while data := await link.reader.read(4096):
            await link.send(data)
            if not self.calm and self.random.random() < 0.3:
                link.cut()
                return

    def _body(self, request: Message) -> bytes:
        return f"{request.get('x-request-id')}:".encode() + b"x" * self.random.choice(_PADDINGS)

    def _lines(self, request: Message) -> tuple[str, ...]:
        tokens = self.random.choice((1, 5, 9))
        return f"X-Answer-To: {request.get('x-request-id')}", f"X-Tokens: {tokens}", "Content-Type: text/plain"

    def _answer(self, request: Message, *lines: str, status: int = 200, close: bool = False) -> bytes:
        if close:
            lines = (*lines, "Connection: close")
        return ok(self._body(request), *self._lines(request), *lines, status=status)

    def _chunked(self, request: Message) -> bytes:
        body, size = self._body(request), self.random.choice((7, 1000, 50_000))
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        head = "\r\n".join(("HTTP/1.1 200 Fine", *self._lines(request), "Transfer-Encoding: chunked", "", ""))
        return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"

    # -- clients ---------------------------------------------------------------------------------------------------

    async def visit(self, rig: Rig, name: str) -> None:
        """Play one client: a connection with a few requests, one after the other or pipelined."""
        await self._late(6.0)
        client = await rig.client()
        asked = [self._request(name, turn) for turn in range(self.random.randint(1, 4))]
        try:
            if self.random.random() < 0.3:
                await self._send(client, [piece for each in asked if not each.tunnel for piece in each.pieces])
                for each in asked:
                    if not each.tunnel and not await self._receive(client, each):
                        return
            else:
                for each in asked:
                    await self._send(client, each.pieces)
                    if not await self._receive(client, each):
                        return
        except (Cut, ConnectionError):
            self.cut += 1
        finally:
            client.cut() if self.random.random() < 0.3 else client.close()

    def _request(self, name: str, turn: int) -> Asked:
        id_, draw = f"{name}-{turn}", self.random.random
        method, times = (
            ("GET", 0) if draw() < 0.5 else (self.random.choice(("POST", "PUT")), self.random.choice((1, 9, 5000)))
        )
        path = self.random.choice(
            (
                "/a",
                "/a",
                "/a",
                "/shaped",
                "/shaped",
                "/once",
                "/once",
                "/faulty",
                "/low",
                "/staff",
                "/health",
                "/nowhere",
            )
        )
        shown = self.random.choice(self._wallet)
        lines = [f"X-Request-ID: {id_}", f"X-Client: {name}", f"X-Times: {times}", "Host: example.test"]
        lines += shown.lines
        if draw() < 0.3:
            lines += ["X-Caller: root", "X-Tenant: everybody", "X-Tenant-Signature: v1; tenant=everybody; mac=0"]
        if draw() < 0.2:
            lines.append(f"Origin: https://{self.random.choice(('app', 'evil'))}.example.com")
        if draw() < 0.3:
            lines.append(f"X-Timeout-Ms: {self.random.choice((1, 30, 150, 5000))}")
        if draw() < 0.4:
            lines.append("Accept-Encoding: gzip")
        tunnel = draw() < 0.08
        if tunnel:
            method, times, path = "GET", 0, "/ws"
            lines += ["Connection: Upgrade", "Upgrade: websocket", "X-Times: 0"]
            lines.remove(next(line for line in lines if line.startswith("X-Times")))
        # Whoever asks how the gateway is need not say who he is.
        self._shown[id_] = shown if path != "/health" else Shown((), "")
        body, framed = id_.encode() * times, [b""]
        if times:
            cuts = sorted(self.random.randrange(len(body)) for _ in range(self.random.randint(0, 3)))
            pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) if end > start]
            if draw() < 0.5:
                lines.append("Transfer-Encoding: chunked")
                framed = [*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]
            else:
                lines.append(f"Content-Length: {len(body)}")
                framed = pieces
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()
        return Asked(id_, [head + framed[0], *framed[1:]], tunnel)

    async def _send(self, client: Wire, pieces: list[bytes]) -> None:
        """Send a request, piece by piece, and perhaps not all of it."""
        for piece in pieces:
            if self.random.random() < 0.03:
                await client.send(piece[: self.random.randrange(len(piece))])
                raise Cut("by the client itself")
            await client.send(piece)
            if self.random.random() < 0.3:
                await self._late()

    async def _receive(self, client: Wire, asked: Asked) -> bool:
        """Read the answer to a request; tells whether the connection goes on."""
        turn = self.random.random()
        if turn < 0.1:
            if turn < 0.05:
                await self._late()
            return False
        answer = await client.answer()
        self.answered += 1
        self._check_answer(answer, asked.id)
        if answer.status == 101:
            await self._talk(client, asked.id)
            return False
        if answer.get("connection") == "close":
            if rest := await client.rest():
                self.wrong.append(f"{asked.id}: behind the last answer came {rest[:80]!r}")
            return False
        return True

    def _check_answer(self, answer: Message, id_: str) -> None:
        body = answer.body
        if answer.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if answer.get("x-request-id") != id_:
            self.wrong.append(f"{id_}: the answer is for {answer.get('x-request-id')}")
        if self._shown[id_].caller is None and answer.status < 400:
            self.wrong.append(f"{id_}: {answer.status} for {self._shown[id_]}")
        answer_to = answer.get("x-answer-to")
        if answer_to is not None and answer.status != 101:
            own, _, padding = body.partition(b":")
            if answer_to != id_ or own != id_.encode() or padding.strip(b"x"):
                self.wrong.append(f"{id_}: another's answer, {answer_to}: {body[:80]!r}")

    async def _talk(self, client: Wire, id_: str) -> None:
        """Use a tunnel: what comes back is one's own, or the end."""
        said = await client.read(len(id_))
        for word in (b"one", b"two", b"three"):
            await client.send(word)
            said += await client.read(len(word))
        if said != id_.encode() + b"onetwothree":
            self.wrong.append(f"{id_}: from a tunnel came {said!r}")

    async def _late(self, times: float = 1.0) -> None:
        await asyncio.sleep(self.random.random() * _MOST_LATE * times)
