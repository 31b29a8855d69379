"""The load: what wrk prints, and the script that spreads requests."""

from __future__ import annotations

import re

import pytest

from bench.load import key_script, parse_h2load, parse_wrk, spread_script

SUMMARY = """Running 3s test @ http://127.0.0.1:40000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.31ms    1.54ms  10.60ms   79.14%
    Req/Sec    27.56k   606.44    29.05k    90.00%
  Latency Distribution
     50%    2.32ms
     75%  950.00us
     90%    1.20s
     99%    3.08ms
  82266 requests in 3.01s, 29.50MB read
Requests/sec:  27422.00
Transfer/sec:      9.80MB
"""


def test_a_good_run_is_read() -> None:
    result = parse_wrk(SUMMARY)
    assert (result.requests, result.seconds, result.failed) == (82266, 3.01, 0)
    assert result.read == 29.5 * 2**20
    assert result.latency == pytest.approx({50: 0.00232, 75: 0.00095, 90: 1.2, 99: 0.00308})


def test_everything_but_a_good_answer_counts_as_failed() -> None:
    text = SUMMARY.replace(
        "Requests/sec",
        "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\nRequests/sec",
    )
    assert parse_wrk(text).failed == 110


@pytest.mark.parametrize(
    ("printed", "seconds", "read"),
    [("2265 requests in 1.05m, 342B read", 63.0, 342), ("9 requests in 500.00ms, 1.50GB read", 0.5, 3 * 2**29)],
)
def test_units(printed: str, seconds: float, read: int) -> None:
    result = parse_wrk(printed)
    assert result.seconds == pytest.approx(seconds)
    assert result.read == read


def test_no_summary_is_an_error_that_shows_what_was_printed() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


H2LOAD = """starting benchmark...
finished in 3.00s, 7855.70 req/s, 1.80MB/s
requests: 23567 total, 23695 started, 23567 done, 23567 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 23568 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 5.40MB (5660000) total, 1.05MB (1104096) headers (space savings 90.27%), 4.49MB (4713400) data
                     min         max         mean         sd        +/- sd
time for request:     1.94ms    139.66ms     13.60ms     11.05ms    94.97%
"""


def test_a_good_run_over_http2_is_read() -> None:
    log = "".join(f"17000\t200\t{micros}\n" for micros in range(100, 0, -1))
    result = parse_h2load(H2LOAD, log)
    assert (result.requests, result.seconds, result.read, result.failed) == (23567, 3.0, 5_660_000, 0)
    assert result.latency == pytest.approx({50: 51e-6, 75: 76e-6, 90: 91e-6, 99: 100e-6})
    assert parse_h2load(H2LOAD, "").latency == {}


@pytest.mark.parametrize(
    ("before", "after", "failed"),
    [("0 3xx, 0 4xx, 0 5xx", "1 3xx, 2 4xx, 3 5xx", 6), ("0 failed", "7 failed", 7)],
)
def test_what_was_not_good_over_http2_is_counted(before: str, after: str, failed: int) -> None:
    assert parse_h2load(H2LOAD.replace(before, after), "").failed == failed


def test_no_summary_of_h2load_is_an_error() -> None:
    with pytest.raises(ValueError, match="UNAVAILABLE"):
        parse_h2load("UNAVAILABLE", "")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 7919, 10_000])
def test_every_path_is_asked_for_equally_often(count: int) -> None:
    script = spread_script([f"/p{number}" for number in range(count)])
    stride = re.search(r"at \+ (\d+)\)", script)
    assert stride is not None
    assert {place * int(stride[1]) % count for place in range(count)} == set(range(count))
    assert script.count('"/p') == count


def test_keys_are_drawn_by_chance_or_sent_in_turn() -> None:
    assert "math.random(0, 999)" in key_script("X-Key", 1000)
    in_turn = key_script("X-Key", 1000, 990)
    assert "(at + 990) % 1000" in in_turn
    assert '["X-Key"]' in in_turn
