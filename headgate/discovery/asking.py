"""Questions to registries over HTTP: how they are asked, what of an answer is read, and what is said of failures.

Laws: no redirect is followed, no proxy of the environment asked, nothing unpacked; an answer is read within a bound;
sentences about failures hold no URL, header or body, for a token may be in any of them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from headgate.core.address import parse_endpoint
from headgate.core.strict_json import read_json
from headgate.discovery.backoff import Throttled
from headgate.discovery.source import NotFound
from headgate.wire.tls import client_context

# 10,000 endpoints with what registries tell of each.
MOST_BYTES: Final = 32 << 20
_LARGE: Final = 64 * 1024
_CONNECT_SECONDS: Final = 5.0
# For a whole answer to what is to be answered at once.
ANSWER_SECONDS: float = 10.0
# A registry that is gone without a word is noticed within half a minute, however long it may be silent.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_SECONDS: Final = re.compile(r"[0-9]{1,6}")
_FIELDS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "headgate"}


def checked_url(url: str) -> str:
    """Return the URL of a registry without a slash at its end.

    Raises:
        ValueError: with a sentence.
    """
    if url.startswith("unix:"):
        raise ValueError("expected http://HOST:PORT or https://HOST:PORT")
    parse_endpoint(url)
    return url.rstrip("/")


def checked_secret(text: str, what: str) -> str:
    """Return a secret that a header field can hold.

    Raises:
        ValueError: with a sentence that does not hold it.
    """
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{what} has characters that no header field can hold")
    return text


def make_client(
    url: str, timeout: float, ca: str | None = None, cert: str | None = None, key: str | None = None
) -> httpx.AsyncClient:
    """Return a client for one registry; `timeout` bounds each wait for bytes.

    Raises:
        ValueError: with a sentence, when a file cannot be used.
    """
    verify: ssl.SSLContext | bool = False
    if urlsplit(url).scheme == "https":
        verify = client_context(ca=ca, cert=cert, key=key)
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(verify=verify, trust_env=False, socket_options=_KEEPALIVE),
        trust_env=False,
        follow_redirects=False,
        headers=_FIELDS,
        timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
    )


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong inside into NotFound."""
    try:
        yield
    except (httpx.TimeoutException, TimeoutError):
        raise NotFound("no answer in time") from None
    except httpx.ConnectError as error:
        raise NotFound(f"no connection: {_cause(error)}") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise NotFound(f"the connection failed: {type(error).__name__}") from None
    except (OSError, ValueError) as error:
        # Files of TLS; what was read is told by whoever reads it.
        raise NotFound(str(error)) from None


def refuse(response: httpx.Response, hint: str = "") -> None:
    """Go on with an answer of status 200 alone.

    Raises:
        NotFound: it is another one; `hint` says what that may come from. Throttled, where it says when to come back.
    """
    status = response.status_code
    if status == 200:
        return
    sentence = f"status {status}{hint and f': {hint}'}"
    # RFC 9110 section 10.2.3: seconds, or a date, which we do without.
    after = response.headers.get("retry-after", "")
    if status in (429, 503) and _SECONDS.fullmatch(after):
        raise Throttled(sentence, float(after))
    raise NotFound(sentence)


async def lines(response: httpx.Response, most: int = MOST_BYTES) -> AsyncIterator[bytes]:
    """Read an answer line by line as it comes; what stands behind the last end of a line was cut, and is left out.

    Raises:
        NotFound: a line is larger than `most` bytes.
    """
    held: list[bytes] = []
    size = 0
    async for piece in response.aiter_raw():
        *whole, rest = piece.split(b"\n")
        for line in whole:
            yield b"".join([*held, line])
            held, size = [], 0
        if rest:
            held.append(rest)
            size += len(rest)
        if size > most:
            raise NotFound(f"a line of more than {most} bytes")


async def read_body(response: httpx.Response, most: int = MOST_BYTES) -> bytes:
    """Read an answer whole.

    Raises:
        NotFound: it is larger than `most` bytes, or packed.
    """
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise NotFound("a packed answer, which was not asked for")
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > most:
            raise NotFound(f"an answer of more than {most} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def read_answer(response: httpx.Response) -> Any:
    """Read an answer whole, as JSON; a large one is parsed beside the loop, which has others to serve.

    Raises:
        NotFound: it is none, too large, or packed.
    """
    body = await read_body(response)
    return await asyncio.to_thread(parsed, body) if len(body) > _LARGE else parsed(body)


def parsed(body: bytes) -> Any:
    """Read JSON.

    Raises:
        NotFound: it is none.
    """
    try:
        return read_json(body)
    except ValueError as error:
        raise NotFound(f"the answer cannot be read: {error}") from None


def _cause(error: BaseException) -> str:
    """Return the innermost reason; it names addresses and errors of the system, never what was asked."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)[:200] or type(error).__name__
