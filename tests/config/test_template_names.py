"""Names in templates that the record of a view does not have."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.config.body_templates import Body
from headgate.config.surface_names import NAMES
from headgate.config.template_names import unknown_names


def unknown(view: str, body: Any) -> list[str]:
    Body(body)
    return [each.name for each in unknown_names(body, NAMES[view])]


@pytest.mark.parametrize(
    ("view", "body"),
    [
        ("health", "{{ status }} {{ uptime.seconds }} {{ workers[0].pid }}"),
        ("health", {"redis": "{{ dependencies.redis.ok }}", "n": ["{{ services.summary.total_services }}"], "k": 1}),
        ("health", "{{ dependencies['my redis'].status }}{{ checks['cpu'].usage_percent }}"),
        ("health", "{% for name, each in dependencies.items() %}{{ loop.index }}{{ name }}{{ each.ok }}{% endfor %}"),
        ("health", "{% for name, each in dependencies | dictsort %}{{ name }} {{ each.ok }}{% endfor %}"),
        ("health", "{% for each in dependencies.values() %}{{ each.ok }}{% else %}{{ plan }}{% endfor %}"),
        ("health", "{{ nothing | default('-') }}{{ a.b.c | d(1) }}{% if nothing is defined %}x{% endif %}"),
        ("requests", "{% for each in items | sort(attribute='status') %}{{ each.path }}{% endfor %}"),
        ("requests", "{{ (items | first).identity.whatever }}{{ items.get('x').y }}{{ (items | length) + 1 }}"),
        ("status", "{{ services.chat.instances[0].health_score if services else summary.total_services }}"),
        ("metrics", "{{ status_codes.distribution['200'].count / requests.total }}{{ errors.dns }}"),
        ("config", "{% for s in services %}{% for r in s.routes %}{{ r.match.path.exact }}{% endfor %}{% endfor %}"),
    ],
)
def test_what_the_record_has_is_known(view: str, body: Any) -> None:
    assert unknown(view, body) == []


@pytest.mark.parametrize(
    ("view", "body", "names"),
    [
        ("health", "{{ state }}", ["state"]),
        ("health", {"a": {"b": ["{{ uptime.second }}", "{{ uptime.second }}"]}}, ["uptime.second"]),
        ("health", "{{ dependencies.redis.fine }}", ["dependencies.redis.fine"]),
        ("health", "{{ checks['gpu'].status }}", ["checks['gpu']"]),
        ("health", "{{ workers[0].id | upper }}", ["workers[0].id"]),
        (
            "health",
            "{% for n, each in dependencies.items() %}{{ each.fine }}{% endfor %}{{ each }}",
            ["each.fine", "each"],
        ),
        ("health", "{% for each in (workers | list) if each.up %}{% endfor %}", ["each.up"]),
        ("health", "{{ status | default(other) }}", ["other"]),
        ("requests", "{{ (items | first).code }}{{ 'x' ~ url if next == cursor else later }}", None),
        ("ready", "{{ services }}", ["services"]),
    ],
)
def test_what_it_has_not_is_found(view: str, body: Any, names: list[str] | None) -> None:
    found = unknown(view, body)
    assert found == names if names is not None else sorted(found) == ["....code", "cursor", "later", "url"]


def test_a_slip_is_told_with_what_may_have_been_meant() -> None:
    (found,) = unknown_names("{{ uptime.second }}", NAMES["live"])
    assert found.hint == 'did you mean "seconds"?'
