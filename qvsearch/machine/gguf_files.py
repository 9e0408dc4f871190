"""What GGUF files need and how fast they are here; those of the hub's cache are found."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.machine.estimate import Expected, expect_at
from qvsearch.machine.speeds import Speeds, keep_speeds, read_speeds
from qvsearch.models.gguf import SUFFIX, VISION, read_gguf
from qvsearch.models.registry import DEFAULT_MODEL, MODELS
from qvsearch.runtime.llama.pair import MARK, Pair, memory, read_pair
from qvsearch.runtime.llama.process import threads
from qvsearch.types import Detail, Kind

# of 8-bit weights on one core with AVX2 (Zen 5, llama.cpp of autumn 2026, 256 tokens at once)
FLOP_A_SECOND = 70e9


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
    from huggingface_hub.constants import HF_HUB_CACHE

    found = sorted(Path(HF_HUB_CACHE).glob(f"models--*/snapshots/*/**/*{SUFFIX}"))
    return [path for path in found if MARK not in path.name and _embeds(path)]


def expect_gguf(pair: Pair, detail: Detail) -> Expected:
    """Return what inputs cost: measured speeds, or else computed ones, a rough guess."""
    share = (pair.text.parameters + pair.vision.parameters) / MODELS[DEFAULT_MODEL].parameters
    speeds = read_speeds(pair.revision, _device(), pair.numbers) or Speeds()
    return expect_at(speeds, detail, share / (FLOP_A_SECOND * threads()))


def keep_gguf_speeds(pair: Pair, speeds: Speeds) -> None:
    """Keep the speeds of a run for later estimates."""
    keep_speeds(pair.revision, _device(), pair.numbers, speeds)


def _device() -> str:
    return f"llama.cpp ({platform.machine()})"


def _embeds(path: Path) -> bool:
    try:
        file = read_gguf(path)
    except QvsearchError:
        return False
    names = f"{file.name} {path.name} {path.parents[2].name}".lower()
    return file.architecture != VISION and "embedding" in names


def _state(path: Path) -> GgufState:
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
