"""What is said about routes: matches, destinations, rewrites, answers, and routes nobody reaches."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case


@pytest.mark.parametrize("case", cases("check_routes"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)
