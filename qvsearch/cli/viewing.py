"""The options --show, --open and --html: results as pictures, in their programs, as a gallery."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from qvsearch.choices import Pictures
from qvsearch.cli import output
from qvsearch.cli.interrupt import cancelling
from qvsearch.cli.options import PrintOptions, choice, number, output_option, path
from qvsearch.errors import QvsearchError
from qvsearch.kinds import Kind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from qvsearch.cli.terminal import Screen
    from qvsearch.gallery.cards import Section
    from qvsearch.library.library import Library
    from qvsearch.types import Segment

T = TypeVar("T")

MOST_OPENED = 50  # windows
PROGRESS_EVERY = 20  # pictures

Settings = Sequence[tuple[str, object]]  # names and values of options, for the foot of a gallery
HtmlFile = Annotated[
    bytes | None,
    output_option(
        parser=path, metavar="FILE", help="File for a gallery: a page with the pictures inside."
    ),
]


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How a person looks at results."""

    show: Annotated[
        Pictures | None,
        choice(
            "--show",
            Pictures,
            "Pictures in a terminal: in the best way it has (auto, the default), or in this way.",
            "Output",
            f"[{'|'.join(Pictures)}]",
        ),
    ] = None
    open_: Annotated[
        int | None,
        output_option(
            "--open",
            parser=number("--open", int, 1, MOST_OPENED),
            metavar="[N]",
            help="Open the first N files (default: 1), at the moment or page.",
        ),
    ] = None
    html: HtmlFile = None

    def view(
        self, printing: PrintOptions, title: str, settings: Settings, *, many: bool = False
    ) -> "View":
        """Return what is done with the results; raise QvsearchError for what is impossible.

        `title` and `settings` are those of the gallery. `many` is true if there are many queries.
        """
        if self.show is not None and not printing.is_table:
            raise QvsearchError(
                "--show draws pictures for a person; leave out --csv, --json, --paths and --print0"
            )
        if many and (self.open_ is not None or self.html is not None):
            raise QvsearchError("--open and --html are for one query; leave out --queries")
        if self.open_ is not None:
            from qvsearch.opening import check_display

            check_display()
        page = html_page(self.html, title, settings, printing.quiet)
        return View(_screen(self.show, printing.quiet), self.open_ or 0, page, printing.quiet)


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """A gallery to write: its place, title and settings."""

    path: Path
    title: str
    settings: tuple[tuple[str, str], ...]
    quiet: bool

    def finish(
        self,
        libraries: "Sequence[Library]",
        results: Sequence[T],
        sections: "Callable[[Sequence[T]], tuple[Section, ...]]",
        is_table: bool,
    ) -> bool:
        """Write the gallery of results, if there are any, and a line about it below a table.

        Return False, with each file named, if pictures are missing.
        """
        if not results:
            output.hint(f"{self.path} was not written: there is nothing to show", self.quiet)
            return True
        from qvsearch.gallery.cards import Gallery
        from qvsearch.gallery.page import write_gallery
        from qvsearch.media.thumbnails import Thumbnails
        from qvsearch.times import date_text

        settings = (
            *self.settings,
            *(("library", str(each.folder)) for each in libraries),
            *dict.fromkeys(("model", each.fingerprint.model) for each in libraries),
            ("date", date_text(time.time_ns())),
        )
        gallery = Gallery(self.title, sections(results), settings)
        total = len(gallery.cards)

        def done(number: int) -> None:
            if number % PROGRESS_EVERY == 0:
                output.progress(f"pictures: {number:,} of {total:,}", self.quiet)

        with cancelling(), Thumbnails() as thumbnails:
            try:
                failed = write_gallery(self.path, gallery, thumbnails, done)
            finally:
                output.progress("", self.quiet)
        for each in failed:
            output.fail(f"no picture of {output.safe_text(each.path)}: {each.reason}")
        if is_table:
            size = output.size_text(self.path.stat().st_size)
            output.line(f"gallery: {self.path} ({output.counted(total, 'file')}, {size})")
        return not failed


@dataclass(frozen=True, slots=True)
class View:
    """What is done with results: shown on a screen, the first ones opened, written to a page."""

    screen: "Screen | None"
    opened: int
    page: HtmlPage | None
    quiet: bool

    def finish(
        self,
        libraries: "Sequence[Library]",
        results: Sequence[tuple["Segment", float | None]],
        sections: "Callable[[], tuple[Section, ...]]",
        is_table: bool,
    ) -> bool:
        """Open the first of (segment, start) and write the page; return whether all is well."""
        is_well = True
        for segment, start in results[: self.opened]:
            is_well &= self._open(segment, start)
        if self.page is not None:
            is_well &= self.page.finish(libraries, results, lambda _: sections(), is_table)
        return is_well

    def _open(self, segment: "Segment", start: float | None) -> bool:
        """Open a file; a failure is reported and costs no other file."""
        from qvsearch.opening import open_file

        try:
            at_place = open_file(segment.item.location, start, segment.page)
        except QvsearchError as error:
            output.fail(str(error))
            return False
        if not at_place and (hint := _place_hint(segment, start)):
            output.hint(hint, self.quiet)
        return True


def _place_hint(segment: "Segment", start: float | None) -> str:
    """Return where the place of a file is that opened at its beginning."""
    if start and segment.item.kind is Kind.VIDEO:
        return (
            f"the moment begins at {output.clock(int(start))}; mpv, VLC or IINA would start there"
        )
    if segment.page is not None and segment.page > 1:
        return f"the hit is page {segment.page}; Evince, Okular or a browser would open there"
    return ""


def html_page(
    file: bytes | None, title: str, settings: Settings, quiet: bool = False
) -> HtmlPage | None:
    """Return the page for --html, or None; raise QvsearchError if it cannot be written there.

    Of `settings`, names and values of options, those that are None or False are left out.
    """
    if file is None:
        return None
    from qvsearch.gallery.page import check_target

    place = Path(os.fsdecode(file))
    check_target(place)
    return HtmlPage(place, title, tuple(_texts(settings)), quiet)


def given(*records: object) -> Settings:
    """Return the options of dataclasses that are not their defaults."""
    return [
        (field.name.strip("_").replace("_", " "), getattr(record, field.name))
        for record in records
        for field in fields(cast("DataclassInstance", record))
        if getattr(record, field.name) != field.default
    ]


def _screen(show: Pictures | None, quiet: bool) -> "Screen | None":
    """Return the terminal for --show; None without it, or if there is no such terminal."""
    if show is None:
        return None
    from qvsearch.cli.terminal import find_screen

    screen = find_screen(show)
    if screen is None:
        output.hint("no pictures: --show needs a terminal with UTF-8 and colours", quiet)
    return screen


def _texts(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, value in settings:
        for each in value if isinstance(value, list) else [value]:
            if each is True:
                yield name, "yes"
            elif each is not None and each is not False:
                yield name, os.fsdecode(each) if isinstance(each, bytes) else str(each)
