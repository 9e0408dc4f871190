"""The command serve."""

import os
import sys
from functools import partial
from typing import Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import GroupedCommand, unfolded
from qvsearch.cli.server_options import ServerOptions
from qvsearch.cli.several import LibrariesOptions

LARGEST_PORT = 65_535

serving = typer.Typer(rich_markup_mode=None)
_server = partial(typer.Option, rich_help_panel="Server")


@serving.command(cls=GroupedCommand)
@unfolded
def serve(
    *,
    port: Annotated[
        int | None,
        _server(
            parser=options.number("--port", int, 0, LARGEST_PORT),
            metavar="N",
            help="Port; 0 is any free one (default: 7600).",
        ),
    ] = None,
    host: Annotated[
        str | None,
        _server(
            metavar="ADDRESS",
            help="Address that other computers reach; a token is then needed (default: none).",
        ),
    ] = None,
    no_open: Annotated[
        bool,
        _server("--no-open", help="Do not open a browser."),
    ] = False,
    libraries: LibrariesOptions,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    servers: ServerOptions,
) -> None:
    """Show the library as a page in your browser, until Ctrl-C.

    Only this computer reaches the page. With --host others do, and only
    the URL that is printed, with its token, opens it.

    \b
    qvsearch serve
    qvsearch serve -l photos -l work
    qvsearch serve --all-libraries
    qvsearch serve --port 8000 --no-open
    qvsearch serve --host 192.168.1.20
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli.interrupt import cancelling
    from qvsearch.library.names import short_names
    from qvsearch.runtime.loading import Choice
    from qvsearch.web.services import Services
    from qvsearch.web.serving import PORT, listen, serve

    folders = libraries.folders()
    choice = servers.served(Choice(device=device, dtype=dtype))
    with cancelling(), Services(folders, choice) as services:
        for each in services.lost:
            output.fail(
                f"the library {short_names(folders)[each.folder]} is left out: {each.error}"
            )
        place = listen(host, PORT if port is None else port)

        def started() -> None:
            output.line(place.url)
            if not no_open and host is None:
                _open_browser(place.url)
            output.hint("Ctrl-C ends the server")
            services.begin()

        serve(services, place, started)


def _open_browser(url: str) -> None:
    """Open a page where there is a graphical session; a browser of the terminal would fill it."""
    import threading
    import webbrowser

    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return
    threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
