"""Inputs to vectors, one outcome an input and in order: what `embed` writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from qvsearch.indexing.batching import Pause
from qvsearch.tasks.inputs import TaskInput, decode_options_of, embed_inputs
from qvsearch.tasks.sources import as_inputs, label
from qvsearch.tasks.vector_files import VectorRow
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.sources import Source
    from qvsearch.types import DecodeOptions, Embedder


def embed(
    inputs: Iterable[Source], embedder: Embedder, instruction: str | None = None
) -> Iterator[VectorRow | Skipped]:
    """Yield the vector of each input in order, or why it has none.

    A str is words, a Path an image, video or text file; a dictionary has `text`, `image`, `video`
    and `instruction` like those of the published class. `instruction` is that of all others
    (default: the one for documents). Files are decoded in processes of their own, so scripts need
    the `if __name__ == "__main__":` of Python's multiprocessing.
    """
    options = decode_options_of(embedder)
    return embed_rows(as_inputs(inputs, instruction), lambda: embedder, options)


def embed_rows(
    inputs: Iterable[TaskInput | Skipped | Pause],
    load: Callable[[], Embedder],
    options: DecodeOptions,
) -> Iterator[VectorRow | Skipped]:
    """Yield the vector of each input in order, with its place and its name, or why it has none.

    The model is loaded for the first input that can be read. A Pause has no outcome.
    """
    names: deque[bytes] = deque()

    def noted() -> Iterator[TaskInput | Skipped | Pause]:
        for each in inputs:
            if not isinstance(each, Pause):
                names.append(label(each))
            yield each

    for place, outcome in enumerate(embed_inputs(noted(), load, options)):
        name = names.popleft()
        yield outcome if isinstance(outcome, Skipped) else VectorRow(place, name, outcome)
