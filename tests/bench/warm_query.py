"""The time of whole `qvsearch search` processes without a model: python tests/bench/warm_query.py

A query that a warm server answers and one whose vector is cached take turns. The library, the cache
and the sockets are its own: the user's are neither read nor changed. Without downloaded weights, or
with `--few-layers`, the server has a random model of a few layers, and the time of its forward pass
is scaled to all layers of the model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from photo_library import write_library

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder
from qvsearch.machine import samples
from qvsearch.machine.bench_model import LoadedModel, choose_model, load_model
from qvsearch.models.devices import dtype_name
from qvsearch.models.registry import DEFAULT_MODEL, EMBEDDER, fingerprint, resolve
from qvsearch.runtime.client import ServerKey
from qvsearch.types import Detail, Dtype, EmbedInput

IDLE_SECONDS = 24 * 3600.0  # longer than any benchmark: the server ends with this process
SERVER = Path(__file__).with_name("timed_server.py")


@dataclass(frozen=True, slots=True)
class Search:
    """A library, and the server that has its model loaded."""

    model: LoadedModel
    folder: Path
    server: subprocess.Popen[bytes]

    def warm(self, query: EmbedInput) -> float:
        """Return the seconds of a search for a new query, as if the model had all layers."""
        _, scale = self.model.work(query)
        whole = self._search(query, self.folder)
        return whole + float(next_line(self.server)["seconds"]) * (scale - 1)

    def cached(self, query: EmbedInput) -> float:
        """Return the seconds of a search for an earlier query; a new one is an error."""
        return self._search(query, self.folder / "nowhere")  # no server listens there

    def _search(self, query: EmbedInput, sockets: Path) -> float:
        place = ["--library", self.folder / "library", "--device", str(self.model.chosen.device)]
        numbers = ["--dtype", dtype_name(self.model.chosen.dtype)]
        start = time.perf_counter()
        done = subprocess.run(
            [*PYTHON, "-m", "qvsearch", "search", "--all", *place, *numbers, "--", query.text],
            capture_output=True,
            check=False,
            env=environment(self.folder, sockets),
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            last = done.stderr.decode(errors="replace").splitlines()[-1:]
            raise QvsearchError(f"a search ended with {done.returncode}: {''.join(last)}")
        return seconds


PYTHON = [sys.executable, "-P"]  # -P: no module comes from the current folder


@contextmanager
def served(model: LoadedModel, rows: int) -> Iterator[Search]:
    """Write a library and load its model in a server; both are gone afterwards."""
    # a short name: the path of a socket has little room
    with tempfile.TemporaryDirectory(prefix="qv-", dir="/tmp") as name:
        folder = Path(name).resolve()
        weights = resolve(str(model.folder))
        # no model is there, so that a search with neither server nor cached vector fails
        absent = replace(weights, name=str(folder / "absent"))
        made = fingerprint(absent, model.shapes.width, Detail.LOW)
        write_library(folder / "library", made, rows)
        dtype = Dtype(dtype_name(model.chosen.dtype))
        kept = ServerKey(EMBEDDER, made.revision, str(model.chosen.device), dtype)
        make_folder(folder / "qvsearch", private=True)
        order = {
            "key": asdict(kept),
            "model": str(model.folder),
            "socket": str(folder / "qvsearch" / kept.socket.name),
            "idle": IDLE_SECONDS,
            "adapter": None,
        }
        with _server(order, environment(folder, folder)) as process:
            yield Search(model, folder, process)


@contextmanager
def _server(order: dict[str, object], variables: dict[str, str]) -> Iterator[subprocess.Popen]:
    """Start the server and wait until it listens; it is ended in any case."""
    process = subprocess.Popen(
        [*PYTHON, SERVER, json.dumps(order)],
        stdin=subprocess.PIPE,  # the server ends when this is closed
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=variables,
    )
    with process:
        try:
            next_line(process)
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """Return the next line of the server; raises QvsearchError if it failed or ended."""
    line = json.loads(process.stdout.readline() or b"{}")
    if not line or "failed" in line:
        raise QvsearchError(line.get("failed") or "the server with the model has ended")
    return line


def environment(folder: Path, sockets: Path) -> dict[str, str]:
    """Return this process's variables with other folders for the cache and for sockets."""
    return os.environ | {"XDG_CACHE_HOME": str(folder), "XDG_RUNTIME_DIR": str(sockets)}


def main() -> None:
    """Print the median and the extremes of both, and the size of the library."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--few-layers", action="store_true")
    given = parser.parse_args()
    chosen = choose_model(given.model, given.device, given.dtype)
    shallow = given.few_layers or chosen.folder is None
    queries, times = samples.queries(), {"warm": [], "cached": []}
    with load_model(chosen, shallow=shallow) as model, served(model, given.rows) as search:
        before = next(queries)
        search.warm(before)
        for _ in range(given.repeats):
            times["warm"].append(search.warm(next(queries)))
            times["cached"].append(search.cached(before))
        shards = (search.folder / "library" / "segments").iterdir()
        size = sum(path.stat().st_size for path in shards)
    for name, seconds in times.items():
        scaled = ", scaled from a few random layers" if name == "warm" and model.is_random else ""
        print(
            f"{name} query, {given.rows:,} rows: {1000 * statistics.median(seconds):.0f} ms"
            f" ({1000 * min(seconds):.0f} to {1000 * max(seconds):.0f}){scaled}"
        )
    print(f"{given.rows:,} photos of {model.shapes.width} dimensions: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
