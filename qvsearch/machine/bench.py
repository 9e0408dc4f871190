"""Measure what this machine does with a model; collects figures, prints nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path

from qvsearch import media
from qvsearch.errors import QvsearchError
from qvsearch.library.manifest import SEGMENTS
from qvsearch.machine import samples
from qvsearch.machine.asking import asking
from qvsearch.machine.estimate import gemm_rate
from qvsearch.machine.sample_library import write_library
from qvsearch.machine.scans import searching
from qvsearch.machine.speeds import Speeds, keep_speeds
from qvsearch.machine.subject import Loaded, Subject, loaded, open_subject
from qvsearch.machine.timings import Figure, Task, Turns, reached, rounded, timed
from qvsearch.models.patches import PREPROCESSING
from qvsearch.models.prompt import PROMPT_LAYOUT, visual_tokens
from qvsearch.types import Detail, Fingerprint, Item

REPEATS, QUICK_REPEATS = 5, 2
# for forward passes in one dtype; a model that takes longer is measured with fewer layers
MODEL_SECONDS, QUICK_SECONDS = 300.0, 15.0
GEMM_SECONDS = 0.3
ROWS, MANY_ROWS = (10_000, 100_000), 1_000_000
SIZED_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure; without dtypes the device's own."""

    model: str
    device: str | None = None
    dtypes: Sequence[str] = ()
    details: Sequence[Detail] = tuple(Detail)
    quick: bool = False


def measure(
    wanted: Wanted, report: Callable[[str], None], stop: Callable[[], bool]
) -> Iterator[Figure]:
    """Yield figures as they are found; what belongs together is timed in turns.

    `report` hears what comes next; `stop` is asked between timings, and when it says yes, only what
    was timed until then comes. What a photo, a moment and a passage take is kept for `estimate`.
    Raises QvsearchError, before anything takes its time, for a model or device that is not here.
    """
    dtypes: Sequence[str | None] = wanted.dtypes or (None,)
    subjects = [open_subject(wanted.model, wanted.device, each) for each in dtypes]
    turns = Turns(QUICK_REPEATS if wanted.quick else REPEATS, report, stop)
    with tempfile.TemporaryDirectory(prefix="qvsearch-bench-") as folder:
        report("drawing a photo and a film")
        photo, film = samples.write_photo(Path(folder)), samples.write_film(Path(folder))
        decoding = {detail: _decoding(photo, film, detail) for detail in wanted.details}
        yield from turns.taken([task for tasks in decoding.values() for task in tasks])
        films = {detail: task for detail, (_, task) in decoding.items()}
        for subject in subjects:
            if not stop():
                yield from _embedding(wanted, subject, film, films, turns)
    dim = subjects[0].shapes.width
    yield from searching(dim, ROWS if wanted.quick else (*ROWS, MANY_ROWS), turns, _in_ms)
    if not stop():
        report(f"writing a library of {SIZED_ROWS:,} photos")
        yield _size(dim)


def _decoding(photo: Item, film: Item, detail: Detail) -> tuple[Task, Task]:
    """Return what times a photo and a film in this process; a film's time is that of a minute."""

    def decode(item: Item) -> float:
        return timed(lambda: media.decode(item, "", detail.max_pixels))

    return (
        Task(Figure("decode", "ms", detail=detail, how="photo"), partial(decode, photo), _in_ms),
        Task(Figure("decode", "s/min", detail=detail, how="video"), partial(decode, film), _minute),
    )


