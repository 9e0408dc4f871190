"""Opens files with the desktop's programs, at a moment or page, and shows them in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from qvsearch.display import file_url, safe_text
from qvsearch.errors import QvsearchError
from qvsearch.kinds import Kind, kind_of

SETTLED = 1.0  # seconds after which a program that still runs has started well
REPLY_SECONDS = 5.0  # for a file manager that has to start first

# the programs of players that start at a moment, and where macOS keeps those
_MPV = ("mpv", "/opt/homebrew/bin/mpv", "/usr/local/bin/mpv")
_IINA = ("iina", "/Applications/IINA.app/Contents/MacOS/iina-cli")
_VLC = ("vlc", "/Applications/VLC.app/Contents/MacOS/VLC")

# the programs of viewers that open a page, and the option before its number, from 1
_VIEWERS = {
    **dict.fromkeys(("evince", "papers", "atril", "xreader"), "--page-index="),
    "okular": "--page=",
    "zathura": "--page=",
}
_BROWSERS = ("firefox", "chromium", "google-chrome")
_BROWSERS_OF_MACOS = ("Firefox", "Google Chrome", "Microsoft Edge")


def open_file(location: bytes, at: float | None = None, page: int | None = None) -> bool:
    """Open a file with the desktop's program for it; return whether it opens at its place.

    A video starts `at` seconds with mpv, IINA or VLC; a document opens at `page`, from 1, with a
    viewer that can, or a browser. The first that is installed is used. Without one, or at the
    beginning, the desktop's program opens it. Raises QvsearchError if there is no file, display or
    program, or if the program fails at once.
    """
    _check(location)
    command = None
    if at and kind_of(location) is not Kind.IMAGE:  # no program opens the film within a picture
        command = _player_command(location, at)
    elif page is not None and page > 1:
        command = _viewer_command(location, page)
    if command is not None:
        _start(command)
        return True
    _start(_opener(location))
    return False


def reveal(location: bytes) -> None:
    """Show a file in its folder, selected if the file manager can; raises as `open_file` does."""
    _check(location)
    if sys.platform == "darwin":
        _start(["open", "-R", location])
    elif not _is_selected(location):
        _start(_opener(os.path.dirname(location)))


def check_display() -> None:
    """Raise QvsearchError if this machine has no display."""
    variables = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform != "darwin" and not any(map(os.environ.get, variables)):
        raise QvsearchError(
            "cannot open files: this machine has no display"
            " (DISPLAY and WAYLAND_DISPLAY are not set)"
        )


def _check(location: bytes) -> None:
    if not Path(os.fsdecode(location)).is_absolute():
        raise QvsearchError(
            f"cannot open {safe_text(location)}: this computer does not reach its folder;"
            " see: qvsearch roots map --help"
        )
    if not Path(os.fsdecode(location)).is_file():
        raise QvsearchError(f"cannot open {safe_text(location)}: it is no longer there")
    check_display()


def _player_command(location: bytes, at: float) -> list[str | bytes] | None:
    """Return the command that plays a video from a moment on; None without such a player."""
    if mpv := _installed(_MPV):
        return [mpv, f"--start={at:.3f}", "--", location]
    if iina := _installed(_IINA):
        return [iina, "--no-stdin", f"--mpv-start={at:.3f}", location]
    if vlc := _installed(_VLC):
        # an option of the file, which a running VLC obeys as well
        return [vlc, location, f":start-time={at:.3f}"]
    return None


def _viewer_command(location: bytes, page: int) -> list[str | bytes] | None:
    """Return the command that opens a document at a page; None without such a viewer."""
    url = f"{file_url(location)}#page={page}"
    if sys.platform == "darwin":  # its Preview has no such option
        applications = (Path("/Applications", f"{name}.app") for name in _BROWSERS_OF_MACOS)
        browser = next((each for each in applications if each.is_dir()), None)
        return None if browser is None else ["open", "-a", os.fspath(browser), url]
    if viewer := _installed(tuple(_VIEWERS)):
        return [viewer, f"{_VIEWERS[os.path.basename(viewer)]}{page}", location]
    if mupdf := _installed(("mupdf",)):
        return [mupdf, location, str(page)]
    if browser := _installed(_BROWSERS):
        return [browser, url]
    return None


def _installed(programs: Sequence[str]) -> str | None:
    return next(filter(None, map(shutil.which, programs)), None)


def _opener(location: bytes) -> list[str | bytes]:
    """Return the command that opens a file or folder with the desktop's program for it."""
    if sys.platform == "darwin":
        return ["open", location]
    if (program := shutil.which("xdg-open")) is None:
        raise QvsearchError(
            f"cannot open {safe_text(location)}: xdg-open is missing; install xdg-utils"
        )
    # xdg-open looks at each line of a path of several lines; a URL has one
    return [program, file_url(location)]


def _is_selected(location: bytes) -> bool:
    """Ask the file manager of a Linux desktop to select a file; return whether it did."""
    if (program := shutil.which("dbus-send")) is None:
        return False
    manager = "org.freedesktop.FileManager1"
    call = [
        *(program, "--session", "--print-reply", f"--dest={manager}"),
        *("--type=method_call", "/org/freedesktop/FileManager1", f"{manager}.ShowItems"),
        *(f"array:string:{file_url(location)}", "string:"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the path is escaped
            call, stdin=subprocess.DEVNULL, capture_output=True, timeout=REPLY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _start(command: Sequence[str | bytes]) -> None:
    """Start a program that outlives this one; raise QvsearchError if it fails at once."""
    name = os.fsdecode(command[0])
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and a path begins with a slash
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C here does not end it
        )
    except OSError as error:
        raise QvsearchError(f"cannot start {name}: {error.strerror}") from error
    try:
        code = process.wait(SETTLED)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, daemon=True).start()  # no zombie stays
        return
    if code:
        raise QvsearchError(f"{name} could not open {safe_text(command[-1])} (exit code {code})")
