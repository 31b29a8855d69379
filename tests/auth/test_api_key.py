"""API keys: the form of a key, its record as bytes, and verdicts that say nothing of what was wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.api_key import (
    LONGEST_KEY,
    ApiKeyMethod,
    KeyRecord,
    KeysUnavailable,
    digest,
    hint,
    new_key,
    pack,
    read_moment,
    read_static_hash,
    static_hash,
    unpack,
)
from headgate.auth.method import Known, Refused
from headgate.auth.settings import ApiKeys, StaticKey
from tests.auth.heads import head

NOW = 1_800_000_000.0
PEPPER = b"p" * 32
KEY = new_key("voc_", bytes(range(32)))
RECORD = KeyRecord("k1", "ann", "acme", ("agent", "admin"), "gold", ("route:calls",), ("10.0.0.0/8",), NOW + 60)


class Keys:
    """Keys by digest, and the digests that were looked up."""

    def __init__(self, **keys: KeyRecord) -> None:
        self.records = {digest(PEPPER, key.encode()): pack(record) for key, record in keys.items()}
        self.asked: list[bytes] = []

    def __call__(self, wanted: bytes) -> bytes | None:
        self.asked.append(wanted)
        return self.records.get(wanted)


def method(keys: Keys | None = None, **settings: object) -> ApiKeyMethod:
    return ApiKeyMethod(ApiKeys(**{"prefix": "voc_", **settings}), PEPPER, keys or Keys(**{KEY: RECORD}))  # type: ignore[arg-type]


# -- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_is_its_prefix_and_256_random_bits_that_need_no_escaping() -> None:
    assert KEY == "voc_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert hint(KEY, "voc_") == "voc_AAEC..."
    with pytest.raises(ValueError, match="at least 32 random bytes"):
        new_key("voc_", b"x" * 31)


def test_a_static_hash_is_read_as_it_was_written() -> None:
    written = static_hash(b"abc")
    assert written == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_static_hash(written).hex() == written[7:]


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "g" * 64, "a" * 64, "sha1:" + "a" * 40, "sha256:" + "a" * 63]
)
def test_what_is_no_static_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected sha256: and 64 hexadecimal digits"):
        read_static_hash(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-31", 1801353600.0),
        ("2027-01-31T12:00:00Z", 1801396800.0),
        ("2027-01-31T12:00:00+02:00", 1801389600.0),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert read_moment(text) == seconds


def test_what_is_no_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a day or moment"):
        read_moment("next week")


# -- records -------------------------------------------------------------------------------------------------------

texts = st.text(max_size=50)
many = st.lists(texts, max_size=5).map(tuple)


@given(
    st.builds(
        KeyRecord,
        texts,
        texts,
        texts,
        many,
        texts,
        many,
        many,
        st.one_of(st.just(math.inf), st.floats(0, 1e12)),
    )
)
def test_a_record_comes_back_as_it_went(record: KeyRecord) -> None:
    assert unpack(pack(record)) == record


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_are_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="no record of a key"):
        unpack(data)


@pytest.mark.parametrize("data", [b"[]", b"[1]", b"{}", b"[2,1,2,3,4,5,6,7,8]", b"[1,1,2,3,4,5,6,7,8]", b"null", b"7"])
def test_json_that_is_no_record_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="no record of a key"):
        unpack(data)


def test_a_record_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="16,384 are the most"):
        pack(KeyRecord("k1", scopes=("x" * 16_384,)))


# -- finding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([(b"X-API-Key", b"voc_1")], b"voc_1"),
        ([(b"x-api-key", b"anything at all")], b"anything at all"),
        ([(b"X-API-Key", b"")], b""),
        ([(b"Authorization", b"Bearer voc_1")], b"voc_1"),
        ([(b"authorization", b"bEARER   voc_1")], b"voc_1"),
        ([(b"Authorization", b"Bearer other")], None),
        ([(b"Authorization", b"Basic voc_1")], None),
        ([(b"Authorization", b"Bearer")], None),
        ([(b"Authorization", b"Bearer voc_1"), (b"X-API-Key", b"voc_2")], b"voc_2"),
        ([(b"X-API-Key", b"voc_1"), (b"X-API-Key", b"voc_2")], b"voc_1, voc_2"),
        ([(b"X-API-Key", b"voc_1"), (b"X-API-Key", b"voc_1")], b"voc_1"),
        ([(b"Cookie", b"X-API-Key=voc_1"), (b"Host", b"voc_1")], None),
    ],
)
def test_where_a_key_is_found(fields: list[tuple[bytes, bytes]], found: bytes | None) -> None:
    assert method().find(head(*fields)) == found


def test_without_a_prefix_a_bearer_that_is_no_signed_token_is_a_key() -> None:
    keys = method(prefix="")
    assert keys.find(head((b"Authorization", b"Bearer abc"))) == b"abc"
    assert keys.find(head((b"Authorization", b"Bearer a.b.c"))) is None


def test_headers_and_bearer_are_settings() -> None:
    keys = method(headers=["apikey"], bearer=False)
    assert keys.find(head((b"X-API-Key", KEY.encode()), (b"Authorization", b"Bearer voc_1"))) is None
    assert keys.find(head((b"ApiKey", b"voc_1"))) == b"voc_1"


def test_hiding_takes_keys_off_and_nothing_else() -> None:
    request = head((b"X-Api-Key", b"a"), (b"Accept", b"*/*"), (b"Authorization", b"Bearer voc_1"))
    method().hide(request)
    assert request.fields == [(b"Accept", b"*/*")]
    request = head((b"Authorization", b"Basic abc"))
    method().hide(request)
    assert request.fields == [(b"Authorization", b"Basic abc")]


# -- judging -------------------------------------------------------------------------------------------------------


def test_a_key_is_its_owner_until_it_expires() -> None:
    known = method().judge(KEY.encode(), NOW)
    assert isinstance(known, Known)
    assert known.until == NOW + 60
    identity = known.identity
    assert (identity.kind, identity.id, identity.tenant, identity.tier) == ("api_key", "k1", "acme", "gold")
    assert identity.roles == {"agent", "admin"}
    assert identity.scopes == {"route:calls"}
    assert (identity.claims["owner"], identity.claims["addresses"]) == ("ann", ("10.0.0.0/8",))
    assert identity.method == "api_key"


WRONG = {
    "unknown": b"voc_" + b"A" * 43,
    "cut": KEY.encode()[:-1],
    "another prefix": b"hg_" + KEY.encode()[4:],
    "empty": b"",
    "a quote": b"voc_' OR 1=1 --",
    "NUL": KEY.encode() + b"\0",
    "a space": KEY.encode() + b" ",
    "not ASCII": "voc_\u00e9\u202e".encode(),
    "not UTF-8": b"voc_\xff\xfe\xc0\x80",
    "too long": KEY.encode() + b"A" * LONGEST_KEY,
    "a megabyte": b"voc_" + b"A" * (1 << 20),
}


@pytest.mark.parametrize("shown", WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_the_work_and_the_reason_are_the_same(shown: bytes) -> None:
    keys = Keys(**{KEY: RECORD})
    refused = method(keys).judge(shown, NOW)
    assert isinstance(refused, Refused)
    assert refused.reason == "invalid_api_key"
    assert len(keys.asked) == 1
    assert KEY not in refused.detail
    assert not shown or shown.decode("latin-1") not in refused.detail


def test_an_expired_key_is_refused_for_the_same_reason() -> None:
    refused = method().judge(KEY.encode(), NOW + 60)
    assert refused == Refused("invalid_api_key", "key k1 has expired")


def test_a_key_that_is_known_but_too_long_or_odd_is_refused() -> None:
    for key in (f"voc_{'A' * 509}", "voc_ a"):
        assert isinstance(method(Keys(**{key: RECORD})).judge(key.encode(), NOW), Refused)


def test_a_key_of_another_pepper_is_unknown() -> None:
    keys = Keys(**{KEY: RECORD})
    assert isinstance(ApiKeyMethod(ApiKeys(prefix="voc_"), b"q" * 32, keys).judge(KEY.encode(), NOW), Refused)


def test_a_record_that_cannot_be_read_is_no_key() -> None:
    keys = Keys()
    keys.records[digest(PEPPER, KEY.encode())] = b"garbage"
    assert method(keys).judge(KEY.encode(), NOW) == Refused("invalid_api_key", "its record cannot be read")


def test_a_static_key_tells_all_that_the_configuration_says() -> None:
    key = StaticKey(
        id="s1",
        hash=static_hash(b"voc_static"),
        owner="ann",
        tenant="acme",
        roles=["agent"],
        scopes=["route:calls"],
        tier="gold",
        addresses=["10.0.0.0/8"],
        expires="2100-01-01",
    )
    known = method(Keys(), static=[key]).judge(b"voc_static", NOW)
    assert isinstance(known, Known)
    who = known.identity
    assert (who.kind, who.id, who.tenant, who.tier, who.method) == ("api_key", "s1", "acme", "gold", "api_key")
    assert (who.roles, who.scopes) == (frozenset({"agent"}), frozenset({"route:calls"}))
    assert (who.claims["owner"], who.claims["addresses"]) == ("ann", ("10.0.0.0/8",))
    assert known.until == read_moment("2100-01-01")


def test_while_nobody_knows_the_keys_only_static_ones_pass() -> None:
    def away(_: bytes) -> bytes | None:
        raise KeysUnavailable("the keys have not come yet")

    static = StaticKey(id="s1", hash=static_hash(b"legacy"), tenant="acme", expires="2030-01-01")
    keys = ApiKeyMethod(ApiKeys(static=[static]), PEPPER, away)
    known = keys.judge(b"legacy", NOW)
    assert isinstance(known, Known)
    assert (known.identity.id, known.identity.tenant, known.until) == ("s1", "acme", 1893456000.0)
    assert keys.judge(b"hg_other", NOW) == Refused("identity_unavailable", "the keys have not come yet")
    # Whoever else may know it is asked, in time for one that is new.
    assert keys.find(head((b"X-API-Key", b"hg_other"))) == b"hg_other"
    asking = ApiKeyMethod(ApiKeys(static=[static], unknown="ask"), PEPPER, away)
    assert [asking.find(head((b"X-API-Key", key))) for key in (b"hg_other", b"legacy")] == [None, b"legacy"]


def test_a_key_that_is_not_known_here_may_be_left_to_whom_can_be_asked() -> None:
    static = StaticKey(id="s1", hash=static_hash(b"legacy"))
    keys = method(static=[static], unknown="ask")
    for shown in (KEY.encode(), b"legacy", b"without the prefix"):
        assert keys.find(head((b"X-API-Key", shown))) == shown
    for field in ((b"X-API-Key", b"voc_other"), (b"Authorization", b"Bearer voc_other")):
        assert keys.find(head(field)) is None
        assert method(static=[static]).find(head(field)) == b"voc_other"


@given(st.binary(max_size=600))
def test_no_bytes_raise(shown: bytes) -> None:
    assert isinstance(method().judge(shown, NOW), Refused) or shown == KEY.encode()
