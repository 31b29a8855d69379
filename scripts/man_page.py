"""Write docs/headgate.1, the manual page, from the parsers of the commands.

.venv/bin/python scripts/man_page.py            write it
.venv/bin/python scripts/man_page.py --check    fail if it is not current
"""

from __future__ import annotations

import sys
from pathlib import Path

from headgate import __version__
from headgate.cli.completion import Option, all_words

FILE = Path(__file__).resolve().parent.parent / "docs" / "headgate.1"
_ABOUT = """\
Headgate is an API gateway and service-mesh proxy for AI microservices. It reads one or more files of YAML, a preset
that comes with it, or both, and serves until it is told to stop.
"""
_STATUS = {
    "0": "It went well.",
    "1": "The configuration or the start did not; standard error says why.",
    "2": "The command line is wrong.",
    "128 + signal": "It was told to stop a second time while it drained.",
}
_VARIABLES = {
    "HEADGATE_PRESET": "The preset, where --preset names none.",
    "HEADGATE_ADMIN": "The admin address that commands ask.",
    "HEADGATE_ADMIN_TOKEN": "The token of the admin address.",
    "HEADGATE_STATE_DIR": "What outlives the gateway: keys, the pepper, the token.",
    "HEADGATE_KEY_PEPPER": "What API keys are hashed with.",
    "DATABASE_URL": "Where keys and registrations are kept; by default SQLite in the state_dir.",
    "LISTEN_FDS, LISTEN_PID, NOTIFY_SOCKET": "As systemd sets them.",
}
_FILES = {
    "headgate.yaml": "Read when the command line names no file.",
    ".env": "Variables, of which those of the environment win.",
}
_SEE_ALSO = r"\fBheadgate demo\fR shows one at work; \fBheadgate\fR \fICOMMAND\fR \fB\-\-help\fR tells of one command."
_SIGNALS = {
    "SIGTERM, SIGINT": "Drain: take no more, finish what is in flight. The second time: end at once.",
    "SIGHUP": "Load the configuration anew.",
    "SIGUSR1": "Open log files anew.",
}


def page() -> str:
    """Return the page, in the macros of man(7)."""
    lines = [f'.TH HEADGATE 1 "" "headgate {__version__}" "User Commands"']
    lines += [".SH NAME", "headgate \\- an API gateway for AI microservices"]
    lines += [".SH SYNOPSIS", ".B headgate", ".I COMMAND", "[\\fIARGUMENTS\\fR]"]
    lines += [".SH DESCRIPTION", *map(_escape, _ABOUT.splitlines())]
    lines += [".SH COMMANDS"]
    for each in filter(lambda words: words.help, all_words()):
        lines += [".SS " + _escape("headgate " + " ".join(each.path)), _escape(_sentence(each.help))]
        for option in each.options:
            if "--help" not in option.names:
                lines += [".TP", _names(option), _escape(_sentence(option.help))]
    for title, entries in (
        ("EXIT STATUS", _STATUS),
        ("ENVIRONMENT", _VARIABLES),
        ("FILES", _FILES),
        ("SIGNALS", _SIGNALS),
    ):
        lines.append(f".SH {title}")
        for name, text in entries.items():
            lines += [".TP", f"\\fB{_escape(name)}\\fR", _escape(text)]
    lines += [".SH SEE ALSO", _SEE_ALSO]
    return "\n".join(lines) + "\n"


def _names(option: Option) -> str:
    names = ", ".join(f"\\fB{_escape(name)}\\fR" for name in option.names)
    return f"{names} \\fI{_escape(option.value)}\\fR" if option.value else names


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _escape(text: str) -> str:
    """Write a text so that no character of it is a request, an escape or a dash that a search would not find."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq").replace("%%", "%")
    return f"\\&{text}" if text.startswith(".") else text


def main() -> int:
    """Write it, or check it."""
    text = page()
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text)
        return 0
    if FILE.exists() and FILE.read_text() == text:
        return 0
    print("docs/headgate.1 is not what the commands say: scripts/man_page.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
