"""Files with which systemd or launchd starts the watcher at login."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from qvsearch.display import safe_text
from qvsearch.errors import QvsearchError
from qvsearch.freshness.power import NICE

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_ESCAPED = re.compile(r'["\\]|[^ -~]')


def systemd_unit(
    name: str, command: Sequence[str], environment: Mapping[str, str], *, nice: bool
) -> str:
    """Return a user service of systemd; see systemd.service(5) for its quoting.

    It has no network: with the model on the disk none is needed.
    """
    variables = [f"Environment={_quoted(f'{key}={value}')}" for key, value in environment.items()]
    priority = [f"Nice={NICE}", "IOSchedulingClass=idle"] if nice else []
    lines = [
        "[Unit]",
        f"Description=Keep the qvsearch library {_one_line(name)} up to date",
        "",
        "[Service]",
        f"ExecStart={' '.join(_quoted(each, dollars=True) for each in command)}",
        *variables,
        *priority,
        "RestrictAddressFamilies=AF_UNIX",
        "Restart=on-failure",
        "RestartSec=30",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def launchd_plist(
    label: str, command: Sequence[str], environment: Mapping[str, str], log: Path, *, nice: bool
) -> bytes:
    """Return an agent of launchd; see launchd.plist(5).

    Raises QvsearchError for a text that XML cannot hold.
    """
    for text in (*command, *environment.values()):
        if safe_text(text) != text:
            raise QvsearchError(
                f"an agent of launchd cannot have {safe_text(text)}, which has a character that is"
                " not printed; rename it"
            )
    plist: dict[str, object] = {
        "Label": label,
        "ProgramArguments": list(command),
        "EnvironmentVariables": dict(environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    if nice:
        plist |= {"Nice": NICE, "LowPriorityIO": True, "ProcessType": "Background"}
    return plistlib.dumps(plist)


def _quoted(text: str, *, dollars: bool = False) -> str:
    """Return a word as systemd reads it; in ExecStart a dollar begins a variable."""
    text = text.replace("%", "%%")
    if dollars:
        text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    if found[0] in '"\\':
        return f"\\{found[0]}"
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text).replace("%", "%%")
