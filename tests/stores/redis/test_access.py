"""Who we are at the server: a password, a user with no more rights than needed, a database, TLS both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headgate.stores.settings import RedisTls
from tests.proxy.stage import on_loop
from tests.stores.redis.access import RIGHTS
from tests.stores.redis.gates import counted, opened
from tests.stores.redis.servers import HOST, RedisServer
from tests.wire.certificates import Authority

PASSWORD = "p@ss:word/#1"
QUOTED = "p%40ss%3Aword%2F%231"


def with_user(folder: Path, rights: str = RIGHTS) -> RedisServer:
    users = folder / "users.acl"
    users.write_text(f"user default off\nuser counter on >{PASSWORD} {rights}\n")
    return RedisServer(folder, "--aclfile", str(users))


def test_a_user_needs_no_more_rights_than_the_documentation_says(tmp_path: Path) -> None:
    @on_loop
    async def test() -> None:
        with with_user(tmp_path) as server:
            in_the_url: dict[str, Any] = {}
            for url, values in (
                (f"redis://counter:{QUOTED}@{HOST}:{server.port}", in_the_url),
                (server.url, {"username": "counter", "password": PASSWORD}),
            ):
                async with opened(url, **values) as gate:
                    assert (await gate.one(counted())).source == "store"
                    busy = counted(kind="concurrency")
                    assert (await gate.one(busy, "busy")).source == "store"
                    assert gate.changes == []

    test()


@pytest.mark.parametrize(
    ("rights", "user", "reason"),
    [
        (RIGHTS, "counter:wrong@", "WRONGPASS"),
        (RIGHTS, "", "NOAUTH"),
        (RIGHTS.replace("+set ", ""), f"counter:{QUOTED}@", "can't run this command"),
        (RIGHTS.replace("~headgate:*", "~other:*"), f"counter:{QUOTED}@", "no permissions"),
    ],
)
def test_what_is_not_allowed_is_said_without_passwords(tmp_path: Path, rights: str, user: str, reason: str) -> None:
    @on_loop
    async def test() -> None:
        with with_user(tmp_path, rights) as server:
            async with opened(f"redis://{user}{HOST}:{server.port}") as gate:
                assert (await gate.one(counted())).source == "open"
                assert gate.states == ["failing"]
                assert reason in gate.changes[0][1]
                assert "wrong" not in gate.changes[0][1]
                assert PASSWORD not in gate.changes[0][1]

    test()


def test_a_password_alone_and_a_database(tmp_path: Path) -> None:
    @on_loop
    async def test() -> None:
        with RedisServer(tmp_path, "--requirepass", "secret") as server:
            async with opened(f"redis://:secret@{HOST}:{server.port}/3", prefix="mine:") as gate:
                assert (await gate.one(counted())).source == "store"
            keyspace = server.call("INFO", "keyspace", user=("secret",))
            assert b"db3:keys=" in keyspace
            assert b"db0" not in keyspace

    test()


# -- TLS ----------------------------------------------------------------------------------------------------------


def with_tls(folder: Path, authority: Authority, *names: str) -> RedisServer:
    cert, key = authority.issue(*names)
    server = RedisServer(folder)
    server.flags = (
        "--tls-port", str(server.port), "--port", "0", "--tls-cert-file", cert, "--tls-key-file", key,
        "--tls-ca-cert-file", authority.path, "--tls-auth-clients", "yes",
    )  # fmt: skip
    return server


def test_tls_with_a_certificate_of_ours(tmp_path: Path) -> None:
    @on_loop
    async def test() -> None:
        authority = Authority(tmp_path)
        cert, key = authority.issue("gateway.test")
        with with_tls(tmp_path, authority, HOST) as server:
            tls = RedisTls(ca=authority.path, cert=cert, key=key)
            async with opened(f"rediss://{HOST}:{server.port}", tls=tls) as gate:
                assert (await gate.one(counted())).source == "store"
                assert gate.changes == []

    test()


@pytest.mark.parametrize("case", ["another name", "another authority", "no certificate of ours", "no file", "no TLS"])
def test_tls_that_cannot_be_trusted_is_not_used(tmp_path: Path, case: str) -> None:
    @on_loop
    async def test() -> None:
        authority = Authority(tmp_path)
        cert, key = authority.issue("gateway.test")
        name = "other.test" if case == "another name" else HOST
        trusted = Authority(tmp_path, "Another") if case == "another authority" else authority
        with with_tls(tmp_path, authority, name) as server:
            tls = RedisTls(
                ca=str(tmp_path / "none.pem") if case == "no file" else trusted.path,
                cert=None if case == "no certificate of ours" else cert,
                key=None if case == "no certificate of ours" else key,
            )
            scheme = "redis" if case == "no TLS" else "rediss"
            async with opened(f"{scheme}://{HOST}:{server.port}", tls=tls) as gate:
                assert (await gate.one(counted())).source == "open"
                assert gate.states == ["failing"]

    test()


def test_without_verify_any_certificate_will_do(tmp_path: Path) -> None:
    @on_loop
    async def test() -> None:
        authority = Authority(tmp_path)
        cert, key = authority.issue("gateway.test")
        with with_tls(tmp_path, authority, "other.test") as server:
            tls = RedisTls(verify=False, cert=cert, key=key)
            async with opened(f"rediss://{HOST}:{server.port}", tls=tls) as gate:
                assert (await gate.one(counted())).source == "store"

    test()
