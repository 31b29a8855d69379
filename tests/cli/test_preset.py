"""`headgate preset`, and what --preset, HEADGATE_PRESET and .env mean to the other commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from headgate.cli.main import main
from headgate.cli.sources import take_dotenv
from headgate.config.preset import preset_names, preset_text

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in an empty folder with an environment that nobody else sees."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"HEADGATE_STATE_DIR": str(tmp_path / "state")})


def test_presets_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preset", "list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == preset_names()
    assert main(["preset", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["PRESET", *preset_names()]
    assert main(["preset", "show", "sandbox"]) == 0
    assert capsys.readouterr().out == preset_text("sandbox")
    assert main(["preset", "show", "sandbox", "--env"]) == 0
    assert "\n#PORT=8080\n" in capsys.readouterr().out


def test_an_unknown_preset_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["preset", "show", "sandbx"], ["check", "--preset", "sandbx"], ["run", "--preset", "sandbx"]):
        assert main(command) == 1
        assert 'there is no preset "sandbx": did you mean "sandbox"?' in capsys.readouterr().err


def test_a_preset_is_checked_with_where_each_value_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    Path("services.yaml").write_text("services: [{name: mine, url: 'http://127.0.0.1:9'}]\n")
    os.environ.update(JWT_SECRET_KEY=SECRET, PORT="8123")
    assert main(["check", "services.yaml", "--preset", "sandbox", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "# preset sandbox:" in said
    assert "services[mine].name: mine" in said
    assert "# services.yaml:1:" in said
    assert "8123" in said
    assert SECRET not in said


def test_the_environment_may_name_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["HEADGATE_PRESET"] = "sandbox"
    assert main(["check"]) == 1
    assert "JWT_SECRET_KEY is not set" in capsys.readouterr().err


def test_variables_stand_in_a_file_and_the_environment_goes_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text(f"# ours\nJWT_SECRET_KEY='{SECRET}'\nexport PORT=8124\nLITERAL=${{PORT}}\n")
    os.environ["PORT"] = "8125"
    assert main(["check", "--preset", "sandbox", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "8125" in said
    assert "8124" not in said
    assert os.environ["LITERAL"] == "${PORT}"


def test_it_is_said_whether_the_environment_or_the_file_has_a_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """S3-01: and the file in which a mistake is."""
    os.environ["RATE_LIMIT_WINDOW"] = "9"
    Path(".env").write_text(f"JWT_SECRET_KEY={SECRET}\nport=8124\nRATE_LIMIT_REQUESTS=5\nRATE_LIMIT_WINDOW=8\n")
    assert main(["check", "--preset", "sandbox", "--explain"]) == 0
    shown = capsys.readouterr().out
    for value, source in {"8124": ".env", "REQUESTS} = 5": ".env", "WINDOW} = 9": "environment"}.items():
        assert all(f"# {source}, at preset sandbox:" in each for each in shown.splitlines() if value in each)
        assert value in shown
    with Path(".env").open("a") as file:
        file.write("DEFAULT_TIMEOUT=soon\n")
    assert main(["check", "--preset", "sandbox"]) == 1
    assert ".env: error: DEFAULT_TIMEOUT: expected seconds" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"\xff\xfe=1\n"])
def test_a_file_of_variables_that_cannot_be_read_is_said(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_bytes(content)
    assert main(["check", "--preset", "sandbox"]) == 1
    assert ".env cannot be read: it is not UTF-8" in capsys.readouterr().err


def test_commands_that_only_ask_a_gateway_read_no_file_of_variables(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("HEADGATE_ADMIN=127.0.0.1:9\nHEADGATE_ADMIN_TOKEN=stolen\n")
    main(["status", "--admin", "127.0.0.1:9"])
    assert "HEADGATE_ADMIN_TOKEN" not in os.environ


def test_a_broken_line_of_a_file_hides_no_other_and_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_text("ONE=1\n\nnot a line\nexport TWO=2\nEMPTY=\nKEY='hunter2\nTHREE=3\n")
    found: dict[str, str] = {}
    take_dotenv(found, tmp_path)
    assert found == {"ONE": "1", "TWO": "2", "EMPTY": "", "THREE": "3"}
    third, sixth = capsys.readouterr().err.splitlines()
    assert third.startswith(".env:3: warning: this cannot be read")
    assert sixth.startswith(".env:6: warning: this cannot be read")
    assert "hunter2" not in sixth


@pytest.mark.parametrize(("mode", "refused"), [(0o1777, True), (0o755, False)])
def test_variables_that_another_user_may_have_planted_are_refused(
    mode: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"JWT_SECRET_KEY={SECRET}\n")
    tmp_path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(file, 12_345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    assert main(["check", "--preset", "sandbox"]) == refused
    assert (".env belongs to another user" in capsys.readouterr().err) == refused


def test_a_file_of_variables_has_a_bound(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(ValueError, match="larger than 1024 KiB"):
        take_dotenv({}, tmp_path)


def test_a_file_that_the_environment_names_goes_before_the_one_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=here\nOTHER=here\n")
    found = {"KEY_FILE": "/run/secrets/key"}
    take_dotenv(found, tmp_path)
    assert found == {"KEY_FILE": "/run/secrets/key", "OTHER": "here"}


def test_the_environment_goes_before_dotenv_in_small_letters_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\nkey=here\nother=here\nALSO=here\n")
    found = {"port": "2", "KEY_FILE": "/there"}
    assert take_dotenv(found, tmp_path) == {"other", "ALSO"}
    assert found == {"port": "2", "KEY_FILE": "/there", "other": "here", "ALSO": "here"}


def test_a_name_in_dotenv_that_nothing_reads_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text(f"JWT_SECRET_KEY={SECRET}\nRATE_LIMIT_REQUEST=5\nSOMETHING=x\nsms_service_url=http://a\n")
    assert main(["check", "--preset", "sandbox"]) == 0
    shown = capsys.readouterr()
    assert (
        ".env: warning: nothing reads RATE_LIMIT_REQUEST - did you mean RATE_LIMIT_REQUESTS?" in shown.out + shown.err
    )
    assert ".env: warning: nothing reads SOMETHING" in shown.out + shown.err
    assert "sms_service_url" not in shown.out + shown.err
