"""The engine's tests run for both versions of HTTP: what a client says and hears is the same.

Each test that connects through the rig runs a second time with its clients bridged to HTTP/2 (tests.proxy.bridge). What
exists in one version only stands in `HTTP1_ONLY` with its reason, a whole file or one test of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy import stage
from tests.proxy.bridge import bridged

_FRAMING = "how HTTP/1 frames a message, or ends a connection, is what it is about"
_ORDER = "requests behind one another are beside one another in HTTP/2"
_TARGETS = "forms of a target, of names and of first lines that HTTP/2 cannot write"
_INSIDE = "looks at what is inside an HTTP/1 connection"
_HANDSHAKE = "the keys of a WebSocket's opening are HTTP/1's own; tunnels of HTTP/2 have tests of their own"
_VERSION = "what is told names the version"
_TLS = "is about the choice of certificates, not about requests"

HTTP1_ONLY: dict[str, str] = {
    "test_answers.py::test_more_connections_than_allowed_are_told_so": "is told before a version is spoken",
    "test_answers.py::test_a_connection_serves_so_many_requests": _FRAMING,
    "test_answers.py::test_a_request_that_does_not_come_in_time": _FRAMING,
    "test_answers.py::test_ids_are_configurable_and_stand_on_every_answer": _TARGETS,
    "test_answers.py::test_one_line_tells_of_a_request_what_there_is_to_tell": _VERSION,
    "test_answers.py::test_the_log_goes_to_its_file_and_to_a_new_one_after_a_rename": _VERSION,
    "test_cache.py::test_an_upgrade_passes_by": _HANDSHAKE,
    "test_cache_safety.py::test_a_request_that_is_malformed_leaves_nothing_behind": _FRAMING,
    "test_client_certificates.py": _TLS,
    "test_header_filter.py::test_a_request_with_a_denied_field_is_refused": _TARGETS,
    "test_header_filter.py::test_a_denied_trailer_is_refused_where_denied_fields_are": _TARGETS,
    "test_header_filter.py::test_a_websocket_opens_behind_lists_that_do_not_name_its_fields": _HANDSHAKE,
    "test_hedging.py::test_only_what_may_be_asked_twice_is": _HANDSHAKE,
    "test_leaving.py": _ORDER,
    "test_messages.py::test_an_answer_is_framed_for_its_client": _FRAMING,
    "test_messages.py::test_100_is_swallowed_and_103_passed_on_to_those_who_know_it": _FRAMING,
    "test_messages.py::test_hop_by_hop_fields_stay_on_their_hop": _FRAMING,
    "test_messages.py::test_http_1_0_closes_unless_asked_to_stay": _FRAMING,
    "test_messages.py::test_connections_are_reused_on_both_sides": _ORDER,
    "test_messages.py::test_pipelined_requests_are_answered_in_order": _ORDER,
    "test_messages.py::test_pipelined_requests_with_streamed_answers_get_their_own": _ORDER,
    "test_messages.py::test_a_thousand_pipelined_requests_that_need_nobody_are_answered": _ORDER,
    "test_messages.py::test_requests_are_read_ahead_only_so_far": _ORDER,
    "test_messages.py::test_no_100_continue_for_a_body_that_nobody_wants": _FRAMING,
    "test_messages.py::test_the_absolute_form_names_the_host": _TARGETS,
    "test_overload.py::test_a_tunnel_holds_no_place": _HANDSHAKE,
    "test_plugins.py::test_requests_behind_one_another_have_each_their_own_body": _ORDER,
    "test_plugins.py::test_who_waits_behind_a_body_that_is_too_large_holds_no_more_of_it": _INSIDE,
    "test_plugins.py::test_who_is_refused_is_not_told_to_send": _FRAMING,
    "test_plugins.py::test_broken_chunks_are_the_clients_failure": _FRAMING,
    "test_plugins.py::test_a_websocket_passes": _HANDSHAKE,
    "test_plugins.py::test_an_error_on_an_agreed_websocket_leaves_nobody_behind": _HANDSHAKE,
    "test_records.py::test_a_request_that_goes_well_is_told_whole": _VERSION,
    "test_records.py::test_a_tunnel_is_told_when_it_is_over": _HANDSHAKE,
    "test_records.py::test_a_tunnel_is_not_slow": _HANDSHAKE,
    "test_reload.py::test_draining_answers_what_is_asked_and_closes_behind_it": _FRAMING,
    "test_reload.py::test_idle_clients_are_let_go_and_a_half_sent_request_is_waited_for": _FRAMING,
    "test_reload_identity.py": _ORDER,
    "test_retries.py::test_a_client_held_back_by_an_upstream_that_breaks_is_read_on": _INSIDE,
    "test_security_answers.py::test_a_switch_of_protocols_has_them_too": _HANDSHAKE,
    "test_streams.py::test_a_client_that_asks_and_never_reads_is_not_answered_into_memory": _ORDER,
    "test_streams.py::test_an_answer_overtakes_the_upload_it_does_not_want": _FRAMING,
    "test_streams.py::test_pipelined_requests_of_a_client_that_left_are_not_begun": _ORDER,
    "test_streams.py::test_a_broken_chunk_is_answered_and_never_completed": _FRAMING,
    "test_tls.py": _TLS,
    "test_trusted_hosts.py::test_the_target_s_host_is_judged_and_none_is_none": _TARGETS,
    "test_upgrades.py": _HANDSHAKE,
}


def _reason(node: pytest.Metafunc) -> str | None:
    name = node.definition.nodeid.rpartition("/")[2].partition("[")[0]
    if name.startswith(("test_http2", "test_grpc", "test_threats_http2")):
        return "speaks HTTP/2 by itself"
    return HTTP1_ONLY.get(name.partition("::")[0]) or HTTP1_ONLY.get(name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test for HTTP/2, too, if it has a case there."""
    text = Path(metafunc.module.__file__).read_text()
    plays = hasattr(metafunc.function, "__wrapped__") and ("rig.client(" in text or "rig.ask(" in text)
    versions = [1, 2] if plays and _reason(metafunc) is None else [1]
    metafunc.parametrize("http_version", versions, ids=[f"http{each}" for each in versions], indirect=True)


@pytest.fixture(autouse=True)
def http_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let clients of the rig speak this version."""
    version: int = request.param
    if version == 2:
        monkeypatch.setattr(stage, "dial", bridged)
    yield version
