"""Status lines: one name for a status, here and in the bodies of errors. Methods: those that the parser reads."""

from __future__ import annotations

import httptools
import pytest

from headgate.core.failure import REASONS
from headgate.wire.http1 import METHODS, STATUS_LINES

# RFC 9110 section 15, where other names were in use before it.
NAMES = {
    302: b"Found",
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
}


@pytest.mark.parametrize(("status", "name"), NAMES.items())
def test_names_are_those_of_the_standard_in_force(status: int, name: bytes) -> None:
    assert STATUS_LINES[status] == b"HTTP/1.1 %d %b" % (status, name)


def test_a_status_without_a_name_keeps_its_blank() -> None:
    # RFC 9112 section 4: the blank stands, also where nothing follows it.
    assert STATUS_LINES[599] == b"HTTP/1.1 599 "


def test_the_body_of_an_error_has_the_name_of_its_status_line() -> None:
    # 499 is nginx's, and never sent.
    for reason in REASONS.values():
        assert reason.status == 499 or STATUS_LINES[reason.status].endswith(b" " + reason.title.encode())


class _Heads:
    complete = False

    def on_headers_complete(self) -> None:
        self.complete = True


def parsed(method: str) -> bool:
    """Tell whether the parser reads a head with this method to its end."""
    heads = _Heads()
    try:
        httptools.HttpRequestParser(heads).feed_data(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    except httptools.HttpParserUpgrade:
        return True
    except httptools.HttpParserError:
        return False
    return heads.complete


def test_methods_are_those_that_the_parser_reads() -> None:
    assert [method for method in METHODS if not parsed(method)] == []
    # What llhttp knows of RTSP, HTTP/2 and slips of the pen.
    others = ["DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "FLUSH", "PRI", "BREW", "DELTE", "FETCH", "get", "Get"]
    assert [method for method in others if parsed(method)] == []
    assert METHODS.isdisjoint(others)
