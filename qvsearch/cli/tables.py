"""Tables of libraries, models and measurements; only a command that prints one imports it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from qvsearch.cli.layout import (
    Column,
    Row,
    laid_out,
    new_console,
    print_facts,
    print_parts,
    print_table,
    width_of,
)
from qvsearch.cli.output import (
    clock,
    counted,
    hint,
    line,
    older_text,
    print_skipped,
    safe_text,
    size_text,
)
from qvsearch.indexing.roots import Root
from qvsearch.indexing.scan import leftovers_text
from qvsearch.library.names import option
from qvsearch.library.rules import rules_text
from qvsearch.types import Kind, Precision

if TYPE_CHECKING:
    from qvsearch.fingerprint import Fingerprint
    from qvsearch.indexing.fields import Field
    from qvsearch.indexing.reading import Reading
    from qvsearch.indexing.status import Status
    from qvsearch.library.libraries import Shelved
    from qvsearch.library.pending import Pending
    from qvsearch.machine.bench import Figure
    from qvsearch.machine.gguf_files import GgufState
    from qvsearch.models.registry import ModelState
    from qvsearch.published.status import TableStatus
    from qvsearch.runtime.manager import Running

SHOWN_PATHS = 3  # of an unfinished run
SHOWN_VALUES = 4  # of a field; --json has all
NAME_WIDTH = 30  # of a value; a camera's name can be long
MOST_SHOWN = 10_000  # from here on a unit is replaced by one a thousand times as large
LARGER = {"ms": "s", "GFLOP/s": "TFLOP/s"}


def _of_documents(fingerprint: Fingerprint) -> str:
    detail = fingerprint.document_detail
    return "" if detail is None else f" ({detail} for documents)"


def print_status(status: Status, warm: Iterable[Running]) -> None:
    """Print the contents of a library, and the next steps below them."""
    fingerprint = status.fingerprint
    facts = [
        ("library", str(status.folder)),
        (
            "model",
            f"{fingerprint.model} at {fingerprint.revision[:12]}, {fingerprint.dim} dimensions,"
            f" {fingerprint.detail} detail{_of_documents(fingerprint)}"
            + (", in int8" if fingerprint.precision == Precision.INT8 else ""),
        ),
        *(() if fingerprint.adapter is None else (("adapter", safe_text(fingerprint.adapter)),)),
        *(() if fingerprint.mmproj is None else (("mmproj", safe_text(fingerprint.mmproj)),)),
        *(
            (each.kind, f"{counted(each.items, 'file')}, {counted(each.segments, 'segment')}")
            for each in status.holdings
        ),
        ("size", f"{size_text(status.size)}, vectors in {status.store}"),
        ("changed", f"{counted(len(status.changed), 'file')} since the last index"),
        ("gone", counted(len(status.gone), "file")),
        ("failed", counted(len(status.failures), "file")),
        *(("not indexed yet", _unfinished(run, status.folder)) for run in status.pending),
    ]
    facts += _due(status)
    facts.append(("ocr", ocr_text(status.ocr)))
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
        hint(f"bring it up to date with: qvsearch index{option(status.folder)}")


def ocr_text(reading: Reading) -> str:
    """Return how far the words in pictures are read, for a person."""
    if not reading.installed:
        remedy = 'pip install "qvsearch[ocr]"'
        waiting = (
            f"; {counted(reading.waiting, 'picture')} may have words" if reading.waiting else ""
        )
        return f"off, not installed{waiting}: {remedy}"
    waiting = f", {reading.waiting:,} for the next index" if reading.waiting else ""
    languages = f"in {len(reading.languages)} languages (--json lists them)"
    return f"on, {languages}: {counted(reading.read, 'picture')} read{waiting}"


def _due(status: Status) -> list[tuple[str, str]]:
    """Return the work of the next `index`, and the files indexed in part or not at all."""
    facts = []
    if status.touched:
        files = counted(status.touched, "file")
        facts.append(("touched", f"the next index checks {files} whose status changed"))
    if status.older:
        files = older_text(status.older, status.older_segments)
        facts.append(("older", f"the next index looks at {files}"))
    if status.without_words:
        files = counted(status.without_words, "file")
        facts.append(("words", f"the next index stores the words of {files}"))
    if status.left_aside:
        facts.append(("left aside", leftovers_text(status.left_aside)))
    if status.vendored:
        files = counted(status.vendored, "file")
        facts.append(("left aside", f"{files} that programs wrote, e.g. installed code"))
    if status.pictures[0]:
        pictures, documents = (
            counted(*each) for each in zip(status.pictures, ("picture", "document"), strict=True)
        )
        facts.append(("pictures", f"not indexed: {pictures} within {documents}"))
    if status.partial:
        files = counted(len(status.partial), "file")
        facts.append(("partial", f"{files}, of which a part is indexed (--json lists them)"))
    if status.left_out:
        files = counted(len(status.left_out), "file")
        facts.append(
            (
                "left out",
                f"{files}; remove them with: qvsearch index PATH... --prune{option(status.folder)}",
            )
        )
    if status.damaged:
        files = counted(len(status.damaged), "file")
        facts.append(("damaged", f"{files}; their readable part is indexed (--json lists them)"))
    return facts


def _unfinished(run: Pending, library: Path) -> str:
    paths = " ".join(map(safe_text, run.paths[:SHOWN_PATHS]))
    more = " ..." if len(run.paths) > SHOWN_PATHS else ""
    command = f"qvsearch index {paths}{more}{option(library)}"
    rules = [
        f"; {safe_text(root)} is indexed with {rules_text(run.rules[root])}" for root in run.rules
    ]
    return f"{counted(run.files, 'file')}; unless it still runs: {command}" + "".join(rules)


def print_fields(fields: Iterable[Field]) -> None:
    """Print the fields by which the files of a library can be filtered."""
    print_table(
        ["field", "files", "values", "option"],
        [(each.name, f"{each.files:,}", _values(each), " ".join(each.options)) for each in fields],
    )
    hint("a file without a date, also in its name, has the time of its last change")


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
    """Print measurements, and notes on random weights and scaled times."""
    shown = list(figures)
    dtypes = list(dict.fromkeys(each.dtype for each in shown if each.dtype is not None))
    rows = []
    for each in shown:
        share = "" if each.of_gemm is None else f"{each.of_gemm:.0%}"
        of = [each.dtype or ""] if len(dtypes) > 1 else []
        rows.append([each.figure, _variant(each), *of, *_median_and_spread(each), share])
    of = ["dtype"] if len(dtypes) > 1 else []
    print_table(["figure", "", *of, "median", "spread", "of GEMM"], rows)
    for each in shown:
        if each.reason is not None:
            line(f"{each.figure} {_variant(each)}: {safe_text(each.reason)}")
    model = next((each for each in shown if each.model is not None), None)
    if model is not None:
        line(f"{model.model} on {model.device}, {', '.join(dtypes)}")
    if any(each.random for each in shown):
        line("the weights are random, in the model's sizes; that changes no time")
    if any(each.scaled for each in shown):
        line("fewer layers were timed; the times are scaled to all layers (computed)")


def _median_and_spread(figure: Figure) -> tuple[str, str]:
    """Return both in units that keep numbers short; a single timing has no spread."""
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


def _variant(figure: Figure) -> str:
    return ", ".join(each for each in (figure.detail, figure.how) if each is not None)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_models(states: Iterable[ModelState]) -> None:
    """Print the models, and whether each is on this disk."""
    print_table(
        ["model", "role", "parameters", "vectors", "size", "here"],
        [
            (
                state.name,
                state.role,
                f"{state.parameters / 1e6:,.0f} M",
                "" if state.dim is None else str(state.dim),
                size_text(state.size),
                "no" if state.folder is None else "yes",
            )
            for state in states
        ],
    )


def print_ggufs(states: Iterable[GgufState]) -> None:
    """Print GGUF files, the memory they need and their speed; nothing without any."""
    rows = [
        (
            safe_text(str(state.path)),
            state.numbers,
            f"{state.parameters / 1e6:,.0f} M",
            str(state.dim),
            size_text(state.memory),
            f"{'' if state.measured else 'about '}{state.seconds:.2g} s",
        )
        for state in states
    ]
    if rows:
        print_table(["file", "numbers", "parameters", "vectors", "memory", "photo"], rows)


def print_libraries(shelf: Iterable[Shelved]) -> None:
    """Print the libraries of the data folder, and below them what is wrong with each."""
    shown = list(shelf)
    print_table(
        ["name", "model", "files", "size", "changed"],
        [
            (
                each.name + (" (default)" if each.is_default else ""),
                each.model or "",
                ", ".join(counted(count, kind) for kind, count in each.files.items()),
                size_text(each.size),
                (each.changed or "")[:10],
            )
            for each in shown
        ],
        whole=["name", "size", "changed"],
    )
    for each in shown:
        for problem in _problems(each):
            line(f"{each.name}: {problem}")
    hint(f"they are in {safe_text(str(shown[0].folder.parent))}")


def _problems(library: Shelved) -> Iterator[str]:
    """Yield what is wrong with a library."""
    if library.problem is not None:
        yield library.problem
    if library.failed:
        yield f"{counted(library.failed, 'file')} could not be indexed"
    if library.not_indexed:
        yield f"{counted(library.not_indexed, 'file')} not indexed yet"


def warm_text(process: Running) -> str:
    """Return a line about a warm process."""
    if process.key is None:
        return f"process {process.pid} does not respond; end it with: qvsearch warm --stop"
    memory = "" if process.memory is None else f", {process.memory / 1e9:.1f} GB"
    since = datetime.fromtimestamp(process.since).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"{process.model}, process {process.pid} since {since}{memory};"
        f" idle for {clock(int(process.idle))} of {clock(int(process.limit))}; {process.socket}"
    )


def print_roots(roots: Iterable[Root]) -> None:
    """Print each root with the number of its files, its file system and its rules."""
    console = new_console()
    columns = [Column(f"{kind}s", right=True) for kind in Kind] + [Column("on")]
    rows = [_row(root) for root in roots]
    print_parts(console, [laid_out(columns, rows, width_of(console))])


def _row(root: Root) -> Row:
    cells = [f"{root.items.get(kind, 0):,}" for kind in Kind]
    cells.append(root.file_system or "" if root.reachable else "not there")
    rules = safe_text(rules_text(root.rules))
    below = [Text(rules, overflow="ellipsis")] if rules else []
    return Row(cells, Text(safe_text(root.path)), below, "" if root.reachable else "dim")


def print_table_status(status: TableStatus) -> None:
    """Print what a table holds, who published it, and where its roots lie."""
    fingerprint = status.fingerprint
    model = f"{fingerprint.model} at {fingerprint.revision[:12]}, {fingerprint.dim} dimensions"
    facts = [("table", f"{status.folder}, version {status.version}"), ("model", model)]
    facts += [
        (kind, f"{counted(files, 'file')}, {counted(status.rows[kind], 'segment')}")
        for kind, files in status.files.items()
    ]
    if status.indexed:
        loose = counted(status.loose, "segment")
        facts.append(("index", f"of vectors; {loose} not in it yet, and compared one by one"))
    for each in status.publishers:
        when = (
            f"published {each.published}" if each.token else "not whole: its last run has not ended"
        )
        facts.append(("publisher", f"{each.name}: {counted(each.files, 'file')}, {when}"))
    for root in status.roots:
        place = "not mapped" if root.path is None else safe_text(root.path)
        there = " (not reachable)" if root.path is not None and not root.reachable else ""
        facts.append(("root", f"{root.name}: {place}{there}"))
    print_facts(facts)
    if any(each.path is None for each in status.roots):
        hint(f"to say where a root is: qvsearch roots map NAME FOLDER{option(status.folder)}")
