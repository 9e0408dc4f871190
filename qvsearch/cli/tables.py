"""Tables for people; only what shows one imports this, since rich takes its time."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from qvsearch.cli.layout import GAP, Column, Row, facts_laid_out, laid_out
from qvsearch.cli.output import (
    clock,
    counted,
    hint,
    line,
    older_text,
    place_text,
    print_skipped,
    safe_text,
    segment_text,
    write,
)
from qvsearch.library.names import option
from qvsearch.library.rules import rules_text
from qvsearch.times import date_text, time_taken
from qvsearch.types import Precision

if TYPE_CHECKING:
    from qvsearch.indexing.status import Field, Status
    from qvsearch.library.libraries import Shelved
    from qvsearch.library.pending import Pending
    from qvsearch.machine.bench import Figure
    from qvsearch.models.registry import ModelState
    from qvsearch.retrieval.explain import Explanation
    from qvsearch.runtime.manager import Running
    from qvsearch.types import Hit

SHOWN_MOMENTS = 3  # the best of an item's others; --json has all
SHOWN_SEGMENTS = 10  # of a file that is explained
LEAST_WIDTH = 16  # that columns of numbers leave for what is beside them
SHOWN_PATHS = 3  # of an unfinished run
SHOWN_VALUES = 4  # of a field; --json has all
NAME_WIDTH = 30  # of a value; what a file says can be long
SNIPPET_WIDTH = 200  # if no terminal is narrower
MOST_SHOWN = 10_000  # of a unit that there is a thousand times LARGER one of
LARGER = {"ms": "s", "GFLOP/s": "TFLOP/s"}


def print_hits(
    hits: Sequence[Hit], cut: float, *, by_kind: bool = False, dated: bool = False
) -> None:
    """Print one list, or one a kind: rank, relevance, kind, place in the item, path, snippet.

    A line parts hits of at least the relevance `cut` from those of less. `dated` adds the day.
    """
    console = _console()
    if not by_kind:
        _print(console, [_hits(console, hits, cut, dated=dated)])
        return
    parts = []
    for kind, block in groupby(hits, key=lambda hit: hit.segment.item.kind):
        heading = Text(f"{kind}s\n".capitalize(), style="bold")
        parts.append(heading + _hits(console, list(block), cut, dated=dated))
    _print(console, parts)


def print_heading(text: str, *, first: bool) -> None:
    """Print the query that the hits below it answer, apart from those of another above it."""
    if not first:
        line()
    _print(_console(), [Text(safe_text(text), style="bold")])


def print_nearest(hits: Sequence[Hit]) -> None:
    """Print hits that are not relevant enough, dimmed, if nothing is."""
    console = _console()
    heading = Text("nothing is clearly relevant; nearest:")
    _print(console, [heading, _hits(console, hits, cut=0.0, style="dim")])


def _hits(
    console: Console, hits: Sequence[Hit], cut: float, style: str = "", *, dated: bool = False
) -> Text:
    reranked = any(hit.rerank_score is not None for hit in hits)
    scored = not any(math.isnan(hit.relevance) for hit in hits)
    columns = [
        Column("", right=True),
        *[Column("relevance", right=True)] * scored,
        *[Column("rerank", right=True)] * reranked,
        Column("kind", "cyan"),
        Column("size", "cyan"),
        *[Column("date", "cyan")] * dated,
    ]
    shown = sum(not hit.relevance < cut for hit in hits)  # a listed file has none
    rows = []
    for place, hit in enumerate(hits):
        if 0 < place == shown:
            rows.append(Row([""] * len(columns), Text(f"── below {cut:.2f} ──", style="dim")))
        cells = (
            str(hit.rank),
            *[f"{hit.relevance:.2f}"] * scored,
            *[_probability(hit.rerank_score)] * reranked,
            hit.segment.item.kind.value,
            place_text(hit),
            *[date_text(time_taken(hit.segment))[:10]] * dated,
        )
        rows.append(Row(cells, _link(hit), _below(hit), style if place < shown else "dim"))
    return laid_out(columns, rows, _width(console))


def _width(console: Console) -> int:
    return console.width if console.is_terminal else sys.maxsize


def _probability(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _link(hit: Hit) -> Text:
    location = hit.segment.item.location
    return Text(safe_text(_short(location)), style=Style(link=f"file://{quote(location)}"))


def _below(hit: Hit) -> list[Text]:
    """Return what is below a path: that it is gone, snippet, other moments, near-duplicates."""
    below = [Text("gone: no longer where it was indexed", style="dim")] if hit.gone else []
    if hit.segment.snippet is not None:
        words = safe_text(" ".join(hit.segment.snippet.split()))
        snippet = Text(words, style="dim", overflow="ellipsis")
        snippet.truncate(SNIPPET_WIDTH)
        below.append(snippet)
    if hit.moments:
        moments = ", ".join(place_text(each) for each in hit.moments[:SHOWN_MOMENTS])
        below.append(Text(f"also {moments}", style="dim"))
    if hit.duplicates:
        more = len(hit.duplicates) - 1
        first = safe_text(_short(hit.duplicates[0].location))
        below.append(Text(f"like it: {first}" + (f" and {more} more" if more else ""), style="dim"))
    return below


def _short(location: bytes) -> bytes:
    """Return a path below the current folder as relative to it."""
    with suppress(OSError):  # the current folder may be gone
        return location.removeprefix(os.fsencode(Path.cwd()).rstrip(b"/") + b"/")
    return location


def print_status(status: Status, warm: Iterable[Running]) -> None:
    """Print what is in a library, and below it what is to be done about it."""
    made = status.fingerprint
    facts = [
        ("library", str(status.folder)),
        (
            "model",
            f"{made.model} at {made.revision[:12]}, {made.dim} numbers, {made.detail} detail"
            + (", in int8" if made.precision == Precision.INT8 else ""),
        ),
        *(
            (each.kind, f"{counted(each.items, 'file')}, {counted(each.segments, 'segment')}")
            for each in status.holdings
        ),
        ("size", f"{_size(status.size)}, vectors in {status.store}"),
        ("changed", f"{counted(len(status.changed), 'file')} since the last index"),
        ("gone", counted(len(status.gone), "file")),
        ("failed", counted(len(status.failures), "file")),
        *(("not indexed yet", _unfinished(run, status.folder)) for run in status.pending),
    ]
    facts += _due(status)
    for root in status.roots:
        there = "" if root not in status.unreachable else " (not reachable)"
        facts.append(("root", f"{safe_text(root)}{there}"))
        if (rules := status.rules.get(root)) is not None:
            facts.append(("", rules_text(rules)))
    facts += [("warm", warm_text(each)) for each in warm]
    print_facts(facts)
    if status.failures:
        line("failed:")
    for failure in status.failures:
        tries = "once" if failure.tries == 1 else f"{failure.tries} times"
        line(f"  {safe_text(failure.path)}: {failure.reason} (tried {tries})")
    if status.left_out:
        line("left out:")
        print_skipped(status.left_out)
    if status.changed or status.gone:
        hint(f"bring it up to date with: qvsearch index PATH...{option(status.folder)}")


def _due(status: Status) -> list[tuple[str, str]]:
    """Return what the next `index` will look at, and what is indexed in part or not at all."""
    facts = []
    if status.touched:
        files = counted(status.touched, "file")
        facts.append(("touched", f"the next index checks {files} whose status changed"))
    if status.older:
        said = f"the next index looks at {older_text(status.older, status.older_segments)}"
        facts.append(("older", said))
    if status.left_aside:
        from qvsearch.indexing.scan import leftovers_text

        facts.append(("left aside", leftovers_text(status.left_aside)))
    if status.left_out:
        files = counted(len(status.left_out), "file")
        facts.append(
            (
                "left out",
                f"{files}; forget them with: qvsearch index PATH... --prune{option(status.folder)}",
            )
        )
    if status.damaged:
        files = counted(len(status.damaged), "file")
        facts.append(("damaged", f"{files}; what can be read is indexed (named by --json)"))
    return facts


def _unfinished(run: Pending, library: Path) -> str:
    paths = " ".join(map(safe_text, run.paths[:SHOWN_PATHS]))
    more = " ..." if len(run.paths) > SHOWN_PATHS else ""
    command = f"qvsearch index {paths}{more}{option(library)}"
    kept = [
        f"; {safe_text(root)} is indexed with {rules_text(run.rules[root])}" for root in run.rules
    ]
    return f"{counted(run.files, 'file')}; unless it still runs: {command}" + "".join(kept)


def print_fields(fields: Iterable[Field]) -> None:
    """Print what the files of a library can be filtered by."""
    print_table(
        ["field", "files", "what they have", "option"],
        [(each.name, f"{each.files:,}", _values(each), " ".join(each.options)) for each in fields],
    )
    hint("where neither a file nor its name has a date, the time of its last change counts")


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


def print_figures(figures: Iterable[Figure]) -> None:
    """Print what was measured, and below it what stood for what."""
    shown = list(figures)
    dtypes = list(dict.fromkeys(each.dtype for each in shown if each.dtype is not None))
    rows = []
    for each in shown:
        share = "" if each.of_gemm is None else f"{each.of_gemm:.0%}"
        of = [each.dtype or ""] if len(dtypes) > 1 else []
        rows.append([each.figure, _told_apart(each), *of, *_median_and_spread(each), share])
    of = ["dtype"] if len(dtypes) > 1 else []
    print_table(["figure", "", *of, "median", "spread", "of GEMM"], rows)
    for each in shown:
        if each.reason is not None:
            line(f"{each.figure} {_told_apart(each)}: {safe_text(each.reason)}")
    model = next((each for each in shown if each.model is not None), None)
    if model is not None:
        line(f"{model.model} on {model.device}, {', '.join(dtypes)}")
    if any(each.random for each in shown):
        line("the weights are random, of the model's sizes, which changes no time")
    if any(each.scaled for each in shown):
        line("fewer layers were timed; times are scaled by the arithmetic of all, computed")


def _median_and_spread(figure: Figure) -> tuple[str, str]:
    """Return them in units in which numbers are short; one timing alone has no spread."""
    if figure.value is None:
        return "none", ""
    unit = "per s" if figure.unit == "1/s" else figure.unit
    values = [each for each in (figure.value, figure.least, figure.most) if each is not None]
    if figure.unit == "1/s" and figure.value < 1:
        unit, values = "s each", [1 / each for each in values]
    elif figure.unit in LARGER and figure.value >= MOST_SHOWN:
        unit, values = LARGER[figure.unit], [each / 1000 for each in values]
    ends = sorted(values[1:])
    spread = "" if figure.runs in (None, 1) else " to ".join(map(_number, ends))
    return f"{_number(values[0])} {unit}", spread


def _told_apart(figure: Figure) -> str:
    return ", ".join(each for each in (figure.detail, figure.how) if each is not None)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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


def print_libraries(found: Iterable[Shelved]) -> None:
    """Print the libraries of the data folder."""
    print_table(
        ["name", "model", "segments", "size"],
        [
            (
                each.name + (" (default)" if each.is_default else ""),
                each.problem or each.model or "",
                "" if each.segments is None else f"{each.segments:,}",
                _size(each.size),
            )
            for each in found
        ],
    )


def _size(count: int) -> str:
    thousands = min((len(str(count)) - 1) // 3, 3)
    unit = ("bytes", "kB", "MB", "GB")[thousands]
    return f"{count / 1000**thousands:.{min(thousands, 1)}f} {unit}"


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    console = _console()
    safe = [(safe_text(name), safe_text(value)) for name, value in facts]
    _print(console, [facts_laid_out(safe, _width(console))])


def print_paths(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their column names, of which the last is the path."""
    console = _console()
    found = [Row(list(map(safe_text, cells)), Text(safe_text(path))) for *cells, path in rows]
    _print(console, [laid_out(list(map(Column, names[:-1])), found, _width(console))])


