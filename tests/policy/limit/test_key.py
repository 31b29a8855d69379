"""For whom a request counts: addresses, values, and digests that never meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.limit.key import address_part, digest, value_part

FINGERPRINT = b"settings"


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("10.0.0.1", b"@10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", b"@2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", b"@2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002::1", b"@2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", b"@2001:db8:1:3::/64"),
        ("::1", b"@::/64"),
        ("fe80::1%eth0", b"@fe80::/64"),
        ("::ffff:10.0.0.1", b"@10.0.0.1"),
        ("::ffff:a00:1", b"@10.0.0.1"),
        ("unix:", b"@unix:"),
        ("", b"@"),
        ("not:an:address", b"@not:an:address"),
    ],
)
def test_what_counts_of_an_address(address: str, part: bytes) -> None:
    assert address_part(address) == part


def test_a_user_that_calls_itself_an_address_is_not_that_address() -> None:
    assert digest(FINGERPRINT, [value_part(b"10.0.0.1")]) != digest(FINGERPRINT, [address_part("10.0.0.1")])
    assert value_part(b"x", b"u") != value_part(b"x", b"k")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([b"ab", b"c"], [b"a", b"bc"]),
        ([b"ab"], [b"a", b"b"]),
        ([], [b""]),
        ([b""], [b"", b""]),
        ([b"a", b""], [b"", b"a"]),
        ([b"a\x01\x00\x00\x00b"], [b"a", b"b"]),
        ([b"x" * 10_000], [b"x" * 10_001]),
    ],
)
def test_other_combinations_are_other_keys(one: list[bytes], other: list[bytes]) -> None:
    assert digest(FINGERPRINT, one) != digest(FINGERPRINT, other)
    assert digest(FINGERPRINT, one) != digest(b"otherset", one)
    assert len(digest(FINGERPRINT, one)) == 16


@given(one=st.lists(st.binary(max_size=6), max_size=4), other=st.lists(st.binary(max_size=6), max_size=4))
def test_keys_are_the_same_only_for_the_same_values(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(FINGERPRINT, one) == digest(FINGERPRINT, other)) is (one == other)
