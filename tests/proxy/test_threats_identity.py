"""Who one is, against those who would be somebody else: fields, credentials, addresses and paths that lie.

The upstream reads strictly and writes down every byte it is sent; whatever is refused must not have reached it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jwt
import pytest
from fastapi.routing import APIRoute

from headgate.control.admin.app import ROUTERS
from tests.auth.passwords import basic, kept
from tests.proxy.callers import SECRET, TOKENS, keys, static, with_key, with_token
from tests.proxy.raw import attack, connected
from tests.proxy.recorder import Recorder
from tests.proxy.stage import ADDRESS, Rig, to
from tests.proxy.strict import Message

FORWARD = {"X-User": "id", "X-Roles": "roles", "X-Tenant-Id": "tenant", "X-Org": "claims.org"}
SHAPE = {
    "content_type": "application/json",
    "body": {"success": False, "error": {"code": "{reason}", "text": "{message}"}, "id": "{request_id}"},
}
JWT = {**TOKENS, "sources": ["header:Authorization", "cookie:session", "query:access_token"]}
IDENTITY = keys(
    static("ann", roles=["user"], tenant="acme"),
    jwt=JWT,
    basic={"users": [{"name": "bob", "hash": kept("secret")}]},
    forward=FORWARD,
)
EVERYWHERE: dict[str, Any] = {"identity": IDENTITY, "errors": SHAPE}


def request(*lines: str | bytes, target: str = "/x", method: str = "GET", body: bytes = b"") -> bytes:
    made = [f"{method} {target} HTTP/1.1".encode(), b"Host: a", *(_bytes(line) for line in lines)]
    return b"\r\n".join([*made, b"", body])


def _bytes(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode()


async def ask(rig: Rig, data: bytes) -> Message:
    async with connected(rig) as client:
        return await client.ask(data)


def refused(answer: Message, reason: str, status: int = 401) -> None:
    """See that it is refused in the configured shape, with a challenge, and in no other words."""
    assert answer.status == status
    assert answer.get("content-type") == "application/json"
    said = json.loads(answer.body)
    assert (said["success"], said["error"]["code"]) == (False, reason)
    assert sorted(said) == ["error", "id", "success"]
    if status == 401:
        assert "www-authenticate" in {name for name, _ in answer.fields}


# -- fields that tell upstreams who asks ---------------------------------------------------------------------------

PRETENDED: dict[str, list[str]] = {
    "plain": ["X-User: root", "X-Roles: admin", "X-Tenant-Id: other", "X-Org: other"],
    "other case": ["x-user: root", "X-ROLES: admin", "x-Tenant-iD: other", "x-ORG: other"],
    "twice": ["X-User: root", "X-User: root", "X-Roles: admin", "X-Roles: admin"],
    "underscores": ["X_User: root", "X_Roles: admin", "X-Tenant_Id: other", "x_ORG: other"],
    "dots": ["X.User: root", "X.Roles: admin", "X-Tenant.Id: other", "x.ORG: other"],
    "empty": ["X-User:", "X-Roles:", "X-Tenant-Id:", "X-Org:"],
    "blanks": ["X-User:  \t root", "X-Roles:\tadmin"],
}


@pytest.mark.parametrize("lines", PRETENDED.values(), ids=PRETENDED.keys())
@pytest.mark.parametrize("underscores", ["drop", "allow"])
@pytest.mark.parametrize("mode", ["required", "optional", "none"])
def test_what_tells_an_upstream_who_asks_is_never_the_client_s_word(
    lines: list[str], underscores: str, mode: str
) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        shown = [] if mode == "none" else [with_key("ann")]
        for where in ([*lines, *shown], [*shown, *lines]):
            assert (await ask(rig, request(*where))).status == 200
        if mode != "required":
            assert (await ask(rig, request(*lines))).status == 200
        for number, seen in enumerate(upstream.requests):
            known = mode != "none" and number < 2
            told = {name: value for name, value in seen.fields if re.sub("[_.]", "-", name) in _OURS}
            # The key has no claim of the name org: that is no reason to let the client say one.
            assert told == ({"x-user": "ann", "x-roles": "user", "x-tenant-id": "acme"} if known else {})

    attack(scenario, http={"underscores": underscores}, auth=mode, **EVERYWHERE)


_OURS = {name.lower() for name in FORWARD}


def test_trailers_say_nothing_of_who_asks() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        chunked = "Transfer-Encoding: chunked"
        for trailer in ("X-User: root", "X-Roles: admin", with_key("ann"), "X_User: root"):
            body = f"1\r\nx\r\n0\r\n{trailer}\r\n\r\n".encode()
            answer = await ask(rig, request(chunked, method="POST", body=body))
            refused(answer, "missing_credentials")
            assert (await ask(rig, request(chunked, with_key("ann"), method="POST", body=body))).status == 200
        answer = await ask(
            rig,
            request(chunked, method="POST", body=b"1\r\nx\r\n0\r\n" + basic("bob", "secret").encode() + b"\r\n\r\n"),
        )
        assert answer.status in (400, 401)
        assert b"root" not in upstream.raw
        assert b"admin" not in upstream.raw
        assert {seen.get("x-user") for seen in upstream.requests} == {"ann"}

    trailers = ["X-User", "X-Roles", "X-API-Key", "X_User"]
    attack(scenario, http={"trailers": trailers, "underscores": "allow"}, **EVERYWHERE)


def test_a_client_cannot_name_what_we_say_a_hop_by_hop_field() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        connection = "Connection: x-user, X-Roles, x-tenant-id, x-forwarded-for, x-request-id"
        for lines in ([connection, with_key("ann")], [with_key("ann"), connection, "X-User: root"]):
            assert (await ask(rig, request(*lines))).status == 200
        for seen in upstream.requests:
            assert (seen.get("x-user"), seen.get("x-roles"), seen.get("x-tenant-id")) == ("ann", "user", "acme")
            assert seen.get("x-forwarded-for") == "127.0.0.1"
            assert seen.get("x-request-id")
        # Nor hide from us what the upstream would then be shown.
        answer = await ask(rig, request("Connection: x-api-key, authorization", with_key("ann")))
        refused(answer, "missing_credentials")
        assert len(upstream.requests) == 2

    attack(scenario, **EVERYWHERE)


# -- credentials are data ------------------------------------------------------------------------------------------

# Every one of them has been somebody's way in, or somebody's crash.
HOSTILE: dict[str, bytes] = {
    "quote": b"' OR '1'='1",
    "sql": b"'; DROP TABLE headgate_keys; --",
    "sql union": b'" UNION SELECT digest FROM headgate_keys WHERE ""="',
    "sql comment": b"hg_x'/**/OR/**/1=1--",
    "like": b"hg_%",
    "glob": b"hg_*",
    "template": b"${jndi:ldap://127.0.0.1/x}",
    "format": b"{0.__class__.__mro__} %s %n %x {reason} {request_id}",
    "shell": b"$(id) `id` | id; id && id",
    "path": b"../../../../etc/passwd",
    "url": b"http://169.254.169.254/latest/meta-data/",
    "html": b"<script>alert(1)</script>",
    "json": b'{"$ne": null}',
    "json nested": b"[" * 2000,
    "xml": b'<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>',
    "escape": b"%27%20OR%201=1%00",
    "double escape": b"%2500",
    "backslashes": b"\\u0000\\x00\\0",
    "utf-8": "h\u00e4g_\U0001f511\u202e\u200b".encode(),
    "utf-8 overlong": b"hg_\xc0\xaf\xe0\x80\xaf",
    "utf-8 surrogates": b"hg_\xed\xa0\x80\xed\xb0\x80",
    "utf-8 cut": b"hg_\xf0\x9f",
    "utf-8 bom": b"\xef\xbb\xbfhg_x",
    "latin-1": b"hg_\xe4\xf6\xfc\xff\xfe",
    "wide": "\uff48\uff47\uff3f".encode(),
    "all high bytes": bytes(range(128, 256)),
    "tab": b"hg_a\tb",
    "blanks": b"hg_a      b",
    "comma": b"hg_a, hg_b",
    "semicolon": b"hg_a; session=b",
    "equals": b"====",
    "dots": b"..",
    "three dots": b"a.b.c",
    "many dots": b"." * 1000,
    "jwt none": b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290IiwiZXhwIjo0MDAwMDAwMDAwfQ.",
    "jwt empty": b"..",
    "jwt five": b"a.b.c.d.e",
    "number": b"1e309",
    "long": b"hg_" + b"k" * 4000,
    "long base64": b"QUFB" * 1500,
    "prefix alone": b"hg_",
    "empty": b"",
}
PLACES: dict[str, tuple[bytes, bytes]] = {
    "key": (b"X-API-Key: ", b""),
    "bearer": (b"Authorization: Bearer ", b""),
    "basic": (b"Authorization: Basic ", b""),
    "bare": (b"Authorization: ", b""),
    "cookie": (b"Cookie: a=b; session=", b"; c=d"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_credential_is_data_and_nothing_of_it_is_echoed(place: tuple[bytes, bytes]) -> None:
    before, behind = place

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for name, value in HOSTILE.items():
            answer = await ask(rig, request(before + value + behind))
            assert answer.status == 401, name
            reason = json.loads(answer.body)["error"]["code"]
            assert reason in ("invalid_token", "invalid_api_key", "invalid_credentials", "missing_credentials"), name
            refused(answer, reason)
            told = repr(answer.fields).encode() + answer.body
            assert len(value) < 3 or value not in told, name
            line = rig.log[-1]
            assert line["error"] == reason
            assert len(value) < 3 or value.decode("latin-1") not in json.dumps(line, ensure_ascii=False), name
            assert not _CONTROL.search("".join(str(each) for each in line.values())), name
        # It is still there, and knows whom it knew.
        assert (await ask(rig, request(with_key("ann")))).status == 200
        assert len(upstream.requests) == 1

    attack(scenario, **EVERYWHERE)


def test_a_token_in_a_query_is_data_too() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for name, value in HOSTILE.items():
            escaped = "".join(f"%{byte:02X}" for byte in value[:1500])
            answer = await ask(rig, request(target=f"/x?a=b&access_token={escaped}&c=d"))
            assert (answer.status, json.loads(answer.body)["error"]["code"][:4]) in ((401, "inva"), (401, "miss")), name
            assert len(value) < 6 or escaped.encode() not in answer.body + repr(answer.fields).encode()
            assert len(value) < 6 or escaped not in json.dumps(rig.log[-1])
        assert upstream.raw == b""

    attack(scenario, **EVERYWHERE)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_megabyte_is_no_credential(place: tuple[bytes, bytes]) -> None:
    before, behind = place
    value = b"hg_" + b"zq7x" * (1 << 18)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        answer = await ask(rig, request(before + value + behind))
        # RFC 6585 section 5: the bound of a field comes first.
        assert answer.status == 431
        assert b"zq7xzq7x" not in answer.body + repr(answer.fields).encode() + repr(rig.log).encode()

    async def raised(rig: Rig, upstream: Recorder) -> None:
        cut = value[: (1 << 20) - 100]
        for _ in range(2):
            answer = await ask(rig, request(before + cut + behind))
            assert answer.status == 401
            assert b"zq7xzq7x" not in answer.body + repr(answer.fields).encode() + repr(rig.log).encode()
        assert upstream.raw == b""

    attack(scenario, **EVERYWHERE)
    attack(raised, http={"max_header_line": 1 << 20, "max_header_bytes": 1 << 22}, **EVERYWHERE)


@pytest.mark.parametrize("bad", [b"\x00", b"\r", b"\n", b"\r\n x", b"\x0b", b"\x1b", b"\x7f"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_bytes_that_no_field_may_hold_end_the_connection(place: tuple[bytes, bytes], bad: bytes) -> None:
    before, behind = place

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(request(before + b"hg_zq7x" + bad + b"hg_zq7x" + behind))
            answers = await client.responses()
        assert [answer.status for answer in answers] in ([400], [401])
        assert b"zq7x" not in b"".join(answer.body for answer in answers) + repr(rig.log).encode()
        assert upstream.raw == b""

    attack(scenario, **EVERYWHERE)


def test_a_flood_of_wrong_credentials_leaves_the_right_ones_known() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(request(with_key("ann")))).status == 200
            for number in range(500):
                assert (await client.ask(request(f"X-API-Key: hg_{number:040}"))).status == 401
            assert (await client.ask(request(with_key("ann")))).status == 200
        assert len(upstream.requests) == 2

    attack(scenario, **EVERYWHERE)


# -- one answer for all that are wrong -----------------------------------------------------------------------------


def test_unknown_revoked_expired_and_malformed_keys_are_told_the_same() -> None:
    before = keys(static("ann"), static("gone"), static("old", expires="2020-01-01"), forward=FORWARD)
    after = keys(static("ann"), static("old", expires="2020-01-01"), forward=FORWARD)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        assert (await ask(rig, request(with_key("gone")))).status == 200
        rig.apply(to(upstream.url, identity=after, errors=SHAPE))
        shown = [
            with_key("gone"),
            with_key("old"),
            with_key("nobody"),
            "X-API-Key: hg_",
            "X-API-Key: x",
            "X-API-Key: \xe4",
        ]
        told = set()
        for line in shown:
            answer = await ask(rig, request("X-Request-ID: same", line))
            refused(answer, "invalid_api_key")
            told.add((answer.body, tuple(field for field in answer.fields if field[0] != "date")))
        assert len(told) == 1, told
        # For the operator they are not the same.
        assert len({line.get("detail") for line in rig.log[1:]}) >= 3

    attack(scenario, identity=before, errors=SHAPE)


def test_tokens_that_begin_alike_are_not_taken_for_each_other() -> None:
    def token(who: str) -> str:
        # Whatever a cache looked at of the beginning, it is the same for both.
        claims = {"pad": "p" * 600, "exp": 4_000_000_000, "sub": who}
        return jwt.encode(claims, SECRET, "HS256")

    one, other = token("one"), token("two")
    assert one[:200] == other[:200]
    head, body, signature = one.split(".")
    forged = [
        f"{head}.{other.split('.')[1]}.{signature}",
        f"{head}.{body}.{other.split('.')[2]}",
        one[:-1] + ("A" if one[-1] != "A" else "Q"),
        one + "A",
        one[:-1],
        f"{head}.{body}.",
        one + "=",
    ]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for _ in range(2):
            for shown, who in ((one, "one"), (other, "two")):
                assert (await ask(rig, request(f"Authorization: Bearer {shown}"))).status == 200
                assert upstream.requests[-1].get("x-user") == who
            for shown in forged:
                refused(await ask(rig, request(f"Authorization: Bearer {shown}")), "invalid_token")
        assert len(upstream.requests) == 4

    attack(scenario, **EVERYWHERE)


def test_two_credentials_of_one_kind_are_none() -> None:
    key = with_key("ann").removeprefix("X-API-Key: ")
    token = with_token().removeprefix("Authorization: Bearer ")

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for lines in (
            [f"X-API-Key: {key}", "X-API-Key: hg_other"],
            ["X-API-Key: hg_other", f"X-API-Key: {key}"],
            [f"Authorization: Bearer {token}", "Authorization: Bearer other"],
            [f"Authorization: Bearer {token}", basic("bob", "secret")],
            [basic("bob", "secret"), f"Authorization: Bearer {token}"],
            [f"Authorization: Bearer {key}", "Authorization: Bearer hg_other"],
            [f"Authorization: Bearer {key}", basic("bob", "wrong")],
            [basic("bob", "secret"), basic("bob", "wrong")],
            [f"Cookie: session={token}; session=other"],
            [f"Cookie: session={token}", "Cookie: session=other"],
        ):
            assert (await ask(rig, request(*lines))).status == 401, lines
        answer = await ask(rig, request(target=f"/x?access_token={token}&access_token=other"))
        assert answer.status == 401
        assert upstream.raw == b""

    attack(scenario, **EVERYWHERE)


@pytest.mark.parametrize(
    "line",
    [
        "X_API_Key: {key}",
        "X-Api-Key-: {key}",
        "Proxy-Authorization: Bearer {key}",
        "Authorization:\tBearer\t{key}",
        "Authorization: Bearer{key}",
        "Authorization: Token {key}",
        "Authorization: {key}",
        "Cookie: X-API-Key={key}",
        "Cookie: session={key}",
        "X-Original-Authorization: Bearer {key}",
    ],
)
def test_a_key_counts_where_keys_stand_and_nowhere_else(line: str) -> None:
    key = with_key("ann").removeprefix("X-API-Key: ")

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        # Known by then: what is remembered of a key is remembered of it in its place.
        assert (await ask(rig, request(with_key("ann")))).status == 200
        assert (await ask(rig, request(f"Authorization: Bearer {key}"))).status == 200
        assert (await ask(rig, request(line.format(key=key)))).status == 401
        assert (await ask(rig, request(target=f"/x?X-API-Key={key}&api_key={key}&access_token={key}"))).status == 401
        assert len(upstream.requests) == 2

    identity = keys(static("ann"), basic={"users": [{"name": "bob", "hash": kept("secret")}]})
    attack(scenario, **EVERYWHERE)
    # Without tokens in cookies and queries, too: then one field alone says who asks.
    attack(scenario, identity=identity, errors=SHAPE)


def test_nobody_is_remembered_beyond_the_end_of_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = 2_000_000_000
    now = [ends - 1.0]
    monkeypatch.setattr("headgate.proxy.way.wall", lambda: now[0])
    token = f"Authorization: Bearer {jwt.encode({'sub': 'ada', 'exp': ends}, SECRET, 'HS256')}"
    key = static("ann", expires="2033-05-18T03:33:20Z")

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for moment, status in ((ends - 1.0, 200), (ends - 0.001, 200), (ends + 60.0, 401), (ends + 61.0, 401)):
            now[0] = moment
            for _ in range(2):
                assert (await ask(rig, request(token))).status == status
                assert (await ask(rig, request(with_key("ann")))).status == status
        assert len(upstream.requests) == 8

    attack(scenario, identity=keys(key))
    now[0] = ends - 1.0
    attack(scenario, identity=keys(key, jwt=JWT))


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["identity", "user", "api_key", "tenant", "address"])
def test_nobody_gets_a_second_bucket_by_saying_so(kind: str) -> None:
    limit = {"name": "each", "key": [kind], "requests": 5, "window": 3600}

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        statuses = []
        for number in range(12):
            lies = [
                f"X-Forwarded-For: 192.0.2.{number}",
                f"Forwarded: for=192.0.2.{number}",
                f"X-Real-IP: 192.0.2.{number}",
                f"X-User: u{number}",
                f"X-Tenant-Id: t{number}",
                f"User-Agent: {number}",
            ]
            target = ("/x", "/X", "//x", "/./x", "/%78")[number % 5] + f"?{number}"
            statuses.append((await ask(rig, request(with_key("ann"), *lies, target=target))).status)
        assert statuses == [200] * 5 + [429] * 7

    attack(scenario, limits=[limit], **EVERYWHERE)


def test_guessing_is_limited_by_where_one_guesses_from() -> None:
    limit = {"name": "each", "key": ["address"], "requests": 20, "window": 3600}

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            statuses = [
                (await client.ask(request(f"X-API-Key: hg_{number}", f"X-Forwarded-For: 192.0.2.{number}"))).status
                for number in range(60)
            ]
        assert statuses == [401] * 20 + [429] * 40
        assert upstream.raw == b""

    attack(scenario, limits=[limit], **EVERYWHERE)


# -- from where ----------------------------------------------------------------------------------------------------

FROM_INSIDE = [
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-For: 10.0.0.1, 127.0.0.1",
    "X-Forwarded-For: 127.0.0.1, 10.0.0.1",
    "x-forwarded-for: 10.0.0.1",
    "X_Forwarded_For: 10.0.0.1",
    "X.Forwarded.For: 10.0.0.1",
    "Forwarded: for=10.0.0.1",
    "X-Real-IP: 10.0.0.1",
    "X-Client-IP: 10.0.0.1",
    "True-Client-IP: 10.0.0.1",
    "CF-Connecting-IP: 10.0.0.1",
    "X-Forwarded-For: ::ffff:10.0.0.1",
]


@pytest.mark.parametrize("line", FROM_INSIDE)
def test_an_address_is_what_the_socket_says(line: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for _ in range(2):
            refused(await ask(rig, request(with_key("ann"), line)), "address_forbidden", 403)
        assert upstream.raw == b""

    attack(scenario, route={"addresses": ["10.0.0.0/8"]}, http={"underscores": "allow"}, **EVERYWHERE)


# -- paths ---------------------------------------------------------------------------------------------------------

AROUND = [
    "/private",
    "/private/",
    "/private/x",
    "//private",
    "/./private",
    "/x/../private",
    "/%70rivate",
    "/%2570rivate",
    "/private%2fx",
    "/x/..%2fprivate",
    "/x/%2e%2e/private",
    "/x/..;/private",
    "/private;x",
    "/private/..;/private",
    "/private%00",
    "/private%20",
    "/private.",
    "/private/.",
    "/\\private",
    "/x\\..\\private",
    "/private#x",
    "/private?x",
    "/PRIVATE",
    "/x//..//private",
    "http://a/private",
    "http://a//private/x",
    "/%c0%afprivate",
    "/private%0a",
    "/private/%2e%2e/private/x",
]


@pytest.mark.parametrize("target", AROUND)
def test_no_spelling_of_a_path_goes_around_its_gate(target: str) -> None:
    routes = [
        {"name": "private", "match": {"path": "/private"}, "auth": {"roles": ["admin"]}},
        {"name": "open", "match": {"path": "/"}, "auth": "none"},
    ]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            answer = await client.ask(request(with_key("ann"), target=target))
        for seen in upstream.requests:
            # Whoever reads the path behind us, and resolves whatever there is to resolve, ends outside.
            path = seen.start[1].partition("?")[0]
            assert not re.match(r"/+private(/|$)", path)
            assert ".." not in path.split("/")
            assert "%2F" not in path.upper()
            assert "\\" not in path
        if not upstream.requests:
            assert answer.status in (400, 403)

    attack(scenario, service={"routes": routes}, **EVERYWHERE)


# -- the gateway's own affairs -------------------------------------------------------------------------------------


def admin_paths() -> list[str]:
    return sorted({route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)})


def test_the_admin_address_cannot_be_reached_by_way_of_the_gateway() -> None:
    paths = [re.sub(r"\{[^}]*\}", "api", path) for path in admin_paths()]
    assert "/api/v1/reload" in paths
    assert "/metrics" in paths

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for path in paths:
            for method in ("GET", "POST", "DELETE"):
                for host, target in (
                    ("a", path),
                    ("127.0.0.1:8081", path),
                    ("localhost:8081", path),
                    ("a", f"//{path}"),
                    ("a", f"/x/..{path}"),
                    ("127.0.0.1:8081", f"http://127.0.0.1:8081{path}"),
                ):
                    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Authorization: Bearer admin", "", ""]
                    answer = await ask(rig, "\r\n".join(lines).encode())
                    assert answer.status == 404, (method, host, target)
                    assert json.loads(answer.body)["error"]["code"] == "route_not_found"
        assert upstream.raw == b""

    route = {"match": {"path": "/elsewhere"}, "auth": "none"}
    admin = {"address": "127.0.0.1:8081", "token": "admin", "expose": []}
    attack(scenario, route=route, admin=admin, listen=[ADDRESS], **EVERYWHERE)


def test_only_what_is_exposed_is_answered_and_it_says_no_more_than_that() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for path in ("/health", "/ready"):
            answer = await ask(rig, request(target=path))
            assert answer.status == 200
            assert not {"pid", "workers", "identity", "token"} & set(_keys(json.loads(answer.body)))
        assert (await ask(rig, request(target="/metrics"))).status == 404

    attack(scenario, route={"match": {"path": "/api"}}, **EVERYWHERE)


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for each in value.values() for name in _keys(each))]
    return [name for each in value for name in _keys(each)] if isinstance(value, list) else []
