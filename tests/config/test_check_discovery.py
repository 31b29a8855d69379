"""What is said about who tells where services run."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case


@pytest.mark.parametrize("case", cases("check_discovery"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)
