"""The plugins in examples/: each holds the contract, and does what it says."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
from pathlib import Path

import pytest

from examples.plugins.prompt_gate import PromptGate
from examples.plugins.tenant_signer import TenantSigner
from headgate.plugin import Deny, Identity, Pass, Plugin
from headgate.plugin.testing import (
    PluginContract,
    Unusable,
    a_request,
    a_response,
    ask,
    check_contract,
    edit,
    load_plugin,
)

SECRET = "a secret of many characters"
CONFIGS: dict[type[Plugin], dict[str, object]] = {TenantSigner: {"secret": SECRET}, PromptGate: {}}
FOLDER = Path(__file__).parent.parent.parent / "examples" / "plugins"


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: str(cls.__name__))
def test_each_holds_the_contract(cls: type[Plugin]) -> None:
    check_contract(cls, CONFIGS[cls])


def test_each_example_is_in_the_table() -> None:
    found = set()
    for path in FOLDER.glob("*.py"):
        module = importlib.import_module(f"examples.plugins.{path.stem}")
        found |= {each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Plugin)}
    assert found - {Plugin} == set(CONFIGS)


class TestPromptGate(PluginContract):
    """The contract as an author of plugins would write it."""

    plugin = PromptGate
    config = {"max_characters": 10}


# -- the signer ---------------------------------------------------------------------------------------------------


def test_the_signature_is_what_an_upstream_expects() -> None:
    signer = load_plugin(TenantSigner, {"secret": SECRET})
    caller = Identity("user", "u", "acme")
    verdict = ask(signer, a_request("/x", identity=caller, request_id="id-1", time=1_767_225_600.9))
    mac = hmac.new(SECRET.encode(), b"acme\n1767225600\nid-1\nGET", hashlib.sha256).hexdigest()
    assert verdict == Pass({"X-Tenant-Signature": f"v1; tenant=acme; time=1767225600; id=id-1; mac={mac}"})


def test_tenants_cannot_write_parts_of_their_own() -> None:
    signer = load_plugin(TenantSigner, {"secret": SECRET, "header": "X-Sig"})
    verdict = ask(signer, a_request(identity=Identity("user", "u", "a; time=0\nb")))
    assert isinstance(verdict, Pass)
    [value] = verdict.set_headers.values()
    assert isinstance(value, str)
    assert value.startswith("v1; tenant=a%3B%20time%3D0%0Ab; time=1767225600; ")


def test_without_a_tenant_nothing_is_signed() -> None:
    verdict = ask(load_plugin(TenantSigner, {"secret": SECRET}), a_request())
    assert isinstance(verdict, Deny)
    assert verdict.status == 403
    relaxed = load_plugin(TenantSigner, {"secret": SECRET, "required": False})
    assert ask(relaxed, a_request(headers={"X-Tenant-Signature": "forged"})) == Pass(
        remove_headers=["X-Tenant-Signature"]
    )


def test_a_short_secret_is_refused_and_not_told() -> None:
    with pytest.raises(Unusable, match="16 characters") as caught:
        load_plugin(TenantSigner, {"secret": "short-one"})
    assert "short-one" not in str(caught.value)


# -- the gate -----------------------------------------------------------------------------------------------------


def gate(**config: object) -> PromptGate:
    made = load_plugin(PromptGate, config)
    assert isinstance(made, PromptGate)
    return made


def asking(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("document", "characters"),
    [
        ({"prompt": "12345"}, 5),
        ({"prompt": ["123", "45"]}, 5),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "12345"}]}]}, 5),
        ({"messages": [{"role": "user", "content": "12345"}]}, 5),
        ({"messages": [{"content": [{"type": "text", "text": "123"}, {"type": "image"}]}, {"content": "45"}]}, 5),
        ({"system": "123", "messages": [{"content": "45"}]}, 5),
        ({"messages": [{"content": "\u00fc\u4e2d\U0001f600"}]}, 3),
        ({"model": "a long name of a model"}, 0),
        ({"messages": None, "prompt": 5}, 0),
    ],
)
def test_characters_are_counted_wherever_a_prompt_stands(document: object, characters: int) -> None:
    body = asking(document)
    assert ask(gate(max_characters=max(1, characters)), a_request(body=body)) == Pass()
    if characters > 1:
        verdict = ask(gate(max_characters=characters - 1), a_request(body=body))
        assert isinstance(verdict, Deny)
        assert (verdict.status, verdict.reason) == (413, f"{characters} characters")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"],
)
def test_what_is_no_strict_object_gets_400(body: bytes) -> None:
    verdict = ask(gate(), a_request(body=body))
    assert isinstance(verdict, Deny)
    assert verdict.status == 400


def test_conversations_and_bodies_have_bounds_too() -> None:
    long = asking({"messages": [{"content": ""}] * 3})
    assert ask(gate(max_messages=3), a_request(body=long)) == Pass()
    assert isinstance(ask(gate(max_messages=2), a_request(body=long)), Deny)
    assert ask(gate(max_body="1KiB"), a_request(body=b" " * 1025)) == Deny(413)


def test_other_methods_pass_and_answers_tell_the_bound() -> None:
    assert ask(gate(), a_request()) == Pass()
    assert edit(gate(max_characters=7), a_request(), a_response()).headers.get("X-Prompt-Limit") == "7"
