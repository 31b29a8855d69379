"""What every store of cached answers has to do. A store's test module makes a class of this one and opens it:

    class TestMemory(CacheContract):
        @pytest.fixture
        def open_store(self) -> Iterator[Open]:
            yield lambda: MemoryCache(folder)

`open_store()` opens the same entries for another worker each time, and `passes(seconds)` lets time pass for all of
them. Whoever answers later wraps his store so that what is called waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

import pytest

from headgate.stores.cache.store import KEY_BYTES, MOST_TAGS, Cached, Place, Purge, Scope, Statistics

KEEP = 1000.0


class Answering(Protocol):
    """A store that waits for the answer of whatever is called."""

    @property
    def moment(self) -> int: ...

    @property
    def failing(self) -> bool: ...

    def get(self, key: bytes) -> Cached | None: ...

    def put(self, key: bytes, cached: Cached, place: Place, keep: float, since: int) -> None: ...

    def renew(self, key: bytes, before: bytes, cached: Cached, place: Place, keep: float, since: int) -> None: ...

    def drop(self, key: bytes) -> None: ...

    def claim(self, key: bytes, seconds: float) -> bool: ...

    def yield_(self, key: bytes) -> None: ...

    def purged(self, place: Place, since: int) -> bool: ...

    def invalidate(self, url: str) -> None: ...

    def purge(self, what: Purge) -> int: ...

    def statistics(self) -> Statistics | None: ...


Open = Callable[[], Answering]


def key(name: str) -> bytes:
    """Return the digest of a name."""
    return blake2b(name.encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest()


def url(name: str) -> str:
    return f"https://shop.example/{name}"


def cached(name: str, size: int = 100) -> Cached:
    """Return an entry that is nobody else's."""
    text = name.encode(errors="surrogatepass")
    return Cached(b"head of " + text, (text * size)[:size])


def seen(store: Answering, name: str = "any") -> int:
    """Look for an entry as a request does, and return the moment behind that."""
    store.get(key(name))
    return store.moment


def put(store: Answering, name: str, *tags: str, size: int = 100, keep: float = KEEP) -> None:
    """Fetch an entry and put it in; its URL is made of its name up to the first blank."""
    since = seen(store, name)
    store.put(key(name), cached(name, size), Place(url(name.partition(" ")[0]), tags), keep, since)


def held(store: Answering, *names: str) -> list[str]:
    """Return those of the names that there is an entry of, each the right one and whole."""
    found = []
    for name in names:
        entry = store.get(key(name))
        if entry is not None:
            assert entry == cached(name, len(entry.body))
            found.append(name)
    return found


