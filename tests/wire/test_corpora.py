"""Requests that other projects found worth keeping, against the real connection without a socket.

Each is fed whole, byte by byte and, when short, cut at every position: the verdict must be the same. Where a case and
the RFC disagree the RFC wins, and the tables below say in which section.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from headgate.wire.settings import HttpLimits
from tests.corpora import corpus, llhttp_bytes
from tests.wire.fake import FakeClient

_SHORT = 160
_REFUSING = (400, 405, 414, 417, 431, 501, 505)

# gunicorn calls these valid; we answer with the status.
NOT_VALID_HERE = {
    "005": (400, "RFC 9112 section 3.2: no form of the request target has a fragment"),
    "009": (400, "RFC 9112 section 6.3 (3): Content-Length beside Transfer-Encoding ought to be an error"),
    "013": (400, "RFC 9112 section 7.1.1 knows blanks behind the semicolon as bad whitespace; llhttp takes none"),
    "025": (400, "RFC 9112 section 6.1: gzip is not spoken here, and the field is repeated besides"),
    "025_line": (501, "RFC 9112 section 6.1: gzip is not spoken here"),
    "027": (400, "RFC 3986 section 2: bytes above 0x7f have to be escaped in a URI"),
    "028": (400, "RFC 9112 section 5.1: space before the colon MUST be rejected"),
    "029": (400, "RFC 9112 section 7: identity is no transfer coding; repeated besides"),
    "030": (400, "RFC 9112 section 7: identity is no transfer coding; repeated besides"),
    "031": (501, "RFC 9110 section 9.1: a method that is not known"),
    "031compat": (501, "RFC 9110 section 9.1: a method that is not known"),
    "031compat2": (501, "RFC 9110 section 9.1: a method that is not known"),
    "pp_02": (501, "a PROXY line is no request; the protocol is spoken where the listener is told so"),
    "pp_04": (400, "a PROXY header is no request; the protocol is spoken where the listener is told so"),
    "pp_05": (400, "a PROXY header is no request; the protocol is spoken where the listener is told so"),
    "rfc9112_smuggle_gzip_chunked_01": (501, "RFC 9112 section 6.1: gzip is not spoken here"),
    "rfc9112_smuggle_te_identity_chunked_01": (501, "RFC 9112 section 7: identity is no transfer coding"),
    "rfc9112_target_absolute_userinfo_01": (400, "RFC 9110 section 4.2.4: userinfo is an error, it deceives readers"),
    "rfc9112_target_authority_connect_01": (405, "RFC 9110 section 9.3.6: a gateway need not be a tunnel to anywhere"),
    "rfc9112_target_authority_ipv6_01": (405, "RFC 9110 section 9.3.6: a gateway need not be a tunnel to anywhere"),
}
# Valid or not, the case ends before the message does: nothing may be served, and nothing is to be judged yet.
UNFINISHED = {("valid", "099"), ("invalid", "001"), ("invalid", "rfc9112_chunked_missing_final_crlf_01")}
# Names that RFC 3986 section 3.2.2 would let stand and DNS does not; the rest of the case is judged with another one.
ODD_HOSTS = {"002": b"0.0.0.0=5000", "003": b"0.0.0.0=5000"}
# What is too long for gunicorn by default is not for us, and underscores are dropped by default: RFC 9110 section 5.6.2
# lets names have them.
SETTINGS = {
    "006": HttpLimits(max_request_line=4094),
    # Counted there: the whole line with its end, 8190. Here: name and value.
    "008": HttpLimits(max_header_line=8186),
    "017": HttpLimits(max_header_line=8186),
    "040": HttpLimits(underscores="refuse"),
    "chunked_07": HttpLimits(underscores="refuse"),
}


def cases(kind: str) -> list[Any]:
    found = [case for case in corpus("gunicorn_requests.json") if case["kind"] == kind and not case["cfg"]]
    assert len(found) > 40
    return [pytest.param(case["name"], case["bytes_latin1"].encode("latin-1"), id=case["name"]) for case in found]


def llhttp_cases(*, refused: bool) -> list[Any]:
    found = [case for case in corpus("llhttp.json") if case["type"] in ("request", "request-finish")]
    # 22 and 0 are pauses: at an Upgrade and at the end, no errors.
    chosen = [case for case in found if refused == ((case["error"] or {"code": 0})["code"] not in (0, 22))]
    assert len(chosen) > 40
    return [pytest.param(llhttp_bytes(case["input"]), id=f"{case['file']}:{case['line']}") for case in chosen]


def with_host(data: bytes) -> bytes:
    """Give every HTTP/1.1 request a Host, without which RFC 9112 section 3.2 has it refused."""
    at = 0
    while start := re.compile(rb"[A-Z]+ [^ \r\n]+ HTTP/1\.1\r\n").search(data, at):
        at = start.end()
        head = data[at : data.find(b"\r\n\r\n", at)]
        if not re.search(rb"(?im)^host:", head):
            data = data[:at] + b"Host: example.com\r\n" + data[at:]
    return data


def verdicts(data: bytes, limits: HttpLimits | None = None) -> FakeClient:
    """Feed all ways to cut `data` and see that they agree; returns the one that got it whole."""
    whole = FakeClient(limits).feed(data)
    assert FakeClient(limits).drip(data).verdict == whole.verdict
    for at in range(1, len(data) if len(data) <= _SHORT else 0):
        assert FakeClient(limits).feed(data, [at]).verdict == whole.verdict, at
    return whole


def status(client: FakeClient) -> int:
    return int(client.transport.written.split(b" ", 2)[1])


@pytest.mark.parametrize(("name", "data"), cases("valid"))
def test_gunicorn_valid(name: str, data: bytes) -> None:
    data = with_host(data.replace(ODD_HOSTS.get(name, b"\0\0"), b"example.com"))
    client = verdicts(data)
    if name in NOT_VALID_HERE:
        assert (status(client), client.asked) == (NOT_VALID_HERE[name][0], [])
    elif ("valid", name) in UNFINISHED:
        assert (client.complete, client.refusals) == ([], [])
    else:
        assert client.complete
        # Behind a request that asked for the end, gunicorn lists what must not be served.
        assert client.refusals in ([], ["bad_request"])
        assert not client.refusals or len(client.complete) == 1


@pytest.mark.parametrize("name", ["002", "003"])
def test_hosts_that_no_name_service_knows_are_refused(name: str) -> None:
    [data] = [case.values[1] for case in cases("valid") if case.values[0] == name]
    assert verdicts(data).refusals == ["bad_host"]


@pytest.mark.parametrize(("name", "data"), cases("invalid"))
def test_gunicorn_invalid(name: str, data: bytes) -> None:
    # As they are, and with the Host whose absence alone would have most of them refused.
    for variant in {data, with_host(data)}:
        client = verdicts(variant, SETTINGS.get(name))
        assert client.complete == []
        if ("invalid", name) not in UNFINISHED:
            assert client.asked == []
            assert len(client.refusals) == 1
            assert status(client) in _REFUSING
            assert client.transport.closed


@pytest.mark.parametrize("data", llhttp_cases(refused=True))
def test_llhttp_strict_errors(data: bytes) -> None:
    for variant in {data, with_host(data)}:
        client = verdicts(variant)
        if client.refusals:
            assert client.asked == [] or len(client.complete) == 1
            assert client.transport.closed
        else:
            # request/connection:83, data behind a request that ends the connection: it is served, they are not.
            assert client.complete == [("PUT", "/url", b"")]
            assert client.transport.closed


@pytest.mark.parametrize("data", llhttp_cases(refused=False))
def test_llhttp_the_rest_is_judged_alike_however_it_is_cut(data: bytes) -> None:
    verdicts(data)
    client = verdicts(with_host(data))
    assert client.asked or client.refusals or not data.endswith(b"\n\r\n")