def _embedding(
    wanted: Wanted, subject: Subject, film: Item, films: Mapping[Detail, Task], turns: Turns
) -> Iterator[Figure]:
    """Yield what the model does in one dtype, and keep what tells how long a run will take."""
    turns.report(f"loading {subject.name}")
    with loaded(subject, shallow=_is_long(wanted, subject, turns.repeats)) as model:
        products = replace(model.figure, figure="gemm", unit="GFLOP/s", random=None)
        gemm = Task(products, lambda: 1 / _rate(subject), lambda seconds: 1e-9 / seconds)
        works = {detail: _Work.of(model, film, detail) for detail in wanted.details}
        passage = replace(model.figure, figure="passage", unit="1/s")
        passages = model.task(passage, model.passages(), _per_second)
        query = replace(model.figure, figure="query", unit="ms")
        loaded_query = model.task(replace(query, how="loaded"), samples.queries(), _in_ms)
        tasks = [gemm, *(task for work in works.values() for task in (work.photo, work.moment))]
        turns.take([*tasks, passages, loaded_query])
        if not gemm.seconds:
            return
        rate = 1 / gemm.median
        yield from reached(tasks, rate)
        for detail, work in works.items():
            yield from _video(films[detail], work)
        yield from reached([passages, loaded_query], rate)
        cold = model.cold_query(replace(query, how="cold"), _in_ms)
        yield from (replace(turns, repeats=1) if wanted.quick else turns).taken([cold])
        if not turns.stop():
            yield from _asked(model, query, turns)
    if not turns.stop():
        _keep(model.figure, works, passages)


def _asked(model: Loaded, query: Figure, turns: Turns) -> Iterator[Figure]:
    """Yield what whole processes of `search` take that load no model."""
    turns.report("loading the model in a warm process")
    try:
        with asking(model) as library:
            yield from turns.taken(library.tasks(query, _in_ms))
    except QvsearchError as error:
        yield replace(query, how="warm", reason=str(error))
        yield replace(query, how="cached", reason=str(error))


def _is_long(wanted: Wanted, subject: Subject, repeats: int) -> bool:
    """Tell whether embedding a photo and a moment at each detail, as often, takes too long."""
    tokens = [visual_tokens(next(samples.photos(detail))) for detail in wanted.details]
    flop = sum(subject.shapes.flop(count, [count]) for count in tokens)
    limit = QUICK_SECONDS if wanted.quick else MODEL_SECONDS
    return 2 * (repeats + 1) * flop / _rate(subject) > limit


def _rate(subject: Subject) -> float:
    return gemm_rate(subject.device, subject.dtype, GEMM_SECONDS)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is timed at one detail; `moments` is how many a film has."""

    photo: Task
    moment: Task
    moments: int

    @classmethod
    def of(cls, model: Loaded, film: Item, detail: Detail) -> _Work:
        made = replace(model.figure, detail=detail, unit="1/s")
        cut = [source for _, source in media.decode(film, "", detail.max_pixels).segments]
        # a new input each time: what is the same object would be computed once
        moments = (replace(source) for source in cycle(cut))
        return cls(
            model.task(replace(made, figure="photo"), samples.photos(detail), _per_second),
            model.task(replace(made, figure="moment"), moments, _per_second),
            len(cut),
        )


def _video(film: Task, work: _Work) -> Iterator[Figure]:
    """Yield what a minute of video takes, decoded and embedded one after the other."""
    both = list(zip(film.seconds, work.moment.seconds, strict=False))
    if both:
        figure = replace(work.moment.figure, figure="video", unit="s/min")
        seconds = [decoding + work.moments * embedding for decoding, embedding in both]
        yield Task(figure, lambda: 0.0, _minute, seconds=seconds).finished()


def _keep(figure: Figure, works: Mapping[Detail, _Work], passage: Task) -> None:
    """Keep the seconds that `estimate` asks for."""
    speeds = Speeds(
        {detail: work.photo.median for detail, work in works.items() if work.photo.seconds},
        {detail: work.moment.median for detail, work in works.items() if work.moment.seconds},
        passage.median if passage.seconds else None,
    )
    keep_speeds(str(figure.model), str(figure.device), str(figure.dtype), speeds)


def _size(dim: int) -> Figure:
    """Return what photos take in a library."""
    made = Fingerprint("", "", dim, Detail.LOW, "", PROMPT_LAYOUT, PREPROCESSING)
    with tempfile.TemporaryDirectory(prefix="qvsearch-bench-") as folder:
        library = write_library(Path(folder), made, SIZED_ROWS)
        files = (library.folder / SEGMENTS).iterdir()
        megabytes = sum(path.stat().st_size for path in files) / 1e6
    return Figure("size", "MB", rounded(megabytes), rows=SIZED_ROWS)


def _in_ms(seconds: float) -> float:
    return 1000 * seconds


def _per_second(seconds: float) -> float:
    return 1 / seconds


def _minute(film_seconds: float) -> float:
    return film_seconds * 60 / samples.FILM_SECONDS
