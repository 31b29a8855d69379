"""Asking what the gateway depends on how it is: one question for each kind of URL, and its answer in a few words.

Laws: all of it within the dependency's timeout; neither the URL nor what was answered stands in the words.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from headgate.config.admin_settings import Dependency
from headgate.core.endpoint import Endpoint
from headgate.core.failure import Failure
from headgate.core.trace import kind_of
from headgate.wire.patience import within
from headgate.wire.probe import Prober, question
from headgate.wire.tls import client_context

_PORTS: Final = {"http": 80, "https": 443}
_REDIS_PORT: Final = 6379
_MOST_ANSWER: Final = 65_536
_WORDS: Final[Mapping[str, str]] = {
    "connect_refused": "connection refused",
    "dns": "its name is not known",
    "tls": "no trusted connection",
    "upstream_reset": "the connection was closed",
    "upstream_protocol": "an answer that is no HTTP",
}


async def look(dependency: Dependency) -> str:
    """Ask one dependency how it is; return what is wrong in a few words, empty for nothing."""
    try:
        async with within(dependency.timeout):
            return await _ask(dependency)
    except TimeoutError:
        return f"no answer within {dependency.timeout:g} s"
    except Failure as failure:
        return _WORDS.get(failure.reason) or f"no answer within {dependency.timeout:g} s"
    except ssl.SSLError:
        return _WORDS["tls"]
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        # Its text may hold what was sent or said.
        return _WORDS["connect_refused"] if isinstance(error, ConnectionRefusedError) else kind_of(error)


async def _ask(dependency: Dependency) -> str:
    parts = urlsplit(dependency.url)
    if parts.scheme in ("redis", "rediss"):
        return await _ask_redis(dependency.url)
    scheme, host = "https" if parts.scheme == "https" else "http", parts.hostname or ""
    endpoint = Endpoint("it", scheme, host, parts.port or _PORTS[scheme])  # type: ignore[arg-type]
    prober = Prober()
    if parts.scheme == "tcp":
        await prober.connect(endpoint, None, dependency.timeout)
        return ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    asked = question("GET", target, parts.netloc.rpartition("@")[2])
    tls = (client_context(), host) if scheme == "https" else None
    answer = await prober.ask(endpoint, tls, asked, 0, dependency.timeout)
    return "" if 200 <= answer.status < 300 else f"status {answer.status}"


async def _ask_redis(url: str) -> str:
    parts = urlsplit(url)
    context = client_context(protocols=()) if parts.scheme == "rediss" else None
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or _REDIS_PORT, ssl=context, limit=_MOST_ANSWER
    )
    try:
        if parts.password:
            words = ["AUTH", *([unquote(parts.username)] if parts.username else []), unquote(parts.password)]
            if not (await _command(reader, writer, words)).startswith(b"+OK"):
                return "it does not take the password"
        answer = await _command(reader, writer, ["PING"])
    finally:
        writer.transport.abort()
    if answer.startswith(b"+PONG"):
        return ""
    # LOADING, MASTERDOWN, NOAUTH ...: the first word of an error is its kind.
    word = answer[1:].split(b" ", 1)[0].strip().decode("ascii", "replace")
    return f"it answers {word}" if answer.startswith(b"-") and word.isupper() and len(word) < 20 else "no Redis answer"


async def _command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: list[str]) -> bytes:
    """Send a command and return the first line of its answer (RESP2)."""
    raw = [word.encode() for word in words]
    parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)
    writer.write(b"*%d\r\n%b" % (len(raw), parts))
    return await reader.readuntil(b"\r\n")
