"""Measure how fast this machine decodes files and runs a model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import QvsearchError
from qvsearch.machine import samples
from qvsearch.machine.bench_model import ChosenModel, LoadedModel, choose_model, load_model
from qvsearch.machine.estimate import gemm_rate
from qvsearch.machine.speeds import Speeds, device_name, keep_speeds
from qvsearch.models.prompt import visual_tokens
from qvsearch.types import DecodeOptions, Detail, EmbedInput, Item

if TYPE_CHECKING:
    from qvsearch.runtime.local import LocalEmbedder

REPEATS, QUICK_REPEATS = 5, 2
# for forward passes in one dtype; a slower model is measured with fewer layers
MODEL_SECONDS, QUICK_SECONDS = 300.0, 15.0
GEMM_SECONDS = 0.3
ENOUGH_SECONDS = 0.5  # a timing embeds so many inputs at once that it takes about as long
MOST_INPUTS = 64  # of one timing
DIGITS = 4  # significant ones of a figure


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure; without dtypes, the device's own."""

    model: str
    device: str | None = None
    dtypes: Sequence[str] = ()
    details: Sequence[Detail] = tuple(Detail)
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: the median of `runs` timings, with their extremes, in `unit`.

    `how` names the variant of `decode` and `query`. `of_gemm` is the share of the rate of matrix
    products. If fewer layers were timed, `scaled` is the factor that their time was multiplied by.
    `random` is True for random weights. A figure without a value has a `reason`.
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
    of_gemm: float | None = None
    scaled: float | None = None
    random: bool | None = None
    reason: str | None = None


@dataclass(slots=True)
class Task:
    """A timing to repeat: `run` returns seconds, and `to_unit` converts them to the figure's unit.

    `flop` is the arithmetic done in that time.
    """

    figure: Figure
    run: Callable[[], float]
    to_unit: Callable[[float], float]
    flop: float | None = None
    seconds: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)

    def time(self) -> None:
        """Run once; a QvsearchError becomes the reason of the figure."""
        try:
            self.seconds.append(self.run())
        except QvsearchError as error:
            self.failure = str(error)

    def result(self, rate: float | None = None) -> Figure:
        """Return the figure; `rate` is that of matrix products, in FLOP/s."""
        if not self.seconds:
            return replace(self.figure, reason=self.failure)
        share = None if rate is None or self.flop is None else self.flop / self.median / rate
        least, most = sorted(map(self.to_unit, (min(self.seconds), max(self.seconds))))
        return replace(
            self.figure,
            value=_rounded(self.to_unit(self.median)),
            least=_rounded(least),
            most=_rounded(most),
            runs=len(self.seconds),
            of_gemm=None if share is None else _rounded(share),
        )


@dataclass(frozen=True, slots=True)
class Turns:
    """How tasks take turns: how often, where progress goes, and whether to stop."""

    repeats: int
    report: Callable[[str], None]
    stop: Callable[[], bool]

    def run(self, tasks: Sequence[Task]) -> None:
        """Time all tasks one after the other, then again in reverse order, and so on."""
        for turn in range(self.repeats):
            for task in tasks if turn % 2 == 0 else reversed(tasks):
                if self.stop():
                    return
                if task.failure is None:
                    parts = (task.figure.figure, task.figure.detail, task.figure.how)
                    label = " ".join(part for part in parts if part)
                    self.report(f"{label}, {turn + 1} of {self.repeats}")
                    task.time()


def measure(
    options: BenchOptions, report: Callable[[str], None], stop: Callable[[], bool]
) -> Iterator[Figure]:
    """Yield figures; related timings take turns.

    `report` receives the name of each step. If `stop` returns True between timings, only figures
    that have a timing follow. The seconds of a photo, a moment and a passage are saved for
    `estimate`. Raises QvsearchError, before any timing, if the model or device is not here.
    """
    dtypes: Sequence[str | None] = options.dtypes or (None,)
    models = [choose_model(options.model, options.device, each) for each in dtypes]
    turns = Turns(QUICK_REPEATS if options.quick else REPEATS, report, stop)
    with tempfile.TemporaryDirectory(prefix="qvsearch-bench-") as folder:
        report("drawing a photo and a film")
        photo, film = samples.write_photo(Path(folder)), samples.write_film(Path(folder))
        decoding = {detail: _decoding(photo, film, detail) for detail in options.details}
        tasks = [task for pair in decoding.values() for task in pair]
        turns.run(tasks)
        yield from _results(tasks)
        films = {detail: task for detail, (_, task) in decoding.items()}
        for chosen in models:
            if not stop():
                yield from _embedding(options, chosen, film, films, turns)


def _decoding(photo: Item, film: Item, detail: Detail) -> tuple[Task, Task]:
    """Return tasks that decode a photo and a film in this process; the film's unit is s/min."""

    def decode(item: Item) -> float:
        return _timed(lambda: media.decode(item, "", DecodeOptions(detail.max_pixels)))

    return (
        Task(Figure("decode", "ms", detail=detail, how="photo"), partial(decode, photo), _in_ms),
        Task(Figure("decode", "s/min", detail=detail, how="video"), partial(decode, film), _minute),
    )


