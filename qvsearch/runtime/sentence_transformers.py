"""Models of sentence-transformers as a backend: `--model st:OWNER/NAME` or `st:FOLDER`.

Prompts, pooling and pixels are the model's own, as `encode_query` and `encode_document` of
sentence-transformers 6 apply them. Only models that run without code of their own are loaded.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.media.text import PASSAGE_TOKENS
from qvsearch.models import st_files
from qvsearch.models.patches import KNOWN_PREPROCESSING, PREPROCESSING
from qvsearch.models.presets import INSTRUCTIONS
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, QUERY_INSTRUCTION
from qvsearch.models.registry import ST, Weights
from qvsearch.runtime.choice import new_detail, new_video_mode
from qvsearch.runtime.inputs import QueriesAndDocuments, ready
from qvsearch.types import Dtype, Fingerprint, Kind, VideoMode

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

    from qvsearch.runtime.choice import Choice
    from qvsearch.types import EmbedInput, Pixels, Vectors

LAYOUT = 1  # of a library's fingerprint: raise it when inputs are passed on in another way
TEXTS, PICTURES = 32, 8  # inputs of a batch
NO_FLOAT16 = "gemma"  # architectures whose hidden states exceed the range of float16
MILLISECONDS = 1000  # frames a second, in which the times of frames are passed on
SHORTEST_TOKEN = 4  # characters of a special token that is broken up: `[SEP]`, but not `!`
# published instructions of Qwen3-VL; other models have a query prompt of their own instead
_QUERIES = frozenset({QUERY_INSTRUCTION, *INSTRUCTIONS.values()})


class SentenceTransformersBackend:
    """Loads models by `st:` names; a new library's model, once looked at, is not loaded twice."""

    def __init__(self) -> None:
        self._looked_at: StEmbedder | None = None

    def new_fingerprint(self, model: str, choice: Choice) -> Fingerprint:
        """Return what decides the vectors of a chosen model, which is loaded to look at it.

        Raises QvsearchError for a model that cannot be run or embeds no text, and for options that
        only Qwen3-VL has.
        """
        _check_options(model, choice)
        weights = st_files.resolve(model, choice.hub)
        embedder = self._load(weights, choice)
        self._looked_at = embedder
        kinds = _kinds(weights.name, embedder.modalities)
        mode = new_video_mode(choice)
        if mode is not VideoMode.FRAMES and "video" not in embedder.modalities:
            raise QvsearchError(
                f"{weights.name} embeds no clips, only single frames; leave out --video-mode {mode}"
            )
        dim = embedder.dim if choice.dim is None else choice.dim
        if not 0 < dim <= embedder.dim:
            raise QvsearchError(f"--dim {dim} is outside 1 to {embedder.dim} of {weights.name}")
        return Fingerprint(
            model=weights.name,
            revision=weights.revision,
            dim=dim,
            detail=new_detail(choice),
            instruction=embedder.document_prompt,
            prompt_layout=LAYOUT,
            preprocessing=PREPROCESSING,
            video_mode=mode,
            kinds=kinds,
        )

    def check_version(self, fingerprint: Fingerprint) -> None:
        """Raise QvsearchError for vectors of a later version."""
        known = fingerprint.preprocessing in KNOWN_PREPROCESSING
        if fingerprint.prompt_layout != LAYOUT or not known:
            raise QvsearchError(
                f"the library was made with {fingerprint.model} by another version of qvsearch;"
                " index into a new --library"
            )

    def load(self, fingerprint: Fingerprint, choice: Choice) -> StEmbedder:
        """Return the model of a library; raises QvsearchError if the files are another model's."""
        _check_options(fingerprint.model, choice)
        name, revision = fingerprint.model, fingerprint.revision
        if choice.model is None or choice.model == name:
            weights = st_files.resolve(name, choice.hub, revision)
        elif choice.model.startswith(ST):  # another place of the same files
            weights = st_files.resolve(choice.model, choice.hub)
        else:
            raise _other_model(fingerprint, choice.model)
        if weights.revision != revision:
            raise _other_model(fingerprint, f"{weights.name} at {weights.revision}")
        embedder = self._load(weights, choice)
        embedder.dim = fingerprint.dim
        embedder.decode_options = fingerprint.decode_options
        return embedder

    def _load(self, weights: Weights, choice: Choice) -> StEmbedder:
        """Return the model that was looked at before if it is the same one, or load it."""
        looked_at, self._looked_at = self._looked_at, None
        how = (weights, choice.device, choice.dtype)
        if looked_at is not None and looked_at.how == how:
            return looked_at
        del looked_at  # freed before another one is loaded
        return StEmbedder(weights, choice.device, choice.dtype)


