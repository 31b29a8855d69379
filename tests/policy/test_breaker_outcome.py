"""What counts against a service: every status and every reason there is, under the default and under other lists."""

from __future__ import annotations

import pytest

from headgate.core.failure import REASONS
from headgate.policy.breaker import EXCLUDED, FAILED, OK
from headgate.policy.breaker_outcome import Counting
from headgate.policy.breaker_settings import BreakerSettings, Outcomes


def test_by_default_5xx_and_every_failure_of_the_upstreams_side_count() -> None:
    counting = Counting(BreakerSettings().failures)
    assert {status for status in range(100, 600) if counting.of_status(status) == FAILED} == set(range(500, 600))
    counted = {reason for reason in REASONS if counting.of_reason(reason) == FAILED}
    assert counted == {name for name, reason in REASONS.items() if reason.side == "upstream"}


@pytest.mark.parametrize(
    ("failures", "statuses", "reasons"),
    [
        ([429], {429}, set()),
        (["5xx", 429], {429, *range(500, 600)}, set()),
        ([503, 503], {503}, set()),
        (["connect"], set(), {"connect_refused", "connect_timeout", "dns", "tls"}),
        (["timeout"], set(), {"connect_timeout", "response_timeout", "idle_timeout", "total_timeout"}),
        (["protocol"], set(), {"upstream_reset", "upstream_protocol"}),
        ([], set(), set()),
    ],
)
def test_only_what_is_listed_counts(failures: list[Outcomes], statuses: set[int], reasons: set[str]) -> None:
    counting = Counting(failures)
    assert {status for status in range(100, 600) if counting.of_status(status) == FAILED} == statuses
    assert {status for status in range(100, 600) if counting.of_status(status) == OK} == set(range(100, 600)) - statuses
    assert {reason for reason in REASONS if counting.of_reason(reason) == FAILED} == reasons
    # What is not listed proves nothing, least of all health.
    assert {counting.of_reason(reason) for reason in REASONS.keys() - reasons} == {EXCLUDED}
