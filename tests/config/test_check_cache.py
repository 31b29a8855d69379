"""What is said about caching."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case


@pytest.mark.parametrize("case", cases("check_cache"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)
