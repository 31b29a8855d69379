"""Addresses of collectors, and of what stood in their place before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.collector import Collector, collector_of


@pytest.mark.parametrize(
    ("endpoint", "protocol", "url"),
    [
        ("http://collector:4318", "http", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http", "http://collector:4318/v1/traces"),
        ("https://collector/otlp/v1/traces", "http", "https://collector/otlp/v1/traces"),
        ("collector:4318", "http", "http://collector:4318/v1/traces"),
        ("http://[::1]:4318", "http", "http://[::1]:4318/v1/traces"),
        ("http://collector:4317", "grpc", "http://collector:4317"),
        ("https://collector:4317/", "grpc", "https://collector:4317/"),
    ],
)
def test_an_address_is_taken_as_it_is_meant(endpoint: str, protocol: str, url: str) -> None:
    assert collector_of(endpoint, protocol) == Collector(url, protocol)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://jaeger:14268/api/traces", "http://jaeger:4318/v1/traces"),
        ("https://jaeger:14268/api/traces?format=jaeger.thrift", ""),
        ("https://jaeger:14268/api/traces", "https://jaeger:4318/v1/traces"),
        ("http://jaeger/api/traces", "http://jaeger:4318/v1/traces"),
        ("jaeger:6831", "http://jaeger:4318/v1/traces"),
        ("udp://jaeger:6832", "http://jaeger:4318/v1/traces"),
        ("grpc://jaeger:14250", "http://jaeger:4318/v1/traces"),
        ("http://[2001:db8::1]:14268/api/traces", "http://[2001:db8::1]:4318/v1/traces"),
    ],
)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_old_jaeger_becomes_otlp_on_the_same_host(endpoint: str, url: str, protocol: str) -> None:
    if url:
        assert collector_of(endpoint, protocol) == Collector(url, "http", jaeger=True)
    else:
        with pytest.raises(ValueError, match="without a query"):
            collector_of(endpoint, protocol)


@pytest.mark.parametrize(
    ("endpoint", "protocol", "sentence"),
    [
        ("", "http", "not the URL of a collector"),
        ("http://", "http", "not the URL of a collector"),
        ("http://collector:99999", "http", "not the URL of a collector"),
        ("http://[::1", "http", "not the URL of a collector"),
        ("http://coll ector:1", "http", "not the URL of a collector"),
        ("ftp://collector:4318", "http", "not ftp://"),
        ("http://user:word@collector:4318", "http", "without a user"),
        ("http://collector:4317/v1/traces", "grpc", "gRPC has none"),
    ],
)
def test_what_is_no_address_is_refused(endpoint: str, protocol: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        collector_of(endpoint, protocol)


@given(st.text(max_size=40), st.sampled_from(["http", "grpc"]))
def test_nothing_but_a_sentence_comes_of_any_text(endpoint: str, protocol: str) -> None:
    try:
        found = collector_of(endpoint, protocol)
    except ValueError as error:
        assert endpoint.strip() == "" or endpoint not in str(error) or len(endpoint) < 5
    else:
        assert found.url.startswith(("http://", "https://"))
