"""A process that publishes a library: python -m support.publisher LIBRARY TABLE NAME ROWS.

It commits ROWS rows at a time and prints, after each commit, how many rows it has acknowledged.
With a fifth argument it is killed after so many seconds.
"""

import signal
import subprocess
import sys
from pathlib import Path


def start(library, table, name, rows, seconds=None):
    """Start such a process; its output is a pipe of lines."""
    extra = [] if seconds is None else [str(seconds)]
    arguments = [str(library), str(table), name, str(rows), *extra]
    return subprocess.Popen(
        [sys.executable, "-m", "support.publisher", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main(library, table, name, rows, seconds=None):
    import lancedb  # noqa: F401 - takes longer than publishing a few rows

    from qvsearch.published import publishing
    from qvsearch.published.address import read_address

    publishing.ROWS_AT_ONCE = int(rows)
    if seconds is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once
        say("ready")
        signal.setitimer(signal.ITIMER_REAL, float(seconds))
    publishing.publish(
        Path(library),
        read_address(table),
        name,
        lambda progress: say(progress.rows),
    )
    say("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
