"""A closed loop of new TLS connections: connect, whole handshake, one request, one checked answer, close.

Run on its own core by `bench.load`: `python -m bench.handshakes PORT SECONDS CONNECTIONS PATH`; prints one line
of JSON. Python's ssl resumes a session only when it is handed one, so every handshake is a whole one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time

import uvloop


async def _one(port: int, context: ssl.SSLContext, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(request)
        answer = await reader.read()
    finally:
        writer.transport.abort()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(answer[:40])
    return len(answer)


async def main(port: int, seconds: float, connections: int, path: str) -> dict[str, object]:
    """Run the loops and return what they did, in the shape of `bench.load.Result`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    began = time.monotonic()
    took: list[float] = []
    read = failed = 0

    async def loop() -> None:
        nonlocal read, failed
        while (start := time.monotonic()) < began + seconds:
            try:
                read += await _one(port, context, request)
                took.append(time.monotonic() - start)
            except OSError:
                failed += 1

    await asyncio.gather(*(loop() for _ in range(connections)))
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else [0.0] * 99
    return {
        "requests": len(took),
        "seconds": time.monotonic() - began,
        "read": read,
        "failed": failed,
        "latency": {"50": cuts[49], "99": cuts[98]},
    }


if __name__ == "__main__":
    port, seconds, connections, path = sys.argv[1:]
    found = uvloop.run(main(int(port), float(seconds), int(connections), path))
    print(json.dumps(found))
