"""GGUF files as models of libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.models.gguf import is_gguf
from qvsearch.models.patches import PREPROCESSING
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, PROMPT_LAYOUT
from qvsearch.models.registry import SMALLEST_DIM, check_inputs
from qvsearch.runtime.chosen import new_document_detail
from qvsearch.runtime.llama.pair import Pair, read_pair
from qvsearch.runtime.llama.process import check_engine
from qvsearch.types import Detail, Fingerprint, VideoMode

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Embedder

CPU = "cpu"


class GgufBackend:
    """llama.cpp in a process of its own, on `--model FILE.gguf --mmproj FILE.gguf`."""

    def new_fingerprint(self, model: str, choice: Choice) -> Fingerprint:
        """Return what decides the vectors of a model's two files.

        The files are at hand, so nothing is downloaded. Raises QvsearchError as `read_pair` does,
        for options that llama.cpp does not have, and for clips of videos.
        """
        _check_options(model, choice)
        check_engine()
        pair = read_pair(model, choice.mmproj)
        if choice.video_mode not in (None, VideoMode.FRAMES):
            raise QvsearchError(
                f"--video-mode {choice.video_mode} is not for {model}: llama.cpp reads clips"
                " otherwise than the model was trained to; use --video-mode frames"
            )
        detail = choice.detail or Detail.LOW
        return Fingerprint(
            model=str(pair.text.path),
            revision=pair.revision,
            dim=_checked_dim(pair, choice.dim),
            detail=detail,
            instruction=DOCUMENT_INSTRUCTION,
            prompt_layout=PROMPT_LAYOUT,
            preprocessing=PREPROCESSING,
            mmproj=str(pair.vision.path),
            document_detail=new_document_detail(choice, detail),
        )

    def check_version(self, fingerprint: Fingerprint) -> None:
        """Raise QvsearchError for vectors that this version of qvsearch cannot compute."""
        check_inputs(fingerprint, f"a library of {fingerprint.model}", "--library")

    def load(self, fingerprint: Fingerprint, choice: Choice) -> Embedder:
        """Return the model of a library, from its own place or the chosen one.

        Raises QvsearchError if the files are missing, or not those that the library was made with.
        """
        from qvsearch.runtime.llama.embedder import LlamaEmbedder

        pair = _pair_of(fingerprint, choice)
        if pair.revision != fingerprint.revision:
            raise QvsearchError(
                f"the library was made with {fingerprint.model} at revision"
                f" {fingerprint.revision}, and {pair.text.path} with {pair.vision.path.name} is"
                f" {pair.revision}; index into a new --library"
            )
        _check_options(fingerprint.model, choice)
        return LlamaEmbedder(pair, fingerprint.dim, choice.device, fingerprint.decode_options)


def _pair_of(fingerprint: Fingerprint, choice: Choice) -> Pair:
    """Return the chosen files of a library's model, or its own."""
    if choice.model is not None and is_gguf(choice.model):
        beside = Path(choice.model).with_name(Path(fingerprint.mmproj or "").name)
        is_there = choice.mmproj is None and beside.is_file()
        return read_pair(choice.model, beside if is_there else choice.mmproj)
    try:
        return read_pair(fingerprint.model, choice.mmproj or fingerprint.mmproj)
    except QvsearchError as error:
        raise QvsearchError(
            f"the library's model cannot be used: {error}; if its files were moved, give them:"
            " --model FILE.gguf"
        ) from error


def _check_options(model: str, choice: Choice) -> None:
    """Raise QvsearchError for options of our own engine."""
    if choice.adapter is not None:
        raise QvsearchError(
            f"--adapter is not for the GGUF file {model}; merge it into a folder first:"
            " qvsearch models merge ADAPTER -o FOLDER"
        )
    if choice.dtype is not None:
        raise QvsearchError(
            f"--dtype is not for {model}, which has its own numbers; leave it out, or give another"
            " file"
        )
    if choice.device not in (None, CPU):
        raise QvsearchError(
            f"--device {choice.device} is not for a GGUF file: llama.cpp uses the GPU that it was"
            f" built for; leave it out, or use --device {CPU}"
        )


def _checked_dim(pair: Pair, dim: int | None) -> int:
    if dim is None:
        return pair.width
    if not SMALLEST_DIM <= dim <= pair.width:
        raise QvsearchError(
            f"--dim {dim} is outside {SMALLEST_DIM} to {pair.width} of {pair.text.path}"
        )
    return dim
