"""What is said about how requests are recorded, redacted and traced."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case


@pytest.mark.parametrize("case", cases("check_requests"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)