class CacheContract:
    """The tests."""

    # -- entries --------------------------------------------------------------------------------------------------

    def test_what_was_put_is_found_by_every_worker_and_nothing_else_is(self, open_store: Open) -> None:
        one, two = open_store(), open_store()
        put(one, "a")
        put(two, "b")
        for store in (one, two):
            assert held(store, "a", "b", "c") == ["a", "b"]

    @pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 20_000])
    def test_a_body_comes_back_as_it_was(self, open_store: Open, size: int) -> None:
        store = open_store()
        body = bytes(number % 251 for number in range(size))
        entry = Cached(b"\0\xff\r\n", body)
        store.put(key("a"), entry, Place(url("a"), ("x", "y")), KEEP, seen(store))
        assert store.get(key("a")) == entry

    def test_a_later_entry_takes_the_place_of_an_older_one(self, open_store: Open) -> None:
        store = open_store()
        put(store, "a", size=10)
        store.put(key("a"), Cached(b"other", b"longer" * 100), Place(url("a"), ()), KEEP, seen(store))
        assert store.get(key("a")) == Cached(b"other", b"longer" * 100)

    def test_what_is_dropped_is_gone_for_all(self, open_store: Open) -> None:
        one, two = open_store(), open_store()
        put(one, "a")
        put(one, "b")
        two.drop(key("a"))
        two.drop(key("never seen"))
        assert held(one, "a", "b") == ["b"]

    def test_nothing_is_kept_longer_than_it_may_be(self, open_store: Open, passes: Callable[[float], None]) -> None:
        store = open_store()
        put(store, "short", keep=0.2)
        put(store, "long", keep=600)
        passes(0.3)
        assert held(store, "short", "long") == ["long"]

    def test_a_text_that_is_no_utf_8_is_a_text_like_others(self, open_store: Open) -> None:
        store = open_store()
        put(store, "\udcff", "\udcfe")
        assert store.purge(Purge("tag", "\udcfe")) == 1

    # -- validation -----------------------------------------------------------------------------------------------

    def test_an_entry_is_renewed_with_another_head_and_the_same_body(self, open_store: Open) -> None:
        store = open_store()
        put(store, "a")
        head, body = cached("a")
        store.renew(key("a"), head, Cached(b"new head", body), Place(url("a"), ()), KEEP, seen(store))
        assert store.get(key("a")) == Cached(b"new head", body)

    def test_what_another_has_replaced_meanwhile_is_not_renewed(self, open_store: Open) -> None:
        one, two = open_store(), open_store()
        put(one, "a")
        head, body = cached("a")
        fresh = Cached(b"fresh", b"another body")
        two.put(key("a"), fresh, Place(url("a"), ()), KEEP, seen(two))
        one.renew(key("a"), head, Cached(b"new head", body), Place(url("a"), ()), KEEP, seen(one))
        assert one.get(key("a")) == fresh

    def test_what_was_purged_is_not_brought_back_by_renewing_it(self, open_store: Open) -> None:
        store = open_store()
        put(store, "a")
        head, body = cached("a")
        store.invalidate(url("a"))
        store.renew(key("a"), head, Cached(b"new head", body), Place(url("a"), ()), KEEP, seen(store, "other"))
        assert store.get(key("a")) is None

    def test_what_is_gone_is_not_brought_back_by_renewing_it(self, open_store: Open) -> None:
        store = open_store()
        put(store, "a")
        head, body = cached("a")
        since = seen(store)
        store.drop(key("a"))
        store.renew(key("a"), head, Cached(b"new head", body), Place(url("a"), ()), KEEP, since)
        assert store.get(key("a")) is None

    # -- purging --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("scope", "value", "left"),
        [
            ("url", url("news/1"), ["news/2", "shop", "news/1/more"]),
            ("prefix", url("news/"), ["shop"]),
            ("tag", "red", ["news/2", "shop"]),
            ("tag", "re", ["news/1", "news/1 of bob", "news/2", "shop", "news/1/more"]),
            ("all", "", []),
        ],
    )
    def test_a_purge_takes_what_it_names_and_leaves_the_rest(
        self, open_store: Open, scope: Scope, value: str, left: list[str]
    ) -> None:
        store, another = open_store(), open_store()
        names = ["news/1", "news/1 of bob", "news/2", "shop", "news/1/more"]
        for name in names:
            tags = ["red", "new"] if "1" in name else ["blue", "red hat"]
            put(store, name, *tags)
        assert another.purge(Purge(scope, value)) == len(names) - len(left)
        assert sorted(held(store, *names)) == sorted(left)
        assert another.purge(Purge(scope, value)) == 0

    @pytest.mark.parametrize("scope", ["url", "prefix", "tag", "all"])
    def test_what_was_asked_for_before_a_purge_is_not_kept_after_it(self, open_store: Open, scope: Scope) -> None:
        store, another = open_store(), open_store()
        value = {"url": url("a"), "prefix": url(""), "tag": "red", "all": ""}[scope]
        since = seen(store, "a")
        another.purge(Purge(scope, value))
        store.put(key("a"), cached("a"), Place(url("a"), ("red",)), KEEP, since)
        assert held(store, "a") == []
        put(store, "a", "red")
        assert held(another, "a") == ["a"]

    def test_what_was_validated_before_a_purge_is_not_kept_after_it(self, open_store: Open) -> None:
        store = open_store()
        put(store, "a")
        head, body = cached("a")
        since = seen(store, "a")
        store.invalidate(url("a"))
        store.renew(key("a"), head, Cached(b"new head", body), Place(url("a"), ()), KEEP, since)
        assert store.get(key("a")) is None

    def test_a_purge_of_another_hinders_nobody(self, open_store: Open) -> None:
        store = open_store()
        since = seen(store, "a")
        store.invalidate(url("b"))
        store.purge(Purge("tag", "blue"))
        store.purge(Purge("prefix", url("b")))
        store.put(key("a"), cached("a"), Place(url("a"), ("red",)), KEEP, since)
        assert held(store, "a") == ["a"]

    def test_who_has_seen_too_many_prefixes_go_by_is_not_kept(self, open_store: Open) -> None:
        store = open_store()
        since = seen(store, "a")
        store.purge(Purge("prefix", url("a")))
        for number in range(40):
            store.purge(Purge("prefix", url(f"b{number}")))
        store.put(key("a"), cached("a"), Place(url("a"), ()), KEEP, since)
        assert held(store, "a") == []
        put(store, "a")
        assert held(store, "a") == ["a"]

    def test_a_url_is_invalidated_for_all_at_once(self, open_store: Open) -> None:
        one, two = open_store(), open_store()
        for name in ("a", "a of bob", "b"):
            put(one, name)
        two.invalidate(url("a"))
        seen(two)
        assert held(one, "a", "a of bob", "b") == ["b"]

    @pytest.mark.parametrize("scope", ["url", "prefix", "tag", "all"])
    def test_who_waits_for_what_another_fetches_learns_of_a_purge(self, open_store: Open, scope: Scope) -> None:
        store, another = open_store(), open_store()
        place = Place(url("a"), ("red",))
        since = seen(store)
        assert not store.purged(place, since)
        another.purge(Purge(scope, {"url": url("a"), "prefix": url(""), "tag": "red", "all": ""}[scope]))
        assert not store.purged(place, seen(store))
        assert store.purged(place, since)

    def test_who_has_too_many_tags_is_not_kept(self, open_store: Open) -> None:
        store = open_store()
        put(store, "most", *(f"tag {number}" for number in range(MOST_TAGS)))
        put(store, "more", *(f"tag {number}" for number in range(MOST_TAGS + 1)))
        assert held(store, "most", "more") == ["most"]
        assert store.purge(Purge("tag", f"tag {MOST_TAGS - 1}")) == 1

    # -- claims ---------------------------------------------------------------------------------------------------

    def test_one_of_several_workers_fetches(self, open_store: Open) -> None:
        stores = [open_store() for _ in range(4)]
        assert [store.claim(key("a"), 60) for store in stores] == [True, False, False, False]
        assert stores[1].claim(key("b"), 60)

    def test_who_yields_lets_another_and_nobody_yields_for_others(self, open_store: Open) -> None:
        one, two = open_store(), open_store()
        assert one.claim(key("a"), 60)
        two.yield_(key("a"))
        assert not two.claim(key("a"), 60)
        one.yield_(key("a"))
        assert two.claim(key("a"), 60)

    def test_who_fetches_may_go_on(self, open_store: Open) -> None:
        one, two = open_store(), open_store()
        assert one.claim(key("a"), 60)
        assert one.claim(key("a"), 60)
        assert not two.claim(key("a"), 60)

    def test_a_claim_ends_by_itself(self, open_store: Open, passes: Callable[[float], None]) -> None:
        one, two = open_store(), open_store()
        assert one.claim(key("a"), 0.2)
        passes(0.3)
        assert two.claim(key("a"), 60)
        one.yield_(key("a"))
        assert not one.claim(key("a"), 60)

    # -- statistics -----------------------------------------------------------------------------------------------

    def test_what_was_stored_refused_and_purged_is_counted_for_all(self, open_store: Open) -> None:
        one, two = open_store(), open_store()
        since = seen(one)
        put(one, "a")
        put(two, "b")
        assert two.purge(Purge("url", url("a"))) == 1
        one.put(key("a"), cached("a"), Place(url("a"), ()), KEEP, since)
        found = one.statistics()
        assert found is not None
        assert (found.stored, found.refused, found.purged) == (2, 1, 1)
        assert found.entries in (1, None)
        assert found == two.statistics()
