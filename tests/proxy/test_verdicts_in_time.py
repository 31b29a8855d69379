"""What is remembered of credentials while the wall clock jumps, and how much of it there can be."""

from __future__ import annotations

import math

import pytest

from headgate.auth.method import Judged, Known, NeedCall, NeedKeys, Refused
from headgate.core.identity import Identity
from tests.proxy.test_way import ADA, AWAY, Clock, Scripted, World, brought, clock, later, now_known, way

__all__ = ["clock"]

FIELD = (b"Authorization", b"Bearer token")
HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.parametrize("jump", [-DAY, -HOUR, -10.0, HOUR, DAY])
def test_a_clock_that_jumps_makes_no_verdict_longer(clock: Clock, jump: float) -> None:
    method = Scripted(lambda _, now: Known(ADA, now + 30))
    here = way(method)
    here.recall(FIELD, now_known(here.verdict(b"token")))
    clock.now += jump
    assert here.recalled(FIELD) is None
    here.verdict(b"token")
    assert len(method.judged) == 2


@pytest.mark.parametrize("jump", [-DAY, -HOUR, HOUR, DAY])
def test_what_has_ended_does_not_come_to_life_when_the_clock_goes_back(clock: Clock, jump: float) -> None:
    ended = list[bool]()
    method = Scripted(lambda _, now: Refused("invalid_token", "") if ended else Known(ADA, now + 30))
    here = way(method)
    here.recall(FIELD, now_known(here.verdict(b"token")))
    begun = clock.now
    clock.now += 60
    ended.append(True)
    assert here.recalled(FIELD) is None
    assert now_known(here.verdict(b"token")).refused is not None
    for moment in (begun + jump, begun, begun + 15, begun + 29):
        clock.now = moment
        assert here.recalled(FIELD) is None
        assert now_known(here.verdict(b"token")).refused is not None


@pytest.mark.parametrize("jump", [-DAY, -HOUR, -1.0, HOUR, DAY])
def test_a_refusal_lasts_no_longer_because_the_clock_jumps(clock: Clock, jump: float) -> None:
    good = list[bool]()
    here = way(Scripted(lambda _, __: Known(ADA, math.inf) if good else Refused("invalid_api_key", "")))
    assert now_known(here.verdict(b"key")).refused is not None
    good.append(True)
    clock.now += jump
    assert now_known(here.verdict(b"key")).refused is None


@pytest.mark.parametrize(("jump", "used"), [(-DAY, False), (-1.0, False), (20.0, True), (DAY, False)])
def test_an_outage_lasts_no_longer_because_the_clock_jumps(clock: Clock, jump: float, used: bool) -> None:
    world = World()
    here = way(Scripted(lambda _, __: NeedCall([], b"", lambda *_: AWAY)), world)
    reply = later(here.verdict(b"opaque"))
    world.calls[0].set(Known(ADA, clock.now + 10, clock.now + 40))
    brought(reply)
    clock.now += jump
    reply = later(here.verdict(b"opaque"))
    world.calls[1].set(AWAY)
    assert (brought(reply).refused is None) == used


def test_credentials_that_are_asked_about_are_bounded(clock: Clock) -> None:
    world, most = World(), 4096
    here = way(Scripted(lambda _, __: NeedKeys("idp")), world)
    waiting = [later(here.verdict(b"%d" % number)) for number in range(most)]
    refused = now_known(here.verdict(b"one more")).refused
    assert refused is not None
    assert refused.reason == "identity_unavailable"
    assert len(world.keys) == most
    # Whoever asks about one of them waits with the others.
    waiting.append(later(here.verdict(b"17")))
    for each in world.keys:
        each.set(True)
    assert {brought(reply).refused for reply in waiting} == {Refused("invalid_token", "idp has no such key")}
    later(here.verdict(b"one more"))


def test_a_known_caller_is_used_on_where_too_many_are_asked_about(clock: Clock) -> None:
    world = World()

    def judge(credential: bytes, now: float) -> Judged:
        return Known(ADA, now, now + 40) if credential == b"ada" and now < 1001 else NeedKeys("idp")

    here = way(Scripted(judge), world)
    here.verdict(b"ada")
    for number in range(4096):
        here.verdict(b"%d" % number)
    clock.now += 5
    assert now_known(here.verdict(b"ada")).identity == ADA


@pytest.mark.parametrize(("size", "remembered"), [(2048, True), (2049, False)])
def test_a_long_field_is_known_by_its_digest_alone(clock: Clock, size: int, remembered: bool) -> None:
    # 10,000 of them, each as long as a head may be, would be more than a worker has.
    here = way(Scripted(lambda _, __: Known(Identity("user", "ada"), math.inf)))
    field = (b"Authorization", b"x" * size)
    here.recall(field, now_known(here.verdict(field[1])))
    assert (here.recalled(field) is not None) == remembered
