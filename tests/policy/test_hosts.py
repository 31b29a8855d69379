"""Which hosts may be asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.hosts import TrustedHosts, check_host

CASES = [
    (["api.example.com"], "api.example.com", True),
    (["API.Example.com."], "api.example.com", True),
    (["api.example.com"], "example.com", False),
    (["api.example.com"], "a.api.example.com", False),
    (["*.example.com"], "api.example.com", True),
    (["*.example.com"], "a.b.example.com", True),
    (["*.example.com"], "example.com", False),
    (["*.example.com"], "evilexample.com", False),
    (["*.example.com"], "example.com.evil.org", False),
    (["*.example.com", "example.com"], "example.com", True),
    (["localhost", "127.0.0.1"], "127.0.0.1", True),
    (["127.0.0.1"], "127.0.0.10", False),
    (["[0:0::1]"], "[::1]", True),
    (["[::1]"], "[::2]", False),
    (["*"], "anything.org", True),
    (["*"], "", False),
    (["*.example.com"], "", False),
]


@pytest.mark.parametrize(("patterns", "host", "trusted"), CASES)
def test_hosts(patterns: list[str], host: str, trusted: bool) -> None:
    assert TrustedHosts(patterns).trusts(host) is trusted


LABELS = st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(LABELS), st.lists(LABELS), LABELS)
def test_a_host_is_trusted_by_its_name_or_by_whole_labels_at_its_end(
    names: list[str], domains: list[str], host: str
) -> None:
    trusted = TrustedHosts([*names, *(f"*.{domain}" for domain in domains)])
    expected = host in names or any(host.endswith(f".{domain}") for domain in domains)
    assert trusted.trusts(host) is expected


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("api.example.com", None),
        ("*.example.com", None),
        ("*", None),
        ("[::1]", None),
        ("10.0.0.1", None),
        ("api.*.com", "a * stands for all names below a domain only: *.example.com"),
        ("https://api.example.com", "write the host alone, without scheme, user name and path"),
        ("api.example.com:8080", "write the host alone: ports do not count"),
        ("[::1]:8080", "write the host alone: ports do not count"),
        ("::1", "an IPv6 address stands in brackets"),
        ("*.10.0.0.1", "there are no names below an address"),
        ("*.", "the host is empty"),
        ("", "the host is empty"),
    ],
)
def test_what_may_be_written(pattern: str, said: str | None) -> None:
    assert check_host(pattern) == said
