"""Uses of keys are told together, and seldom."""

from __future__ import annotations

from headgate.auth.key_use import TELL_SECONDS, KeyUses


def test_uses_are_told_once_and_at_most_every_ten_seconds() -> None:
    uses = KeyUses()
    assert uses.take(100.0) is None
    uses.latest["k1"] = 1_800_000_000.7
    uses.latest["k1"] = 1_800_000_001.2
    assert uses.take(100.0) == {"k1": 1_800_000_001}
    uses.latest["k2"] = 1_800_000_002.0
    assert uses.take(100.0 + TELL_SECONDS - 0.1) is None
    assert uses.take(100.0 + TELL_SECONDS) == {"k2": 1_800_000_002}
    assert uses.take(200.0) is None
