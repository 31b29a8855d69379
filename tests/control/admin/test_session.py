"""Sessions of the dashboard: how one begins, what it is good for, and how it ends."""

from __future__ import annotations

import httpx
import pytest

from tests.control.admin.subject import HOST, ROLES, TOKEN, Subject, ask

OWN = {"host": HOST, "origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
PATH = "/ui/session"


def begin(
    subject: Subject, token: str = TOKEN, headers: dict[str, str] = OWN, peer: str = "127.0.0.1"
) -> httpx.Response:
    return ask(subject, "POST", PATH, headers=headers, peer=peer, json={"token": token})


def cookie_of(answer: httpx.Response) -> dict[str, str]:
    """What a page of the listener sends from then on."""
    return {**OWN, "cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_a_token_is_traded_for_a_cookie_out_of_reach() -> None:
    answer = begin(Subject())
    assert answer.json() == {"name": "admin", "role": "admin"}
    cookie = answer.headers["set-cookie"]
    parts = {part.strip().lower() for part in cookie.split(";")}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= parts
    assert TOKEN not in cookie
    assert "secure" not in parts


@pytest.mark.parametrize("role", ROLES)
def test_a_session_may_what_its_token_may(role: str) -> None:
    subject = Subject()
    headers = cookie_of(begin(subject, f"the token of role {role}"))
    assert ask(subject, "GET", PATH, headers=headers).json() == {"name": role, "role": role}
    allowed = ask(subject, "POST", "/api/v1/reload", headers=headers).status_code == 200
    assert allowed is (role in ("operate", "admin"))


def test_a_page_of_somebody_else_begins_ends_and_uses_none() -> None:
    subject = Subject()
    own = cookie_of(begin(subject))
    for strange in ({"sec-fetch-site": "same-site"}, {"origin": "http://127.0.0.1:9999"}, {"origin": "null"}):
        headers = {**own, **strange}
        assert begin(subject, headers=headers).status_code == 403
        assert ask(subject, "DELETE", PATH, headers=headers).status_code == 403
        assert ask(subject, "POST", "/api/v1/reload", headers=headers).status_code == 403
    assert ask(subject, "GET", PATH, headers=own).json()["role"] == "admin"
    assert subject.reloads == []


def test_nobody_is_signed_in_without_a_session_or_with_one_that_is_not_known() -> None:
    nobody = {"name": None, "role": None}
    for headers in ({"host": HOST}, {**OWN, "cookie": "headgate_session_8081=made-up"}):
        assert ask(Subject(), "GET", PATH, headers=headers).json() == nobody


def test_a_session_ends() -> None:
    subject = Subject()
    own = cookie_of(begin(subject))
    answer = ask(subject, "DELETE", PATH, headers=own)
    assert answer.status_code == 204
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert ask(subject, "GET", "/api/v1/endpoints", headers=own).status_code == 401
    assert ask(subject, "DELETE", PATH, headers=own).status_code == 204


def test_a_session_is_good_at_the_address_it_began_at_only() -> None:
    subject = Subject()
    own = cookie_of(begin(subject, peer="127.0.0.1"))
    assert ask(subject, "GET", PATH, headers=own, peer="127.0.0.2").json()["role"] is None


def test_gateways_on_one_host_do_not_take_each_others_cookie() -> None:
    # RFC 6265 section 8.5: a browser sends the cookies of a host to each of its ports.
    names = set()
    for host in ("127.0.0.1:8081", "127.0.0.1:8082", "localhost", "[::1]:8081"):
        answer = begin(Subject(), headers={"host": host, "origin": f"http://{host}"})
        names.add((host, answer.headers["set-cookie"].partition("=")[0]))
    assert names == {
        ("127.0.0.1:8081", "headgate_session_8081"),
        ("127.0.0.1:8082", "headgate_session_8082"),
        ("localhost", "headgate_session"),
        ("[::1]:8081", "headgate_session_8081"),
    }
    subject = Subject()
    own = cookie_of(begin(subject))
    strange = {**own, "cookie": f"headgate_session_8082=that-of-another; {own['cookie']}"}
    assert ask(subject, "GET", PATH, headers=strange).json()["role"] == "admin"


def test_guesses_are_counted() -> None:
    subject = Subject()
    answers = [begin(subject, f"guess {number}") for number in range(200)]
    assert {answer.status_code for answer in answers} == {401, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token": 1}', b'{"token": ""}', b'{"token": "x", "more": 1}', b"\xff"])
def test_what_is_no_token_is_refused(body: bytes) -> None:
    headers = {**OWN, "content-type": "application/json"}
    assert ask(Subject(), "POST", PATH, headers=headers, body=body).status_code in (400, 422)
