"""The network: prompts and pixels in, the last token's hidden state out; it opens no media."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from qvsearch.errors import QvsearchError
from qvsearch.models.checkpoint import shards
from qvsearch.models.int8 import check_kernels, quantise
from qvsearch.models.vision import image_patches, video_patches
from qvsearch.prompt import END
from qvsearch.types import Dtype

if TYPE_CHECKING:
    from qvsearch.types import EmbedInput, Vectors

TOKENS_PER_BATCH = {"cpu": 1024, "mps": 1024, "cuda": 16384}  # past this a batch only costs memory
MOST_PADDING = 1.1  # the longest input of a batch, over its shortest

DTYPES: dict[str, torch.dtype] = {each: getattr(torch, each) for each in Dtype}


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A prompt's token ids and the media whose place they hold, in order: videos, then images."""

    ids: list[int]
    media: tuple[EmbedInput, ...]


def pick_device(device: str | None) -> torch.device:
    """Return the named device, or the best one here: CUDA, then MPS, then the CPU."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and torch.backends.mps.is_available():
            device = "mps"
    sentence = (
        f"the device {device!r} is not usable here;"
        f" leave out --device, or name one of {', '.join(TOKENS_PER_BATCH)}"
    )
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise QvsearchError(sentence) from error
    if found.type not in TOKENS_PER_BATCH:
        raise QvsearchError(sentence)
    return found


def pick_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """Return the named dtype or the device's own: float32 on the CPU, half as long elsewhere.

    int8 stands for a model whose linear layers multiply such, and whose rest is float32. Raises
    QvsearchError where a name is none, or int8 does not run.
    """
    if dtype is not None:
        if dtype not in DTYPES:
            raise QvsearchError(f"no dtype {dtype!r}; there are {', '.join(DTYPES)}")
        if dtype == Dtype.INT8:
            check_kernels(device)
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def attention(device: torch.device) -> str:
    """Return transformers' name of the attention that is right on a device."""
    # with padding, sdpa gives NaN on MPS (sentence-transformers#3498)
    return "eager" if device.type == "mps" else "sdpa"


class LinearPatchEmbed(nn.Module):
    """The vision tower's patch embedding as one matrix product.

    The checkpoint's Conv3d has kernel = stride, so it is a linear layer over each patch; as a
    convolution it falls on slow kernels (pytorch#174051: 10 to 20 times and more).
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().flatten(1))
        self.bias = conv.bias

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return (n, hidden) for patches (n, 1536)."""
        return nn.functional.linear(patches.to(self.weight.dtype), self.weight, self.bias)


