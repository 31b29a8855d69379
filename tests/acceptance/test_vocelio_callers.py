"""The preset `vocelio`: tokens, API keys, organisations and roles, and what whoever is refused is told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.proxy.errors import ErrorShapes
from tests.acceptance.gateway import Answer
from tests.acceptance.stub import Wanted
from tests.acceptance.vocelio import SEVEN, Running, problems, resolved, running, token
from tests.control.driver import until

SUPABASE = "the secret of a project of Supabase"
OWN = {
    "services": [
        {
            "name": "billing",
            "routes": [{"name": "refunds", "match": {"path": "/api/v1/billing/refunds"}, "auth": {"roles": "admin"}}],
        },
        {
            "name": "analytics",
            "auth": {"permissions": "campaigns:update"},
            "routes": [
                {"name": "public", "match": {"path": "/api/v1/analytics/public"}, "auth": "optional"},
                {
                    "name": "dotted",
                    "match": {"path": "/api/v1/analytics/dotted"},
                    "auth": {"permissions": "campaigns.update"},
                },
                *(
                    {
                        "name": name,
                        "match": {"path": f"/api/v1/analytics/{name}"},
                        "auth": {"permissions": permission},
                    }
                    for name, permission in {
                        "call": "call:create",
                        "look": "read:calls",
                        "write": "write:calls",
                    }.items()
                ),
            ],
        },
        {
            "name": "workflows",
            "routes": [
                {
                    "name": "of-organisation",
                    "match": {"path": {"template": "/api/v1/workflows/organizations/{org}/{path}"}},
                    "auth": {"isolation": {"tenant": "params.org", "crossing": "super_admin"}},
                }
            ],
        },
    ]
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    env = {"SUPABASE_URL": "https://project.supabase.co", "SUPABASE_JWT_SECRET": SUPABASE}
    used = ("overview", "billing", "analytics", "workflows", "developer-api")
    with running(tmp_path_factory.mktemp("vocelio"), OWN, env=env, only=used) as found:
        yield found


@pytest.fixture
def run(whole: Running) -> Running:
    whole.forget()
    # Who is not told otherwise is asked about a key that he does not know.
    whole.stubs["developer-api"].answer = Wanted(status=401, body=b'{"detail": "Invalid API key"}')
    return whole


def ask(run: Running, path: str = "/api/v1/overview/x", bearer: str | None = None, **headers: str) -> Answer:
    return run.gateway.get(path, {name.replace("_", "-"): value for name, value in headers.items()}, bearer=bearer)


def refused(answer: Answer, status: int) -> str:
    """See that an answer has the body of the description; return its message."""
    said = answer.json
    assert answer.status == said["status_code"] == status
    assert list(said) == [each for each in SEVEN if each != "retry_after"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", said["timestamp"])
    assert re.fullmatch(r"req_[0-9a-f]+", said["request_id"])
    assert said["request_id"] == answer.headers["x-request-id"]
    assert said["support"] == "Contact support@vocelio.ai with this request ID"
    assert answer.headers["content-type"] == "application/json"
    message: str = said["message"]
    return message


def test_a_token_signed_with_the_secret(run: Running) -> None:
    """S1-09"""
    answer = ask(run, bearer=token(email="ada@acme.example", role="agent"))
    assert answer.status == 200
    told = answer.json["headers"]
    assert (told["x-user-id"], told["x-org-id"], told["x-user-roles"]) == ("u1", "acme", "agent")


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"user_id": None, "sub": "u2"}, {"x-user-id": "u2"}),
        ({"user_id": "u3", "sub": "other"}, {"x-user-id": "u3"}),
        ({"org_id": None, "organization_id": "initech"}, {"x-org-id": "initech"}),
        ({"roles": ["agent", "viewer"]}, {"x-user-roles": "agent, viewer"}),
        ({"plan": "enterprise"}, {"x-user-tier": "premium"}),
        ({"token_type": "access", "jti": "j", "is_verified": True, "is_active": True}, {"x-user-tier": "user"}),
    ],
)
def test_what_claims_say(run: Running, claims: dict[str, Any], told: dict[str, str]) -> None:
    """S1-10"""
    answer = ask(run, bearer=token(**claims))
    assert answer.status == 200
    found = {name: answer.json["headers"][name] for name in told}
    assert {name: sorted(value.replace(",", " ").split()) for name, value in found.items()} == {
        name: sorted(value.replace(",", " ").split()) for name, value in told.items()
    }


def test_tokens_of_supabase_are_taken_too(run: Running) -> None:
    """S1-11"""
    claims: dict[str, Any] = {"user_id": None, "org_id": None, "sub": "7c9e", "role": "authenticated"}
    answer = ask(run, bearer=token(SUPABASE, aud="authenticated", **claims))
    assert (answer.status, answer.json["headers"]["x-user-id"]) == (200, "7c9e")
    # The secret of one is none of the other, and who is meant must be.
    assert ask(run, bearer=token(SUPABASE, aud="anon")).status == 401
    assert ask(run, bearer=token(aud="somebody else")).status == 401


def test_published_keys_of_supabase_are_fetched_where_there_is_no_secret() -> None:
    found = {each.name: each for each in resolved(SUPABASE_URL="https://p.supabase.co").identity.jwt}["supabase"]
    assert (found.issuer, found.audience) == ("https://p.supabase.co/auth/v1", ["authenticated"])
    assert found.key_set is not None
    assert found.key_set.url == "https://p.supabase.co/auth/v1/.well-known/jwks.json"
    assert [each.name for each in resolved().identity.jwt] == ["gateway"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Authentication is required."),
        ({"Authorization": f"Bearer {token(expires=-60)}"}, "The token has expired."),
        ({"Authorization": f"Bearer {token(expires=-1)}"}, "The token has expired."),
        ({"Authorization": f"Bearer {token(nbf=int(time.time()) + 3000)}"}, "The token is invalid or has expired."),
        ({"Authorization": f"Bearer {token('another secret')}"}, "The token is invalid or has expired."),
        ({"Authorization": f"Bearer {token(token_type='refresh')}"}, "The token is invalid or has expired."),
        ({"Authorization": f"Bearer {token(is_active=False)}"}, "The token is invalid or has expired."),
        ({"Authorization": "Bearer nonsense"}, "The token is invalid or has expired."),
        ({"Authorization": "Basic YTpi"}, "The credentials are not accepted here."),
        ({"X-API-Key": "voc_unknown"}, "The API key is not valid."),
        ({"X-API-Key": "sk-unknown"}, "The API key is not valid."),
        ({"Authorization": f"Bearer {token(expires=-60)}", "X-API-Key": "voc_x"}, "The token has expired."),
    ],
)
def test_who_is_not_known_gets_401(run: Running, headers: dict[str, str], message: str) -> None:
    """S1-12, S1-35: a credential that is shown and wrong is never skipped."""
    answer = run.gateway.get("/api/v1/overview/x", headers)
    assert refused(answer, 401) == message
    assert answer.json["error"] == "Unauthorized"
    assert "bearer" in answer.headers["www-authenticate"].lower()


def test_keys_that_the_gateway_keeps(run: Running) -> None:
    """S1-05, S1-14: X-API-Key: voc_..., and behind Bearer."""
    made = run.gateway.command(
        "keys", "create", "--owner", "ada", "--tenant", "acme", "--tier", "pro", "--preset", "vocelio"
    )
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("voc_")
    until(lambda: ask(run, X_API_Key=key).status == 200, "the key is known")
    answer = ask(run, bearer=key)
    told = answer.json["headers"]
    assert (answer.status, told["x-org-id"], told["x-user-tier"]) == (200, "acme", "premium")
    assert answer.headers["x-ratelimit-limit"] == "10000"
    # Nobody is asked about one that is known here.
    run.forget()
    assert ask(run, bearer=key).status == 200
    assert run.stubs["developer-api"].seen == []
    listed = run.gateway.command("keys", "list", "--json", "--preset", "vocelio")
    assert key not in listed.stdout


@pytest.mark.parametrize(
    ("key", "organization"),
    [
        ("voc_" + "0f" * 16, "initech"),
        ("voc_" + "a-_B" * 10 + "xyz", "initech"),
        ("voc_live_abc123", "initech"),
        ("voc_test_abc123", {"id": "initech", "name": "Initech"}),
    ],
)
def test_other_keys_are_asked_about(run: Running, key: str, organization: object) -> None:
    """S1-13"""
    developer = run.stubs["developer-api"]
    record = {"id": "k7", "organization": organization, "tier": "free", "scopes": ["read"], "status": "active"}
    developer.answer = Wanted(body=json.dumps(record).encode())
    answer = ask(run, X_API_Key=key)
    told = answer.json["headers"]
    assert (answer.status, told["x-user-id"], told["x-org-id"]) == (200, "k7", "initech")
    assert answer.headers["x-ratelimit-limit"] == "5000"
    (seen,) = developer.seen
    assert (seen.method, seen.path, seen.json) == ("POST", "/api/v1/validate-key", {"api_key": key})
    # Remembered: the service may go.
    developer.answer = Wanted(status=500)
    assert ask(run, bearer=key).status == 200


@pytest.mark.parametrize("status", ["inactive", "suspended", "revoked", "expired"])
def test_a_key_that_is_no_more_is_refused_whatever_the_status(run: Running, status: str) -> None:
    run.stubs["developer-api"].answer = Wanted(body=f'{{"id": "k8", "status": "{status}"}}'.encode())
    assert ask(run, X_API_Key=f"voc_no_more_{status}").status == 401


def test_nobody_gets_in_because_nobody_could_be_asked(run: Running) -> None:
    """S1-13: the original let everybody in."""
    run.stubs["developer-api"].answer = Wanted(status=500)
    answer = ask(run, X_API_Key="voc_asked_while_it_is_away")
    assert (answer.status, answer.json["error"], answer.json["retry_after"]) == (503, "Service unavailable", 5)
    run.stubs["developer-api"].answer = Wanted(close="head")
    assert ask(run, X_API_Key="voc_asked_while_it_hangs_up").status == 503


@pytest.mark.parametrize(("value", "ways"), [("both", "ai"), ("local", "a"), ("remote", "i")])
def test_who_knows_keys_is_a_variable(value: str, ways: str) -> None:
    identity = resolved(API_KEY_VALIDATION=value).identity
    assert ("a" if identity.api_keys else "") + ("i" if identity.introspection else "") == ways


def test_organisations_are_kept_apart(run: Running) -> None:
    """S1-15"""
    path = "/api/v1/workflows/organizations/initech/1"
    assert refused(ask(run, path, token()), 403) == "This belongs to another tenant."
    assert ask(run, path, token(org_id="initech")).status == 200
    assert ask(run, path, token(roles=["super_admin"])).status == 200
    # On every path by a header.
    assert refused(ask(run, bearer=token(), X_Organization_ID="initech"), 403)
    assert ask(run, bearer=token(), X_Organization_ID="acme").status == 200
    # Who is of none is not of any that he names.
    assert refused(ask(run, bearer=token(org_id=None), X_Organization_ID="initech"), 403)
    crossing = ask(run, bearer=token(role="super_admin"), X_Organization_ID="initech")
    assert (crossing.status, crossing.json["headers"]["x-org-id"]) == (200, "initech")


def test_roles_and_what_they_may(run: Running) -> None:
    """S1-16, S1-35: 403 where a role or a permission is missing."""
    assert refused(ask(run, "/api/v1/billing/refunds/1", token(role="viewer")), 403) == "The caller may not do this."
    assert ask(run, "/api/v1/billing/refunds/1", token(role="admin")).status == 200
    for role, status in {"owner": 200, "admin": 200, "manager": 200, "agent": 403, "viewer": 403, "guest": 403}.items():
        assert ask(run, "/api/v1/analytics/x", token(role=role)).status == status, role


def test_who_only_looks_changes_nothing(run: Running) -> None:
    """S1-16, of a service of which no file says more."""
    asked = {"viewer": 403, "guest": 403, "agent": 200, "authenticated": 200}
    callers = {role: token(role=role) for role in asked} | {"none": token(), "both": token(roles=["viewer", "agent"])}
    for role, bearer in callers.items():
        for method, status in {"GET": 200, "POST": asked.get(role, 200), "DELETE": asked.get(role, 200)}.items():
            answer = run.gateway.ask(method, "/api/v1/overview/x", bearer=bearer)
            assert answer.status == status, (role, method)


def test_permissions_may_have_dots_or_colons(run: Running) -> None:
    dotted = {role: ask(run, "/api/v1/analytics/dotted", token(role=role)).status for role in ("manager", "viewer")}
    assert dotted == {"manager": 200, "viewer": 403}


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("super_admin", {"x", "dotted", "call", "look", "write"}),
        ("supervisor", {"call"}),
        ("agent", {"call"}),
        ("viewer", {"look"}),
        ("api_user", {"look", "write"}),
        ("guest", set()),
    ],
)
def test_what_each_role_may(run: Running, role: str, may: set[str]) -> None:
    """S1-35, with the roles of the sibling: `read:*`, `write:*`, `*`."""
    paths = ("x", "dotted", "call", "look", "write")
    asked = {path: ask(run, f"/api/v1/analytics/{path}", token(role=role)).status for path in paths}
    assert asked == {path: 200 if path in may else 403 for path in paths}


def test_what_clients_say_of_themselves_reaches_nobody(run: Running) -> None:
    forged = {"X_User_ID": "root", "X_Org_ID": "initech", "X_User_Roles": "admin", "X_User_Tier": "premium"}
    told = ask(run, "/api/v1/analytics/public/x", **forged).json["headers"]
    assert told.get("x-user-id", "") != "root"
    assert (told.get("x-org-id"), told.get("x-user-roles")) == (None, None)
    assert told.get("x-user-tier") == "anonymous"


def test_the_one_variable_without_which_nothing_starts(tmp_path: object) -> None:
    (message,) = problems()
    assert message.startswith("JWT_SECRET_KEY is not set, and the gateway cannot start without it")
    assert resolved(SECRET_KEY="k" * 32, JWT_SECRET_KEY="").identity.jwt[0].secret == "k" * 32


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, 0),
        ({"JWT_EXPIRATION_HOURS": "24"}, 86400),
        ({"JWT_EXPIRE_MINUTES": "1440"}, 86400),
        ({"JWT_EXPIRATION_HOURS": "24", "JWT_EXPIRE_MINUTES": "30"}, 1800),
    ],
)
def test_how_old_a_token_may_be(env: dict[str, str], expected: int) -> None:
    (issuer,) = resolved(**env).identity.jwt
    assert issuer.max_age == expected


def test_how_wrong_clocks_may_be() -> None:
    assert [each.skew for each in resolved(SUPABASE_JWT_SECRET="s" * 32).identity.jwt] == [0, 0]
    assert [each.skew for each in resolved(SUPABASE_URL="https://a.example", JWT_LEEWAY="5").identity.jwt] == [5, 5]


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_how_tokens_are_signed(algorithm: str) -> None:
    (issuer,) = resolved(JWT_ALGORITHM=algorithm, JWT_AUDIENCE="vocelio").identity.jwt
    assert (issuer.algorithms, issuer.audience) == ([algorithm], ["vocelio"])


def test_all_that_is_refused_is_told_in_one_form() -> None:
    shapes = ErrorShapes(resolved(SUPPORT_EMAIL="help@acme.example").errors)
    assert b"Contact help@acme.example with this request ID" in shapes.body("bad_request", dict)
