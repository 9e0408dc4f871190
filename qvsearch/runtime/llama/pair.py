"""The two GGUF files of a model: its language model and, as `--mmproj`, its vision tower."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.models.gguf import LANGUAGE, PROJECTOR, SUFFIX, VISION, GgufFile, read_gguf
from qvsearch.models.prompt import MAX_INPUT_TOKENS

PASS_BYTES = 400_000_000  # of one forward pass and the program

MARK = "mmproj"  # in the names of vision towers, as llama.cpp's converter writes them


@dataclass(frozen=True, slots=True)
class Pair:
    """A complete model, whose parts belong together."""

    text: GgufFile
    vision: GgufFile

    @property
    def width(self) -> int:
        """The dimensions of its full vectors."""
        return self.text.number(f"{LANGUAGE}.embedding_length")

    @property
    def numbers(self) -> str:
        """The type of most weights, a quantised one if there are any."""
        return self.text.numbers if self.text.is_quantised else self.vision.numbers

    @property
    def is_quantised(self) -> bool:
        """Whether some weights are not floating-point numbers."""
        return self.text.is_quantised or self.vision.is_quantised

    @property
    def revision(self) -> str:
        """The numbers of both parts and a hash of them, as a library keeps them."""
        both = f"{self.text.digest} {self.vision.digest}".encode()
        digest = hashlib.blake2b(both, digest_size=16).hexdigest()
        return f"{self.text.numbers}+{self.vision.numbers}.{digest}"


def read_pair(model: str | Path, mmproj: str | Path | None = None) -> Pair:
    """Return the model of two files; `mmproj` defaults to the only fitting file beside the model.

    Raises QvsearchError if a file is missing, damaged, or of another architecture or model.
    """
    text = read_gguf(Path(model).absolute())
    _check_text(text)
    vision = _beside(text) if mmproj is None else _vision(Path(mmproj).absolute())
    pair = Pair(text, vision)
    if (reason := _mismatch(pair)) is not None:
        raise QvsearchError(
            f"{vision.path} is not the vision tower of {text.path}: {reason};"
            " give --mmproj of the same model"
        )
    return pair


def memory(pair: Pair) -> int:
    """Return about how many bytes of memory a model needs: weights, context and one pass."""
    text = pair.text
    heads = text.number(f"{LANGUAGE}.attention.head_count_kv")
    width = text.number(f"{LANGUAGE}.attention.key_length")
    token = text.number(f"{LANGUAGE}.block_count") * heads * width * 2 * 2  # keys, values; float16
    return text.size + pair.vision.size + MAX_INPUT_TOKENS * token + PASS_BYTES


def _check_text(text: GgufFile) -> None:
    if text.architecture == VISION:
        raise QvsearchError(
            f"{text.path} is a vision tower; give the language model as --model,"
            f" and this one as --mmproj"
        )
    if text.architecture != LANGUAGE:
        raise QvsearchError(
            f"{text.path} holds a model of the architecture {text.architecture!r};"
            f" qvsearch takes Qwen3-VL-Embedding ({LANGUAGE})"
        )


def _vision(path: Path) -> GgufFile:
    vision = read_gguf(path)
    if vision.architecture != VISION:
        raise QvsearchError(
            f"{path} is not a vision tower, but of the architecture {vision.architecture!r};"
            f" give the file whose name has {MARK}"
        )
    return vision


def _mismatch(pair: Pair) -> str | None:
    """Return why two files are not of one model; None if they may be."""
    keys = pair.vision.keys
    projector = keys.get("clip.projector_type", keys.get("clip.vision.projector_type"))
    if projector != PROJECTOR:
        return f"it is for the projector {projector!r}, not {PROJECTOR!r}"
    width = pair.vision.number("clip.vision.projection_dim")
    if width != pair.width:
        return f"it gives {width} dimensions, and the language model has {pair.width}"
    flags = keys.get("clip.vision.is_deepstack_layers")
    levels = pair.text.keys.get(f"{LANGUAGE}.n_deepstack_layers")
    if isinstance(flags, list) and sum(map(bool, flags)) != levels:
        return f"it has {sum(map(bool, flags))} deepstack layers, not {levels}"
    return None


def _beside(text: GgufFile) -> GgufFile:
    """Return the only vision tower in the folder of a language model that fits it."""
    fitting, damaged = [], []
    for path in sorted(text.path.parent.glob(f"*{MARK}*{SUFFIX}")):
        try:
            vision = _vision(path)
        except QvsearchError as error:
            damaged.append(error)
            continue
        if _mismatch(Pair(text, vision)) is None:
            fitting.append(vision)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(each.path.name for each in fitting)
        raise QvsearchError(f"{text.path.parent} has {names}; choose one with --mmproj FILE")
    if damaged:
        raise damaged[0]
    raise QvsearchError(
        f"{text.path} has no vision tower, which pictures need, beside it; give --mmproj FILE"
    )
