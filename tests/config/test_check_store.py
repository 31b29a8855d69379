"""What is said about the stores of limits and of cached answers."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("case", cases("check_store"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)
