"""The share of requests that is mirrored."""

from __future__ import annotations

import pytest

from headgate.policy.mirror import MirrorSampler
from headgate.policy.rewrite import Mirror


@pytest.mark.parametrize(("percent", "chosen"), [(0, 0), (0.5, 5), (25, 250), (100, 1000)])
def test_the_share_is_exact_over_evenly_spread_numbers(percent: float, chosen: int) -> None:
    numbers = iter([step / 1000 for step in range(1000)])
    sampler = MirrorSampler(Mirror(service_name="shadow", percent=percent), lambda: next(numbers))
    assert sum(sampler.chosen() for _ in range(1000)) == chosen
    assert sampler.service_name == "shadow"
