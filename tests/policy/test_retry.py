"""When another try is allowed: by what was sent, by method, by number of tries."""

from __future__ import annotations

import pytest

from headgate.core.failure import REASONS, Failure
from headgate.policy.retry import IDEMPOTENT, Retry, RetrySettings

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
