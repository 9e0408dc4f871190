"""What GGUF files need and how fast they are here; those of the hub's cache are found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.models import hubs
from qvsearch.models.gguf import SUFFIX, VISION, read_gguf
from qvsearch.runtime.llama.pair import MARK, memory, read_pair
from qvsearch.types import Detail, Kind


@dataclass(frozen=True, slots=True)
class GgufState:
    """A GGUF file, and what it needs.

    `numbers` is the type of most of its weights. `memory` and `size`, of both files, are in bytes.
    `seconds` is the time of a photo at low detail, `measured` whether a run has measured it. If it
    cannot be used, `problem` is the reason, and only `path` is valid.
    """

    path: Path
    mmproj: Path | None = None
    numbers: str = ""
    parameters: int = 0
    dim: int | None = None
    size: int = 0
    memory: int = 0
    seconds: float = 0.0
    measured: bool = False
    problem: str | None = None


def gguf_states(paths: Iterable[Path]) -> list[GgufState]:
    """Return what each file needs, with its vision tower beside it."""
    return [_state(path) for path in paths]


def cached_files() -> list[Path]:
    """Return the GGUF files of embedding models in Hugging Face's cache; damaged ones are not."""
    files = hubs.cached_files(f"*{SUFFIX}")
    return [path for path in files if MARK not in path.name and _embeds(path)]


def _embeds(path: Path) -> bool:
    try:
        file = read_gguf(path)
    except QvsearchError:
        return False
    names = f"{file.name} {path.name} {path.parents[2].name}".lower()
    return file.architecture != VISION and "embedding" in names


def _state(path: Path) -> GgufState:
    from qvsearch.machine.estimate import expect_gguf  # which loads numpy and FAISS

    try:
        pair = read_pair(path)
    except QvsearchError as error:
        return GgufState(path, problem=str(error))
    expected = expect_gguf(pair, Detail.LOW)
    return GgufState(
        path=pair.text.path,
        mmproj=pair.vision.path,
        numbers=pair.numbers,
        parameters=pair.text.parameters + pair.vision.parameters,
        dim=pair.width,
        size=pair.text.size + pair.vision.size,
        memory=memory(pair),
        seconds=expected.photo,
        measured=Kind.IMAGE in expected.measured,
    )
