"""Brings a library up to date with all its folders, each as its earlier runs did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.files import is_within
from qvsearch.freshness.comparing import comparison_of
from qvsearch.indexing import pipeline
from qvsearch.library.known_paths import known_paths
from qvsearch.library.library import Library
from qvsearch.runtime import creating, loading
from qvsearch.types import Precision

if TYPE_CHECKING:
    from qvsearch.indexing.counts import Event, Summary
    from qvsearch.runtime.loading import Choice
    from qvsearch.types import Embedder


def bring_up_to_date(
    folder: Path,
    choice: Choice,
    report: Callable[[Event], None],
    stop: Callable[[], bool],
    paths: Sequence[bytes] = (),
    later: Collection[bytes] = frozenset(),
    load: Callable[[Library, Choice], Embedder] | None = None,
    *,
    ocr: bool = False,
) -> Summary:
    """Index what is new at these absolute paths (default: all that the library has).

    No model is loaded if nothing is new. `choice` may name the device, the hub and another place of
    the library's model; the numbers are always the library's own. Files of `later` are left alone.
    `load` returns the model for new rows (default: `document_embedder`). With `ocr` the words in
    pictures are read, which may take long.
    Raises QvsearchError if there is no library or it has no folders, and as `pipeline.index` does.
    """
    library = loading.open_library(folder, replace(choice, dtype=None))
    options = pipeline.IngestOptions(as_before=True, later=later, ocr=ocr)
    return pipeline.index(
        library,
        paths or known_paths(folder),
        lambda: (load or document_embedder)(library, replace(choice, dtype=None)),
        options,
        report,
        stop,
        comparison_of(library, choice),
    )


def roots_of(folder: Path, gone: Sequence[bytes]) -> list[bytes]:
    """Return the roots of a library's files that are at or below these paths."""
    if not gone:
        return []
    items = {each.item for each in Library.open(folder).segments.values()}
    places = set(gone)
    return sorted({each.root for each in items if is_within(each.location, places)})


def document_embedder(library: Library, choice: Choice) -> Embedder:
    """Return the model for new rows; raises QvsearchError if the device cannot compute them."""
    if library.fingerprint.precision == Precision.INT8 and not choice.servers:
        creating.check_int8(choice.device)
    return loading.load_embedder(library.fingerprint, choice)