class Network:
    """A Qwen3-VL base model with its tokenizer, on one device."""

    def __init__(self, folder: Path, device: str | None = None, dtype: str | None = None) -> None:
        """Load a checkpoint folder; raises QvsearchError where it is incomplete."""
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        _silence_transformers()
        self.tokenizer = _load_tokenizer(folder)
        self.model = _load_model(folder, self.dtype, self.device)
        self.tail = len(self.tokenizer(END)["input_ids"])

    def tokenize(self, prompts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return each prompt's ids; too long a one loses its text's end, never the closing turn."""
        if not prompts:  # of which transformers makes an error
            return []
        ids: list[list[int]] = self.tokenizer(list(prompts), truncation=False)["input_ids"]
        return [each if len(each) <= max_tokens else self._cut(each, max_tokens) for each in ids]

    def _cut(self, ids: list[int], max_tokens: int) -> list[int]:
        kept = max_tokens - self.tail
        config = self.model.config
        if {config.image_token_id, config.video_token_id} & set(ids[kept : -self.tail]):
            raise QvsearchError(
                f"an input of {len(ids)} tokens is over the model's {max_tokens};"
                " give fewer images or frames, or a lower --detail"
            )
        return ids[:kept] + ids[-self.tail :]

    def output_row(self, folder: Path, token: str) -> Vectors:
        """Return the weights (hidden,) float32 that give a token's logit, tied or not."""
        row = self.tokenizer.convert_tokens_to_ids(token)
        if row is None or row == self.tokenizer.unk_token_id:
            raise QvsearchError(f"{folder} is no reranker: its tokenizer has no token {token!r}")
        head = _find_tensor(folder, "lm_head.weight", row)
        if head is None and not _is_tied(self.model.config):
            raise QvsearchError(f"{folder} is no reranker: it has no lm_head.weight")
        if head is None:
            head = self.model.get_input_embeddings().weight[row]
        weights: Vectors = head.detach().float().cpu().numpy()
        return weights

    def last_hidden(self, inputs: Sequence[ModelInput]) -> Vectors:
        """Return the final hidden state (n, hidden) float32 of each input's last token, in order.

        Inputs of similar length share a forward pass, so little is spent on padding.
        """
        hidden = np.empty((len(inputs), self.model.config.text_config.hidden_size), np.float32)
        for rows in _batches(
            [len(each.ids) for each in inputs], TOKENS_PER_BATCH[self.device.type]
        ):
            hidden[rows] = self._forward_in_memory([inputs[row] for row in rows])
        return hidden

    def _forward_in_memory(self, inputs: Sequence[ModelInput]) -> Vectors:
        """Run a batch, in halves where the device's memory does not hold it whole."""
        try:
            return self._forward(inputs)
        except torch.OutOfMemoryError as error:
            if len(inputs) == 1:
                raise QvsearchError(
                    f"{self.device} has no memory for an input of {len(inputs[0].ids)} tokens;"
                    " try --detail low or --device cpu"
                ) from error
        half = len(inputs) // 2
        return np.concatenate(
            [self._forward_in_memory(part) for part in (inputs[:half], inputs[half:])]
        )

    @torch.inference_mode()
    def _forward(self, inputs: Sequence[ModelInput]) -> Vectors:
        tensors = {name: value.to(self.device) for name, value in self.tensors(inputs).items()}
        last = tensors["attention_mask"].sum(1) - 1
        states = self.model(**tensors, use_cache=False).last_hidden_state
        picked: Vectors = states[torch.arange(len(inputs)), last].float().cpu().numpy()
        return picked

    def tensors(self, inputs: Sequence[ModelInput]) -> dict[str, torch.Tensor]:
        """Return the arguments of the model's forward pass for one batch, padded on the right."""
        length = max(len(each.ids) for each in inputs)
        ids = torch.full((len(inputs), length), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, each in enumerate(inputs):
            ids[row, : len(each.ids)] = torch.tensor(each.ids)
            mask[row, : len(each.ids)] = 1
        config = self.model.config
        kinds = (ids == config.image_token_id).int() + 2 * (ids == config.video_token_id).int()
        media = [source for each in inputs for source in each.media]
        images = [image_patches(image) for source in media for image in source.images]
        videos = [video_patches(each.video.pixels) for each in media if each.video is not None]
        batch = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds}
        batch |= _vision("pixel_values", "image_grid_thw", images)
        return batch | _vision("pixel_values_videos", "video_grid_thw", videos)


def _vision(
    pixels: str, grid: str, media: Sequence[tuple[Vectors, tuple[int, int, int]]]
) -> dict[str, torch.Tensor]:
    if not media:
        return {}
    patches = torch.from_numpy(np.concatenate([patches for patches, _ in media]))
    return {pixels: patches, grid: torch.tensor([grid for _, grid in media])}


def _batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group row numbers by length: at most `budget` tokens a batch with its padding, or one row."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        batch = batches[-1] if batches else None
        fits = (
            batch is not None
            and lengths[row] * (len(batch) + 1) <= budget
            and lengths[row] <= lengths[batch[0]] * MOST_PADDING
        )
        if batch is not None and fits:
            batch.append(row)
        else:
            batches.append([row])
    return batches


def _silence_transformers() -> None:
    """Keep its bar and its remarks on newer checkpoints from the terminal: only the faces print."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def _load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 (transformers has no narrower type)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001 (tokenizers raises nothing narrower for its file)
        raise QvsearchError(f"{folder} holds no usable tokenizer: {error}") from error


def _load_model(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:  # noqa: ANN401
    from safetensors import SafetensorError
    from transformers import Qwen3VLModel

    load: Callable[..., Any] = Qwen3VLModel.from_pretrained
    try:
        model, report = load(
            folder,
            # the layers that int8 replaces need never be as long as float32 all at once
            dtype="auto" if dtype == torch.int8 else dtype,
            attn_implementation=attention(device),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise QvsearchError(f"{folder} holds no sound Qwen3-VL weights: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise QvsearchError(
            f"{folder} lacks {len(missing)} weights of a Qwen3-VL model ({missing[0]}, ...);"
            " fetch it again with: qvsearch models pull"
        )
    model.visual.patch_embed = LinearPatchEmbed(model.visual.patch_embed.proj)
    if dtype == torch.int8:
        quantise(model)
        model.float()
    return model.to(device).eval()


def _is_tied(config: Any) -> bool:  # noqa: ANN401
    return bool(config.tie_word_embeddings or config.text_config.tie_word_embeddings)


def _find_tensor(folder: Path, name: str, row: int) -> torch.Tensor | None:
    """Read one row of a tensor of a checkpoint; None where no file holds it."""
    from safetensors import safe_open

    for path in shards(folder):
        with safe_open(path, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118 (it is no mapping)
                found: torch.Tensor = tensors.get_slice(name)[row]
                return found
    return None
