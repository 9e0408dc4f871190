"""Programs of a desktop that write down how they were started."""

import os

import pytest

SCRIPT = """#!/bin/sh
printf '%s\\0' "$0" "$@" >> "{log}"
printf '\\n' >> "{log}"
exit {code}
"""


class Desktop:
    """A folder of programs that is the whole PATH."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"

    def install(self, *names, code=0):
        for name in names:
            program = self.folder / name
            program.write_text(SCRIPT.format(log=self.log, code=code))
            program.chmod(0o755)

    def started(self):
        """The programs that ran, each with its arguments as bytes."""
        if not self.log.exists():
            return []
        runs = self.log.read_bytes().split(b"\0\n")[:-1]
        lines = [run.split(b"\0") for run in runs]
        return [(os.path.basename(name).decode(), *arguments) for name, *arguments in lines]


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """A Linux desktop with a display, whose programs are those that a test installs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    return Desktop(folder)
