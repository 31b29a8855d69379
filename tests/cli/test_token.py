"""`headgate token`: what it makes, the gateway takes; what it cannot make, it says, and never what it signs with."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from headgate.auth.method import Known
from headgate.auth.settings import ClaimNames, JwtIssuer
from headgate.cli.main import main
from tests.auth.tokens import SECRET, method_of, part, private_key, public_pem

CONFIG = f"""
identity:
  jwt:
    - name: app
      issuer: https://app.example
      secret: {SECRET}
      audience: [api, web]
      algorithms: [HS512, HS256]
      typ: at+jwt
      claims: {{id: user_id, tenant: org.id, roles: ["https://app.example/roles"], scopes: scp, tier: plan}}
    - {{name: login, key_set: https://login.example.com/keys}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "gw.yaml"
    file.write_text(CONFIG)
    return str(file)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Away from a headgate.yaml that may stand where the tests are run.
    monkeypatch.chdir(tmp_path)


def private_pem(kind: str, tmp_path: Path, lock: KeySerializationEncryption | None = None) -> str:
    file = tmp_path / "private.pem"
    file.write_bytes(private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()))
    return str(file)


def header_of(token: str) -> dict[str, Any]:
    text = token.partition(".")[0]
    made: dict[str, Any] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return made


def known(token: str, issuer: JwtIssuer, **files: str) -> Known:
    judged = method_of(issuer, files=files).judge(token.strip().encode(), time.time())
    assert isinstance(judged, Known), judged
    return judged


APP = JwtIssuer(
    name="app",
    issuer="https://app.example",
    secret=SECRET,
    audience=["api", "web"],
    algorithms=["HS512", "HS256"],
    typ=["at+jwt"],
    claims=ClaimNames(
        id=["user_id"], tenant=["org.id"], roles=["https://app.example/roles"], scopes=["scp"], tier=["plan"]
    ),
)


def test_a_token_is_as_the_issuer_of_the_configuration_would_make_it(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--sub", "ann", "--tenant", "acme", "--role", "admin", "--role", "two words", "--scope", "read", "--scope"]
    assert main(["token", "-c", config, *words, "write", "--tier", "gold", "--expires", "30m"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("\n") == 1
    identity, until = known(said.out, APP)[:2]
    assert (identity.id, identity.tenant, identity.tier) == ("ann", "acme", "gold")
    assert identity.roles == frozenset({"admin", "two words"})
    assert identity.scopes == frozenset({"read", "write"})
    assert 1700 < until - time.time() <= 1800
    assert header_of(said.out) == {"alg": "HS512", "typ": "at+jwt"}
    assert SECRET not in said.out


def test_json_tells_the_token_and_what_it_says(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    claims = ["--claim", "email=ann@example.com", "--claim", 'list=["a", 1]', "--claim", "aud=web", "--claim", "n=7"]
    assert main(["token", "-c", config, "--json", *claims]) == 0
    text = capsys.readouterr().out
    said = json.loads(text)
    assert known(said["token"], APP).identity.claims == said["claims"]
    told = {key: value for key, value in said["claims"].items() if key not in ("iat", "exp")}
    assert told == {
        "iss": "https://app.example",
        "aud": "web",
        "user_id": "developer",
        "email": "ann@example.com",
        "list": ["a", 1],
        "n": 7,
    }
    assert SECRET not in text


def test_a_secret_alone_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--secret", SECRET, "--audience", "api"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    judged = known(said.out, JwtIssuer(secret=SECRET, audience=["api"]))
    assert judged.identity.id == "developer"
    assert header_of(said.out) == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_need_not_stand_on_the_command_line(
    end: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(f"{SECRET}{end}".encode())))
    assert main(["token", "--secret", "-", "--audience", "api"]) == 0
    token = capsys.readouterr().out.strip()
    issuer = JwtIssuer(secret=SECRET, audience=["api"])
    assert isinstance(method_of(issuer).judge(token.encode(), time.time()), Known)


def test_no_secret_on_standard_input_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO()))
    assert main(["token", "--secret", "-"]) == 1
    assert capsys.readouterr().out == ""


def test_a_short_secret_signs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--secret", "dev-secret"]) == 0
    assert known(capsys.readouterr().out, JwtIssuer(secret="dev-secret"))


def test_a_secret_may_be_a_jwk(capsys: pytest.CaptureFixture[str]) -> None:
    secret = json.dumps({"kty": "oct", "k": part(bytes(range(128, 192))).decode(), "kid": "one"})
    assert main(["token", "--secret", secret, "--algorithm", "HS384"]) == 0
    token = capsys.readouterr().out
    assert known(token, JwtIssuer(secret=secret, algorithms=["HS384"]))
    assert header_of(token) == {"alg": "HS384", "typ": "JWT", "kid": "one"}


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("RSA", "RS256"), ("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"), ("Ed25519", "EdDSA")],
)
def test_a_private_key_signs_with_an_algorithm_of_its_own(
    kind: str, algorithm: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "--key", private_pem(kind, tmp_path)]) == 0
    token = capsys.readouterr().out
    assert header_of(token)["alg"] == algorithm
    assert known(token, JwtIssuer(public_key="pem", algorithms=[algorithm]), pem=public_pem(kind))


