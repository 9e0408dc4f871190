"""Times things in turns and makes figures of the times; it knows not what they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from qvsearch.errors import QvsearchError
from qvsearch.types import Detail

DIGITS = 4  # of a figure that mean something


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured: the median of `runs`, between `least` and `most`, in `unit`.

    `how` tells ways of doing the same apart; `rows` are the vectors that were searched or sized;
    `of_gemm` is the share of the rate of matrix products. Where a model of fewer layers was timed,
    `scaled` is what its time was multiplied with; `random` says that its weights were. Without a
    value there is a `reason`.
    """

    figure: str
    unit: str
    value: float | None = None
    least: float | None = None
    most: float | None = None
    runs: int | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    detail: Detail | None = None
    how: str | None = None
    rows: int | None = None
    of_gemm: float | None = None
    scaled: float | None = None
    random: bool | None = None
    reason: str | None = None


@dataclass(slots=True)
class Task:
    """Something to be timed: `run` returns seconds, of which `shown` makes the figure's value.

    `flop` is what is multiplied and added in that time.
    """

    figure: Figure
    run: Callable[[], float]
    shown: Callable[[float], float]
    flop: float | None = None
    seconds: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)

    def time(self) -> None:
        """Run once; what cannot be done becomes the figure's reason."""
        try:
            self.seconds.append(self.run())
        except QvsearchError as error:
            self.failure = str(error)

    def finished(self, rate: float | None = None) -> Figure:
        """Return the figure; `rate` is that of matrix products, in FLOP/s."""
        if not self.seconds:
            return replace(self.figure, reason=self.failure)
        shares = None if rate is None or self.flop is None else self.flop / self.median / rate
        ends = sorted(map(self.shown, (min(self.seconds), max(self.seconds))))
        return replace(
            self.figure,
            value=rounded(self.shown(self.median)),
            least=rounded(ends[0]),
            most=rounded(ends[1]),
            runs=len(self.seconds),
            of_gemm=None if shares is None else rounded(shares),
        )


@dataclass(frozen=True, slots=True)
class Turns:
    """How often each task is timed, who hears of it, and what tells that it is enough."""

    repeats: int
    report: Callable[[str], None]
    stop: Callable[[], bool]

    def take(self, tasks: Sequence[Task]) -> None:
        """Time all tasks once after the other, then again the other way round, and so on."""
        for turn in range(self.repeats):
            for task in tasks if turn % 2 == 0 else reversed(tasks):
                if self.stop():
                    return
                if task.failure is None:
                    made = task.figure
                    what = [made.figure, made.detail, made.how, made.rows and f"{made.rows:,} rows"]
                    label = " ".join(str(each) for each in what if each)
                    self.report(f"{label}, {turn + 1} of {self.repeats}")
                    task.time()

    def taken(self, tasks: Sequence[Task]) -> Iterator[Figure]:
        """Time all tasks and yield their figures."""
        self.take(tasks)
        yield from reached(tasks)


def reached(tasks: Iterable[Task], rate: float | None = None) -> Iterator[Figure]:
    """Yield the figures of tasks that Ctrl-C has not left untimed; `rate` is as for a task."""
    return (task.finished(rate) for task in tasks if task.seconds or task.failure)


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def rounded(value: float) -> float:
    """Return a value with the digits that mean something."""
    return float(f"{value:.{DIGITS}g}")
