"""The examples of the reference page show what they claim to."""

from __future__ import annotations

from headgate.config.examples import EXAMPLES
from tests.config.golden import load_text


def test_the_examples_of_services_have_no_warning() -> None:
    for name, text in EXAMPLES.items():
        assert load_text(text, environ={}).notices == [], name
