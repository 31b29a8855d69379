"""An empty database for each test that asks, of each kind."""

from __future__ import annotations

from tests.control.keys.conftest import address

__all__ = ["address"]
