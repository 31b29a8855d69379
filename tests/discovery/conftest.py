"""Sources that do not wait long: pauses are a thousandth of what they are."""

from __future__ import annotations

import pytest

from headgate.discovery import backoff


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.002)
    monkeypatch.setattr(backoff, "MOST", 0.02)
    monkeypatch.setattr(backoff, "BETWEEN", 0.001)
