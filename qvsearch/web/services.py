"""What the endpoints of one server share: libraries, ranked lists, pictures and threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from qvsearch.indexing.fields import library_fields
from qvsearch.library.identity import Gone
from qvsearch.media import CHANGED, excerpts
from qvsearch.media.player import Player
from qvsearch.media.thumbnails import Thumbnails
from qvsearch.media.workers import Decoders
from qvsearch.published.opening import is_large_table, is_published, open_at
from qvsearch.records.library import fields_record
from qvsearch.retrieval.shelf import Shelf
from qvsearch.types import KIND_CODES, Skipped
from qvsearch.web.files import Originals
from qvsearch.web.lanes import Lanes
from qvsearch.web.problems import Problem
from qvsearch.web.rankings import Rankings
from qvsearch.web.surveys import PerCommit, Surveys
from qvsearch.web.uploads import Uploads

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.shelf import Opened
    from qvsearch.runtime.loading import Choice
    from qvsearch.types import Segment

Result = TypeVar("Result")
Kinds = dict[str, tuple[int, int]]  # numbers of items and of segments of each kind that there is

CLIPS_AT_ONCE = 2  # moments that are made for browsers
AWAY = {CHANGED, "no longer there"}  # a decoder's reasons, if only the time may be another
MOST_DECODERS = 4  # processes that make thumbnails; each holds 100 MB


class Services:
    """Everything behind the endpoints; a context manager, which ends its processes."""

    def __init__(self, folders: Sequence[Path], choice: Choice) -> None:
        """Open the libraries; `lost` are those that cannot be, which is an error if all are."""
        decoders = min(MOST_DECODERS, max(1, (os.cpu_count() or 1) - 1))
        self.shelf = Shelf(folders, choice)
        with self.shelf.reading() as chosen:
            self.lost = chosen.lost
        self.kinds = PerCommit(self._kinds)
        self.fields = PerCommit(_fields)
        self.lanes = Lanes(decoders, CLIPS_AT_ONCE)
        self.rankings = Rankings()
        self.originals = Originals()
        self.surveys = Surveys()
        self.thumbnails = Thumbnails(decoders)
        self.player = Player(CLIPS_AT_ONCE)
        self.readers = Decoders(1, decode=excerpts.decode)
        self.uploads = Uploads(self.thumbnails)
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.uploads.__exit__()

    def begin(self) -> None:
        """Load the models in the background, so that the first query does not wait for it."""
        self.surveys.outcome("models", None, self.shelf.load_models)

    def end(self) -> None:
        """End the processes; work that waits for them fails at once."""
        if not self._ended:
            self._ended = True
            for each in (self.player, self.thumbnails, self.readers):
                each.__exit__()

    def is_ending(self) -> bool:
        """Return whether nobody waits for work any longer."""
        return self._ended

    def picture(
        self,
        library: Library,
        segment: Segment,
        side: int,
        start: float | None,
        end: float | None,
    ) -> bytes:
        """Return the small picture of an item as WebP; raises Gone or Problem if there is none.

        If its file cannot be reached, that is the thumbnail in the shared table.
        """

        def made(of: Segment) -> bytes | Skipped:
            return self.thumbnails.webp(of, side, start=start, end=end, stop=self.is_ending)

        try:
            return self._made(made, segment)
        except (Gone, Problem):
            if is_published(library):
                published = library.thumbnail(segment, start)
                if published is not None:
                    return published
            raise

    def playable(self, segment: Segment, start: float, end: float) -> Path | None:
        """Return the file of a moment that browsers play, None if they play the item's own.

        Raises Gone or Problem if there is none.
        """
        return self._made(lambda of: self.player.moment(of, start, end), segment)

    def _kinds(self, opened: Opened) -> Kinds:
        if is_large_table(opened.library):
            counts = opened.library.counts().items()
            return {kind.value: (files, rows) for kind, (files, rows) in counts}
        with self.shelf.turn:
            columns = opened.library.columns
        counted = {}
        for kind, code in KIND_CODES.items():
            items = columns.items[columns.kinds == code]
            if len(items):
                counted[kind.value] = (len(np.unique(items)), len(items))
        return counted

    def _made(self, make: Callable[[Segment], Result | Skipped], segment: Segment) -> Result:
        """Return what `make` makes of an item, whose file may have another time than before."""
        made = make(segment)
        if isinstance(made, Skipped):
            touched = self.originals.touched(segment)  # raises Gone for another content
            made = make(touched) if made.reason in AWAY else made
        if isinstance(made, Skipped):
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"it cannot be shown: {made.reason}")
        return made

    def locate(self, item_id: str) -> bytes:
        """Return the path of an item whose file is unchanged; raises Gone."""
        _, segment = self.shelf.find(item_id)
        self.originals.check(segment)
        return segment.item.location


def _fields(opened: Opened) -> dict[str, object]:
    """Return the record of what can be filtered by."""
    # opened anew, because it reads all rows and the other one shall not keep them
    library = open_at(opened.library.folder)
    return fields_record(library, library_fields(library))
