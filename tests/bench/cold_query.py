"""The seconds from the start of a new process to a query's vector: python tests/bench/cold_query.py

Without downloaded weights, or with `--few-layers`, a random model of a few layers is timed. The
times of loading and of the forward pass are then scaled to all layers of the model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from qvsearch.machine import samples
from qvsearch.machine.bench_model import LoadedModel, choose_model, load_model
from qvsearch.models.checkpoint import count_parameters
from qvsearch.models.devices import dtype_name
from qvsearch.models.registry import DEFAULT_MODEL, MODELS
from qvsearch.types import EmbedInput

# prints the seconds of loading and of the forward pass
PROCESS = """
import json, sys, time
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import EmbedInput
folder, device, dtype, text, instruction = sys.argv[1:]
times = [time.perf_counter()]
embedder = LocalEmbedder(folder, device, dtype)
times.append(time.perf_counter())
embedder.embed([EmbedInput(text=text, instruction=instruction)])
times.append(time.perf_counter())
json.dump([times[1] - times[0], times[2] - times[1]], sys.stdout)
"""


def cold_seconds(model: LoadedModel, query: EmbedInput) -> float:
    """Return the seconds of a process that embeds one query, as if the model had all layers."""
    _, scale = model.work(query)
    names = (str(model.folder), str(model.chosen.device), dtype_name(model.chosen.dtype))
    command = [sys.executable, "-P", "-c", PROCESS, *names, query.text, query.instruction]
    start = time.perf_counter()
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    whole = time.perf_counter() - start
    loading, embedding = json.loads(printed)
    return whole + loading * (_weight(model) - 1) + embedding * (scale - 1)


def _weight(model: LoadedModel) -> float:
    """Return how many times the parameters in memory the model has."""
    if not model.is_random:
        return 1.0
    folder = model.chosen.folder
    all_of_them = (
        MODELS[model.chosen.name].parameters if folder is None else count_parameters(folder)
    )
    return all_of_them / count_parameters(model.folder)


def main() -> None:
    """Print the median and the extremes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--few-layers", action="store_true")
    given = parser.parse_args()
    chosen = choose_model(given.model, given.device, given.dtype)
    queries = samples.queries()
    with load_model(chosen, shallow=given.few_layers or chosen.folder is None) as model:
        seconds = [cold_seconds(model, next(queries)) for _ in range(given.repeats)]
    scaled = ", scaled from a few random layers" if model.is_random else ""
    print(
        f"cold query: {statistics.median(seconds):.2f} s"
        f" ({min(seconds):.2f} to {max(seconds):.2f}, {given.repeats} runs){scaled}"
    )


if __name__ == "__main__":
    main()
