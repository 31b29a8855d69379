"""What bench.scaling runs on the other machines: the service behind the gateways, and the client before them.

    python -m bench.scaling_peer serve HOST:PORT                        answer every request
    python -m bench.scaling_peer ask PATH TOTAL SAY HOST:PORT,HOST:PORT ask all at once; print a line of JSON

Once SAY requests have begun the client says so, in a line `begun`.


The client's connections go on with the next host when theirs is cut or refused. What was sent on a cut connection and
not answered is counted and not sent again: nobody knows whether it was counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import NoReturn

_CONNECTIONS = 8
_BODY = b'{"answer": 42}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Service(asyncio.Protocol):
    """Answers requests without a body, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._left = b""

    def data_received(self, data: bytes) -> None:
        """Answer every head that has come whole."""
        *heads, self._left = (self._left + data).split(b"\r\n\r\n")
        if heads:
            self._transport.write(_ANSWER * len(heads))


class Client:
    """Asks until it has asked often enough."""

    def __init__(self, path: str, total: int, say: int, hosts: list[tuple[str, int]]) -> None:
        self._request = f"GET /{path} HTTP/1.1\r\nHost: answers\r\n\r\n".encode()
        self._left, self._say = total, total - say
        self._hosts = hosts
        self.statuses: Counter[str] = Counter()
        self.cut = 0

    async def run(self) -> None:
        """Ask all hosts at once."""
        places = range(len(self._hosts) * _CONNECTIONS)
        await asyncio.gather(*(self._connection(place % len(self._hosts)) for place in places))

    async def _connection(self, place: int) -> None:
        refused = 0
        while self._left > 0 and refused < 10 * len(self._hosts):
            try:
                reader, writer = await asyncio.open_connection(*self._hosts[place])
            except OSError:
                refused += 1
                place = (place + 1) % len(self._hosts)
                continue
            refused = 0
            try:
                while self._take():
                    writer.write(self._request)
                    try:
                        self.statuses[await _status(reader)] += 1
                    except (OSError, asyncio.IncompleteReadError):
                        self.cut += 1
                        break
            finally:
                writer.close()
            place = (place + 1) % len(self._hosts)

    def _take(self) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        if self._left == self._say:
            print("begun", flush=True)
        return True


async def _status(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))
    return head.split(b" ", 2)[1].decode()


async def _serve(host: str, port: int) -> NoReturn:
    server = await asyncio.get_running_loop().create_server(Service, host, port)
    await server.serve_forever()
    raise AssertionError("a server that serves for ever has ended")


async def _ask(client: Client) -> None:
    await client.run()
    print(json.dumps({"statuses": client.statuses, "cut": client.cut}), flush=True)


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", where]:
            asyncio.run(_serve(*_place(where)))
        case ["ask", what, times, say, where]:
            asyncio.run(_ask(Client(what, int(times), int(say), [_place(each) for each in where.split(",")])))
