"""Prints the service files of `watch --print-unit`."""

import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.choices import Wire
from qvsearch.cli import output

if TYPE_CHECKING:
    from qvsearch.runtime.loading import Choice

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


def write_unit(
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
