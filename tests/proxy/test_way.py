"""The memory of credentials: what is kept, for how long, and who asks when many want to know the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from headgate.auth.method import Judged, Known, NeedCall, NeedKeys, NeedWork, Refused
from headgate.core.failure import Failure
from headgate.core.identity import Identity
from headgate.core.message import Fields, RequestHead
from headgate.core.steps import Reply
from headgate.proxy import way as way_module
from headgate.proxy.way import Outside, Verdict, Way

ADA = Identity("user", "ada")


class Scripted:
    """A method whose verdicts a test writes."""

    name = kind = "scripted"
    in_headers = True
    challenge = "Bearer"

    def __init__(self, judge: Callable[[bytes, float], Judged]) -> None:
        self._judge = judge
        self.judged: list[bytes] = []

    def find(self, head: RequestHead) -> bytes | None:
        return head.get(b"authorization")

    def judge(self, credential: bytes, now: float) -> Judged:
        self.judged.append(credential)
        return self._judge(credential, now)

    def hide(self, head: RequestHead) -> None:
        head.fields = []


class World:
    """What is outside: replies that a test brings when it likes."""

    def __init__(self) -> None:
        self.keys: list[Reply[bool]] = []
        self.calls: list[Reply[Known | Refused]] = []
        self.outside = Outside(self._keys, self._call, lambda work: _done(work()))

    def _keys(self, issuer: str) -> Reply[bool]:
        self.keys.append(Reply())
        return self.keys[-1]

    async def _call(self, name: str, need: NeedCall) -> Known | Refused:
        self.calls.append(Reply())
        return await self.calls[-1]


def _done(value: Known | Refused) -> Reply[Known | Refused]:
    reply: Reply[Known | Refused] = Reply()
    reply.set(value)
    return reply


class Clock:
    """The wall clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(way_module, "wall", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def settle(identity: Identity) -> tuple[Identity, Fields]:
    return identity, [(b"X-User", identity.id.encode())]


def way(method: Scripted, world: World | None = None, most: int = 100, generation: list[int] | None = None) -> Way:
    moves = generation or [0]
    return Way(method, most, (world or World()).outside, settle, lambda: moves[0])


def now_known(found: Verdict | Reply[Verdict]) -> Verdict:
    assert isinstance(found, Verdict)
    return found


def later(found: Verdict | Reply[Verdict]) -> Reply[Verdict]:
    assert isinstance(found, Reply)
    return found


def brought(reply: Reply[Verdict]) -> Verdict:
    assert reply.done
    with pytest.raises(StopIteration) as ended:
        reply.__await__().send(None)
    value: Verdict = ended.value.value
    return value


def test_a_verdict_is_found_out_once_and_never_outlives_its_credential(clock: Clock) -> None:
    method = Scripted(lambda _, now: Known(ADA, now + 10))
    here = way(method)
    assert now_known(here.verdict(b"token")) is now_known(here.verdict(b"token"))
    assert len(method.judged) == 1
    clock.now += 10
    here.verdict(b"token")
    assert len(method.judged) == 2


def test_credentials_that_begin_alike_are_not_alike(clock: Clock) -> None:
    names = {b"x" * 200 + b"1": "ada", b"x" * 200 + b"2": "bob"}
    here = way(Scripted(lambda credential, _: Known(Identity("user", names[credential]), math.inf)))
    for _ in range(2):
        for credential, name in names.items():
            assert now_known(here.verdict(credential)).identity.id == name


def test_refusals_are_kept_apart_and_for_seconds_only(clock: Clock) -> None:
    good = {b"good"}

    def judge(credential: bytes, _: float) -> Judged:
        return Known(ADA, math.inf) if credential in good else Refused("invalid_token", "no")

    method = Scripted(judge)
    here = way(method, most=1)
    here.verdict(b"good")
    for number in range(10_000):
        refused = now_known(here.verdict(b"%d" % number)).refused
        assert refused is not None and refused.reason == "invalid_token"
    judged = len(method.judged)
    here.verdict(b"good")
    here.verdict(b"9999")
    assert len(method.judged) == judged
    good.add(b"9999")
    clock.now += 60
    assert now_known(here.verdict(b"9999")).refused is None


def test_no_more_is_remembered_than_allowed_and_the_oldest_goes_first(clock: Clock) -> None:
    method = Scripted(lambda _, __: Known(ADA, math.inf))
    here = way(method, most=2)
    for credential in (b"1", b"2", b"3", b"2", b"3"):
        here.verdict(credential)
    assert len(method.judged) == 3
    here.verdict(b"1")
    assert len(method.judged) == 4


def test_a_change_of_keys_makes_all_of_it_void(clock: Clock) -> None:
    generation = [1]
    method = Scripted(lambda _, __: Known(ADA, math.inf))
    here = way(method, generation=generation)
    here.verdict(b"key")
    generation[0] = 2
    here.verdict(b"key")
    assert len(method.judged) == 2


def test_of_many_with_one_credential_one_asks_and_all_are_told(clock: Clock) -> None:
    world = World()
    here = way(Scripted(lambda _, __: NeedCall([], b"", lambda *_: Refused("internal", ""))), world)
    waiting = [later(here.verdict(b"opaque")) for _ in range(5)]
    assert len(world.calls) == 1
    world.calls[0].set(Known(ADA, 2000.0))
    assert [brought(reply).identity for reply in waiting] == [ADA] * 5
    assert now_known(here.verdict(b"opaque")).forwarded == [(b"X-User", b"ada")]


def test_a_fault_on_the_way_reaches_all_who_wait_and_is_not_remembered(clock: Clock) -> None:
    world = World()
    here = way(Scripted(lambda _, __: NeedCall([], b"", lambda *_: Refused("internal", ""))), world)
    reply = later(here.verdict(b"opaque"))
    world.calls[0].fail(Failure("upstream_reset"))
    with pytest.raises(Failure):
        reply.__await__().send(None)
    later(here.verdict(b"opaque"))
    assert len(world.calls) == 2


def test_new_keys_are_waited_for_and_the_credential_judged_again(clock: Clock) -> None:
    world, ready = World(), list[bool]()

    def judge(_: bytes, now: float) -> Judged:
        return Known(ADA, now + 5) if ready else NeedKeys("idp")

    here = way(Scripted(judge), world)
    reply = later(here.verdict(b"token"))
    ready.append(True)
    world.keys[0].set(True)
    assert brought(reply).identity is ADA


@pytest.mark.parametrize(("has_keys", "reason"), [(True, "invalid_token"), (False, "identity_unavailable")])
def test_a_key_that_nobody_has_is_a_refusal_and_no_keys_at_all_an_outage(
    clock: Clock, has_keys: bool, reason: str
) -> None:
    world = World()
    reply = later(way(Scripted(lambda _, __: NeedKeys("idp")), world).verdict(b"token"))
    world.keys[0].set(has_keys)
    refused = brought(reply).refused
    assert refused is not None and refused.reason == reason


AWAY = Refused("identity_unavailable", "away")


def test_an_outage_is_never_remembered_and_what_was_known_is_used_on_only_so_long(clock: Clock) -> None:
    world = World()
    here = way(Scripted(lambda _, __: NeedCall([], b"", lambda *_: AWAY)), world)
    reply = later(here.verdict(b"opaque"))
    world.calls[0].set(Known(ADA, clock.now + 10, clock.now + 40))
    brought(reply)
    for passed, expected in ((10.0, None), (29.0, None), (1.0, "identity_unavailable"), (0.0, "identity_unavailable")):
        clock.now += passed
        reply = later(here.verdict(b"opaque"))
        world.calls[-1].set(AWAY)
        refused = brought(reply).refused
        assert (refused and refused.reason) == expected
    assert len(world.calls) == 5


def test_whoever_is_away_is_not_asked_with_every_request_of_a_known_caller(clock: Clock) -> None:
    world = World()
    here = way(Scripted(lambda _, __: NeedCall([], b"", lambda *_: AWAY)), world)
    reply = later(here.verdict(b"opaque"))
    world.calls[0].set(Known(ADA, clock.now, clock.now + 40))
    brought(reply)
    reply = later(here.verdict(b"opaque"))
    world.calls[1].set(AWAY)
    brought(reply)
    for _ in range(19):
        clock.now += 0.1
        assert now_known(here.verdict(b"opaque")).identity == ADA
    clock.now += 0.2
    later(here.verdict(b"opaque"))
    assert len(world.calls) == 3


def test_a_no_ends_what_was_known_before_also_for_outages(clock: Clock) -> None:
    world = World()
    here = way(Scripted(lambda _, __: NeedCall([], b"", lambda *_: AWAY)), world)
    answers: list[Known | Refused] = [Known(ADA, clock.now + 1, clock.now + 1000), Refused("invalid_token", ""), AWAY]
    said = []
    for answer in answers:
        reply = later(here.verdict(b"opaque"))
        world.calls[-1].set(answer)
        refused = brought(reply).refused
        said.append(refused.reason if refused is not None else "")
        clock.now += 10
    assert said == ["", "invalid_token", "identity_unavailable"]


def test_slow_work_is_done_elsewhere(clock: Clock) -> None:
    here = way(Scripted(lambda _, __: NeedWork(lambda: Known(ADA, math.inf))))
    assert brought(later(here.verdict(b"ada:secret"))).identity is ADA
