"""The command mcp."""

import os
import signal
import sys
import threading
from types import FrameType

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, unfolded
from qvsearch.cli.server_options import ServerOptions
from qvsearch.cli.several import LibrariesOptions
from qvsearch.errors import ExitCode

serving_agents = typer.Typer(rich_markup_mode=None)


@serving_agents.command(cls=Command)
@unfolded
def mcp(
    *,
    libraries: LibrariesOptions,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    servers: ServerOptions,
) -> None:
    """Let agents search your files (Model Context Protocol).

    A client such as Claude Desktop or Cursor starts this command and talks to it on
    standard input and output. The tools only read, and only files of the library.

    \b
    qvsearch mcp
    qvsearch mcp -l photos -l work
    qvsearch mcp --all-libraries
    claude mcp add qvsearch -- qvsearch mcp -l photos
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.library.names import absence, exists
    from qvsearch.tasks.extras import needed

    needed("mcp.server", "mcp", "qvsearch mcp", "mcp")
    from qvsearch.mcp.server import serve
    from qvsearch.retrieval.shelf import Shelf
    from qvsearch.runtime.choice import Choice

    folders = libraries.folders()
    for each in folders:
        if not exists(each):  # it may be made, or plugged in, while the client runs
            output.fail(absence(each))
    if sys.stdin.isatty():
        output.hint("waiting for a client, which starts this command itself; Ctrl-D ends", False)
    signal.signal(signal.SIGINT, _leave)
    serve(Shelf(folders, servers.served(Choice(device=device, dtype=dtype))))
    if any(not each.daemon for each in set(threading.enumerate()) - {threading.main_thread()}):
        os._exit(ExitCode.DONE)  # a call without a client still computes


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End the process at once: nothing is ever half written, and a thread waits for input."""
    os._exit(ExitCode.INTERRUPTED)
