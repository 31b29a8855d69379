"""Compression of responses on their way to clients that ask for it.

Laws:
- A response is compressed only if nobody could mind: the type is listed, the body is worth it, the upstream did not
  encode it, did not forbid it (`no-transform`), and it is no range.
- What depends on the coding changes with it: length, ETag, digests, ranges; and `Vary` says so to caches even when this
  client gets the body as it is.
- Nothing is held back: an encoder whose `flush_each` is set is flushed after every piece, so events and tokens arrive
  when they were sent.

Doubt: compressing a page that mirrors request data beside a secret leaks the secret's letters by length (BREACH, 2013).
Routes that do both should switch compression off.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, RequestHead, ResponseHead, speaks_grpc, tokens
from headgate.wire.pipe import Sink
from headgate.wire.settings import Compression

if TYPE_CHECKING:
    import zstandard

__all__ = ["Compressor", "Encoder", "EncodingSink", "negotiate"]

# Between nginx's defaults (gzip 1, brotli 6): on JSON each step more costs twice the time for under 2 % of the size.
_GZIP_LEVEL: Final = 5
_BROTLI_QUALITY: Final = 4
_ZSTD_LEVEL: Final = 3
# Windows of 256 and 128 KiB: a stream then holds under 1 MiB; the libraries' defaults hold up to 16 MiB.
_BROTLI_WINDOW_BITS: Final = 18
_ZSTD_WINDOW_BITS: Final = 17

# Longer ones are not sent by browsers or libraries, and would only fill the cache below.
_LONGEST_ACCEPT: Final = 256
_QVALUE = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_EVENT_STREAM: Final = b"text/event-stream"

# RFC 9530: digests are made over the encoded content, so ours would be false. RFC 9110 section 14.3: the upstream's
# promise of ranges was about the bytes as it sends them.
_DROPPED: Final = frozenset(
    {b"content-length", b"content-digest", b"repr-digest", b"digest", b"content-md5", b"accept-ranges"}
)


def negotiate(accept: bytes | None, offered: tuple[str, ...]) -> str | None:
    """Choose a content coding by RFC 9110 section 12.5.3; None means the body as it is.

    The client's highest weight wins, and among equals the first in `offered`. Without the field anything would be
    acceptable, but those who leave it out are those who cannot decode: None. When the client refuses even `identity`
    and we offer nothing it takes, the section's advice is to send the body as it is: None.
    """
    if accept is None or len(accept) > _LONGEST_ACCEPT:
        return None
    return _negotiate(accept, offered)


@lru_cache(maxsize=1024)
def _negotiate(accept: bytes, offered: tuple[str, ...]) -> str | None:
    weights: dict[str, float] = {}
    for item in accept.lower().split(b","):
        coding, _, parameter = (part.strip(b" \t") for part in item.partition(b";"))
        weight = _QVALUE.fullmatch(parameter) if parameter else None
        if parameter and weight is None:
            continue
        name = coding.decode("latin-1").removeprefix("x-")
        weights[name] = float(weight[1]) if weight else 1.0
    anything = weights.get("*", 0.0)
    best, best_weight = None, 0.0
    for name in offered:
        asked = weights.get(name, anything)
        if asked > best_weight:
            best, best_weight = name, asked
    return None if weights.get("identity", 0.0) > best_weight else best


# -- encoders ------------------------------------------------------------------------------------------------

_Calls = tuple[Callable[[bytes], bytes], Callable[[], bytes], Callable[[], bytes]]


class Encoder:
    """Encodes one body. `flush_each`: call `flush` after every piece, or the client waits for the next one."""

    __slots__ = ("encode", "finish", "flush", "flush_each")

    def __init__(self, name: str, flush_each: bool = False) -> None:
        """Begin a stream of the coding `name`: gzip, br or zstd."""
        self.encode: Callable[[bytes], bytes]
        self.flush: Callable[[], bytes]
        self.finish: Callable[[], bytes]
        self.encode, self.flush, self.finish = _CODINGS[name]()
        self.flush_each = flush_each


def _gzip() -> _Calls:
    coder = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return coder.compress, lambda: coder.flush(zlib.Z_SYNC_FLUSH), coder.flush


def _brotli() -> _Calls:
    import brotli

    coder = brotli.Compressor(quality=_BROTLI_QUALITY, lgwin=_BROTLI_WINDOW_BITS)
    return coder.process, coder.flush, coder.finish


def _zstd() -> _Calls:
    import zstandard

    # One compressor for each stream: the library keeps a compressor's state in it, and streams would mix.
    coder = zstandard.ZstdCompressor(compression_params=_zstd_parameters()).compressobj()
    return coder.compress, lambda: coder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), coder.flush


@lru_cache(maxsize=1)
def _zstd_parameters() -> zstandard.ZstdCompressionParameters:
    import zstandard

    return zstandard.ZstdCompressionParameters.from_level(_ZSTD_LEVEL, window_log=_ZSTD_WINDOW_BITS)


_CODINGS: Final = {"gzip": _gzip, "br": _brotli, "zstd": _zstd}


# -- which responses -----------------------------------------------------------------------------------------


class Compressor:
    """Decides for a route which responses are compressed, and how."""

    __slots__ = ("_enabled", "_min_size", "_offered", "_patterns", "_types")

    def __init__(self, settings: Compression) -> None:
        """Compile the settings; a `*` in a type stands for anything but a slash."""
        types = [kind.strip().lower().encode("ascii") for kind in settings.types]
        self._enabled = settings.enabled
        self._min_size = settings.min_size
        self._offered: tuple[str, ...] = tuple(settings.algorithms)
        self._types = frozenset(kind for kind in types if b"*" not in kind)
        wild = [re.escape(kind).replace(rb"\*", b"[^/]*") for kind in types if b"*" in kind]
        self._patterns = re.compile(b"|".join(wild)) if wild else None

    def begin(self, request: RequestHead, head: ResponseHead) -> Encoder | None:
        """Return the encoder of this response and write its head accordingly; None leaves the body as it is."""
        length = head.length
        if not self._enabled or (length != UNKNOWN_LENGTH and (length < self._min_size or not length)):
            return None
        status = head.status
        # RFC 9110 section 15.3.7: the bytes of a 206 are those of the representation without our coding.
        if request.method == "HEAD" or status < 200 or status in (204, 205, 206, 304):
            return None
        kind = self._eligible_type(head.fields)
        if kind is None:
            return None
        name = negotiate(request.get(b"accept-encoding"), self._offered)
        if name is None:
            head.fields = _varied(head.fields)
            return None
        head.fields = _encoded(head.fields, name)
        head.length = UNKNOWN_LENGTH
        return Encoder(name, length == UNKNOWN_LENGTH or kind == _EVENT_STREAM)

    def _eligible_type(self, fields: Fields) -> bytes | None:
        kind = b""
        for name, value in fields:
            lower = name.lower()
            if lower == b"content-type":
                kind = value.partition(b";")[0].strip(b" \t").lower()
            elif lower in (b"content-encoding", b"content-range") or (
                lower == b"cache-control" and b"no-transform" in tokens(value)
            ):
                return None
        # A message of gRPC says by itself whether it is compressed.
        return kind if self._listed(kind) and not speaks_grpc(kind) else None

    def _listed(self, kind: bytes) -> bool:
        if kind in self._types:
            return True
        # A wildcard never means an event stream: its encoder is flushed at every event, which the operator must want.
        return kind != _EVENT_STREAM and self._patterns is not None and bool(self._patterns.fullmatch(kind))


def _encoded(fields: Fields, coding: str) -> Fields:
    """Return the fields of the encoded form: RFC 9110 section 8.8.1 asks for another validator than the plain one's."""
    kept: Fields = []
    for name, value in fields:
        lower = name.lower()
        if lower in _DROPPED:
            continue
        if lower == b"etag" and not value.startswith(b"W/"):
            value = b"W/" + value
        kept.append((name, value))
    kept.append((b"Content-Encoding", coding.encode("ascii")))
    return _varied(kept)


