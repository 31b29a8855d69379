"""Protocol buffers: read back by a reader of the wire format that knows nothing of who wrote it."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.families import FAMILIES, Family
from headgate.telemetry.naming import SCHEMA, ZERO, Exemplar, Series, Shown, table_of
from headgate.telemetry.protobuf import render_protobuf
from headgate.telemetry.settings import Metrics

NAME = "headgate_request_duration_seconds"
CLASSIC = FAMILIES[NAME]
NATIVE = table_of(Metrics(native=True))[NAME]
Fields = dict[int, list[Any]]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Fields:
    """Read one message: its fields by number, in order; of length-delimited ones the bytes."""
    found: Fields = {}
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value: Any
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 1:
            (value,), at = struct.unpack_from("<d", data, at), at + 8
        else:
            assert key & 7 == 2, key
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
            assert len(value) == length
        found.setdefault(key >> 3, []).append(value)
    return found


def messages(stream: bytes) -> Iterator[Fields]:
    at = 0
    while at < len(stream):
        length, at = varint(stream, at)
        yield fields(stream[at : at + length])
        at += length


def signed(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def labels(metric: Fields) -> dict[str, str]:
    pairs = [fields(pair) for pair in metric.get(1, [])]
    return {pair[1][0].decode(): pair[2][0].decode() for pair in pairs}


def series(family: Family, seen: list[int]) -> Series:
    """Make the series of durations in microseconds."""
    values = [sum(seen), *[0] * (len(family.bounds) + 1)]
    for each in seen:
        values[1 + bisect_left(family.bounds, each)] += 1
    return Series(("chat", "llm"), values)


def histogram(family: Family, made: Series) -> Fields:
    (message,) = messages(render_protobuf([Shown(NAME, ("route", "service"), family, [made])]))
    assert (message[1], message[3]) == ([NAME.encode()], [4])
    metric = fields(message[4][0])
    assert labels(metric) == {"route": "chat", "service": "llm"}
    return fields(metric[7][0])


def test_counters_and_gauges() -> None:
    requests, lag = FAMILIES["headgate_errors_total"], FAMILIES["headgate_issuer_keys_age_seconds"]
    stream = render_protobuf(
        [
            Shown("errors_total", ("reason",), requests, [Series(("a",), [3]), Series(("é",), [2**40])]),
            Shown("age", ("issuer",), lag, [Series(("i",), [1_500_000])]),
        ]
    )
    errors, age = messages(stream)
    assert errors[1] == [b"errors_total"]
    assert errors[2] == [requests.help.encode()]
    assert errors[3] == [0]
    assert [(labels(fields(each)), fields(fields(each)[3][0])[1]) for each in errors[4]] == [
        ({"reason": "a"}, [3.0]),
        ({"reason": "é"}, [float(2**40)]),
    ]
    assert age[3] == [1]
    assert fields(fields(age[4][0])[2][0])[1] == [1.5]


DURATIONS = st.lists(st.integers(0, 10**8), max_size=40)


@given(DURATIONS)
def test_classic_buckets_are_cumulative(seen: list[int]) -> None:
    for family in (CLASSIC, NATIVE):
        read = histogram(family, series(family, seen))
        assert read[1] == [len(seen)]
        assert read[2] == [sum(seen) / 1_000_000]
        buckets = [fields(each) for each in read[3]]
        assert [each[2][0] for each in buckets] == [*CLASSIC.buckets, float("inf")]
        for each in buckets:
            assert each[1][0] == sum(value <= each[2][0] * 1_000_000 for value in seen)
    assert 5 not in histogram(CLASSIC, series(CLASSIC, seen))


@given(DURATIONS)
def test_native_buckets_hold_what_lies_between_their_powers(seen: list[int]) -> None:
    read = histogram(NATIVE, series(NATIVE, seen))
    assert (signed(read[5][0]), read[6]) == (SCHEMA, [ZERO])
    assert read[7] == [sum(value <= ZERO * 1_000_000 for value in seen)]
    counts: list[int] = []
    packed, at = read.get(13, [b""])[0], 0
    while at < len(packed):
        delta, at = varint(packed, at)
        counts.append((counts[-1] if counts else 0) + signed(delta))
    indices: list[int] = []
    end = 0
    for span in map(fields, read[12]):
        start, length = end + signed(span[1][0]), span[2][0]
        indices += range(start, start + length)
        end = start + length
    growth = 2.0 ** (2.0**-SCHEMA)
    highest = NATIVE.bounds[-1]
    expected: dict[int, int] = {}
    for value in seen:
        if value > ZERO * 1_000_000:
            index = next(n for n in range(-60, 60) if min(value, highest + 1) <= growth**n * 1_000_000 * (1 + 1e-12))
            expected[index] = expected.get(index, 0) + 1
    assert dict(zip(indices, counts, strict=True)) == expected


def test_nothing_seen_is_still_a_native_histogram() -> None:
    read = histogram(NATIVE, series(NATIVE, []))
    (span,) = map(fields, read[12])
    assert (span[1], span[2], read[7]) == ([0], [0], [0])


def test_exemplars_stand_on_the_bucket_that_holds_them() -> None:
    made = series(CLASSIC, [3_000, 4_000, 70_000_000])
    made.exemplars = [
        Exemplar(("chat", "llm", "GET", "200"), 0.004, 1700000000.25, "a" * 32, "b" * 16),
        Exemplar(("chat", "llm", "GET", "200"), 0.003, 1700000000.0, "c" * 32, "d" * 16),
        Exemplar(("chat", "llm", "GET", "200"), 70.0, 1700000001.5, "e" * 32, "f" * 16),
    ]
    buckets = [fields(each) for each in histogram(CLASSIC, made)[3]]
    found = {each[2][0]: fields(each[3][0]) for each in buckets if 3 in each}
    assert {bound: labels(each)["trace_id"] for bound, each in found.items()} == {
        0.005: "a" * 32,
        float("inf"): "e" * 32,
    }
    assert found[0.005][2] == [0.004]
    moment = fields(found[0.005][3][0])
    assert (moment[1], moment[2]) == ([1700000000], [250_000_000])
