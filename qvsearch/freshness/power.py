"""Low priority, and whether the computer runs on battery."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import psutil

NICE = 10  # of 19; the rest of the computer goes first


def be_nice() -> None:
    """Lower the priority of this process, and of those that it starts."""
    with suppress(OSError):
        os.nice(NICE)
    if sys.platform == "linux":
        with suppress(psutil.Error, OSError):
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def on_battery() -> bool:
    """Return whether the computer has a battery and runs on it."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, psutil.Error):  # no such sensor, or no right to read it
        return False
    return battery is not None and battery.power_plugged is False
