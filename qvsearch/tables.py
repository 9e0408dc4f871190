"""Tables for people; only what shows one imports this, since rich takes its time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from qvsearch.models.weights import ModelState
from qvsearch.output import clock, hint, line, place_text, safe_text, write
from qvsearch.status import Field, Status
from qvsearch.types import Hit, Kind

PLACES = {Kind.IMAGE: "pixels", Kind.VIDEO: "moment", Kind.TEXT: "lines"}
SHOWN_MOMENTS = 3  # the best of an item's others; --json has all
GAP = 2  # between columns
SHOWN_VALUES = 4  # of a field; --json has all
NAME_WIDTH = 30  # of a value; what a file says can be long
SNIPPET_WIDTH = 200  # where no terminal says how wide it is


def print_hits(hits: Sequence[Hit]) -> None:
    """Print a block a kind: rank, score, place in the item, clickable path, snippet."""
    console = _console()
    blocks = groupby(hits, key=lambda hit: hit.segment.item.kind)
    _print(console, [_block(console, kind, list(block)) for kind, block in blocks])


def _block(console: Console, kind: Kind, hits: list[Hit]) -> RenderableType:
    reranked = any(hit.rerank_score is not None for hit in hits)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    if reranked:
        table.add_column("rerank", justify="right", no_wrap=True)
    place = PLACES.get(kind, "place")
    table.add_column(place, no_wrap=True, style="cyan")
    table.add_column("path", overflow="fold")
    columns = [str(len(hits)), "0.000", *["rerank"] * reranked]
    places = [place, *(place_text(hit.segment) for hit in hits)]
    beside = sum(len(each) + GAP for each in [*columns, max(places, key=len)])
    width = max(20, console.width - beside) if console.is_terminal else SNIPPET_WIDTH
    for hit in hits:
        scores = [f"{hit.score:.3f}"]
        if reranked:
            scores.append("" if hit.rerank_score is None else f"{hit.rerank_score:.3f}")
        table.add_row(str(hit.rank), *scores, place_text(hit.segment), _described(hit, width))
    return Group(Text(f"{kind}s".capitalize(), style="bold"), table)


def _described(hit: Hit, width: int) -> Text:
    """Return the path as a link, under it the snippet and the item's other moments."""
    location = hit.segment.item.location
    described = Text(safe_text(_short(location)), style=Style(link=f"file://{quote(location)}"))
    below = [] if hit.segment.snippet is None else [hit.segment.snippet]
    if hit.moments:
        others = [place_text(each.segment) for each in hit.moments[:SHOWN_MOMENTS]]
        below.append("also " + ", ".join(others))
    lines = [described]
    for extra in below:
        shown = Text(safe_text(" ".join(extra.split())), style="dim")
        shown.truncate(width, overflow="ellipsis")
        lines.append(shown)
    return Text("\n").join(lines)


def _short(location: bytes) -> bytes:
    """Return a path below the current folder as relative to it."""
    with suppress(OSError):  # the current folder may be gone
        return location.removeprefix(os.fsencode(Path.cwd()).rstrip(b"/") + b"/")
    return location


def print_status(status: Status) -> None:
    """Print what is in a library, and below it what is to be done about it."""
    made = status.fingerprint
    facts = [
        ("library", str(status.folder)),
        (
            "model",
            f"{made.model} at {made.revision[:12]}, {made.dim} numbers, {made.detail} detail",
        ),
        *(
            (each.kind, f"{each.items:,} files, {each.segments:,} segments")
            for each in status.holdings
        ),
        ("size", _size(status.size)),
        ("changed", f"{len(status.changed):,} files since they were indexed"),
        ("gone", f"{len(status.gone):,} files"),
        ("failed", f"{len(status.failures):,} files"),
    ]
    for root in status.roots:
        there = "" if root not in status.unreachable else " (not reachable)"
        facts.append(("root", f"{safe_text(root)}{there}"))
    print_facts(facts)
    for failure in status.failures:
        tries = "once" if failure.tries == 1 else f"{failure.tries} times"
        line(f"  {safe_text(failure.path)}: {failure.reason} (tried {tries})")
    if status.changed or status.gone:
        hint("bring it up to date with: qvsearch index PATH...")


def print_fields(fields: Iterable[Field]) -> None:
    """Print what the files of a library can be filtered by."""
    print_table(
        ["field", "files", "what they have", "option"],
        [(each.name, f"{each.files:,}", _values(each), " ".join(each.options)) for each in fields],
    )
    hint("where a file does not say when it was taken, the time of its last change counts")


def _values(field: Field) -> str:
    """Return a field's range, or its most frequent values."""
    if field.least is not None and field.most is not None:
        return f"{_bound(field.least)} to {_bound(field.most)}"
    shown = [f"{_shortened(name)} ({count:,})" for name, count in field.values.items()]
    rest = len(shown) - SHOWN_VALUES
    return ", ".join(shown[:SHOWN_VALUES] + [f"{rest:,} more"] * (rest > 0))


def _shortened(name: str) -> str:
    shown = Text(safe_text(name))
    shown.truncate(NAME_WIDTH, overflow="ellipsis")
    return shown.plain


def _bound(value: str | float | tuple[float, float]) -> str:
    match value:
        case str():
            return value[:10]  # the day
        case (int() as width, int() as height):
            return f"{width}x{height}"
        case (latitude, longitude):
            return f"{latitude:.2f},{longitude:.2f}"
        case seconds:
            return clock(round(seconds))


def print_models(states: Iterable[ModelState]) -> None:
    """Print the models that one can name."""
    print_table(
        ["model", "role", "parameters", "vectors", "size", "here"],
        [
            (
                state.name,
                state.role,
                f"{state.parameters / 1e6:,.0f} M",
                "" if state.dim is None else str(state.dim),
                _size(state.size),
                "no" if state.folder is None else "yes",
            )
            for state in states
        ],
    )


def _size(count: int) -> str:
    thousands = min((len(str(count)) - 1) // 3, 3)
    unit = ("bytes", "kB", "MB", "GB")[thousands]
    return f"{count / 1000**thousands:.{min(thousands, 1)}f} {unit}"


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(safe_text(name)), Text(safe_text(value)))
    _print(_console(), [table])


def print_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their column names."""
    table = Table(*names, box=None, pad_edge=False, header_style="dim")
    for row in rows:
        table.add_row(*(Text(safe_text(cell), overflow="fold") for cell in row))
    _print(_console(), [table])


def _console() -> Console:
    """Return a console on standard output; in a pipe lines are as long as they need to be."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=10_000)


def _print(console: Console, parts: Sequence[RenderableType]) -> None:
    with console.capture() as capture:
        for number, part in enumerate(parts):
            if number:
                console.print()
            console.print(part)
    text = "".join(f"{each.rstrip()}\n" for each in capture.get().splitlines())
    write(text.encode(console.encoding or "utf-8", "backslashreplace"))
