"""The card of an adapter: its data, settings and figures, as JSON, as a page and as a plot."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qvsearch.files import write_file
from qvsearch.tasks.finetuning.settings import Settings
from qvsearch.tasks.finetuning.state import Point

CARD, PAGE, PLOT = "card.json", "README.md", "training.png"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Data:
    """The data of a run: its file, a hash of its pairs, and how many were used for what."""

    path: str
    digest: str
    train: int
    held_out: int
    skipped: int
    control: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """All that is known of an adapter. `best` is the step of its weights, 0 if none is written.

    `dims` are the dimensions that an embedder was trained for; a reranker has none. `versions` are
    those of qvsearch, torch and peft.
    """

    role: str
    base: str
    revision: str
    data: Data
    settings: Settings
    detail: str
    device: str
    dtype: str
    dims: tuple[int, ...]
    parameters: int
    seconds: float
    best: int
    history: tuple[Point, ...]
    versions: Mapping[str, str]

    @property
    def before(self) -> Point:
        """The figures of the base model."""
        return self.history[0]

    @property
    def after(self) -> Point:
        """The figures of the weights in the folder."""
        return next(point for point in self.history if point.step == self.best)

    @property
    def has_improved(self) -> bool:
        """Whether the adapter finds held-out documents better than its base."""
        return self.after.score.mrr > self.before.score.mrr


def write_card(folder: Path, card: Card) -> None:
    """Write `card.json` and `README.md` into the folder of an adapter."""
    record: dict[str, Any] = {"format": FORMAT, **asdict(card)}
    write_file(folder / CARD, json.dumps(record, indent=2).encode() + b"\n")
    write_file(folder / PAGE, _page(card).encode("utf-8", "replace"))


def _page(card: Card) -> str:
    """Return the card as Markdown."""
    option = "--reranker FOLDER" if card.role == "reranker" else "--adapter FOLDER"
    rows = [
        f"| {point.step} | {_number(point.loss)} | {_number(point.score.recall)}"
        f" | {_number(point.score.mrr)}"
        + ("" if card.data.control is None else f" | {_control(point)}")
        + " |"
        for point in card.history
    ]
    names = ["step", "loss", "recall@1", "MRR"]
    names += [] if card.data.control is None else ["control recall@1"]
    settings = asdict(card.settings)
    facts = {
        "base": f"{card.base} at revision {card.revision}",
        "data": f"{card.data.train:,} pairs of {Path(card.data.path).name}",
        "evaluated with": f"{card.data.held_out:,} pairs, of other documents",
        "skipped lines and files": f"{card.data.skipped:,}",
        "weights": f"of step {card.best}, the best on the held-out pairs",
        "parameters": f"{card.parameters:,}",
        "dimensions": ", ".join(map(str, card.dims)) or "none",
        "computed on": f"{card.device} in {card.dtype}, in {card.seconds:,.0f} s",
        **{name.replace("_", " "): _setting(value) for name, value in settings.items()},
    }
    lines = [
        f"# An adapter of {card.base}",
        "",
        f"`qvsearch search {option}` uses it, and `qvsearch models merge FOLDER -o NEW-FOLDER`",
        "writes a checkpoint with its changes.",
        "",
        f"| {' | '.join(names)} |",
        f"|{'---|' * len(names)}",
        *rows,
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in facts.items()),
        "",
        f"![loss and recall]({PLOT})",
    ]
    return "\n".join(lines) + "\n"


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _control(point: Point) -> str:
    return "" if point.control is None else _number(point.control.recall)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def write_plot(path: Path, history: Sequence[Point]) -> None:
    """Write a PNG of the loss, on the left axis, and of recall@1 on the right one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.add_subplot()
    right = left.twinx()
    losses = [(point.step, point.loss) for point in history if point.loss is not None]
    steps = [point.step for point in history]
    left.plot(*zip(*losses, strict=True), color="tab:blue", marker=".", label="loss")
    right.plot(steps, [point.score.recall for point in history], color="tab:green", marker="o")
    if all(point.control is not None for point in history):
        controls = [point.control.recall for point in history if point.control is not None]
        right.plot(steps, controls, color="tab:grey", linestyle="--", marker="o")
    left.set_xlabel("step")
    left.set_ylabel("mean loss since the point before", color="tab:blue")
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1.02)
    right.set_ylabel("recall@1 held out (grey: control)", color="tab:green")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_file(path, image.getvalue())
