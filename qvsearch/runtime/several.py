"""The libraries of one command, and the models of their queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.models.registry import DEMO
from qvsearch.runtime.loading import Choice, find_reranker, open_library, query_embedder

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Embedder, Fingerprint, Reranker


@dataclass(frozen=True, slots=True)
class Lost:
    """A library that cannot be searched, and why."""

    folder: Path
    error: QvsearchError


def refuse(lost: Lost) -> None:
    """Raise the error of a library that cannot be searched."""
    raise lost.error


def open_libraries(folders: Sequence[Path], choice: Choice) -> tuple[list[Library], list[Lost]]:
    """Open libraries as `open_library` does; return those that can be opened, and the others.

    Raises QvsearchError if none can be opened.
    """
    opened: list[Library] = []
    lost: list[Lost] = []
    for folder in folders:
        try:
            opened.append(open_library(folder, choice))
        except QvsearchError as error:
            lost.append(Lost(folder, error))
    if len(lost) == 1 and not opened:
        raise lost[0].error
    if not opened:
        reasons = "; ".join(str(each.error) for each in lost)
        raise QvsearchError(f"none of these {len(lost)} libraries can be opened: {reasons}")
    return opened, lost


def find_reranker_of(
    model: str | None, libraries: Sequence[Library], choice: Choice
) -> Callable[[], Reranker]:
    """Do what `find_reranker` does for hits of several libraries.

    The demo's reranker is the default only if all of them have the demo's model.
    """
    fingerprints = [each.fingerprint for each in libraries]
    real = [each for each in fingerprints if each.model != DEMO]
    return find_reranker(model, (real or fingerprints)[0], choice)


class QueryModels:
    """The embedders for the queries of several libraries; those of one model share it.

    Without `keep` only the model used last stays in memory: two models of 2 billion parameters
    may not fit beside each other.
    """

    def __init__(
        self, choice: Choice, cold: Callable[[float], None] = lambda _: None, *, keep: bool = False
    ) -> None:
        """Take the user's choice of a model; `cold` is as for `query_embedder`."""
        self._choice, self._cold, self._keep = choice, cold, keep
        self._embedders: dict[Fingerprint, Embedder] = {}

    def embedder(self, fingerprint: Fingerprint) -> Embedder:
        """Return the embedder for the queries of a library; callers must not keep it."""
        space = fingerprint.space
        if space not in self._embedders:
            if not self._keep:
                self._embedders.clear()
            self._embedders[space] = query_embedder(fingerprint, self._choice, self._cold)
        return self._embedders[space]