def test_the_algorithm_may_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--key", private_pem("RSA", tmp_path), "--algorithm", "PS384"]) == 0
    token = capsys.readouterr().out
    assert known(token, JwtIssuer(public_key="pem", algorithms=["PS384"]), pem=public_pem("RSA"))


def test_a_key_signs_as_an_issuer_that_is_known_by_its_public_half(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "public.yaml"
    (tmp_path / "public.pem").write_text(public_pem("P-256"))
    file.write_text("identity: {jwt: {issuer: https://a.example, public_key: public.pem, require: [jti]}}\n")
    good = ["token", "-c", str(file), "--key", private_pem("P-256", tmp_path)]
    assert main([*good, "--claim", "jti=1"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert header_of(said.out) == {"alg": "ES256", "typ": "JWT"}
    # What the gateway would not take is said before somebody wonders.
    assert main(good) == 0
    assert capsys.readouterr().err == (
        "headgate token: warning: the gateway would refuse it: the claim jti is missing\n"
    )
    assert main(["token", "-c", str(file), "--key", private_pem("other P-256", tmp_path)]) == 0
    assert "the signature is wrong" in capsys.readouterr().err


def test_nothing_to_sign_with(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "-c", config, "--issuer", "login"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        'headgate token: the issuer "login" is known here by its public keys, which sign nothing:'
        " give its private key with --key FILE\n"
    )
    empty = tmp_path / "empty.yaml"
    empty.write_text("listen: [127.0.0.1:8080]\n")
    assert main(["token", "-c", str(empty)]) == 1
    assert "no issuer in identity.jwt has a secret; give --secret or --key FILE" in capsys.readouterr().err
    assert main(["token"]) == 1
    assert "there is no headgate.yaml in this folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--issuer", "ap"], 'there is no issuer "ap" in identity.jwt: there are app, login'),
        (["--secret", "x"], "there are several issuers, so say which one: --issuer with one of app, login"),
        (["--algorithm", "RS256"], "a secret is used with HS256, HS384, HS512, and not with RS256"),
        (["--algorithm", "none"], "a secret is used with HS256, HS384, HS512, and not with none"),
        (["--issuer", "app", "--secret", "-----BEGIN PUBLIC KEY-----"], "the secret is a PEM or SSH key"),
        (["--issuer", "app", "--key", "nowhere.pem"], "nowhere.pem cannot be read: No such file or directory"),
        (["--issuer", "app", "--key", "gw.yaml"], "gw.yaml holds no private key in PEM form"),
    ],
)
def test_what_cannot_be_made_is_said(
    words: list[str], sentence: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "-c", config, *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"headgate token: {sentence}")
    assert SECRET not in said.err


def test_a_key_behind_a_pass_phrase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--key", private_pem("P-256", tmp_path, BestAvailableEncryption(b"phrase"))]) == 1
    assert "is encrypted: store it without pass phrase" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--claim", "nothing"], "argument --claim: expected NAME=VALUE"),
        (["--expires", "soon"], "argument --expires: expected seconds"),
        (["--secret", "x", "--key", "y"], "argument --key: not allowed with argument --secret"),
    ],
)
def test_a_wrong_command_line(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["token", *words])
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err