def _embedding(
    options: BenchOptions,
    chosen: ChosenModel,
    film: Item,
    films: Mapping[Detail, Task],
    turns: Turns,
) -> Iterator[Figure]:
    """Yield the figures of the model in one dtype, and save its speeds."""
    turns.report(f"loading {chosen.name}")
    with load_model(chosen, shallow=_is_slow(options, chosen, turns.repeats)) as model:
        figure = _figure_of(model)
        products = replace(figure, figure="gemm", unit="GFLOP/s", random=None)
        gemm = Task(products, lambda: 1 / _rate(chosen), lambda seconds: 1e-9 / seconds)
        tasks = {detail: _pictures(model, film, detail) for detail in options.details}
        passage = replace(figure, figure="passage", unit="1/s")
        passages = _task(model, passage, model.passages(), _per_second)
        query = replace(figure, figure="query", unit="ms", how="loaded")
        queries = _task(model, query, samples.queries(), _in_ms)
        pictures = [task for each in tasks.values() for task in (each.photo, each.moment)]
        turns.run([gemm, *pictures, passages, queries])
        if not gemm.seconds:
            return
        rate = 1 / gemm.median
        yield from _results([gemm, *pictures], rate)
        for detail, each in tasks.items():
            yield from _video(films[detail], each)
        yield from _results([passages, queries], rate)
    if not turns.stop():
        _save(figure, tasks, passages)


def _is_slow(options: BenchOptions, chosen: ChosenModel, repeats: int) -> bool:
    """Return whether all timings of photos and moments would exceed the time limit."""
    tokens = [visual_tokens(next(samples.photos(detail))) for detail in options.details]
    flop = sum(chosen.shapes.flop(count, [count]) for count in tokens)
    limit = QUICK_SECONDS if options.quick else MODEL_SECONDS
    return 2 * (repeats + 1) * flop / _rate(chosen) > limit


def _rate(chosen: ChosenModel) -> float:
    return gemm_rate(chosen.device, chosen.dtype, GEMM_SECONDS)


@dataclass(frozen=True, slots=True)
class _Pictures:
    """The tasks of one detail; `moments` is the number of moments in the film."""

    photo: Task
    moment: Task
    moments: int


def _pictures(model: LoadedModel, film: Item, detail: Detail) -> _Pictures:
    figure = replace(_figure_of(model), detail=detail, unit="1/s")
    decoded = [
        source for _, source in media.decode(film, "", DecodeOptions(detail.max_pixels)).segments
    ]
    # a new input each time: the same object would be computed once
    moments = (replace(source) for source in cycle(decoded))
    return _Pictures(
        _task(model, replace(figure, figure="photo"), samples.photos(detail), _per_second),
        _task(model, replace(figure, figure="moment"), moments, _per_second),
        len(decoded),
    )


def _figure_of(model: LoadedModel) -> Figure:
    """Return what all figures of a model have in common."""
    from qvsearch.models.devices import dtype_name

    return Figure(
        "",
        "",
        model=model.chosen.name,
        device=device_name(model.chosen.device),
        dtype=dtype_name(model.chosen.dtype),
        random=model.is_random or None,
    )


def _task(
    model: LoadedModel,
    figure: Figure,
    inputs: Iterator[EmbedInput],
    to_unit: Callable[[float], float],
) -> Task:
    """Return a task that embeds one input; its time is scaled to all layers of the model."""
    flop, scale = model.work(next(inputs))
    figure = replace(figure, scaled=scale if scale != 1 else None)
    return Task(figure, _Embedding(model.embedder, inputs, scale), to_unit, flop)


@dataclass(slots=True)
class _Embedding:
    """Embeds as many inputs at once as fill a timing, and returns the seconds of one."""

    embedder: LocalEmbedder
    inputs: Iterator[EmbedInput]
    scale: float
    count: int = 0

    def __call__(self) -> float:
        if not self.count:  # the first pass allocates, and shows how long an input takes
            self.count = max(1, min(MOST_INPUTS, int(ENOUGH_SECONDS / self._seconds(1))))
        return self._seconds(self.count) * self.scale / self.count

    def _seconds(self, count: int) -> float:
        batch = list(islice(self.inputs, count))
        return _timed(lambda: self.embedder.embed(batch))


def _video(film: Task, pictures: _Pictures) -> Iterator[Figure]:
    """Yield the seconds of a minute of video, decoded and then embedded."""
    moment = pictures.moment
    pairs = list(zip(film.seconds, moment.seconds, strict=False))
    if pairs:
        figure = replace(moment.figure, figure="video", unit="s/min")
        seconds = [decoding + pictures.moments * embedding for decoding, embedding in pairs]
        yield Task(figure, lambda: 0.0, _minute, seconds=seconds).result()


def _save(figure: Figure, pictures: Mapping[Detail, _Pictures], passage: Task) -> None:
    """Save the speeds for `estimate`."""
    speeds = Speeds(
        {detail: each.photo.median for detail, each in pictures.items() if each.photo.seconds},
        {detail: each.moment.median for detail, each in pictures.items() if each.moment.seconds},
        passage.median if passage.seconds else None,
    )
    keep_speeds(str(figure.model), str(figure.device), str(figure.dtype), speeds)


def _results(tasks: Iterable[Task], rate: float | None = None) -> Iterator[Figure]:
    """Yield the figures of tasks that ran; `rate` is as for `Task.result`."""
    return (task.result(rate) for task in tasks if task.seconds or task.failure)


def _timed(run: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _rounded(value: float) -> float:
    """Return a value with DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}")


def _in_ms(seconds: float) -> float:
    return 1000 * seconds


def _per_second(seconds: float) -> float:
    return 1 / seconds


def _minute(film_seconds: float) -> float:
    return film_seconds * 60 / samples.FILM_SECONDS
