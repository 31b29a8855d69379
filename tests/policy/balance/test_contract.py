"""The contract that every balancer of the catalog keeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.catalog import BALANCERS
from headgate.policy.balance.balancer import Balancer, Candidate
from tests.policy.balance.rig import Client, build, candidates, name

# The points of a ring stand by chance: with 128 of them a share varies by a tenth (one in the root of 128).
LOOSE = {"consistent_hash": 0.4}


@pytest.fixture(params=sorted(BALANCERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def balancer(kind: str) -> Balancer[Candidate]:
    return build(kind)


def test_the_type_of_the_settings_is_the_name_in_the_catalog(kind: str) -> None:
    assert BALANCERS[kind].settings().type == kind


def test_nobody_is_picked_from_nobody(balancer: Balancer[Candidate]) -> None:
    assert balancer.pick(0.0) is None
    for nobody in ([], candidates(0, 0)):
        balancer.take(nobody)
        assert [balancer.pick(now, key) for now, key in ((0.0, 0), (1.0, 2**64 - 1))] == [None, None]


def test_the_only_one_is_always_picked(balancer: Balancer[Candidate]) -> None:
    client = Client(balancer, abreast=50)
    client.take(candidates(0, 3, 0))
    assert client.send(200) == {"e1": 200}


def test_equals_have_equal_shares(kind: str, balancer: Balancer[Candidate]) -> None:
    client = Client(balancer, abreast=12)
    client.take(candidates(1, 1, 1, 1))
    picked = client.send(12_000)
    # Five standard deviations of a share that chance alone decides: sqrt(12,000 * 1/4 * 3/4) is 47.
    margin = max(240.0, LOOSE.get(kind, 0) * 3000)
    assert all(abs(picked[f"e{number}"] - 3000) <= margin for number in range(4))


def test_shares_follow_weights_and_weight_zero_gets_nothing(kind: str, balancer: Balancer[Candidate]) -> None:
    client = Client(balancer, abreast=40)
    client.take(candidates(1, 3, 0, 6))
    picked = client.send(10_000)
    assert set(picked) == {"e0", "e1", "e3"}
    for one, share in (("e0", 1000), ("e1", 3000), ("e3", 6000)):
        assert abs(picked[one] - share) <= share * LOOSE.get(kind, 0.16)


def test_all_others_go_on_when_one_is_out_and_it_comes_back(balancer: Balancer[Candidate]) -> None:
    everybody = candidates(1, 2, 1)
    client = Client(balancer, abreast=8)
    client.take(everybody)
    assert set(client.send(400)) == {"e0", "e1", "e2"}
    everybody[1].weight = 0.0
    client.take(everybody)
    assert set(client.send(400)) == {"e0", "e2"}
    everybody[1].weight = 2.0
    client.take(everybody)
    assert set(client.send(400)) == {"e0", "e1", "e2"}
    client.take(everybody[:2])
    assert set(client.send(400)) == {"e0", "e1"}
    client.take([])
    assert client.send(1) == {None: 1}


def test_a_part_of_the_weight_has_a_part_of_the_share(kind: str, balancer: Balancer[Candidate]) -> None:
    everybody = candidates(5, 5)
    everybody[0].weight = 0.5
    client = Client(balancer, abreast=44)
    client.take(everybody)
    picked = client.send(11_000)
    assert abs(picked["e0"] - 1000) <= 1000 * LOOSE.get(kind, 0.16)


def test_what_began_has_ended_when_all_ended(balancer: Balancer[Candidate]) -> None:
    everybody = candidates(1, 2, 3)
    client = Client(balancer, abreast=30)
    client.take(everybody)
    client.send(100)
    assert sum(each.in_flight for each in everybody) == 29
    client.finish()
    assert [each.in_flight for each in everybody] == [0, 0, 0]


@pytest.mark.parametrize("kind", sorted(BALANCERS))
@given(
    sets=st.lists(st.lists(st.integers(0, 5), max_size=5), max_size=5),
    steps=st.lists(
        st.tuples(
            st.floats(0, 1e6),
            st.integers(0, 2**64 - 1),
            st.none() | st.floats(0, 1e5),
            st.booleans(),
        ),
        max_size=12,
    ),
)
def test_only_those_with_weight_are_picked_whatever_happens(
    kind: str, sets: list[list[int]], steps: list[tuple[float, int, float | None, bool]]
) -> None:
    balancer = build(kind)
    for weights in sets:
        everybody = candidates(*weights)
        balancer.take(everybody)
        live: set[str | None] = {name(each) for each in everybody if each.weight} or {None}
        flying: list[Candidate] = []
        for at, (now, key, seconds, ok) in enumerate(steps):
            one = balancer.pick(now, key)
            assert name(one) in live
            if one is not None:
                balancer.begin(one)
                flying.append(one)
            if at % 2 and flying:
                balancer.end(flying.pop(0), now, seconds, ok)
        assert sum(each.in_flight for each in everybody) == len(flying)
