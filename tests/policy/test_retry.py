"""When another try is allowed: by what was sent, by method, by occasion, by number of tries, by budget; and when."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.failure import REASONS, Failure
from headgate.policy.retry import IDEMPOTENT, Budget, Retry, retry_after
from headgate.policy.retry_settings import Backoff, Hedging, RetryBudget, RetrySettings

UNSENT = {"connect_refused", "connect_timeout", "dns", "tls", "upstream_reset"}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_was_not_sent_may_go_again_whatever_the_method(reason: str, method: str) -> None:
    assert Retry(RetrySettings()).allows(Failure(reason), method, 1, replayable=True) is (reason in UNSENT)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("method", [*sorted(IDEMPOTENT), "POST", "PATCH", "CONNECT", "get"])
def test_what_was_sent_goes_again_only_if_idempotent_and_lost_on_an_idle_connection(
    reason: str, reused: bool, method: str
) -> None:
    failure = Failure(reason, sent=True, reused=reused)
    allowed = reason == "upstream_reset" and reused and method in IDEMPOTENT
    assert Retry(RetrySettings()).allows(failure, method, 1, replayable=True) is allowed


@pytest.mark.parametrize("attempts", [0, 1, 2, 10])
def test_tries_are_counted_besides_the_first(attempts: int) -> None:
    retry = Retry(RetrySettings(attempts=attempts))
    failure = Failure("connect_refused")
    tries = 1
    while retry.allows(failure, "POST", tries, replayable=True):
        tries += 1
    assert tries == attempts + 1


def test_a_body_that_is_gone_cannot_be_sent_again() -> None:
    assert not Retry(RetrySettings()).allows(Failure("connect_refused"), "GET", 1, replayable=False)


def allowed(on: list[Any], failure: Failure, method: str = "GET", **more: bool) -> bool:
    return Retry(RetrySettings(on=on)).allows(failure, method, 1, **{"replayable": True, **more})


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(
    ("on", "reasons"),
    [
        (["connect"], {"connect_refused", "connect_timeout", "dns", "tls"}),
        (["reset"], {"upstream_reset"}),
        (["timeout"], {"response_timeout", "idle_timeout"}),
        (["5xx", 503], set()),
        ([], set()),
    ],
)
def test_each_occasion_stands_for_its_failures(reason: str, on: list[Any], reasons: set[str]) -> None:
    assert allowed(on, Failure(reason), "POST") is (reason in reasons)
    assert allowed(on, Failure(reason, sent=True), "POST", elsewhere=True) is False
    after = reasons & {"upstream_reset", "response_timeout", "idle_timeout"}
    assert allowed(on, Failure(reason, sent=True), "GET", elsewhere=True) is (reason in after)


def test_whoever_breaks_a_fresh_connection_is_not_asked_again_but_another_is() -> None:
    broken = Failure("upstream_reset", sent=True)
    assert not allowed(["reset"], broken)
    assert allowed(["reset"], broken, elsewhere=True)
    assert not allowed(["reset"], broken, "POST", elsewhere=True)
    assert not allowed(["reset"], broken, elsewhere=True, replayable=False)


def test_the_only_one_is_asked_again_by_who_insists() -> None:
    retry, broken = Retry(RetrySettings(insist=True)), Failure("upstream_reset", sent=True)
    assert [retry.allows(broken, "GET", tries, replayable=True) for tries in (1, 2, 3)] == [True, True, False]
    assert not retry.allows(broken, "POST", 1, replayable=True)
    assert not retry.allows(broken, "GET", 1, replayable=False)
    assert retry.wait(broken, 1, 0.5, elsewhere=False) > 0


def test_methods_that_may_be_sent_twice_are_configuration() -> None:
    retry = Retry(RetrySettings(methods=["POST"], on=["timeout", 503]))
    failure = Failure("response_timeout", sent=True)
    assert retry.allows(failure, "POST", 1, replayable=True)
    assert not retry.allows(failure, "GET", 1, replayable=True)
    assert retry.allows_answered("POST", 2, replayable=True)
    assert not retry.allows_answered("POST", 3, replayable=True)
    assert not retry.allows_answered("GET", 1, replayable=True)
    assert not retry.allows_answered("POST", 1, replayable=False)


def test_statuses_that_are_tried_again() -> None:
    assert Retry(RetrySettings()).statuses == frozenset()
    assert Retry(RetrySettings(on=[429, "connect", 503])).statuses == {429, 503}
    assert Retry(RetrySettings(on=["5xx", 409])).statuses == {409, *range(500, 600)}
    # With no other try allowed, no answer need be looked at.
    assert Retry(RetrySettings(on=["5xx"], attempts=0)).statuses == frozenset()


def test_only_idempotent_requests_that_may_be_sent_twice_are_hedged() -> None:
    retry = Retry(RetrySettings(hedge=Hedging(delay=0.2), methods=["GET", "POST"]))
    assert retry.hedge_after == 0.2
    assert [method for method in ("GET", "PUT", "POST") if retry.hedges(method)] == ["GET"]
    assert Retry(RetrySettings()).hedge_after == 0.0


# -- waiting -------------------------------------------------------------------------------------------------------


def test_the_wait_is_a_random_part_of_a_time_that_doubles_up_to_a_bound() -> None:
    retry = Retry(RetrySettings(backoff=Backoff(base=0.1, max=0.5), attempts=10))
    assert [retry.backoff(tries, 1.0) for tries in range(1, 6)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert retry.backoff(2, 0.25) == 0.05
    assert retry.backoff(3, 0.0) == 0.0


def test_waiting_is_for_those_who_may_be_overloaded() -> None:
    retry = Retry(RetrySettings(backoff=Backoff(base=1.0, max=1.0)))
    refused, broken = Failure("connect_refused"), Failure("upstream_reset", sent=True)
    assert retry.wait(refused, 1, 0.5, elsewhere=True) == 0.0
    assert retry.wait(refused, 1, 0.5, elsewhere=False) == 0.5
    assert retry.wait(broken, 1, 0.5, elsewhere=True) == 0.5
    # An idle connection that was closed says nothing of load.
    assert retry.wait(Failure("upstream_reset", sent=True, reused=True), 1, 0.5, elsewhere=False) == 0.0


def test_the_upstreams_own_time_is_kept_or_ends_the_tries() -> None:
    retry = Retry(RetrySettings(backoff=Backoff(base=0.2, max=0.2, retry_after=5)))
    assert retry.wait_answered(0.0, 1, 0.5) == 0.1
    assert retry.wait_answered(5.0, 1, 0.5) == 5.1
    assert retry.wait_answered(5.001, 1, 0.5) is None


# RFC 9110 section 5.6.7 gives these three for 784111777 seconds since 1970.
DATES = [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        (b"0", 0.0),
        (b"120", 120.0),
        *((date, 7.0) for date in DATES),
        (b"Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        *((garbage, 0.0) for garbage in (b"", b"-1", b"1.5", b"soon", b"1e3", b"9" * 11, b"\xff", b"120 ", b"0x10")),
    ],
)
def test_retry_after_is_read_in_all_its_forms(value: bytes | None, seconds: float) -> None:
    assert retry_after(value, 784111770.0) == seconds


# -- the budget ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("active", "most"), [(0, 3), (15, 3), (19, 3), (20, 4), (100, 20)])
def test_the_budget_is_a_part_of_what_is_active_and_never_less_than_a_few(active: int, most: int) -> None:
    retry, budget = Retry(RetrySettings()), Budget()
    assert sum(budget.begin(retry, active) for _ in range(50)) == budget.in_flight == most
    budget.end()
    assert budget.begin(retry, active)
    assert not budget.begin(retry, active)


def test_a_budget_of_nothing_allows_nothing() -> None:
    retry = Retry(RetrySettings(budget=RetryBudget(percent=0, minimum=0)))
    assert not Budget().begin(retry, 1000)


def test_only_what_an_upstream_may_have_worked_on_is_charged() -> None:
    retry = Retry(RetrySettings())
    assert retry.charged(Failure("upstream_reset", sent=True))
    assert retry.charged(Failure("response_timeout", sent=True, reused=True))
    # It was read, and refused: who has too much to do must not get more.
    assert retry.charged(Failure("upstream_reset"))
    assert not retry.charged(Failure("upstream_reset", reused=True))
    assert not retry.charged(Failure("connect_refused"))
    assert not retry.charged(Failure("upstream_reset", sent=True, reused=True))
