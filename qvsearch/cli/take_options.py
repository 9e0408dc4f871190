"""The options of search that take hits along: copies, links, a playlist, a timeline."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from qvsearch.tasks.taking.folder import Haul, HitFolder
    from qvsearch.types import Hit

_taking = partial(typer.Option, rich_help_panel="Taking hits along")


@dataclass(frozen=True, slots=True)
class Used:
    """The result of a use: fields of `--json` for each hit, and lines for a person.

    If not `is_whole`, a file is missing, which was reported, and the exit code is 3.
    """

    fields: Sequence[Mapping[str, object]]
    lines: Sequence[str] = ()
    is_whole: bool = True


Use = Callable[[Sequence["Hit"]], Used]


@dataclass(frozen=True, slots=True)
class TakeOptions:
    """Where the files of hits, and the moments of videos, are put."""

    copy_to: Annotated[
        bytes | None,
        _taking(parser=options.path, metavar="FOLDER", help="Folder for copies of the hits."),
    ] = None
    link_to: Annotated[
        bytes | None,
        _taking(parser=options.path, metavar="FOLDER", help="Folder for links to the hits."),
    ] = None
    ranked: Annotated[
        bool, _taking("--ranked", help="Begin the names of copies and links with the rank.")
    ] = False
    playlist: Annotated[
        bytes | None,
        _taking(
            parser=options.path, metavar="FILE.m3u8", help="New playlist of the moments of videos."
        ),
    ] = None
    timeline: Annotated[
        bytes | None,
        _taking(
            parser=options.path,
            metavar="FILE",
            help="New timeline of the moments for editors: .otio, .fcpxml or .edl.",
        ),
    ] = None

    @property
    def has_moments(self) -> bool:
        """Whether moments are written."""
        return self.playlist is not None or self.timeline is not None

    def uses(self, padding: float, title: str | None, *, several: bool, quiet: bool) -> list[Use]:
        """Return a function for each option; raises QvsearchError for a place that is not free."""
        from qvsearch.tasks.taking.folder import HitFolder

        uses: list[Use] = []
        for place, links, option in (
            (self.copy_to, False, "--copy-to"),
            (self.link_to, True, "--link-to"),
        ):
            if place is not None:
                folder = Path(os.fsdecode(place))
                hits = HitFolder(folder, links=links, ranked=self.ranked, option=option)
                uses.append(partial(_take, hits, links, quiet))
        if self.ranked and not uses:
            raise QvsearchError("--ranked is for copies and links; give --copy-to or --link-to")
        if self.copy_to is not None and self.link_to is not None:
            raise QvsearchError("--copy-to and --link-to are two ways; give one of them")
        if several and self.has_moments:
            raise QvsearchError("--playlist and --timeline take one query; leave out --queries")
        if self.playlist is not None:
            path = _new_file("--playlist", self.playlist)
            if path.suffix.lower() not in (".m3u8", ".m3u"):
                raise QvsearchError(f"--playlist {path} has another suffix; give .m3u8")
            uses.append(partial(_write_playlist, path, padding))
        if self.timeline is not None:
            from qvsearch.tasks.taking.timeline import check_suffix

            path = _new_file("--timeline", self.timeline)
            check_suffix(path)
            uses.append(
                partial(_write_timeline, path, padding, (title or "listing").strip(), quiet)
            )
        return uses


def _new_file(option: str, place: bytes) -> Path:
    path = Path(os.fsdecode(place))
    if os.path.lexists(path):
        raise QvsearchError(f"{option} {path} exists; delete it, or give another name")
    if not path.parent.is_dir():
        raise QvsearchError(f"{option} {path}: there is no folder {path.parent}; create it")
    return path


def _take(folder: "HitFolder", links: bool, quiet: bool, hits: "Sequence[Hit]") -> Used:
    """Copy or link the files of hits."""
    from qvsearch.files import is_below
    from qvsearch.formats import path_fields

    what = "linked" if links else "copied"
    try:
        haul = folder.take(
            hits, lambda number, count: output.progress(f"{what} {number - 1} of {count}", quiet)
        )
    finally:
        output.progress("", quiet)
    for each in haul.skipped:
        output.fail(f"not {what}: {output.safe_text(each.path)}: {each.reason}")
    if haul.problem is not None:
        output.fail(haul.problem)
    place = os.fsencode(folder.folder)
    if not links and any(is_below(place, hit.segment.item.root) for hit in hits):
        output.hint(f"{folder.folder} is in an indexed folder; copies there are indexed", quiet)
    fields = [
        {} if each is None else path_fields("copy", os.fsencode(each.path)) for each in haul.taken
    ]
    is_whole = not haul.skipped and haul.problem is None
    return Used(fields, [_summary(folder.folder, haul, hits, links)], is_whole)


def _summary(folder: Path, haul: "Haul", hits: "Sequence[Hit]", links: bool) -> str:
    new = sum(each is not None and each.is_new for each in haul.taken)
    old = sum(each is not None and not each.is_new for each in haul.taken)
    folded = sum(len(hit.duplicates) for hit in hits)
    line = f"{'linked' if links else 'copied'} {output.counted(new, 'file')} to {folder}"
    if old:
        line += f"; {old:,} {'was' if old == 1 else 'were'} there before"
    if folded:
        line += f"; without {output.counted(folded, 'folded near-duplicate')}"
    return line


def _write_playlist(path: Path, padding: float, hits: "Sequence[Hit]") -> Used:
    from qvsearch.files import write_file
    from qvsearch.tasks.taking.spans import playlist, spans_of

    spans = list(spans_of(hits, padding))
    if not spans:
        return _nothing(path, hits)
    write_file(path, playlist(spans))
    return Used([{}] * len(hits), [f"{output.counted(len(spans), 'moment')} written to {path}"])


def _write_timeline(
    path: Path, padding: float, title: str, quiet: bool, hits: "Sequence[Hit]"
) -> Used:
    from qvsearch.files import write_file
    from qvsearch.tasks.taking.spans import spans_of
    from qvsearch.tasks.taking.timeline import timeline

    spans = list(spans_of(hits, padding))
    if not spans:
        return _nothing(path, hits)
    written = timeline(spans, title, path.suffix.lower())
    for each in written.skipped:
        output.fail(f"not in {path.name}: {output.safe_text(each.path)}: {each.reason}")
    if not written.cuts:
        return Used([{}] * len(hits), [], is_whole=False)
    write_file(path, written.data)
    for film in written.variable:
        name = output.safe_text(os.path.basename(film))
        output.hint(
            f"the frame rate of {name} varies; an editor may show its moment some frames off", quiet
        )
    line = f"{output.counted(len(written.cuts), 'moment')} written to {path}"
    return Used([{}] * len(hits), [line], is_whole=not written.skipped)


def _nothing(path: Path, hits: "Sequence[Hit]") -> Used:
    output.fail(f"no hit is a video; {path} was not written")
    return Used([{}] * len(hits), [], is_whole=False)
