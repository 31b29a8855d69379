"""Templates of own endpoints: what they make, what they must not hold, and that they cannot grow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config import body_templates
from headgate.config.body_templates import MOST_BYTES, Body, Refused

RECORD: dict[str, Any] = {
    "status": "healthy",
    "timestamp": 1640995200.123,
    "uptime": {"seconds": 86_400},
    "services": {"chat": {"state": "open", "calls": 3}, "voice": {"state": "closed", "calls": 0}},
    "listed": [1, 2, 3],
    "nothing": None,
    "path": "<script>",
}


def made(written: Any, record: dict[str, Any] = RECORD, content_type: str | None = None) -> str:
    return Body(written, content_type).render(record).decode()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"a": "{{ status }}"}, {"a": "healthy"}),
        ({"a": "{{ uptime.seconds }}"}, {"a": 86_400}),
        ({"a": "{{ uptime }}"}, {"a": {"seconds": 86_400}}),
        ({"a": "up {{ uptime.seconds }} s"}, {"a": "up 86400 s"}),
        ({"a": "{{ nothing }}", "b": "{{ absent }}", "c": "{{ absent.deeper }}"}, {"a": None}),
        ({"a": "{{ absent | default('x') }}"}, {"a": "x"}),
        ({"a": 1, "b": [True, None, "{{ absent }}", "{{ status }}"]}, {"a": 1, "b": [True, None, "healthy"]}),
        ({"a": "{{ timestamp | iso }}"}, {"a": "2022-01-01T00:00:00Z"}),
        ({"a": "{{ timestamp | iso('', 6) }}"}, {"a": "2022-01-01T00:00:00.123000"}),
        ({"a": "{{ timestamp | iso('Z', 3) }}"}, {"a": "2022-01-01T00:00:00.123Z"}),
        ({"a": "{{ 93784 | clock }}", "b": "{{ 59 | clock }}"}, {"a": "1 day, 2:03:04", "b": "0:00:59"}),
        ({"a": "{{ services | length }}"}, {"a": 2}),
        ({"a": "{{ services.chat.calls + 1 }}"}, {"a": 4}),
        ({"a": "{{ 'yes' if status == 'healthy' else 'no' }}"}, {"a": "yes"}),
        ({"a": "{{ services.values() | map(attribute='calls') | sum }}"}, {"a": 3}),
        ({1: "{{ status }}"}, {"1": "healthy"}),
        ([], []),
        ({}, {}),
    ],
)
def test_mappings_are_filled_part_by_part(written: Any, said: Any) -> None:
    assert json.loads(made(written)) == said


def test_a_text_may_loop_and_write_json_of_any_shape() -> None:
    text = "{ {% for name, each in services.items() %}{{ name | tojson }}: {{ each.state | tojson }}"
    text += "{% if not loop.last %}, {% endif %}{% endfor %} }"
    assert json.loads(made(text)) == {"chat": "open", "voice": "closed"}


@pytest.mark.parametrize(
    "kind", ["text/html", "text/html; charset=utf-8", "Text/HTML", "application/xhtml+xml", "image/svg+xml"]
)
def test_what_is_put_into_markup_is_escaped(kind: str) -> None:
    assert made("<p>{{ path }}</p>", content_type=kind) == "<p>&lt;script&gt;</p>"
    assert made("<p>{{ path | replace('s', '<') }}</p>", content_type=kind) == "<p>&lt;&lt;cript&gt;</p>"
    for other in (None, "text/plain"):
        assert made("{{ path }}", content_type=other) == "<script>"


@pytest.mark.parametrize(
    "written",
    [
        "{{ open", "{% for a in b %}", "{{ a | nosuch }}", "{{ a is nosuch }}", "{% set a = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'a' %}", "{% import 'a' as b %}", "{% extends 'a' %}", "{% block a %}{% endblock %}",
        "{% call a() %}{% endcall %}", "{% filter upper %}{% endfilter %}", "{{ 9 ** 99999999 }}", "{{ range(9) }}",
        "{{ ''.format(1) }}", "{{ a.update(b) }}", "{{ a.pop('x') }}", "{{ namespace(a=1) }}", "{{ a | attr('b') }}",
        "{{ a | format(1) }}", "{{ a | indent(999999999) }}", "{{ a | center(999999999) }}", "{{ a | batch(3) }}",
        "{% for a in b recursive %}{{ loop(a) }}{% endfor %}",
        "{% for a in b %}{% for c in b %}{% for d in b %}{% endfor %}{% endfor %}{% endfor %}",
        {"a": "{{ a() }}"}, ["{{ a.b() }}"], {"a": {"b": "{% set a = 1 %}"}},
    ],
)  # fmt: skip
def test_what_may_not_stand_in_one_is_refused_before_it_is_used(written: Any) -> None:
    with pytest.raises(Refused):
        Body(written)


@pytest.mark.parametrize(
    "written",
    [
        "{{ 'a' * 999999999999 }}", "{{ [1] * 999999999999 }}", "{{ '%999999999d' % 1 }}", "{{ 1 / 0 }}",
        "{{ listed | map('attr', '__class__') | list }}", "{{ 'x' + 1 }}", "{{ status.items() }}",
    ],
)  # fmt: skip
def test_what_goes_wrong_as_it_is_filled_is_said(written: str) -> None:
    with pytest.raises(Refused):
        made(written)


@pytest.mark.parametrize(
    "expression",
    [
        "status.__class__",
        "uptime.__init__.__globals__",
        "listed.append",
        "uptime['__class__']",
        "self.__init__",
        "cycler",
    ],
)
def test_nothing_but_the_record_is_reached(expression: str) -> None:
    shown = made(f"[{{{{ {expression} }}}}]")
    assert "class" not in shown
    assert "built-in" not in shown or expression == "listed.append"


# Any of them would take all memory, or minutes.
BOMBS = {
    "a text in place of each letter": "{{ text" + " | replace('x', text)" * 3 + " | length }}",
    "many such": "{{ listed | map('replace', '1', text) | map('replace', 'x', text) | list | length }}",
    "a text between any two": "{{ text | list | join(text) | list | join(text) | length }}",
    "many joined": "{{ listed | map('string') | map('join', text) | list | length }}{{ (text | list) | join(text) }}",
    "JSON far to the right": "{{ listed | tojson(indent=999999999) }}",
    "loops that do nothing": "{% for a in text | list %}{% for b in text | list %}{% endfor %}{% endfor %}",
    "digits": "{{ 1 | round(-99999999) }}",
    "digits of a float": "{{ 1.5 | round(99999999, 'floor') }}",
}


@pytest.mark.parametrize("what", BOMBS)
def test_no_filter_and_no_loop_is_a_bomb(what: str) -> None:
    with pytest.raises(Refused):
        made(BOMBS[what], {"text": "x" * 10_000, "listed": list(range(10_000))})


def test_filters_that_are_watched_do_what_they_do_elsewhere() -> None:
    record = {"names": ["a", "b"], "each": [{"n": 1}, {"n": 2}], "pi": 3.14159}
    assert made("{{ names | join(', ') }} {{ each | join('-', attribute='n') }}", record) == "a, b 1-2"
    assert made("{{ 'aaa' | replace('a', 'b', 2) }} {{ names | tojson }}", record) == 'bba ["a", "b"]'
    assert made("{{ pi | round(2) }} {{ pi | round(1, 'ceil') }} {{ 1234 | round(-2) }}", record) == "3.14 3.2 1200"
    text = "{% for a in names %}{{ loop.index }}/{{ loop.length }}{{ a }}{{ '' if loop.last else ' ' }}{% endfor %}"
    assert made(text, record) == "1/2a 2/2b"


def test_what_grows_too_large_or_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    large = {"text": "x" * 10_000, "listed": list(range(1000))}
    with pytest.raises(Refused, match="more than"):
        made("{% for each in listed %}{{ text }}{% endfor %}", large)
    with pytest.raises(Refused, match="more than"):
        made({"a": "{{ text }}"}, {"text": "x" * (MOST_BYTES + 1)})
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(body_templates, "monotonic", lambda: next(ticks) / 1000)
    with pytest.raises(Refused, match="longer than"):
        made("{% for a in listed %}{% for b in listed %}{% if a.x == b.y %}{% endif %}{% endfor %}{% endfor %}", large)


@given(st.text(alphabet="{}%#' .|()[]~+-*/abcforinif012_\n", max_size=60))
def test_no_text_does_anything_but_be_refused_or_filled(text: str) -> None:
    try:
        Body(text).render(RECORD)
        Body({"a": text}).render(RECORD)
    except Refused:
        pass
