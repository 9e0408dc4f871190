"""Qwen3-VL-Instruct in this process, which writes answers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qvsearch.choices import Hub
from qvsearch.errors import QvsearchError
from qvsearch.models.attention import kernels_are_right
from qvsearch.models.checkpoint import hidden_width
from qvsearch.models.devices import pick_device, pick_dtype, settle_threads
from qvsearch.models.int8 import quantise
from qvsearch.models.patches import image_patches
from qvsearch.models.prompt import chat_prompt
from qvsearch.models.registry import DEFAULT_GENERATOR, GENERATOR, resolve, role_of
from qvsearch.models.vision import LinearPatchEmbed
from qvsearch.tasks.answers.question import Prompt, Reply

if TYPE_CHECKING:
    from qvsearch.types import Pixels

ANSWER_TOKENS = 768  # the most of an answer
END_TOKENS = ("<|im_end|>", "<|endoftext|>")


class LocalGenerator:
    """Answers with a Qwen3-VL-Instruct checkpoint: a hub id or a local folder.

    The most probable token is always taken, so an answer is the same each time. The weights are
    loaded with the first prompt: until then the models of the search have the memory.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_GENERATOR,
        device: str | None = None,
        dtype: str | None = None,
        hub: str = Hub.HUGGINGFACE,
        tokens: int = ANSWER_TOKENS,
    ) -> None:
        """Find the checkpoint, downloaded if necessary; raises QvsearchError without one."""
        if role_of(str(model)) not in (GENERATOR, None):
            raise QvsearchError(f"{model} does not write answers; leave out --generator")
        self._weights = resolve(str(model), hub)
        self._device, self._dtype, self._tokens = device, dtype, tokens
        self._loaded: _Loaded | None = None

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._weights.name

    def generate(self, prompt: Prompt, write: Callable[[str], None]) -> Reply:
        """Return the whole answer; `write` is called with each piece as it arrives.

        Raises QvsearchError if the weights cannot be loaded, the memory is too small, or a value is
        not finite.
        """
        if self._loaded is None:
            gc.collect()  # models in cycles still have their memory
            self._loaded = _load(self._weights.folder, self._device, self._dtype)
        model, tokenizer = self._loaded.model, self._loaded.tokenizer
        pictures = [part for part in prompt.parts if not isinstance(part, str)]
        ids = tokenizer(chat_prompt(prompt.system, prompt.parts))["input_ids"]
        streamed = _Streamed(tokenizer, write)
        try:
            with torch.inference_mode():
                model.generate(
                    **_tensors(ids, pictures, model),
                    generation_config=_greedy(tokenizer, self._tokens),
                    logits_processor=[_refuse_infinite],
                    streamer=streamed,
                )
        except torch.OutOfMemoryError as error:
            raise QvsearchError(
                f"{model.device} has no memory for a prompt of {len(ids)} tokens;"
                " try a smaller -k, --detail low or --device cpu"
            ) from error
        count = len(streamed.ids)
        return Reply(streamed.text, count >= self._tokens, len(ids), count)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A network with its vocabulary's head, and its tokenizer; transformers types neither."""

    model: Any
    tokenizer: Any


class _Streamed:
    """Receives the ids of an answer from transformers, and passes on whole characters."""

    def __init__(self, tokenizer: Any, write: Callable[[str], None]) -> None:  # noqa: ANN401 - untyped
        self.ids: list[int] = []
        self.text = ""
        self._tokenizer, self._write = tokenizer, write
        self._prompt_is_past = False

    def put(self, ids: torch.Tensor) -> None:
        """Take the prompt (1, n) at first, then each new id (1,)."""
        if not self._prompt_is_past:
            self._prompt_is_past = True
            return
        self.ids += ids.tolist()
        text = self._tokenizer.decode(self.ids, skip_special_tokens=True)
        if not text.endswith("\ufffd"):  # the rest of a character is still to come
            self._pass_on(text)

    def end(self) -> None:
        """Pass on what remains."""
        self._pass_on(self._tokenizer.decode(self.ids, skip_special_tokens=True))

    def _pass_on(self, text: str) -> None:
        piece, self.text = text[len(self.text) :], text
        if piece:
            self._write(piece)


def _load(folder: Path, device: str | None, dtype: str | None) -> _Loaded:
    """Load a checkpoint; raises QvsearchError if it is not one of a whole Qwen3-VL."""
    from safetensors import SafetensorError
    from transformers import Qwen3VLForConditionalGeneration

    place = pick_device(device)
    numbers = pick_dtype(dtype, place, hidden_width(folder))
    if place.type == "cpu":
        settle_threads()
    _silence_transformers()
    tokenizer = _load_tokenizer(folder)
    load: Callable[..., Any] = Qwen3VLForConditionalGeneration.from_pretrained
    try:
        model, report = load(
            folder,
            dtype="auto" if numbers == torch.int8 else numbers,
            attn_implementation="sdpa" if kernels_are_right(place) else "eager",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise QvsearchError(f"{folder} has no usable Qwen3-VL weights: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise QvsearchError(
            f"{folder} lacks {len(missing)} weights of a Qwen3-VL that writes ({missing[0]}, ...);"
            " name another --generator"
        )
    vision = model.model.visual
    vision.patch_embed = LinearPatchEmbed.of(vision.patch_embed.proj)
    if numbers == torch.int8:
        quantise(model.model)  # without the head: it is the table of the embeddings
        model.float()
    return _Loaded(model.to(place).eval(), tokenizer)


def _silence_transformers() -> None:
    """Keep the bar and the remarks of transformers off the terminal: only the faces print."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def _load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - untyped
    """Return the tokenizer of a checkpoint; raises QvsearchError without a usable one."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001 (tokenizers raises nothing narrower for its file)
        raise QvsearchError(f"{folder} has no usable tokenizer: {error}") from error


def _tensors(ids: list[int], pictures: Sequence[Pixels], model: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401 - untyped
    """Return the arguments of transformers' own forward pass for one prompt."""
    tokens = torch.tensor([ids])
    tensors = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": (tokens == model.config.image_token_id).int(),
    }
    if pictures:
        patches, grids = zip(*map(image_patches, pictures), strict=True)
        tensors["pixel_values"] = torch.from_numpy(np.concatenate(patches))
        tensors["image_grid_thw"] = torch.tensor(grids)
    return {name: tensor.to(model.device) for name, tensor in tensors.items()}


def _greedy(tokenizer: Any, tokens: int) -> Any:  # noqa: ANN401 - untyped
    from transformers import GenerationConfig

    ends = tokenizer.convert_tokens_to_ids(list(END_TOKENS))
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, max_new_tokens=tokens, eos_token_id=ends, pad_token_id=ends[-1]
    )


def _refuse_infinite(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Return the scores; raises QvsearchError for NaN and infinity, as half precision overflows."""
    if not torch.isfinite(scores).all():
        raise QvsearchError(
            "the model gave a value that is not finite; try --dtype float32 or --device cpu"
        )
    return scores
