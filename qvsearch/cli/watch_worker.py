"""The process in which `watch` indexes: a request a line in, records of `index --json` out.

`qvsearch.freshness.worker` starts it with `python -m qvsearch.cli.watch_worker ORDER`.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.cli import interrupt, output
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.files import is_below
from qvsearch.formats import read_path
from qvsearch.freshness.power import be_nice
from qvsearch.freshness.update import bring_up_to_date, document_embedder, roots_of
from qvsearch.records import reports
from qvsearch.runtime.choice import read_choice

if TYPE_CHECKING:
    from qvsearch.indexing.counts import Event
    from qvsearch.library.library import Library
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Embedder, Fingerprint


class _Kept:
    """Loads the model for new rows once; it stays for later requests of the same library."""

    def __init__(self) -> None:
        self._embedder: Embedder | None = None
        self._fingerprint: Fingerprint | None = None

    def load(self, library: "Library", choice: "Choice") -> "Embedder":
        if self._embedder is None or self._fingerprint != library.fingerprint:
            self._embedder = document_embedder(library, choice)
            self._fingerprint = library.fingerprint
        return self._embedder


def main(order: str) -> int:
    """Do one request after the other until the input or a signal ends it."""
    settings = json.loads(order)
    folder, choice = Path(settings["folder"]), read_choice(settings["choice"])
    if settings["nice"]:
        be_nice()
    kept = _Kept()
    for line in sys.stdin.buffer:
        request = {name: list(map(read_path, each)) for name, each in json.loads(line).items()}
        with interrupt.interrupts() as stop:
            try:
                record = _index(folder, choice, request, kept, stop)
            except QvsearchError as error:
                record = {"state": "error", "message": str(error), "code": error.exit_code}
            output.write_json([record])
            if stop():
                return ExitCode.INTERRUPTED
    return ExitCode.DONE


def _index(
    folder: Path,
    choice: "Choice",
    request: Mapping[str, list[bytes]],
    kept: _Kept,
    stop: Callable[[], bool],
) -> dict[str, object]:
    roots = roots_of(folder, request["gone"])
    others = (path for path in request["paths"] if not any(is_below(path, each) for each in roots))
    paths = [*roots, *others]
    if not paths:  # what is gone was never in the library
        return {"state": "summary"}
    later = frozenset(request["later"])
    summary = bring_up_to_date(folder, choice, _report, stop, paths, later, kept.load, ocr=True)
    return reports.summary_record(summary)


def _report(event: "Event") -> None:
    """Print an event; those of batches, and of files that are as before, would only be many."""
    if event.state not in ("embedded", "unchanged") and not event.known:
        output.write_json([reports.event_record(event)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
