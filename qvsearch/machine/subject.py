"""The model that `bench` measures: with its own weights, or with fewer random layers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.machine import samples
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.machine.speeds import device_name
from qvsearch.machine.timings import Figure, Task, timed
from qvsearch.media.text import PASSAGE_TOKENS
from qvsearch.models.checkpoint import count_parameters, read_json
from qvsearch.models.prompt import embed_prompt, visual_grids
from qvsearch.models.registry import DEFAULT_MODEL, MODELS, find
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    import torch

    from qvsearch.runtime.local import LocalEmbedder

LAYERS, VISION_LAYERS = 3, 3  # of a shallow model
ENOUGH_SECONDS = 0.5  # a timing is of so many inputs at once that it takes about as long,
MOST_INPUTS = 64  # and of no more
MOST_TOKENS = 100_000  # of a prompt; nothing here is near it

# what a new process does to embed a query, and what of its time loads and multiplies
_COLD = """
import json, sys, time
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import EmbedInput
from transformers import AutoTokenizer, Qwen3VLModel  # else their import would count as loading
folder, device, dtype, text, instruction = sys.argv[1:]
times = [time.perf_counter()]
embedder = LocalEmbedder(folder, device, dtype)
times.append(time.perf_counter())
embedder.embed([EmbedInput(text=text, instruction=instruction)])
times.append(time.perf_counter())
json.dump([times[1] - times[0], times[2] - times[1]], sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model on a device; `folder` is None where its weights are not here."""

    name: str
    config: dict[str, Any]
    folder: Path | None
    parameters: int
    device: torch.device
    dtype: torch.dtype

    @property
    def shapes(self) -> Shapes:
        """The sizes of its layers."""
        return Shapes.of(self.config)

    @property
    def figure(self) -> Figure:
        """What every figure of it says."""
        from qvsearch.models.devices import dtype_name

        return Figure(
            "",
            "",
            model=self.name,
            device=device_name(self.device),
            dtype=dtype_name(self.dtype),
        )


def open_subject(model: str, device: str | None, dtype: str | None) -> Subject:
    """Return a model that can be measured; raises QvsearchError, with the way out, for others.

    The 2B model can be without its weights, as their values change no time.
    """
    from qvsearch.models.devices import pick_device, pick_dtype

    place, found = pick_device(device), find(model)
    if found is None and model != DEFAULT_MODEL:
        raise QvsearchError(
            f"the model {model} is not on this computer; fetch it with: qvsearch models pull"
            f" {model}; or leave out --model to measure random weights of the 2B model's sizes"
        )
    config = CONFIG_2B if found is None else read_json(found.folder / "config.json")
    number = pick_dtype(dtype, place, config["text_config"]["hidden_size"])
    if found is None:
        return Subject(model, config, None, MODELS[model].parameters, place, number)
    parameters = count_parameters(found.folder)
    return Subject(found.name, config, found.folder, parameters, place, number)


@contextmanager
def loaded(subject: Subject, *, shallow: bool) -> Iterator[Loaded]:
    """Load it with all of its layers or, `shallow`, a stand-in of its widths with a few."""
    from qvsearch.runtime.local import LocalEmbedder

    shapes = subject.shapes
    if shallow:
        shapes = shapes.shallow(
            min(LAYERS, shapes.layers), min(VISION_LAYERS, shapes.vision_layers)
        )
    with tempfile.TemporaryDirectory(prefix="qvsearch-bench-") as temporary:
        folder, is_random = subject.folder, shapes != subject.shapes
        if folder is None or is_random:
            from qvsearch.machine.stand_in import write_stand_in

            folder, is_random = Path(temporary), True
            write_stand_in(folder, subject.config, shapes.layers, shapes.vision_layers)
        figure = replace(subject.figure, random=is_random or None)
        embedder = LocalEmbedder(folder, str(subject.device), figure.dtype)
        yield Loaded(subject, figure, folder, shapes, embedder)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory; `shapes` are those of what is measured in its place."""

    subject: Subject
    figure: Figure
    folder: Path
    shapes: Shapes
    embedder: LocalEmbedder

    def task(
        self, figure: Figure, inputs: Iterator[EmbedInput], shown: Callable[[float], float]
    ) -> Task:
        """Return what times one input, as if the model had all of its layers."""
        flop, scale = self.work(next(inputs))
        figure = replace(figure, scaled=scale if scale != 1 else None)
        return Task(figure, _Embedding(self.embedder, inputs, scale), shown, flop)

    def cold_query(self, figure: Figure, shown: Callable[[float], float]) -> Task:
        """Return what times a new process from its start to a query's vector."""
        queries = samples.queries()
        _, scale = self.work(next(queries))
        figure = replace(figure, scaled=scale if scale != 1 else None)
        weight = self.subject.parameters / count_parameters(self.folder) if scale != 1 else 1.0

        def run() -> float:
            query = next(queries)
            loading, embedding = 0.0, 0.0

            def start() -> None:
                nonlocal loading, embedding
                loading, embedding = self._in_new_process(query)

            whole = timed(start)
            return whole + loading * (weight - 1) + embedding * (scale - 1)

        return Task(figure, run, shown)

    def passages(self) -> Iterator[EmbedInput]:
        """Yield texts of as many tokens as a passage has, without end."""
        for text in samples.texts():
            (ids,) = self.embedder.network.tokenize([text], MOST_TOKENS)
            yield EmbedInput(text=text[: len(text) * PASSAGE_TOKENS // len(ids)])

    def work(self, source: EmbedInput) -> tuple[float, float]:
        """Return an input's FLOP with all layers, and how many times those that are measured."""
        (ids,) = self.embedder.network.tokenize([embed_prompt(source)], MOST_TOKENS)
        pictures = [rows * columns for rows, columns in visual_grids(source)]
        flop = self.subject.shapes.flop(len(ids), pictures)
        return flop, flop / self.shapes.flop(len(ids), pictures)

    def _in_new_process(self, query: EmbedInput) -> tuple[float, float]:
        """Return the seconds that loading took and embedding took."""
        names = (str(self.folder), str(self.subject.device), str(self.figure.dtype))
        words = (query.text or "", query.instruction or "")
        done = subprocess.run(  # noqa: S603 (our own program)
            [sys.executable, "-P", "-c", _COLD, *names, *words],
            capture_output=True,
            check=False,
            start_new_session=True,  # Ctrl-C is for this process
        )
        if done.returncode:
            raise QvsearchError(f"a new process with the model ended with {done.returncode}")
        loading, embedding = json.loads(done.stdout)
        return loading, embedding


@dataclass(slots=True)
class _Embedding:
    """Embeds inputs, as many at once as fill a timing, and returns seconds for one."""

    embedder: LocalEmbedder
    inputs: Iterator[EmbedInput]
    scale: float
    count: int = field(default=0)

    def __call__(self) -> float:
        if not self.count:  # the first pass allocates, and tells how long one takes
            self.count = max(1, min(MOST_INPUTS, int(ENOUGH_SECONDS / self._seconds(1))))
        return self._seconds(self.count) * self.scale / self.count

    def _seconds(self, count: int) -> float:
        batch = list(islice(self.inputs, count))
        return timed(lambda: self.embedder.embed(batch))
