"""What is said about the gateway's own blocks and about services."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case, load_text, said


@pytest.mark.parametrize("case", cases("checks"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ("reasons: {connect_refused: {retry_after: 5}}", 502),
        ("reasons: {no_endpoint: {retry_after: 5, status: 500}}", 500),
        ("origins: {gateway: {status: 500}}, reasons: {no_endpoint: {retry_after: 5}}", 500),
        ("reasons: {connect_refused: {retry_after: 5, status: 503}}", 0),
        ("origins: {upstream: {status: 503}}, reasons: {connect_refused: {retry_after: 5}}", 0),
        ("reasons: {rate_limited: {retry_after: 5}, denied_by_plugin: {retry_after: 5}}", 0),
    ],
)
def test_retry_after_where_no_answer_has_it_is_a_warning(errors: str, status: int) -> None:
    found = [line for line in said(load_text(f"errors: {{{errors}}}\n")) if "retry_after" in line]
    assert [line.partition("retry_after: ")[2] for line in found] == (
        [f"with {status} there is no Retry-After: it does nothing - status: 429 or 503 has one"] if status else []
    )


def test_a_routes_retry_after_is_judged_with_what_the_gateway_says() -> None:
    route = "{name: r, errors: {dns: {retry_after: 5}}}"
    text = f"services: [{{name: a, url: 'http://a', routes: [{route}]}}]\n"
    assert any("with 502 there is no Retry-After" in line for line in said(load_text(text)))
    assert not any(
        "Retry-After" in line for line in said(load_text(text + "errors: {reasons: {dns: {status: 503}}}\n"))
    )
