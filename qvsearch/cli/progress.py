"""Progress, summary and plan of `index`, for a terminal, a log or a program."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from qvsearch.cli import output
from qvsearch.errors import ExitCode
from qvsearch.indexing.counts import Event
from qvsearch.indexing.scan import leftovers_text
from qvsearch.machine.estimate import about
from qvsearch.paged_text import DOCUMENT_PAGES
from qvsearch.records import reports
from qvsearch.types import Kind, Skipped

if TYPE_CHECKING:
    import rich.progress
    from rich.progress import TaskID

    from qvsearch.indexing.counts import Summary
    from qvsearch.indexing.plan import Plan
    from qvsearch.machine.estimate import Estimate

WINDOW = 60.0  # seconds of work that the speed is measured over, or half of all if that is more
LEAST_SECONDS = 1.0  # of work before a speed is shown
LINE_SECONDS = 30.0  # between lines, if there is no bar


class Speed:
    """Speed and time left, in the caller's clock; work is counted in segments.

    The time before the end of the first batch is left out, since the model loads then. Guesses
    at the segments of files are corrected, for each kind, by the finished files.
    """

    def __init__(self) -> None:
        self.files = 0
        self._left: Counter[Kind | None] = Counter()  # guessed segments
        self._guessed: Counter[Kind | None] = Counter()  # segments of the finished files
        self._actual: Counter[Kind | None] = Counter()
        self._work = 0
        self._points: deque[tuple[float, int, int]] = deque()

    def plan(self, by_kind: Mapping[Kind, int]) -> None:
        """Start with guesses at the segments of each kind."""
        self._left = Counter(by_kind)

    def batch(self, segments: int, now: float) -> None:
        """Count segments that were embedded together."""
        self._work += segments
        self._points.append((now, self._work, self.files))
        window = max(WINDOW, (now - self._points[0][0]) / 2)
        while len(self._points) > 2 and self._points[1][0] < now - window:
            self._points.popleft()

    def file(self, kind: Kind | None, guess: int, segments: int) -> None:
        """Count a finished file; `segments` are those that were embedded for it."""
        self.files += 1
        self._left[kind] -= guess
        if segments:
            self._guessed[kind] += guess
            self._actual[kind] += segments

    def work_left(self) -> float:
        """Return the segments that are still to be embedded."""
        left = 0.0
        for kind, guess in self._left.items():
            done = self._guessed[kind]
            left += max(0, guess) * (self._actual[kind] / done if done else 1.0)
        return max(0.0, left - (self._work - self._actual.total()))

    def files_per_second(self) -> float | None:
        """Return the recent speed; None before the first second of work."""
        return self._per_second(2)

    def seconds_left(self, now: float) -> float | None:
        """Return the time that the rest will take; None before there is a speed."""
        speed = self._per_second(1)
        if not speed:
            return None
        overdue = now - self._points[-1][0]
        left = self.work_left()
        return max(left / speed - overdue, min(left, 1) / speed)

    def _per_second(self, what: int) -> float | None:
        if not self._points or self._points[-1][0] - self._points[0][0] < LEAST_SECONDS:
            return None
        first, last = self._points[0], self._points[-1]
        return (last[what] - first[what]) / (last[0] - first[0])


class Progress:
    """Shows the events of `index`: a bar on a terminal, lines in a log, or JSON.

    Bar and lines go to standard error; `clock` returns seconds. `advice` returns messages about
    the planned segments of each kind.
    """

    def __init__(
        self,
        quiet: bool,
        json: bool,
        clock: Callable[[], float] = time.monotonic,
        advice: Callable[[Mapping[Kind, int]], Sequence[str]] = lambda _: (),
    ) -> None:
        self._json, self._quiet, self._clock = json, quiet, clock
        self._advice = advice
        self._speed = Speed()
        self._files = 0
        self._pictures = 0  # whose words are still to be read
        self._reading: Speed | None = None
        self._bar: rich.progress.Progress | None = None
        self._task: TaskID | None = None
        self._last_line = clock()
        if sys.stderr.isatty() and not (quiet or json):
            self._bar = _bar(lambda: self._note(clock()))
            self._task = self._bar.add_task("looking at the files", total=None)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            # a second Ctrl-C ends the process at once; the cursor would stay hidden
            self._bar.console.show_cursor(True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        now = self._clock()
        self._count(event, now)
        if self._json and event.state not in (
            "embedded",
            "read",
        ):  # events of files, not of batches
            output.write_json([reports.event_record(event)])
        if self._bar is not None and self._task is not None:
            self._draw(self._bar, self._task, event)
        elif (
            not (self._quiet or self._json)
            and self._files
            and now - self._last_line >= LINE_SECONDS
            and (note := self._note(now))
        ):
            self._last_line = now
            output.note(f"indexing: {note}")

    def _count(self, event: Event, now: float) -> None:
        """Count what is done and what is left."""
        if event.state == "embedded":
            self._speed.batch(event.segments, now)
        elif event.state == "planned":
            self._files = event.files
            self._speed.plan(event.by_kind)
            if not (self._quiet or self._json):
                for advice in self._advice(event.by_kind):
                    self._print_line(advice)
        elif event.estimate:
            segments = event.segments if event.state == "indexed" else 0
            self._speed.file(event.kind, event.estimate, segments)
        elif event.state == "reading":
            self._pictures, self._reading = event.segments, Speed()
            self._reading.plan({Kind.IMAGE: event.segments})
        elif event.state == "read" and self._reading is not None:
            self._pictures -= event.segments
            self._reading.batch(event.segments, now)
            self._reading.file(Kind.IMAGE, event.segments, event.segments)

    def _draw(self, bar: rich.progress.Progress, task: TaskID, event: Event) -> None:
        files = output.counted(event.files, "file")
        if event.state == "checking":
            bar.update(task, description=f"checking {files} whose status changed")
        elif event.state == "looking":
            bar.update(task, description=f"looking at {files} of an older version")
        elif event.state == "words":
            bar.update(task, description=f"reading the words of {files}")
        elif event.state == "planned":
            bar.update(task, total=event.estimate, description="indexing")
        elif event.state == "reading":
            description = "reading words in pictures"
            bar.update(task, total=event.segments, completed=0, description=description)
        elif event.state == "read":
            bar.advance(task, event.segments)
        else:
            bar.advance(task, event.estimate)

    def _print_line(self, message: str) -> None:
        """Print a line on standard error, above the bar if there is one."""
        if self._bar is None:
            output.note(message)
        else:
            self._bar.console.print(message, markup=False, highlight=False)

    def _note(self, now: float) -> str:
        if self._reading is not None:
            left = _left(self._reading, now) or " left"
            return f"{output.counted(self._pictures, 'picture')}{left}" if self._pictures else ""
        if not self._files:
            return ""
        speed, left = self._speed.files_per_second(), _left(self._speed, now)
        shown = f", {speed:,.{0 if speed >= 10 else 2}f} files/s" if speed else ""
        return f"{self._speed.files:,} of {self._files:,} files{shown}{left}"


def _left(speed: Speed, now: float) -> str:
    seconds = speed.seconds_left(now)
    return "" if seconds is None else f", {about(seconds)} left"


def _bar(note: Callable[[], str]) -> rich.progress.Progress:
    """Return a bar with a note behind it, which is read whenever the bar is drawn."""
    from rich import progress
    from rich.console import Console
    from rich.table import Column
    from rich.text import Text

    class Note(progress.ProgressColumn):
        def render(self, task: rich.progress.Task) -> Text:
            return Text(note())

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=16),
        Note(Column(no_wrap=True)),  # a second line would stay on the screen
        console=Console(stderr=True),
        transient=True,
    )


def exit_code(summary: Summary, strict: bool = False) -> ExitCode:
    """Return 0 if everything was indexed, 3 if something was not, 130 after Ctrl-C.

    An unchanged file that failed before counts only with `strict`.
    """
    if summary.interrupted:
        return ExitCode.INTERRUPTED
    skipped = any(strict or not each.known for each in summary.failures)
    incomplete = skipped or summary.unreachable or summary.kept
    return ExitCode.INCOMPLETE if incomplete else ExitCode.DONE


def show_summary(summary: Summary, quiet: bool, json: bool) -> None:
    """Print the counts of a run and its failures; if quiet, only the failures."""
    if json:
        output.write_json([reports.summary_record(summary)])
        return
    if not quiet:
        _print_counts(summary)
    _print_trouble(summary.failures, summary)
    if summary.interrupted:
        left = f", {output.counted(summary.left, 'file')} left" if summary.left else ""
        output.line(f"interrupted{left}; run it again to go on from here")


def _print_counts(summary: Summary) -> None:
    output.line(
        f"found {summary.found:,} = indexed {summary.indexed:,}"
        f" + unchanged {summary.unchanged:,} + skipped {summary.skipped:,}"
    )
    output.line(
        f"embedded {summary.embedded:,}, reused {summary.reused:,}, removed {summary.removed:,};"
        f" {output.counted(summary.segments, 'segment')} in {output.clock(round(summary.seconds))}"
    )
    if summary.pictures_read:
        output.line(f"read the words in {output.counted(summary.pictures_read, 'picture')}")
    if summary.checked:
        output.line(f"checked {output.counted(summary.checked, 'file')} whose status changed")
    if summary.sampled:
        files = output.counted(summary.sampled, "document")
        output.line(f"sampled {files} with more than {DOCUMENT_PAGES} pages: {DOCUMENT_PAGES} each")
    if summary.read_anew:
        files = output.counted(summary.read_anew, "unchanged file")
        output.line(f"read anew {files}: qvsearch reads such files better now")
    _print_left(summary.failures, summary)


def show_plan(plan: Plan, estimate: Estimate | None, json: bool) -> None:
    """Print what a run would do and, if there is an estimate, how long it would take."""
    if json:
        output.write_json([reports.plan_record(plan, estimate)])
        return
    kinds = ", ".join(output.counted(count, kind) for kind, count in sorted(plan.to_index.items()))
    segments = f", about {output.counted(plan.segments, 'segment')}" if kinds else ""
    output.line(f"would embed {kinds or 'nothing'}{segments}")
    output.line(
        f"would reuse {plan.reused:,}, leave {plan.unchanged:,} unchanged,"
        f" skip {len(plan.skipped):,}, remove {plan.gone:,}"
    )
    if plan.touched:
        output.line(f"would check {output.counted(plan.touched, 'file')} whose status changed")
    if plan.older:
        output.line(f"would look at {output.older_text(plan.older, plan.older_segments)}")
    if estimate is not None:
        output.line(f"would take {estimate.text()}")
    _print_left(plan.skipped, plan)
    _print_trouble(plan.skipped, plan)


def _print_left(skipped: tuple[Skipped, ...], outcome: Summary | Plan) -> None:
    """Print how many files are passed over without an error."""
    if outcome.left_aside:
        suffixes = leftovers_text(outcome.left_aside)
        output.line(f"left aside: {suffixes}; qvsearch does not take such files")
    if outcome.vendored:
        files = output.counted(outcome.vendored, "file")
        output.line(
            f"left aside: {files} that programs wrote, e.g. installed code;"
            " --include node_modules takes those there"
        )
    if outcome.left_out:
        files = output.counted(outcome.left_out, "file")
        output.line(
            f"left out now, and still in the library: {files}; qvsearch status lists them,"
            " and --prune removes them"
        )
    if known := sum(each.known for each in skipped):
        output.line(
            f"skipped as before: {output.counted(known, 'file')}; qvsearch status lists them,"
            " and --retry-failed tries again"
        )


def _print_trouble(skipped: tuple[Skipped, ...], outcome: Summary | Plan) -> None:
    news = [each for each in skipped if not each.known]
    if news:
        output.line("skipped:")
        output.print_skipped(news)
    for path in outcome.unreachable:
        output.line(f"not there: {output.safe_text(path)}; nothing was removed")
    for kept in outcome.kept:
        files = output.counted(kept.files, "file")
        output.line(
            f"kept {files} of {output.safe_text(kept.path)}: {kept.reason};"
            " if they are gone for good, use --prune"
        )
