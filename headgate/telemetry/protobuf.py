"""Metrics as the protocol buffers that Prometheus asks for where it takes native histograms.

    stream    = *( varint length, MetricFamily )               encoding=delimited
    histogram = classic buckets with exemplars, and beside them the native ones (schema, zero bucket, spans, deltas)

Numbers of messages and fields: io/prometheus/client/metrics.proto of prometheus/client_model.
Law: written by hand, for it is a handful of fields; tests read it with a reader of the wire format, and by Prometheus.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from headgate.telemetry.families import Family
from headgate.telemetry.naming import SCHEMA, ZERO, Exemplar, Series, Shown, native_index
from headgate.telemetry.prometheus import counted, newest

PROTOBUF_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_DOUBLE = struct.Struct("<d")
_KINDS = {"counter": 0, "gauge": 1, "histogram": 4}
_VALUE_FIELD = {"counter": 3, "gauge": 2}
_VARINT, _FIXED64, _LENGTH = 0, 1, 2


def render_protobuf(shown: Iterable[Shown]) -> bytes:
    """Write all metrics; a family whose cells have bounds between the buckets as a native histogram, too."""
    stream = bytearray()
    for name, labels, family, all_series in shown:
        if not all_series:
            continue
        message = bytearray()
        message += _text(1, name) + _text(2, family.help) + _number(3, _KINDS[family.kind])
        for series in all_series:
            message += _bytes(4, _metric(labels, family, series))
        stream += _varint(len(message)) + message
    return bytes(stream)


def _metric(labels: tuple[str, ...], family: Family, series: Series) -> bytes:
    pairs = b"".join([_pair(name, value) for name, value in zip(labels, series.labels, strict=True)])
    if family.kind == "histogram":
        return pairs + _bytes(7, _histogram(family, series))
    return pairs + _bytes(_VALUE_FIELD[family.kind], _double(1, series.values[0] / family.unit))


def _pair(name: str, value: str) -> bytes:
    return _bytes(1, _text(1, name) + _text(2, value))


def _histogram(family: Family, series: Series) -> bytes:
    counts = counted(series, family)
    parts = [_number(1, counts[-1]), _double(2, series.values[0] / family.unit)]
    bounds = (*family.buckets, float("inf"))
    for bound, count, exemplar in zip(bounds, counts, newest(series, family), strict=True):
        example = _bytes(3, _exemplar(exemplar)) if exemplar is not None else b""
        parts.append(_bytes(3, _number(1, count) + _double(2, bound) + example))
    if family.between:
        parts.append(_native(family, series.values[1:]))
    return b"".join(parts)


def _native(family: Family, cells: Sequence[int]) -> bytes:
    indices = _indices(family)
    buckets: dict[int, int] = {}
    for index, count in zip(indices, cells, strict=True):
        if count:
            buckets[index] = buckets.get(index, 0) + count
    zero = buckets.pop(indices[0], 0)
    parts = [_number(5, _zigzag(SCHEMA)), _double(6, ZERO), _number(7, zero)]
    # One span for each run of neighbours; the offset of the first is its index, of others the gap before them.
    places = sorted(buckets)
    end = 0
    while places:
        start = places[0]
        length = next(n for n in range(1, len(places) + 1) if start + n not in buckets)
        parts.append(_bytes(12, _number(1, _zigzag(start - end)) + _number(2, length)))
        end, places = start + length, places[length:]
    if not buckets:
        # Without a span it would not be taken for a native histogram.
        parts.append(_bytes(12, _number(1, 0) + _number(2, 0)))
    deltas = [count - before for before, count in pairwise([0, *(buckets[place] for place in sorted(buckets))])]
    packed = b"".join([_varint(_zigzag(delta)) for delta in deltas])
    return b"".join(parts) + (_bytes(13, packed) if packed else b"")


@lru_cache(128)
def _indices(family: Family) -> tuple[int, ...]:
    """Return the index of the native bucket for each cell of a family, the first being the one of zero."""
    return (*(native_index(bound) for bound in family.bounds), native_index(family.bounds[-1]) + 1)


def _exemplar(exemplar: Exemplar) -> bytes:
    pairs = _pair("trace_id", exemplar.trace_id) + _pair("span_id", exemplar.span_id)
    seconds = int(exemplar.at)
    moment = _number(1, seconds) + _number(2, int((exemplar.at - seconds) * 1_000_000_000))
    return pairs + _double(2, exemplar.value) + _bytes(3, moment)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode("utf-8", "replace"))


def _bytes(field: int, body: bytes | bytearray) -> bytes:
    return _varint(field << 3 | _LENGTH) + _varint(len(body)) + body


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | _FIXED64) + _DOUBLE.pack(value)


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
