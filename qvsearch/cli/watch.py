"""The command watch, and the service files that it prints."""

import json as jsons
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qvsearch.choices import Hub, Wire
from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, unfolded
from qvsearch.cli.interrupt import handled
from qvsearch.cli.server_options import ServerOptions

if TYPE_CHECKING:
    from qvsearch.freshness.followed import Notice
    from qvsearch.runtime.loading import Choice

watching = typer.Typer(rich_markup_mode=None)
# where models and libraries lie; a service does not have the variables of a shell
_VARIABLES = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "MODELSCOPE_CACHE",
    "XDG_CACHE_HOME",
    "CUDA_VISIBLE_DEVICES",
)


class Manager(StrEnum):
    """The programs that start services of a user."""

    SYSTEMD = "systemd"
    LAUNCHD = "launchd"


@watching.command(cls=Command)
@unfolded
def watch(
    *,
    library: options.LibraryName = None,
    nice: Annotated[
        bool,
        typer.Option(
            "--nice/--no-nice",
            help="Index at low priority, or not (default: --nice).",
            show_default=False,
        ),
    ] = True,
    on_battery: Annotated[
        bool, typer.Option("--on-battery", help="Index on battery, too.")
    ] = False,
    print_unit: Annotated[
        Manager | None,
        options.choice("--print-unit", Manager, "Print a service that watches from login on."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="ID-OR-FOLDER", help="Folder of the library's model, if it moved."),
    ] = None,
    device: options.Device = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    servers: ServerOptions,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Index new and changed files as soon as they are there.

    It runs until Ctrl-C. A line is printed for each batch of files.

    \b
    qvsearch watch
    qvsearch watch -l holidays --on-battery
    qvsearch watch --print-unit systemd > qvsearch-main.service
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.library.known_paths import known_paths
    from qvsearch.library.library import library_folder
    from qvsearch.runtime.loading import Choice

    folder = library_folder(library)
    known_paths(folder)  # there is something to watch
    choice = replace(servers.served(Choice(model, device=device, hub=hub)), notice=None)
    if print_unit is not None:
        _write_unit(print_unit, folder, choice, nice=nice, on_battery=on_battery)
        return
    from qvsearch.freshness.watcher import Settings, Watcher

    order = jsons.dumps({"folder": str(folder), "choice": asdict(choice), "nice": nice})
    # -P: a file called torch.py in the current folder must not be imported
    command = (sys.executable, "-P", "-m", "qvsearch.cli.watch_worker", order)
    log = _Log(quiet=quiet, json=json)
    watcher = Watcher(folder, Settings(command, on_battery), log.tell, log.show)
    # a second one ends a batch at once
    with handled(lambda *_: watcher.stop(), signal.SIGINT, signal.SIGTERM):
        watcher.run()


class _Log:
    """Prints what the watcher does: a line with the time for a person, or JSON."""

    def __init__(self, *, quiet: bool, json: bool) -> None:
        self._quiet, self._json = quiet, json

    def tell(self, notice: "Notice") -> None:
        """Print a notice."""
        if self._json:
            from qvsearch.records.roots import notice_record

            output.write_json([notice_record(notice)])
        elif notice.state in ("lost", "retry"):
            output.fail(_sentence(notice))
        elif not self._quiet:
            _print(_sentence(notice))

    def show(self, record: Mapping[str, Any]) -> None:
        """Print a record of the worker: the summary of a batch and the files that failed."""
        if "found" not in record and record["state"] == "summary":
            return
        if self._json:
            output.write_json([record])
        elif record["state"] == "skipped":
            _print(f"skipped {_path(record)}: {record['reason']}")
        elif record["state"] == "summary":
            self._show_summary(record)

    def _show_summary(self, record: Mapping[str, Any]) -> None:
        for kept in record["kept"]:
            files = output.counted(kept["files"], "file")
            _print(f"kept {files} of {_path(kept)}: {kept['reason']}")
        if not self._quiet:
            _print(
                f"found {record['found']:,} = indexed {record['indexed']:,} + unchanged"
                f" {record['unchanged']:,} + skipped {record['skipped']:,};"
                f" removed {record['removed']:,};"
                f" {output.counted(record['segments'], 'segment')}"
                f" in {output.clock(round(record['seconds']))}"
            )


def _sentence(notice: "Notice") -> str:
    root = "" if notice.root is None else output.safe_text(notice.root)
    return {
        "watching": f"watching {root}",
        "polling": f"watching {root} by polling {notice.reason}",
        "away": f"{root} is not there; waiting for it",
        "back": f"{root} is back",
        "lost": f"scanning {root} anew: {notice.reason}",
        "battery": "on battery: waiting; --on-battery goes on",
        "power": "on mains again",
        "retry": f"trying again later: {notice.reason}",
    }[notice.state]


def _path(record: Mapping[str, Any]) -> str:
    from qvsearch.formats import read_path

    return output.safe_text(read_path(dict(record)))


def _print(text: str) -> None:
    output.line(f"{datetime.now():%H:%M:%S} {text}")


def _write_unit(
    manager: Manager, folder: Path, choice: "Choice", *, nice: bool, on_battery: bool
) -> None:
    """Write a service to standard output, and how to start it to a terminal."""
    from qvsearch.freshness.units import launchd_plist, systemd_unit

    command = [sys.executable, "-P", "-m", "qvsearch", "watch", "--library", str(folder)]
    command += ["--no-nice"] * (not nice) + ["--on-battery"] * on_battery
    for option, value in (
        ("--model", choice.model),
        ("--device", choice.device),
        *(("--server", url) for url in choice.servers),
        ("--server-key-file", choice.key_file),
        ("--wire", None if choice.wire is Wire.LOSSLESS else choice.wire),
    ):
        command += [option, value] if value is not None else []
    command += ["--insecure"] * choice.insecure
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    environment["HF_HUB_OFFLINE"] = "1"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.name)  # as a file's and a service's
    if manager is Manager.SYSTEMD:
        unit = systemd_unit(folder.name, command, environment, nice=nice)
        output.write(unit.encode("utf-8", "surrogateescape"))
        output.hint(
            f"save it as ~/.config/systemd/user/qvsearch-{name}.service, and start it with:"
            f" systemctl --user enable --now qvsearch-{name}"
        )
        return
    label = f"qvsearch.watch.{name}"
    log = Path.home() / "Library" / "Logs" / f"{label}.log"
    output.write(launchd_plist(label, command, environment, log, nice=nice))
    output.hint(
        f"save it as ~/Library/LaunchAgents/{label}.plist, and start it with:"
        f" launchctl load ~/Library/LaunchAgents/{label}.plist"
    )
