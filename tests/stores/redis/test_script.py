"""The script and the Python algorithms are one and the same: records, decisions and what is told, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.policy.limit.algorithm import Algorithm
from headgate.policy.limit.concurrency import Concurrency
from headgate.policy.limit.group import PEEK, Group
from headgate.policy.limit.settings import MOST_COST
from headgate.stores.memory import decide
from headgate.stores.redis.call import read
from headgate.stores.redis.script import SCRIPT, Frames, Operation
from headgate.stores.store import Ask, Told
from tests.policy.limit.cases import CASES, OWNER, START
from tests.stores.redis.servers import Client, RedisServer

ALGORITHMS: list[Algorithm] = [case.values[1] for case in CASES]  # type: ignore[misc]
PREFIX = "t:"

often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Step(NamedTuple):
    """Some time later (or a little earlier), in lifetimes; for each limit of each group a cost."""

    later: float
    settles: bool
    owner: int
    amounts: tuple[int, ...]


class Twin:
    """The same asks in Python and on a server; whatever differs fails."""

    def __init__(self, client: Client, groups: list[Group]) -> None:
        self._client = client
        self._groups = groups
        self._keys = [bytes([number]) * 16 for number in range(len(groups))]
        self._frames = {owner: Frames(PREFIX, owner) for owner in (1, 2, OWNER)}
        self.records = [b""] * len(groups)
        client.call("FLUSHDB")

    def admit(self, costs: list[tuple[int, ...]], now: int, owner: int = OWNER) -> list[Told]:
        asks = self.asks(costs)
        told, self.records = decide(asks, self.records, now, owner)
        assert self._call("admit", asks, now, owner) == told
        self.compare()
        return told

    def settle(self, costs: list[tuple[int, ...]], now: int, owner: int = OWNER) -> None:
        asks = self.asks(costs)
        self.records = [
            ask.group.settle(record, now, ask.costs, owner) for ask, record in zip(asks, self.records, strict=True)
        ]
        assert self._client.send(self._frames[owner].call("settle", asks, now)) == 1
        self.compare()

    def undo(self, costs: list[tuple[int, ...]], now: int) -> list[Told]:
        """Take back what an admit counted; the caller knows what must hold then."""
        return self._call("undo", self.asks(costs), now, OWNER)

    def compare(self) -> None:
        for key, record in zip(self._keys, self.records, strict=True):
            assert (self._client.call("GET", self.name(key)) or b"") == record

    def write(self, place: int, record: bytes) -> None:
        self.records[place] = record
        self._client.call("SET", self.name(self._keys[place]), record)

    def name(self, key: bytes) -> bytes:
        return f"{PREFIX}{{{key.hex()}}}".encode()

    def asks(self, costs: list[tuple[int, ...]]) -> list[Ask]:
        return [Ask(*ask) for ask in zip(self._groups, self._keys, costs, strict=True)]

    def _call(self, operation: Operation, asks: list[Ask], now: int, owner: int) -> list[Told]:
        if operation == "admit" and len(asks) == 1:
            # The frame that is ready but for key and time.
            frame = self._frames[owner].admit(asks, asks[0].key.hex().encode(), now)
        else:
            frame = self._frames[owner].call(operation, asks, now)
        told = read(self._client.send(frame), asks)
        assert told is not None
        return told


@pytest.fixture(scope="module")
def client(redis: RedisServer) -> Iterator[Client]:
    with Client(redis.port) as client:
        client.call("SCRIPT", "LOAD", SCRIPT.text)
        yield client


def group(*algorithms: Algorithm, shadow: bool = False) -> Group:
    return Group([str(number) for number in range(len(algorithms))], algorithms, bytes(8), shadow=shadow)


def amounts(algorithm: Algorithm) -> st.SearchStrategy[int]:
    most = min(2 * algorithm.read(True, (0, 0, 0)).limit, MOST_COST)
    return st.one_of(
        st.integers(0, 3), st.integers(0, most), st.just(PEEK), st.integers(-most, 0), st.sampled_from((0, MOST_COST))
    )


def sequences(algorithms: list[Algorithm], longest: int = 10) -> st.SearchStrategy[list[Step]]:
    later = st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 2.1), st.floats(-0.01, 0))
    costs = st.tuples(*(amounts(algorithm) for algorithm in algorithms))
    step = st.builds(Step, later, st.booleans(), st.sampled_from((1, 2, OWNER)), costs)
    return st.lists(step, min_size=1, max_size=longest)


def play(twin: Twin, groups: list[Group], sequence: list[Step], lifetime: int) -> None:
    now = START
    for step in sequence:
        now += round(step.later * lifetime)
        rest = iter(step.amounts)
        costs = [tuple(next(rest) for _ in each.algorithms) for each in groups]
        if step.settles:
            twin.settle(costs, now, step.owner)
        else:
            # Below zero there is PEEK only.
            twin.admit([tuple(max(PEEK, cost) for cost in each) for each in costs], now, step.owner)


@pytest.mark.parametrize(("name", "algorithm"), CASES)
@often
@given(data=st.data())
def test_one_limit(client: Client, name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    groups = [group(algorithm)]
    play(Twin(client, groups), groups, data.draw(sequences([algorithm])), algorithm.lifetime)


@often
@given(data=st.data())
def test_several_limits_on_one_key(client: Client, data: st.DataObject) -> None:
    algorithms = data.draw(st.lists(st.sampled_from(ALGORITHMS), min_size=2, max_size=4))
    groups = [group(*algorithms)]
    lifetime = data.draw(st.sampled_from([algorithm.lifetime for algorithm in algorithms]))
    play(Twin(client, groups), groups, data.draw(sequences(algorithms)), lifetime)


@often
@given(data=st.data())
def test_several_groups_of_one_request(client: Client, data: st.DataObject) -> None:
    some = st.lists(st.sampled_from(ALGORITHMS), min_size=1, max_size=2)
    groups = [
        group(*algorithms, shadow=shadow)
        for algorithms, shadow in data.draw(st.lists(st.tuples(some, st.booleans()), min_size=2, max_size=3))
    ]
    algorithms = [algorithm for each in groups for algorithm in each.algorithms]
    lifetime = data.draw(st.sampled_from([algorithm.lifetime for algorithm in algorithms]))
    play(Twin(client, groups), groups, data.draw(sequences(algorithms)), lifetime)


@often
@given(data=st.data())
def test_what_is_undone_at_once_was_never_there(client: Client, data: st.DataObject) -> None:
    algorithms = data.draw(st.lists(st.sampled_from(ALGORITHMS), min_size=1, max_size=3))
    groups = [group(*algorithms)]
    twin = Twin(client, groups)
    costs = [tuple(data.draw(st.integers(0, 3)) for _ in algorithms)]
    for _ in range(data.draw(st.integers(0, 2))):
        twin.admit(costs, START)
    before = twin.records
    if twin.admit(costs, START)[0].allowed:
        told = twin.undo(costs, START)
        twin.records = before
        assert told == [Told(True, groups[0].look(before[0], START, OWNER), "store")]
        if all(not isinstance(algorithm, Concurrency) for algorithm in algorithms):
            twin.compare()


@pytest.mark.parametrize(("name", "algorithm"), CASES)
@often
@given(
    garbage=st.one_of(
        st.binary(max_size=70), st.binary(min_size=8, max_size=8).map(lambda moment: moment[:6] + bytes(2))
    ),
    cost=st.integers(0, 3),
)
def test_a_record_of_another_form_counts_as_none(
    client: Client, name: str, algorithm: Algorithm, garbage: bytes, cost: int
) -> None:
    groups = [group(algorithm, algorithm)]
    twin = Twin(client, groups)
    # Two limits: the lengths in front are the form, and no length of garbage fits them.
    twin.write(0, b"\xff\xff" + garbage)
    twin.admit([(cost, cost)], START)


@pytest.mark.parametrize(("name", "algorithm"), CASES)
def test_a_key_that_holds_no_string_counts_as_none_and_becomes_one(
    client: Client, name: str, algorithm: Algorithm
) -> None:
    twin = Twin(client, [group(algorithm)])
    key = twin.name(bytes(16))
    client.call("RPUSH", key, "what", "is", "this")
    twin.admit([(1,)], START)
    assert client.call("TYPE", key) == b"string"


def lives(client: Client, key: bytes) -> int:
    left: Any = client.call("PTTL", key)
    assert isinstance(left, int)
    return left


@pytest.mark.parametrize(("name", "algorithm"), CASES)
def test_every_key_has_an_end(client: Client, name: str, algorithm: Algorithm) -> None:
    twin = Twin(client, [group(algorithm)])
    twin.admit([(1,)], START)
    key = twin.name(bytes(16))
    # While the caller says what time it is, a minute more.
    assert 0 < lives(client, key) <= algorithm.lifetime // 1000 + 60_001
    twin.settle([(MOST_COST,)], START)
    assert lives(client, key) > 0


def test_by_the_servers_time_a_key_lives_as_long_as_it_means_something(client: Client) -> None:
    twin = Twin(client, [group(ALGORITHMS[0])])
    frames = Frames(PREFIX, OWNER)
    (ask,) = twin.asks([(5,)])
    told = read(client.send(frames.admit([ask], ask.key.hex().encode(), None)), [ask])
    assert told is not None and told[0].allowed
    assert 0 < lives(client, twin.name(ask.key)) <= ALGORITHMS[0].lifetime // 1000 + 1


def test_a_prefix_that_would_move_the_hash_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="braces"):
        Frames("app{1}:", OWNER)