class StEmbedder(QueriesAndDocuments):
    """Embeds with a model of sentence-transformers, whose own prompts it uses.

    An input without an instruction is a document. QUERY_INSTRUCTION stands for the model's query
    prompt; any other is the name of one of its prompts, or a prompt itself.
    """

    def __init__(
        self, weights: Weights, device: str | None = None, dtype: str | None = None
    ) -> None:
        """Load the weights; raises QvsearchError, also for a missing extra."""
        self.how = (weights, device, dtype)
        self.name = weights.name
        self._model = _loaded(weights, device, dtype)
        self._one_at_a_time = threading.Lock()  # a tokenizer serves one thread
        self._special = _special_tokens(self._model)
        own = {each for each in self._model.modalities if isinstance(each, str)}
        self.modalities = frozenset(map(str, own - {"message"}))
        self.dim = self._probed_dim()

    @property
    def document_prompt(self) -> str:
        """The text before each document, or the instruction in its system turn."""
        prompts = self._model.prompts
        named = (prompts.get(name) for name in ("document", "passage", "corpus"))
        return next((each for each in named if each is not None), "")

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i.

        Raises QvsearchError for an input that the model cannot embed, and on NaN.
        """
        from qvsearch.runtime.local import unit_rows

        inputs = ready(inputs, self.decode_options)
        groups: dict[tuple[str | None, tuple[str, ...]], list[int]] = {}
        for place, each in enumerate(inputs):
            self._check(each)
            groups.setdefault((each.instruction, _parts(each)), []).append(place)
        rows = np.zeros((len(inputs), self.dim), np.float32)
        for (instruction, shown), places in groups.items():
            passed = [self._passed(inputs[place]) for place in places]
            rows[places] = unit_rows(self._encode(passed, instruction, shown), self.dim)
        return rows

    def _check(self, source: EmbedInput) -> None:
        """Raise QvsearchError for an input of a sort that the model cannot embed."""
        shown = _parts(source)
        for part in shown:
            if part not in self.modalities:
                other = "; index videos as frames" if part == "video" else ""
                raise QvsearchError(
                    f"{self.name} embeds no {_NAMES[part]}, only {self._embeds()}{other}"
                )
        if len(shown) > 1 and not self._model.supports(cast("Any", shown)):
            raise QvsearchError(
                f"{self.name} embeds text and pictures, but not both as one input; to search by"
                " both, give the picture with --like"
            )
        if len(source.images) > 1 and "message" not in self._model.modalities:
            raise QvsearchError(f"{self.name} embeds one picture at a time")

    def _embeds(self) -> str:
        return " and ".join(_NAMES[each] for each in sorted(self.modalities & _NAMES.keys()))

    def _passed(self, source: EmbedInput) -> dict[str, object]:
        """Return an input as sentence-transformers takes it.

        A text is in a dictionary, since a bare one that looks like an address would be fetched.
        """
        from PIL import Image

        passed: dict[str, object] = {}
        if source.images:
            pictures = [Image.fromarray(each) for each in source.images]
            passed["image"] = pictures if len(pictures) > 1 else pictures[0]
        if source.text is not None:
            passed["text"] = self._special.sub(
                lambda found: f"{found[0][0]} {found[0][1:]}", source.text
            )
        if source.video is not None:
            passed["video"] = _timed(source.video.pixels, source.video.times)
        return passed

    def _encode(
        self, passed: list[dict[str, object]], instruction: str | None, shown: tuple[str, ...]
    ) -> Vectors:
        """Return the vectors (n, width) of inputs of one sort."""
        options: dict[str, Any] = {
            "batch_size": TEXTS if shown == ("text",) else PICTURES,
            "show_progress_bar": False,
        }
        if "video" in shown:
            options["processing_kwargs"] = {"video": {"do_sample_frames": False}}
        encode = self._model.encode_query
        if instruction in (None, DOCUMENT_INSTRUCTION):
            encode = self._model.encode_document
        elif instruction in self._model.prompts:
            options["prompt_name"] = instruction
        elif instruction not in _QUERIES:
            options["prompt"] = instruction
        try:
            with self._one_at_a_time, quiet():
                vectors = encode(passed, convert_to_tensor=True, **options)
        except Exception as error:  # of the model's own code, of any type
            raise QvsearchError(
                f"{self.name} cannot embed the input: {_first_line(error)}"
            ) from error
        whole: Vectors = vectors.float().cpu().numpy()
        return whole

    def _probed_dim(self) -> int:
        """Return the length of the vectors of a text, or of what the model embeds instead."""
        size = self._model.get_embedding_dimension()
        if size is None and "text" in self.modalities:
            size = self._encode([{"text": "a"}], None, ("text",)).shape[1]
        if size is None:
            raise QvsearchError(f"{self.name} does not have vectors of a fixed length")
        return int(size)


_NAMES = {"text": "text", "image": "pictures", "video": "videos", "audio": "sound"}


def notes_of(fingerprint: Fingerprint) -> list[str]:
    """Return what a model leaves out of a library, a line each; the model is not loaded."""
    notes = []
    if fingerprint.kinds:
        others = [kind for kind in Kind if kind not in fingerprint.kinds]
        notes.append(
            f"{fingerprint.model} embeds only {_listed(fingerprint.kinds)}:"
            f" files of the kinds {_listed(others)} are left out"
        )
    folder = st_files.resolve(fingerprint.model, revision=fingerprint.revision).folder
    limit = st_files.longest_text(folder)
    if limit is not None and limit < PASSAGE_TOKENS:
        notes.append(f"{fingerprint.model} reads only the first {limit} tokens of each passage")
    return notes


def _listed(kinds: Sequence[Kind]) -> str:
    return " and ".join(kinds)


def _loaded(weights: Weights, device: str | None, dtype: str | None) -> SentenceTransformer:
    """Return the model of these files, on a device and in a number type that suit it."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise QvsearchError(
            'models of sentence-transformers need an extra: pip install "qvsearch[st]"'
        ) from error
    from qvsearch.models.devices import pick_device, settle_threads

    place = pick_device(device)
    kind = _dtype(weights, dtype, place)
    if place.type == "cpu":
        settle_threads()
    try:
        with quiet():
            model = SentenceTransformer(
                str(weights.folder),
                device=str(place),
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"dtype": kind, "use_safetensors": True},
            )
    except Exception as error:  # of the model's own code, of any type
        raise QvsearchError(
            f"sentence-transformers cannot load {weights.name}: {_first_line(error)}"
        ) from error
    if not (weights.folder / "modules.json").exists() and len(model) > 1:
        raise QvsearchError(
            f"{weights.name} has no modules.json, and so does not say how its tokens become one"
            " vector; give a model that was made for sentence-transformers"
        )
    return model


