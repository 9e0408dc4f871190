"""Times whole processes of `search`, whose model is in a warm process or whose vector is kept.

They have a library, a cache and sockets of their own, so that the user's are neither read nor
changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.machine import samples
from qvsearch.machine.sample_library import write_library
from qvsearch.machine.timings import Figure, Task, timed
from qvsearch.models.registry import EMBEDDER, fingerprint, resolve
from qvsearch.runtime.client import ServerKey
from qvsearch.types import Detail, Dtype, EmbedInput

if TYPE_CHECKING:
    from qvsearch.machine.subject import Loaded

ROWS = 10_000
IDLE_SECONDS = 24 * 3600.0  # longer than any benchmark: it ends with this process


@dataclass(frozen=True, slots=True)
class Asking:
    """A library to be asked, and the process that keeps its model loaded."""

    model: Loaded
    folder: Path
    keeper: subprocess.Popen[bytes]
    queries: Iterator[EmbedInput] = field(default_factory=samples.queries)

    def tasks(self, figure: Figure, shown: Callable[[float], float]) -> list[Task]:
        """Return what times queries that are new to a warm process, and one that was asked before.

        Raises QvsearchError where that first time fails.
        """
        before = next(self.queries)
        _, scale = self.model.work(before)
        figure = replace(figure, rows=ROWS)
        warm = replace(figure, how="warm", scaled=scale if scale != 1 else None)
        self._warm(before, scale)
        return [
            Task(warm, lambda: self._warm(next(self.queries), scale), shown),
            Task(replace(figure, how="cached"), lambda: self._cached(before), shown),
        ]

    def _warm(self, query: EmbedInput, scale: float) -> float:
        whole = self._search(query, self.folder)
        return whole + float(said(self.keeper)["seconds"]) * (scale - 1)

    def _cached(self, query: EmbedInput) -> float:
        # where no process listens, so that one whose vector is not kept fails
        return self._search(query, self.folder / "nowhere")

    def _search(self, query: EmbedInput, sockets: Path) -> float:
        """Return the seconds of a process that answers a query."""
        options = {
            "--library": self.folder / "library",
            "--device": self.model.subject.device,
            "--dtype": self.model.figure.dtype,
        }
        given = [str(part) for option in options.items() for part in option]

        def search() -> None:
            done = subprocess.run(  # noqa: S603 (our own program)
                [*PYTHON, "qvsearch", "search", "--all", *given, "--", query.text or ""],
                capture_output=True,
                check=False,
                env=environment(self.folder, sockets),
                start_new_session=True,  # Ctrl-C is for this process
            )
            if done.returncode:
                last = done.stderr.decode(errors="replace").splitlines()[-1:]
                raise QvsearchError(f"a search ended with {done.returncode}: {''.join(last)}")

        return timed(search)


# -P: a file called torch.py in the current folder is not what is meant
PYTHON = [sys.executable, "-P", "-m"]


@contextmanager
def asking(model: Loaded) -> Iterator[Asking]:
    """Make a library and load its model in a process of its own; both are gone afterwards.

    Raises QvsearchError where the process cannot begin.
    """
    # a short name: a socket's path has little room
    with tempfile.TemporaryDirectory(prefix="qv-") as name:
        folder = Path(name).resolve()
        weights = resolve(str(model.folder))
        # no model is there, so that a search that finds neither process nor vector fails
        absent = replace(weights, name=str(folder / "absent"))
        made = fingerprint(absent, model.shapes.width, Detail.LOW)
        write_library(folder / "library", made, ROWS)
        dtype = Dtype(str(model.figure.dtype))
        kept = ServerKey(EMBEDDER, made.revision, str(model.subject.device), dtype)
        order = {
            "kept": asdict(kept),
            "model": str(model.folder),
            "socket": str(folder / "qvsearch" / kept.socket.name),
            "idle": IDLE_SECONDS,
        }
        with _keeper(order, environment(folder, folder)) as process:
            yield Asking(model, folder, process)


@contextmanager
def _keeper(order: dict[str, Any], variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the process and wait until it listens; it is ended in any case."""
    process = subprocess.Popen(  # noqa: S603 (our own program)
        [*PYTHON, "qvsearch.machine.clocked_keeper", json.dumps(order)],
        stdin=subprocess.PIPE,  # whose end it ends with
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=variables,
        start_new_session=True,  # Ctrl-C is for this process
    )
    with process:
        try:
            said(process)
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the next line of the process; raises QvsearchError for a failure, or its end."""
    assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
    found: dict[str, Any] = json.loads(process.stdout.readline() or b"{}")
    if not found or "failed" in found:
        raise QvsearchError(found.get("failed") or "the process with the model has ended")
    return found


def environment(folder: Path, sockets: Path) -> dict[str, str]:
    """Return this process's variables, but for the folders of cache and sockets."""
    return os.environ | {"XDG_CACHE_HOME": str(folder), "XDG_RUNTIME_DIR": str(sockets)}
