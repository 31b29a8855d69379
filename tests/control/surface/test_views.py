"""Every view that can be configured is answered by somebody."""

from __future__ import annotations

from typing import get_args

from headgate.config.admin_settings import LOCAL_VIEWS, View
from headgate.control.surface.listed import _SUMMARIES
from headgate.control.surface.views import VIEWS


def test_control_answers_each_view_that_workers_do_not() -> None:
    assert set(VIEWS) == set(get_args(View)) - {*LOCAL_VIEWS, "proxy"}
    assert set(_SUMMARIES) == set(get_args(View))
