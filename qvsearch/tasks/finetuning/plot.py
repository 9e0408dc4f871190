"""The picture of a run: loss and recall over the steps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.files import write_file

if TYPE_CHECKING:
    from qvsearch.tasks.finetuning.state import Point


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
