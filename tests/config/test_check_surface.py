"""What is said about own endpoints and the gateway's health."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case


@pytest.mark.parametrize("case", cases("check_surface"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)