def print_table(
    names: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Sequence[str] = ()
) -> None:
    """Print rows under their column names.

    No line is broken in columns named `whole`, as long as that leaves room for the others.
    """
    console, rows = _console(), list(rows)
    columns = zip(names, *rows, strict=True)
    taken = sum(max(map(len, cells)) + GAP for cells in columns if cells[0] in whole)
    fits = console.width - taken >= LEAST_WIDTH
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=fits and name in whole)
    for row in rows:
        table.add_row(*(Text(safe_text(cell), overflow="fold") for cell in row))
    _print(console, [table])


def _console() -> Console:
    """Return a console as for standard output; in a pipe lines are as long as they need to be.

    It has a file of its own, for rich writes even where it only captures, and nothing but `write`
    knows what to do where that fails.
    """
    watched = sys.stdout.isatty()
    width = None if watched else 10_000
    return Console(file=StringIO(), force_terminal=watched, highlight=False, width=width)


def _print(console: Console, parts: Sequence[RenderableType]) -> None:
    with console.capture() as capture:
        for number, part in enumerate(parts):
            if number:
                console.print()
            console.print(part, soft_wrap=isinstance(part, Text))
    text = "".join(f"{each.rstrip()}\n" for each in capture.get().splitlines())
    write(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def print_explanation(found: Explanation) -> None:
    """Print why a file is or is not an answer, and what each of its segments scores."""
    facts = [("file", safe_text(found.path))]
    facts.append(("shown", "yes" if found.reason is None else f"no: {found.reason}"))
    if found.rank is not None and found.relevance is not None and found.items is not None:
        others = counted(found.items, "file")
        beside = f"would be {found.rank:,}, beside {others} passing the filters"
        facts.append(("rank", beside if found.hidden_by else f"{found.rank:,} of {others}"))
        facts.append(("relevance", f"{found.relevance:.2f}, the cut is {found.cut:.2g}"))
    print_facts(facts)
    if not found.segments:
        return
    line()
    several = any(len(each.terms) > 1 for each in found.segments)
    names = ["relevance", "score", "best", "median", "baseline"]
    rows: list[tuple[str, ...]] = []
    for each in found.segments[:SHOWN_SEGMENTS]:
        place = segment_text(each.segment) or "whole"
        if several:
            rows.append((place, *("" for _ in names)))
        for term in each.terms:
            level = term.level
            rows.append(
                (
                    f"  {'not ' if term.weight < 0 else ''}{term.text}" if several else place,
                    f"{term.relevance:.2f}",
                    f"{term.score:.3f}",
                    f"{level.best:.3f}",
                    f"{level.median:.3f} ± {level.spread:.3f}",
                    "{:.3f} ± {:.3f}".format(*level.baseline),
                )
            )
    print_table(["segment", *names], rows, whole=names)
    if len(found.segments) > SHOWN_SEGMENTS:
        line(f"... and {len(found.segments) - SHOWN_SEGMENTS:,} more; --json has them all")


def warm_text(process: Running) -> str:
    """Return a line about a warm process."""
    if process.kept is None:
        return f"process {process.pid} gives no answer; end it with: qvsearch warm --stop"
    memory = "" if process.memory is None else f", {process.memory / 1e9:.1f} GB"
    since = datetime.fromtimestamp(process.since).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"{process.model}, process {process.pid} since {since}{memory};"
        f" idle for {clock(int(process.idle))} of {clock(int(process.limit))}; {process.socket}"
    )
