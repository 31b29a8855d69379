"""The preset `vocelio`: its variables, what they are without being set, and what is missing without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.declarations import env_example
from headgate.config.preset import preset_source, preset_text
from headgate.stores.settings import RedisStoreSettings
from tests.acceptance.gateway import Gateway, headgate
from tests.acceptance.stub import Stub
from tests.acceptance.vocelio import PRESET, SECRET, SERVICES, problems, resolved, running, token, variable
from tests.control.driver import until
from tests.stores.redis.servers import RedisServer


def test_it_starts_as_in_local_development(tmp_path: Path) -> None:
    """S1-01: with the description's three variables, and neither a database nor Redis there."""
    env = {
        "DATABASE_URL": "postgresql://localhost:1/vocelio",
        "REDIS_URL": "redis://localhost:1",
        "JWT_SECRET_KEY": SECRET,
        "HOST": "127.0.0.1",
    }
    with Gateway(tmp_path, PRESET, env=env, options=("--workers", "1")) as gateway:
        assert gateway.shown("/health")["status"] in ("healthy", "degraded")
        seen = until(lambda: gateway.shown("/health").get("dependencies"), "Redis was looked at")
        assert seen["redis"]["ok"] in ("error", "unknown")
        # Limits go on, counted here.
        answer = gateway.get("/api/v1/overview/x", bearer=token())
        assert answer.status == 503
        assert answer.headers["x-ratelimit-remaining"].isdigit()


def test_where_it_listens() -> None:
    (listener,) = resolved().listeners
    assert listener.address == "0.0.0.0:8000"
    (listener,) = resolved(HOST="127.0.0.1", PORT="9000").listeners
    assert listener.address == "127.0.0.1:9000"


@pytest.mark.parametrize(("place", "service"), list(enumerate(SERVICES)))
def test_where_services_are_by_default(place: int, service: str) -> None:
    """S1-06: one variable each; ports in the order of the table."""
    found = resolved()
    assert found.services[place].name == service
    assert [str(each.name) for each in found.services[place].endpoints] == [f"{service}-service:{8001 + place}"]
    everywhere = {variable(name): f"http://10.0.0.1:{9000 + each},http://b:9" for each, name in enumerate(SERVICES)}
    elsewhere = resolved(**everywhere).services[place]
    assert [each.name for each in elsewhere.endpoints] == [f"10.0.0.1:{9000 + place}", "b:9"]


def test_instances_may_register_themselves(tmp_path: Path) -> None:
    with Stub("one") as stub, running(tmp_path, only=(), env={"SERVICE_DISCOVERY": "registry"}) as run:
        record = {"id": "o1", "name": "overview", "host": "127.0.0.1", "port": stub.port, "health_check": "/health"}
        assert run.gateway.tell("POST", "/services", record).status == 201
        until(lambda: run.gateway.get("/api/v1/overview/x", bearer=token()).status == 200, "the instance is known")


@pytest.mark.parametrize(
    ("value", "kind"), [("kubernetes", "kubernetes"), ("consul", "consul"), ("registry", "registry")]
)
def test_services_may_be_found_out(value: str, kind: str) -> None:
    config = resolved(SERVICE_DISCOVERY=value, CONSUL_URL="http://consul:8500")
    assert {each.discovery.type for each in config.services if each.discovery is not None} == {kind}
    assert all(not each.endpoints for each in config.services)


def test_where_limits_are_counted(redis: RedisServer) -> None:
    assert resolved().store.type == "shared"
    store = resolved(REDIS_URL=redis.url).store
    assert isinstance(store, RedisStoreSettings)
    # Long enough for a busy machine: a count that is given up lets more through.
    assert (store.url, store.timeout) == ([redis.url], 1)


def test_where_keys_are_kept() -> None:
    database = resolved(DATABASE_URL="postgresql://user:pass@db:5432/vocelio").database
    assert database is not None
    assert database.url == "postgresql://user:pass@db:5432/vocelio"


@pytest.mark.parametrize(
    ("env", "bytes_"),
    [({}, 16 * 1024**2), ({"MAX_REQUEST_SIZE": "1048576"}, 1024**2), ({"MAX_REQUEST_SIZE": "1MiB"}, 1024**2)],
)
def test_how_large_requests_may_be(env: dict[str, str], bytes_: int) -> None:
    assert {each.max_body for each in resolved(**env).routes} == {bytes_}


def test_pages_that_may_ask_by_default() -> None:
    cors = resolved().cors
    assert cors is not None
    assert cors.origins == ["http://localhost:3000", "https://app.vocelio.ai", "https://dashboard.vocelio.ai"]
    assert cors.credentials
    assert resolved().trusted_hosts == ("localhost", "127.0.0.1", "*.vocelio.ai", "*.railway.app")


@pytest.mark.parametrize(
    ("env", "health"),
    [
        ({}, (30, 5, 3)),
        ({"HEALTH_CHECK_INTERVAL": "15", "HEALTH_CHECK_TIMEOUT": "2s", "UNHEALTHY_THRESHOLD": "5"}, (15, 2, 5)),
    ],
)
def test_how_services_are_checked(env: dict[str, str], health: tuple[int, int, int]) -> None:
    found = resolved(**env).services[0].health
    assert found is not None
    assert (found.interval, found.timeout, found.unhealthy_threshold) == health


def test_workers_and_load_balancers() -> None:
    assert resolved(WORKERS="3").workers == resolved(WEB_CONCURRENCY="3").workers == 3
    assert list(resolved(TRUSTED_PROXIES="10.0.0.0/8,fd00::/8").forwarding.trust) == ["10.0.0.0/8", "fd00::/8"]
    assert resolved(CACHE_SIZE="8MiB").cache_store.size == 8 * 1024**2


@pytest.mark.parametrize("name", ["REDIS_MAX_CONNECTIONS", "DATABASE_POOL_SIZE"])
def test_variables_that_are_taken_and_have_no_effect_say_so(tmp_path: Path, name: str) -> None:
    said = headgate(tmp_path, "check", "--preset", PRESET, env={"JWT_SECRET_KEY": SECRET, name: "50"})
    assert said.returncode == 0
    assert f"{name} has no effect: " in said.stdout + said.stderr
    assert problems(JWT_SECRET_KEY=SECRET, **{name: "many"}) != []


def test_the_secret_may_come_from_a_file_and_from_env(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file-0123456789abcdef-0123456789\n")
    assert resolved(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(tmp_path / "secret")).identity.jwt[0].secret == (
        "from-a-file-0123456789abcdef-0123456789"
    )
    (tmp_path / ".env").write_text("JWT_SECRET_KEY=from-dot-env-0123456789abcdef-0123456789\nRATE_LIMIT_REQUESTS=7\n")
    explained = headgate(tmp_path, "check", "--preset", PRESET, "--explain", env={"RATE_LIMIT_REQUESTS": "8"})
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert "from-dot-env" not in explained.stdout + explained.stderr


def test_without_the_secret_it_does_not_start(tmp_path: Path) -> None:
    """S1-02: and says what is missing in one sentence."""
    said = headgate(tmp_path, "run", "--preset", PRESET, env={"PORT": "0"})
    assert said.returncode == 1
    assert "JWT_SECRET_KEY is not set, and the gateway cannot start without it" in said.stderr


def test_the_example_lists_all_variables() -> None:
    text = preset_text(PRESET)
    shipped = Path(env_example.__code__.co_filename).parent / "presets" / f"{PRESET}.env.example"
    assert shipped.read_text() == env_example(text, preset_source(PRESET))
