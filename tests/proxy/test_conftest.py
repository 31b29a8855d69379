"""What is said to exist in one version of HTTP only exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proxy.conftest import HTTP1_ONLY

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", HTTP1_ONLY)
def test_each_exception_names_a_test(name: str) -> None:
    file, _, test = name.partition("::")
    assert not test or f"def {test}(" in (HERE / file).read_text()