def _dtype(weights: Weights, dtype: str | None, device: torch.device) -> torch.dtype:
    """Return the named number type, or the default: that of our own models, but never float16."""
    import torch

    from qvsearch.models.devices import pick_dtype

    kind = pick_dtype(dtype, device, st_files.hidden_width(weights.folder))
    if kind != torch.float16:
        return kind
    if dtype is None:
        return torch.float32
    if any(NO_FLOAT16 in each for each in st_files.model_types(weights.folder)):
        raise QvsearchError(
            f"{weights.name} is a Gemma, whose values are too large for float16;"
            " leave out --dtype, or give bfloat16"
        )
    return kind


def _check_options(model: str, choice: Choice) -> None:
    """Raise QvsearchError for options that only our own models have."""
    if choice.dtype == Dtype.INT8:
        raise QvsearchError(f"--dtype int8 is for Qwen3-VL; leave it out for {model}")
    if choice.adapter is not None:
        raise QvsearchError(f"--adapter is for Qwen3-VL; leave it out for {model}")
    if choice.servers:
        raise QvsearchError(f"--server is for Qwen3-VL; {model} runs in this process")


def _kinds(name: str, modalities: frozenset[str]) -> tuple[Kind, ...]:
    """Return the kinds of files that a model embeds; empty for all."""
    if "text" not in modalities:
        raise QvsearchError(
            f"{name} embeds no text, so that words would find nothing; give another"
        )
    return () if "image" in modalities else (Kind.TEXT,)


def _other_model(fingerprint: Fingerprint, other: str) -> QvsearchError:
    return QvsearchError(
        f"the library was made with {fingerprint.model} at revision {fingerprint.revision},"
        f" not {other}; index into a new --library"
    )


def _parts(source: EmbedInput) -> tuple[str, ...]:
    """Return the sorts of an input in the order of the alphabet, as the library names them."""
    shown = {"image": source.images, "text": source.text is not None, "video": source.video}
    return tuple(name for name, part in shown.items() if part)


def _timed(pixels: Pixels, times: Sequence[float]) -> dict[str, object]:
    """Return frames with their times: the index of a frame is its time in milliseconds."""
    indices = [round(time * MILLISECONDS) for time in times]
    return {
        "array": np.moveaxis(pixels, -1, 1),
        "video_metadata": {
            "fps": MILLISECONDS,
            "frames_indices": indices,
            "total_num_frames": indices[-1] + 1,
        },
    }


def _special_tokens(model: SentenceTransformer) -> re.Pattern[str]:
    """Return what matches the special tokens of a tokenizer, which any file may hold."""
    added = getattr(getattr(model, "tokenizer", None), "added_tokens_decoder", {})
    tokens = sorted(
        (each.content for each in added.values() if len(each.content) >= SHORTEST_TOKEN),
        key=len,
        reverse=True,
    )
    return re.compile("|".join(map(re.escape, tokens)) or r"(?!)")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars and the log of transformers from the user's terminal."""
    from transformers.utils import logging

    log: Any = logging  # whose functions have no types
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


SENTENCE_TRANSFORMERS = SentenceTransformersBackend()
