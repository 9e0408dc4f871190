"""The state of an unfinished run as one file: weights, moments of the optimizer, history.

It is safetensors with JSON in its header. The order of the data depends on the seed and the step
alone, and so does the learning rate, so nothing else is needed to continue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.files import remove_file, write_file
from qvsearch.tasks.finetuning.objectives import Score

if TYPE_CHECKING:
    import torch

STATE = "training_state.safetensors"


@dataclass(frozen=True, slots=True)
class Point:
    """The figures after a step: the mean loss since the point before, and the scores.

    `control` is the score of the control pairs, if there are any.
    """

    step: int
    loss: float | None
    score: Score
    control: Score | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A run after `step` steps, of which `updates` changed the weights.

    `threads` is the CPU threads that it computes with: sums are taken in an order that depends on
    it. `losses` are those since the last point of the history. `tensors` are the weights and the
    optimizer's moments by name.
    """

    step: int
    updates: int
    seconds: float
    threads: int
    history: tuple[Point, ...]
    losses: tuple[float, ...]
    tensors: Mapping[str, torch.Tensor]


def write_state(folder: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Write the state of a run, atomically; `identity` is all that decides its course."""
    from safetensors.torch import save

    record = {
        "identity": identity,
        "step": state.step,
        "updates": state.updates,
        "seconds": state.seconds,
        "threads": state.threads,
        "history": [asdict(point) for point in state.history],
        "losses": state.losses,
    }
    write_file(folder / STATE, save(dict(state.tensors), {"state": json.dumps(record)}))


def read_state(folder: Path, identity: Mapping[str, Any]) -> State:
    """Read the state of an unfinished run; raises QvsearchError without one, or for another one."""
    from safetensors import SafetensorError, safe_open

    path = folder / STATE
    if not path.is_file():
        raise QvsearchError(f"{folder} has no unfinished run; leave out --resume, or name another")
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
        state = State(
            step=int(record["step"]),
            updates=int(record["updates"]),
            seconds=float(record["seconds"]),
            threads=int(record["threads"]),
            history=tuple(map(_point, record["history"])),
            losses=tuple(map(float, record["losses"])),
            tensors=tensors,
        )
        before = dict(record["identity"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise QvsearchError(f"{path} is damaged: {error}; start again in a new folder") from error
    now = json.loads(json.dumps(identity))
    for name in now:
        if before.get(name) != now[name]:
            raise QvsearchError(
                f"the run in {folder} was started with another {name.replace('_', ' ')}:"
                f" {_shown(before.get(name))}, not {_shown(now[name])}; give the same, or a new -o"
            )
    return state


def remove_state(folder: Path) -> None:
    """Delete the state of a finished run."""
    remove_file(folder / STATE)


def _point(record: Mapping[str, Any]) -> Point:
    control = None if record["control"] is None else Score(**record["control"])
    return Point(record["step"], record["loss"], Score(**record["score"]), control)


def _shown(value: object) -> str:
    return str(value) if len(str(value)) <= 60 else f"{str(value)[:57]}..."
