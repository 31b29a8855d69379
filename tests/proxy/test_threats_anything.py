"""The corpora and anything else at a real listener: an answer or a close, and the same worker goes on; under -O too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora import corpus, llhttp_bytes
from tests.proxy.smoke import Verdict, verdicts
from tests.wire.test_anything import hostile

_ROOT = Path(__file__).resolve().parents[2]
_INVALID = {
    case["name"]: case["bytes_latin1"].encode("latin-1")
    for case in corpus("gunicorn_requests.json")
    if case["kind"] == "invalid" and not case["cfg"]
}
# Larger than its default limits and within ours, dropped where it refuses, or ended by the request behind it:
_OURS = {"006", "008", "017", "040", "chunked_07", "rfc9112_chunked_missing_final_crlf_01"}
_LLHTTP = [llhttp_bytes(case["input"]) for case in corpus("llhttp.json") if case["type"].startswith("request")]


def _went_on(found: list[Verdict]) -> list[Verdict]:
    assert found[-1][0] == [200]
    return found[:-1]


def test_the_invalid_requests_of_gunicorn_reach_no_upstream() -> None:
    payloads = {name: data for name, data in _INVALID.items() if name not in _OURS}
    found = dict(zip(payloads, _went_on(verdicts(list(payloads.values()))), strict=True))
    assert {name: asked for name, (_, asked) in found.items() if asked} == {}
    assert {name: statuses for name, (statuses, _) in found.items() if [each for each in statuses if each < 400]} == {}


def test_the_requests_of_llhttp_are_answered_or_cut_and_all_that_is_passed_on_is_strict() -> None:
    for statuses, asked in _went_on(verdicts(_LLHTTP)):
        # The strict reader of the upstream has not complained, and no answer came out of nothing.
        assert statuses.count(200) <= len(asked)
        assert len(statuses) >= 1


@given(st.lists(st.one_of(st.binary(max_size=200), hostile()), min_size=1, max_size=12))
@settings(max_examples=12, deadline=None)
def test_anything_is_answered_or_cut_and_the_worker_goes_on(payloads: list[bytes]) -> None:
    _went_on(verdicts(payloads))


def test_the_verdicts_do_not_depend_on_assertions() -> None:
    payloads = [*_INVALID.values(), *_LLHTTP[::3]]
    texts = json.dumps([payload.decode("latin-1") for payload in payloads])
    run = subprocess.run(
        [sys.executable, "-O", "-W", "error", "-m", "tests.proxy.smoke"],
        input=texts,
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    optimised = [(statuses, asked) for statuses, asked in json.loads(run.stdout)]
    assert optimised == verdicts(payloads)
