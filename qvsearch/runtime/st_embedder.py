"""A model of sentence-transformers in this process: inputs to unit vectors."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.models import st_files
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, QUERY_INSTRUCTION, TASK_INSTRUCTIONS
from qvsearch.models.registry import Weights
from qvsearch.runtime.inputs import QueriesAndDocuments, ready
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

    from qvsearch.types import Pixels, Vectors

TEXTS, PICTURES = 32, 8  # inputs of a batch
PADDED = ("siglip", "siglip2")  # architectures
_OWN_TIMES = {"video": {"do_sample_frames": False}}  # frames are chosen already
ALONE = 0.99  # the least cosine of a text's vectors, alone and beside a longer text
NO_FLOAT16 = "gemma"  # architectures whose hidden states exceed the range of float16
MILLISECONDS = 1000  # frames a second, in which the times of frames are passed on
SHORTEST_TOKEN = 4  # characters of a special token that is broken up: `[SEP]`, but not `!`
# published instructions of Qwen3-VL; other models have a query prompt of their own instead
_QUERIES = frozenset({QUERY_INSTRUCTION, *TASK_INSTRUCTIONS.values()})


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
        self._padding = _padding(self._model)
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
        return self.embed_to(inputs, self.dim)

    def embed_to(self, inputs: Sequence[EmbedInput], dim: int) -> Vectors:
        """Return the unit rows (n, dim) of an embedder of this dimension."""
        from qvsearch.runtime.local import unit_rows

        inputs = ready(inputs, self.decode_options)
        groups: dict[tuple[str | None, tuple[str, ...]], list[int]] = {}
        for place, each in enumerate(inputs):
            self._check(each)
            groups.setdefault((each.instruction, _parts(each)), []).append(place)
        rows = np.zeros((len(inputs), dim), np.float32)
        for (instruction, shown), places in groups.items():
            passed = [self._passed(inputs[place]) for place in places]
            rows[places] = unit_rows(self._encode(passed, instruction, shown), dim)
        return rows

    def check_batches(self) -> None:
        """Raise QvsearchError if a text's vector depends on the texts that are embedded with it."""
        short, long = EmbedInput("a"), EmbedInput("a photo of a dog in the snow")
        agreement = float(self.embed([short])[0] @ self.embed([short, long])[0])
        if agreement < ALONE:
            raise QvsearchError(
                f"{self.name} is padded wrongly by this sentence-transformers: a text has another"
                f" vector beside a longer one (cosine {agreement:.3f}); give another model"
            )

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

    def _passed(self, source: EmbedInput) -> dict[str, object] | str:
        """Return an input as sentence-transformers takes it.

        A text is in a dictionary, since a bare one that looks like an address would be fetched. A
        model of texts alone fetches nothing, and its first module may take bare texts only.
        """
        from PIL import Image

        passed: dict[str, object] = {}
        if source.images:
            pictures = [Image.fromarray(each) for each in source.images]
            passed["image"] = pictures if len(pictures) > 1 else pictures[0]
        if source.text is not None:
            text = self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", source.text)
            if self.modalities == {"text"}:
                return text
            passed["text"] = text
        if source.video is not None:
            passed["video"] = _timed(source.video.pixels, source.video.times)
        return passed

    def _encode(
        self,
        passed: Sequence[dict[str, object] | str],
        instruction: str | None,
        shown: tuple[str, ...],
    ) -> Vectors:
        """Return the vectors (n, width) of inputs of one sort."""
        options: dict[str, Any] = {
            "batch_size": TEXTS if shown == ("text",) else PICTURES,
            "show_progress_bar": False,
        }
        if processing := self._padding | (_OWN_TIMES if "video" in shown else {}):
            options["processing_kwargs"] = processing
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
            size = self._encode([self._passed(EmbedInput("a"))], None, ("text",)).shape[1]
        if size is None:
            raise QvsearchError(f"{self.name} does not have vectors of a fixed length")
        return int(size)


_NAMES = {"text": "text", "image": "pictures", "video": "videos", "audio": "sound"}


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
    _limit_texts(model)
    return model


def _limit_texts(model: SentenceTransformer) -> None:
    """Let texts be cut to what a text tower reads, which sentence-transformers 6.2 does not do."""
    config: Any = model.config
    words = getattr(config, "text_config", None)
    tokenizer = getattr(model, "tokenizer", None)
    longest = getattr(words, "max_position_embeddings", None)
    if longest is not None and tokenizer is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest)


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


def _padding(model: SentenceTransformer) -> dict[str, Any]:
    """Return how texts of SigLIP are padded: its vector is that of the last token, also of padding.

    It was trained with texts padded to the longest, which sentence-transformers 6.2 does not do.
    """
    config: Any = model.config
    if config is None or config.model_type not in PADDED:
        return {}
    length = config.text_config.max_position_embeddings
    return {"text": {"padding": "max_length", "max_length": length}}


def _special_tokens(model: SentenceTransformer) -> re.Pattern[str]:
    """Return what matches the special tokens of a tokenizer, which any file may hold."""
    added = getattr(getattr(model, "tokenizer", None), "added_tokens_decoder", {})
    special = (each.content for each in added.values() if each.special)
    tokens = sorted(each for each in special if len(each) >= SHORTEST_TOKEN)[::-1]
    return re.compile("|".join(map(re.escape, tokens)) or r"(?!)")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars and warnings of both libraries from the user's terminal."""
    from transformers.utils import logging as bars

    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    levels = [each.level for each in loggers]
    had_bars = bars.is_progress_bar_enabled()
    for each in loggers:
        each.setLevel(logging.ERROR)
    bars.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
        if had_bars:
            bars.enable_progress_bar()  # type: ignore[no-untyped-call]
