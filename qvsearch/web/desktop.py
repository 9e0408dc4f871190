"""Opens a file with the system's own viewer, or shows it in the file manager.

Programs get the path as one argument, never through a shell.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from starlette.responses import Response

from qvsearch.web.guard import is_loopback
from qvsearch.web.problems import Json, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from qvsearch.web.services import Services

STARTS = 10.0  # seconds in which a viewer must have started, or said why not


async def open_file(request: Request) -> Response:
    """Answer `POST /api/items/ID/open`."""
    return await _shown(request, opener)


async def reveal(request: Request) -> Response:
    """Answer `POST /api/items/ID/reveal`."""
    return await _shown(request, revealer)


async def _shown(request: Request, command: Callable[[bytes], Sequence[bytes | str]]) -> Response:
    services: Services = request.app.state.services
    client = request.client
    if not (request.app.state.is_local and client is not None and is_loopback(client.host)):
        raise Problem(
            HTTPStatus.FORBIDDEN, "files are opened only on the computer that shows the page"
        )
    location = await services.lanes.lookups.run(services.locate, request.path_params["id"])
    await services.lanes.reads.run(_start, command(location))
    return Json({"done": True})


def opener(location: bytes) -> Sequence[bytes | str]:
    """Return the command that opens a file, by its absolute path; raises Problem without one."""
    return [_program("open" if sys.platform == "darwin" else "xdg-open"), location]


def revealer(location: bytes) -> Sequence[bytes | str]:
    """Return the command that shows a file in its folder, or else the folder; raises Problem."""
    if sys.platform == "darwin":
        return [_program("open"), "-R", location]
    if (send := shutil.which("dbus-send")) is not None and _has_file_manager(send):
        return [
            *(send, "--session", "--print-reply", "--dest=org.freedesktop.FileManager1"),
            *("/org/freedesktop/FileManager1", "org.freedesktop.FileManager1.ShowItems"),
            # a comma would begin another item
            "array:string:file://" + quote_from_bytes(location, safe="/"),
            "string:",
        ]
    return [_program("xdg-open"), bytes(Path(location.decode("utf-8", "surrogateescape")).parent)]


def _has_file_manager(send: str) -> bool:
    """Return whether a file manager answers, or can be started, on the session's bus."""
    listed = _run(
        [
            *(send, "--session", "--print-reply", "--dest=org.freedesktop.DBus"),
            *("/org/freedesktop/DBus", "org.freedesktop.DBus.ListActivatableNames"),
        ]
    )
    return listed is not None and "org.freedesktop.FileManager1" in listed


def _run(command: Sequence[bytes | str]) -> str | None:
    """Return the output of a command, None if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, and arguments without a shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STARTS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _start(command: Sequence[bytes | str]) -> None:
    """Start a program that outlives the server; raises Problem if it fails at once."""
    try:
        process = subprocess.Popen(  # noqa: S603 - as above
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        code = process.wait(STARTS)
    except subprocess.TimeoutExpired:  # a viewer that stays: it shows the file
        return
    except OSError as error:
        raise Problem(
            HTTPStatus.NOT_IMPLEMENTED, f"it cannot be opened: {error.strerror}"
        ) from error
    if code:
        raise Problem(HTTPStatus.NOT_IMPLEMENTED, "no program on this computer opens it")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Problem(
            HTTPStatus.NOT_IMPLEMENTED, f"files cannot be opened: there is no {name} here"
        )
    return path
