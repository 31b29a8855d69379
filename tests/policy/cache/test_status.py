"""Cache-Status: what is said, word for word (RFC 9211)."""

from __future__ import annotations

from headgate.policy.cache.status import forwarded, hit


def test_a_hit() -> None:
    assert hit(30) == b"headgate; hit; ttl=30"
    assert hit(-5) == b"headgate; hit; ttl=-5"


def test_what_went_on() -> None:
    assert forwarded("bypass") == b"headgate; fwd=bypass"
    assert forwarded("uri-miss", stored=True) == b"headgate; fwd=uri-miss; stored"
    assert forwarded("stale", 304, stored=True, ttl=9) == b"headgate; fwd=stale; fwd-status=304; ttl=9; stored"
    assert forwarded("uri-miss", collapsed=True) == b"headgate; fwd=uri-miss; collapsed"
