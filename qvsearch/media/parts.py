"""The parts of a long document, decoded one after another, without pages that end the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from qvsearch.media.pages import chosen_pages
from qvsearch.types import Decoded, DecodeOptions, Item, Kind, Skipped

if TYPE_CHECKING:
    from qvsearch.media.sandbox import LastingProcess

MOST_FATAL = 3  # pages of one document that may crash a process, or hang: each costs two processes


class PartTask:
    """Decodes the next part of a file whenever it is called; only documents have several.

    A picture that ends its process is decoded once more, without the film that may be within it.
    A part that ends its process is decoded again page by page, so that only the page at fault is
    lost. If a part fails otherwise, the ones before it are all that there is. No part begins after
    `most_seconds`. `decode` runs in a process.
    """

    def __init__(
        self,
        item: Item,
        options: DecodeOptions,
        decode: Callable[[DecodeOptions, LastingProcess], Decoded | Skipped],
        most_seconds: float,
    ) -> None:
        self._item, self._options, self._decode = item, options, decode
        self._most_seconds, self._spent = most_seconds, 0.0
        self._pages: int | None = None  # of the document, once a part of it is there
        self._fatal = 0
        self._lost: str | None = None

    def __call__(self, worker: LastingProcess) -> Decoded | Skipped:
        """Return the next part, which is empty if it has to be tried again."""
        started = time.monotonic()
        outcome = self._decode(self._options, worker)
        self._spent += time.monotonic() - started
        if isinstance(outcome, Skipped):
            return self._failed(outcome, worker)
        last = outcome.segments[-1][0] if outcome.segments else None
        if last is None or last.page is None or last.metadata.pages is None:
            return replace(outcome, lost=self._lost)
        chosen = chosen_pages(last.metadata.pages)
        # a process that was taken over may send other pages
        if last.page not in chosen[:-1] or last.page <= self._options.after_page:
            return replace(outcome, lost=self._lost)
        if self._spent > self._most_seconds:
            return replace(outcome, lost=f"took longer than {self._most_seconds:.3g} s")
        self._pages = last.metadata.pages
        self._options = replace(self._options, after_page=last.page)
        return replace(outcome, more=True)

    def _failed(self, skipped: Skipped, worker: LastingProcess) -> Decoded | Skipped:
        """Return an empty part if the rest can be tried, and otherwise the end."""
        if self._may_have_film() and not worker.is_usable():
            self._options = replace(self._options, lost_film=skipped.reason)
            return Decoded(self._item, (), more=True)
        self._lost = self._lost or self._options.lost_film or skipped.reason
        if worker.is_usable() or not self._may_go_on():
            if self._pages is None:
                return Skipped(self._item.location, self._lost)
            return Decoded(self._item, (), lost=self._lost)
        if self._options.most_pages is None:
            self._options = replace(self._options, most_pages=1)
        else:
            self._fatal += 1
            self._options = replace(self._options, after_page=self._next_page(), most_pages=None)
        return Decoded(self._item, (), more=True)

    def _may_have_film(self) -> bool:
        options = self._options
        return options.films and options.lost_film is None and self._item.kind is Kind.IMAGE

    def _may_go_on(self) -> bool:
        # if no page comes without the first one either, the document itself is the reason
        most = 1 if self._pages is None else MOST_FATAL
        is_document = self._item.kind is Kind.DOCUMENT
        return is_document and self._fatal < most and self._spent < self._most_seconds

    def _next_page(self) -> int:
        """Return the number of the page that the last part would have begun with."""
        after = self._options.after_page
        if self._pages is None:
            return after + 1
        return next((page for page in chosen_pages(self._pages) if page > after), self._pages)
