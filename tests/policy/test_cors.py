"""CORS: which origins, what they are told, and what nobody is ever told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead, first
from headgate.policy.cors import CorsPolicy, check_origin
from headgate.policy.hygiene_settings import Cors

APP = b"https://app.example.com"
ALLOW_ORIGIN = b"access-control-allow-origin"
ALLOW_CREDENTIALS = b"access-control-allow-credentials"


def preflight(origin: bytes | None = APP, method: bytes | None = b"PUT", *more: tuple[bytes, bytes]) -> RequestHead:
    head = RequestHead("OPTIONS", b"/", "https")
    if origin is not None:
        head.fields.append((b"Origin", origin))
    if method is not None:
        head.fields.append((b"Access-Control-Request-Method", method))
    head.fields += more
    return head


def asked(policy: CorsPolicy, head: RequestHead) -> dict[str, bytes]:
    fields = policy.preflight(head)
    assert fields is not None
    return {name.decode().removeprefix("Access-Control-"): value for name, value in fields}


# -- origins -------------------------------------------------------------------------------------------------------

WILD = ["https://*.example.com"]
ORIGINS = [
    (["https://app.example.com"], b"https://app.example.com", True),
    (["https://app.example.com"], b"http://app.example.com", False),
    (["https://app.example.com"], b"https://app.example.com:8443", False),
    (["https://app.example.com"], b"https://app.example.com/", False),
    (["https://app.example.com"], b"https://APP.example.com", False),
    (["https://app.example.com"], b"https://app.example.com.evil.org", False),
    (["https://app.example.com"], b"", False),
    (["https://app.example.com:8443"], b"https://app.example.com:8443", True),
    (["https://app.example.com:8443"], b"https://app.example.com", False),
    (WILD, b"https://a.example.com", True),
    (WILD, b"https://a.b.example.com", True),
    (WILD, b"https://example.com", False),
    (WILD, b"https://.example.com", False),
    (WILD, b"https://a..example.com", False),
    (WILD, b"https://evilexample.com", False),
    (WILD, b"https://a.example.com.evil.org", False),
    (WILD, b"https://a.exampleXcom", False),
    (WILD, b"https://evil.org/a.example.com", False),
    (WILD, b"https://evil.org#.example.com", False),
    (WILD, b"https://evil.org?.example.com", False),
    (WILD, b"https://evil.org@a.example.com", False),
    (WILD, b"https://evil.org:443.example.com", False),
    (WILD, b"https://a.example.com:8443", False),
    (WILD, b"http://a.example.com", False),
    (WILD, b"https://a.example.com\n", False),
    (WILD, b"https://a\n.example.com", False),
    (["http://*.example.com:3000", *WILD], b"http://a.example.com:3000", True),
    (["http://*.example.com:3000", *WILD], b"https://a.example.com", True),
    (["http://*.example.com:3000", *WILD], b"http://a.example.com", False),
    (["*"], b"https://anybody.org", True),
    (["*"], b"null", True),
    (["null"], b"null", True),
    (WILD, b"null", False),
    ([], APP, False),
]


@pytest.mark.parametrize(("origins", "origin", "allowed"), ORIGINS)
def test_origins(origins: list[str], origin: bytes, allowed: bool) -> None:
    policy = CorsPolicy(Cors(origins=origins))
    assert policy.allows(origin) is allowed
    assert (first(policy.fields(origin), ALLOW_ORIGIN) is not None) is allowed


def test_an_actual_request_is_told_that_its_page_may_read() -> None:
    policy = CorsPolicy(Cors(origins=["https://app.example.com"], expose=["X-Total", "ETag"], credentials=True))
    assert policy.fields(APP) == [
        (b"Access-Control-Allow-Origin", APP),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Expose-Headers", b"X-Total, ETag"),
        (b"Vary", b"Origin"),
    ]
    assert policy.fields(b"https://evil.org") == policy.fields(None) == [(b"Vary", b"Origin")]


def test_where_all_are_answered_alike_nothing_varies() -> None:
    policy = CorsPolicy(Cors(origins=["*", "https://app.example.com"], expose=["ETag"]))
    alike = [(b"Access-Control-Allow-Origin", b"*"), (b"Access-Control-Expose-Headers", b"ETag")]
    assert policy.fields(APP) == policy.fields(b"https://evil.org") == policy.fields(None) == alike


def test_credentials_need_an_origin_by_name() -> None:
    policy = CorsPolicy(Cors(origins=["*", "https://app.example.com"], credentials=True))
    named = [
        (b"Access-Control-Allow-Origin", APP),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Vary", b"Origin"),
    ]
    assert policy.fields(APP) == named
    assert policy.fields(b"https://b.org") == [(b"Access-Control-Allow-Origin", b"*"), (b"Vary", b"Origin")]
    assert policy.fields(None) == [(b"Vary", b"Origin")]


def test_what_is_remembered_of_origins_is_bounded() -> None:
    policy = CorsPolicy(Cors(origins=WILD))
    for number in range(5000):
        policy.fields(b"https://%d.example.com" % number)
    policy.fields(b"https://" + b"a" * 10_000)
    assert len(policy._answers) <= 1024
    assert max(map(len, policy._answers)) < 300


# -- preflights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        preflight(None),
        preflight(APP, None),
        preflight(None, None),
    ],
)
def test_what_is_no_preflight_is_not_answered(head: RequestHead) -> None:
    assert CorsPolicy(Cors(origins=["*"])).preflight(head) is None


def test_a_preflight_is_one_by_its_method() -> None:
    head = preflight()
    head.method = "GET"
    assert CorsPolicy(Cors(origins=["*"])).preflight(head) is None


def test_a_preflight_is_told_the_lists() -> None:
    settings = Cors(
        origins=["https://app.example.com"],
        methods=["GET", "PUT"],
        headers=["Authorization", "X-A"],
        max_age=90.0,
        credentials=True,
    )
    assert asked(CorsPolicy(settings), preflight()) == {
        "Allow-Methods": b"GET, PUT",
        "Allow-Headers": b"Authorization, X-A",
        "Max-Age": b"90",
        "Vary": b"Access-Control-Request-Method, Access-Control-Request-Headers",
    }


@pytest.mark.parametrize("credentials", [True, False])
def test_a_star_is_answered_by_what_was_asked_for(credentials: bool) -> None:
    settings = Cors(origins=["https://app.example.com"], methods=["*"], headers=["*"], credentials=credentials)
    names = (b"Access-Control-Request-Headers", b"authorization,x-a , x b,\x00,,x-c;q=1")
    told = asked(CorsPolicy(settings), preflight(APP, b"PURGE", names))
    assert told["Allow-Methods"] == b"PURGE"
    assert told["Allow-Headers"] == b"authorization, x-a"


def test_what_is_no_method_is_not_echoed() -> None:
    told = asked(CorsPolicy(Cors(origins=["*"], methods=["*"])), preflight(APP, b"GET <script>"))
    assert "Allow-Methods" not in told
    assert "Allow-Headers" not in told


@pytest.mark.parametrize(
    ("allowed", "wanted", "told"), [(True, b"true", True), (True, b"1", False), (False, b"true", False)]
)
def test_a_private_network(allowed: bool, wanted: bytes, told: bool) -> None:
    policy = CorsPolicy(Cors(origins=["*"], private_network=allowed))
    head = preflight(APP, b"GET", (b"Access-Control-Request-Private-Network", wanted))
    fields = asked(policy, head)
    assert (fields.get("Allow-Private-Network") == b"true") is told
    assert (b"Private-Network" in fields["Vary"]) is allowed


def test_a_foreign_preflight_is_refused() -> None:
    with pytest.raises(Failure) as caught:
        CorsPolicy(Cors(origins=WILD)).preflight(preflight(b"https://evil.org\xff"))
    assert (caught.value.reason, caught.value.detail) == ("origin_forbidden", "https://evil.org\\xff")


# -- invariants ----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "example", "com", "evil", "xn--a", ""])
HOSTS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)
SCHEMES = st.sampled_from(["https://", "http://"])
PORTS = st.sampled_from(["", ":443", ":8080"])
SPOILT = st.sampled_from(["", "/", ".", "\r\nX: 1", "#", "@x", "*"])
ALLOWED = st.builds("{}{}{}{}".format, SCHEMES, st.sampled_from(["", "*."]), HOSTS, PORTS).filter(
    lambda text: check_origin(text) is None
)
SETTINGS = st.builds(
    Cors,
    origins=st.lists(st.one_of(ALLOWED, st.sampled_from(["*", "null"])), max_size=4),
    methods=st.lists(st.sampled_from(["GET", "PUT", "*"]), max_size=2),
    headers=st.lists(st.sampled_from(["X-A", "Authorization", "*"]), max_size=2),
    expose=st.lists(st.sampled_from(["ETag", "*"]), max_size=2),
    credentials=st.booleans(),
    private_network=st.booleans(),
)
ORIGIN = st.one_of(
    st.builds("{}{}{}{}".format, SCHEMES, HOSTS, PORTS, SPOILT).map(str.encode),
    st.sampled_from([b"null", b"*", b""]),
    st.binary(max_size=20),
)


def listed(settings: Cors, origin: bytes) -> bool:
    """Tell whether an origin is named, as the documentation says it and not as the policy finds it."""
    text = origin.decode("latin-1")
    for each in settings.origins:
        scheme, star, domain = each.partition("*.")
        if each == text and each != "*":
            return True
        if star and text.startswith(scheme) and text.endswith("." + domain):
            below = text[len(scheme) : -len(domain) - 1]
            if all(re.fullmatch("[a-z0-9_-]+", label) for label in below.split(".")):
                return True
    return False


@given(SETTINGS, ORIGIN)
def test_who_is_not_allowed_is_never_told_otherwise(settings: Cors, origin: bytes) -> None:
    policy = CorsPolicy(settings)
    named = listed(settings, origin)
    for _ in range(2):
        fields = policy.fields(origin)
        answer = first(fields, ALLOW_ORIGIN)
        assert sum(name.lower() == ALLOW_ORIGIN for name, _ in fields) <= 1
        if named and not (policy._any and not settings.credentials):
            assert answer == origin
        else:
            assert answer == (b"*" if "*" in settings.origins else None)
        # Fetch standard, "CORS protocol and credentials".
        if first(fields, ALLOW_CREDENTIALS) is not None:
            assert settings.credentials
            assert answer == origin != b"*"
            assert named
        assert all(b"\r" not in value and b"\n" not in value for _, value in fields)
    if not named and "*" not in settings.origins:
        with pytest.raises(Failure):
            policy.preflight(preflight(origin))


@given(SETTINGS, st.lists(ORIGIN, min_size=2, max_size=5))
def test_answers_that_differ_by_origin_say_so(settings: Cors, origins: list[bytes]) -> None:
    policy = CorsPolicy(settings)
    answers: list[Fields] = [policy.fields(None), *(policy.fields(origin) for origin in origins)]
    if any(answer != answers[0] for answer in answers):
        assert all((b"Vary", b"Origin") in answer for answer in answers)


@given(SETTINGS, st.binary(max_size=40), st.binary(max_size=60))
def test_only_names_are_echoed(settings: Cors, method: bytes, headers: bytes) -> None:
    policy = CorsPolicy(settings)
    head = preflight(APP, method, (b"Access-Control-Request-Headers", headers))
    if policy.allows(APP):
        for _, value in policy.preflight(head) or []:
            assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(, [!#$%&'*+\-.^_`|~0-9A-Za-z]+)*", value)


# -- what may be written -------------------------------------------------------------------------------------------

WRITTEN = [
    ("https://app.example.com", None),
    ("https://*.example.com", None),
    ("http://localhost:3000", None),
    ("http://[::1]:3000", None),
    ("chrome-extension://aaaabbbb", None),
    ("null", None),
    ("*", None),
    ("https://app.example.com/", "an origin has no path, nor a slash at its end: https://app.example.com"),
    ("https://app.example.com/x?y", "an origin has no path, nor a slash at its end: https://app.example.com"),
    ("app.example.com", "the scheme is missing: https://app.example.com"),
    ("//app.example.com", "the scheme is missing: https://app.example.com"),
    ("https://App.example.com", "browsers send it as https://app.example.com"),
    ("HTTPS://app.example.com", "browsers send it as https://app.example.com"),
    ("https://app.example.com:443", "browsers send it as https://app.example.com"),
    ("http://*.example.com:80", "browsers send it as http://*.example.com"),
    ("https://*", "a * stands for whole names below a domain only: https://*.example.com"),
    ("https://app-*.example.com", "a * stands for whole names below a domain only: https://*.example.com"),
    ("https://a@example.com", "an origin has no user name"),
    ("https://a.org, https://b.org", "an origin holds neither spaces nor commas; write several as a list"),
    ("https://b\u00fccher.example", "names beyond ASCII are sent in punycode (xn--...)"),
    ("https://", "the host is missing"),
    ("https://a.org:99999", "the port must be a number from 1 to 65535"),
    ("", "expected an origin"),
]


@pytest.mark.parametrize(("text", "said"), WRITTEN)
def test_what_may_be_written(text: str, said: str | None) -> None:
    assert check_origin(text) == said