def _varied(fields: Fields) -> Fields:
    """Return the fields with Accept-Encoding among those that Vary names."""
    varies = [at for at, (name, _) in enumerate(fields) if name.lower() == b"vary"]
    named = [token for at in varies for token in tokens(fields[at][1])]
    if b"*" in named or b"accept-encoding" in named:
        return fields
    if not named:
        return [*fields, (b"Vary", b"Accept-Encoding")]
    merged = list(fields)
    name, value = merged[varies[0]]
    merged[varies[0]] = (name, b", ".join(part for part in (value.strip(b" \t,"), b"Accept-Encoding") if part))
    return merged


class EncodingSink:
    """Stands before a sink and encodes what passes; nothing is held back that the encoder should flush."""

    __slots__ = ("_encoder", "_sink")

    def __init__(self, encoder: Encoder, sink: Sink) -> None:
        self._encoder = encoder
        self._sink = sink

    def write(self, data: bytes) -> None:
        """Encode one piece."""
        encoder = self._encoder
        encoded = encoder.encode(data)
        if encoder.flush_each:
            encoded += encoder.flush()
        if encoded:
            self._sink.write(encoded)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Encode the end."""
        last = self._encoder.finish()
        if last:
            self._sink.write(last)
        self._sink.finish(trailers)

    def source_failed(self, failure: Failure) -> None:
        """Pass the failure on; the encoding stays unfinished too."""
        self._sink.source_failed(failure)
