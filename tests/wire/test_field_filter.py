"""Names of fields that pass, and that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire import http1
from headgate.wire.field_filter import KEPT_OF_ANSWERS, KEPT_OF_REQUESTS, FieldFilter

TEXT = st.text(st.sampled_from("ab-_"), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("allow", "deny", "name", "passes"),
    [
        ([], ["X-Debug"], b"x-debug", False),
        ([], ["X-Debug"], b"x_debug", False),
        ([], ["x_debug"], b"x-debug", False),
        ([], ["X-Debug"], b"x.debug", False),
        ([], ["X-Internal-*"], b"x.internal.key", False),
        ([], ["X-Debug"], b"x-debug-level", True),
        ([], ["X-Debug-*"], b"x-debug-level", False),
        ([], ["X-Debug-*"], b"x-debug", True),
        ([], ["X-Debug*"], b"x-debug", False),
        (["Accept"], [], b"accept", True),
        (["Accept"], [], b"accept-language", False),
        (["Accept*"], [], b"accept-language", True),
        (["X-A"], [], b"x_a", False),
        (["Accept*"], ["Accept-Language"], b"accept-language", False),
        (["Accept*"], ["Accept-Language"], b"accept", True),
        (["Accept"], [], b"if-match", True),
        (["Accept"], ["If-Match"], b"if-match", False),
    ],
)
def test_names(allow: list[str], deny: list[str], name: bytes, passes: bool) -> None:
    assert FieldFilter(allow, deny, KEPT_OF_REQUESTS).passes(name) is passes


@given(st.lists(TEXT), st.lists(TEXT), TEXT)
def test_what_is_denied_never_passes_in_any_spelling(allow: list[str], deny: list[str], name: str) -> None:
    lists = FieldFilter([*allow, name], [*deny, name], KEPT_OF_REQUESTS)
    for spelling in (name, name.replace("-", "_"), name.replace("_", "-")):
        assert not lists.passes(spelling.encode())


@pytest.mark.parametrize(
    "name",
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"Content-Type"],
)
def test_what_the_wire_acts_on_is_not_filtered(name: bytes) -> None:
    everything = FieldFilter(["none"], ["*"], frozenset(), refuse=True)
    assert http1.request_kinds([], "drop", field_filter=everything)[name] == http1.request_kinds([], "drop")[name]


@pytest.mark.parametrize("name", sorted(KEPT_OF_ANSWERS))
def test_what_gives_an_answer_its_meaning_passes_a_list_without_it(name: bytes) -> None:
    kinds = http1.response_kinds(field_filter=FieldFilter(["ETag"], [], KEPT_OF_ANSWERS))
    assert kinds[name] == kinds[b"ETag"] == http1.PLAIN
    assert kinds[b"Server"] == http1.DROP
