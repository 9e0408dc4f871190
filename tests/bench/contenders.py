"""The same checkpoint in qvsearch and in other software, all with one copy of the weights.

A contender embeds items, or scores documents for a query, in batches of a given size. If it is not
installed, or no checkout is given, it is `Absent`. No code of others is copied here: the published
classes are imported from a checkout, and patched in memory for today's transformers.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from support.reference import Reference, load_generator

from qvsearch.media.pixels import MIN_PIXELS, fit
from qvsearch.models.forward import Beginning
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, RERANK_INSTRUCTION, RERANK_SYSTEM
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.types import EmbedInput

PLACES = (
    "src/models",
    "scripts",
    ".",
)  # folders of the published classes, in a checkout or a download


class Absent(Exception):
    """Raised for a contender that is not here, with the reason."""


@dataclass(frozen=True)
class Item:
    """A text or the file of a photo."""

    text: str | None = None
    photo: Path | None = None

    def named(self) -> dict[str, str]:
        """Return an item in the format of the published classes."""
        return {"text": self.text} if self.photo is None else {"image": str(self.photo)}


@dataclass(frozen=True)
class Setting:
    """The settings that all contenders share."""

    folder: Path
    max_pixels: int
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    upstream: Path | None = None

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


Embed = Callable[[Sequence[Item], int], np.ndarray]  # items and batch size to unit rows
Score = Callable[[Item, Sequence[Item]], np.ndarray]  # a query and documents to logits


def in_batches(embed: Callable[[Sequence[Item]], np.ndarray]) -> Embed:
    """Run a contender over the items in order, `size` at a time."""

    def run(items: Sequence[Item], size: int) -> np.ndarray:
        parts = [items[row : row + size] for row in range(0, len(items), size)]
        return np.concatenate([embed(part) for part in parts])

    return run


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def share(first: torch.nn.Module, other: torch.nn.Module) -> None:
    """Replace the weights of a second model by the equal ones of the first, to save memory."""
    known = {plain_name(name): each for name, each in first.named_parameters()}
    for name, parameter in other.named_parameters():
        source = known[plain_name(name)].view_as(parameter)
        assert torch.equal(source, parameter), f"{name} is not what the others have"
        parameter.data = source.data


def plain_name(name: str) -> str:
    """Return the name of a weight in a base model; qvsearch has no convolution of patches."""
    return name.removeprefix("model.").replace("patch_embed.proj.", "patch_embed.")


# ---- qvsearch


def inputs_of(setting: Setting, items: Sequence[Item]) -> list[EmbedInput]:
    """Read the files of the items."""
    return [
        EmbedInput(each.text)
        if each.photo is None
        else EmbedInput(images=(fit(Image.open(each.photo), setting.max_pixels),))
        for each in items
    ]


def our_embedder(setting: Setting) -> tuple[Embed, torch.nn.Module]:
    embedder = LocalEmbedder(setting.folder, setting.device, setting.dtype_name)
    embedder.network.load_vision()
    run = in_batches(lambda items: embedder.embed(inputs_of(setting, items)))

    def from_nothing_kept(items: Sequence[Item], size: int) -> np.ndarray:
        forget(embedder)
        return run(items, size)

    return from_nothing_kept, embedder.network.model


def our_reranker(setting: Setting) -> tuple[Score, torch.nn.Module]:
    reranker = LocalReranker(setting.folder, setting.device, setting.dtype_name)
    reranker.network.load_vision()

    def run(query: Item, documents: Sequence[Item]) -> np.ndarray:
        forget(reranker)
        (asked,) = inputs_of(setting, [query])
        return reranker.logits(asked, inputs_of(setting, documents))

    return run, reranker.network.model


def forget(model: LocalEmbedder | LocalReranker) -> None:
    """Drop the cached prefix of earlier prompts."""
    model.network._beginning = Beginning.empty(model.network.model)  # noqa: SLF001


# ---- transformers, called directly


def part(setting: Setting, item: Item) -> dict:
    """Return an item as qwen_vl_utils reads it in messages."""
    if item.photo is None:
        return {"type": "text", "text": item.text}
    pixels = {"min_pixels": MIN_PIXELS, "max_pixels": setting.max_pixels}
    return {"type": "image", "image": f"file://{item.photo}", **pixels}


def turns(system: str, *content: dict) -> list[dict]:
    return [
        {"role": "system", "content": [{"type": "text", "text": system}]},
        {"role": "user", "content": list(content)},
    ]


def plain_embedder(setting: Setting) -> tuple[Embed, torch.nn.Module]:
    reference = Reference.load(setting.folder)
    reference.model.to(setting.device, setting.dtype)

    def embed(items: Sequence[Item]) -> np.ndarray:
        told = [turns(DOCUMENT_INSTRUCTION, part(setting, each)) for each in items]
        batch = reference.inputs(told)
        return array(
            reference.embed({name: each.to(setting.device) for name, each in batch.items()})
        )

    return in_batches(embed), reference.model


def plain_reranker(setting: Setting) -> tuple[Score, torch.nn.Module]:
    """Score one pair at a time, as the published class does."""
    reference, generator = Reference.load(setting.folder), load_generator(setting.folder)
    model = generator.model.to(setting.device, setting.dtype)
    yes, no = reference.processor.tokenizer.convert_tokens_to_ids(["yes", "no"])
    head = generator.lm_head.weight.detach().to(setting.device, setting.dtype)

    @torch.inference_mode()
    def judge(query: Item, document: Item) -> float:
        texts = (f"<Instruct>: {RERANK_INSTRUCTION}", "<Query>:", "\n<Document>:")
        instruct, asked, judged = ({"type": "text", "text": text} for text in texts)
        told = [instruct, asked, part(setting, query), judged, part(setting, document)]
        batch = reference.inputs([turns(RERANK_SYSTEM, *told)])
        batch = {name: each.to(setting.device) for name, each in batch.items()}
        return float(model(**batch).last_hidden_state[0, -1] @ (head[yes] - head[no]))

    return lambda query, documents: np.array([judge(query, each) for each in documents]), model


# ---- the published classes


def published(setting: Setting, name: str) -> ModuleType:
    """Import a module of the checkout from its file."""
    if setting.upstream is None:
        raise Absent("no --upstream is given")
    found = [setting.upstream / place / f"{name}.py" for place in PLACES]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        raise Absent(f"{setting.upstream} has no {' or '.join(PLACES[:2])} with {name}.py")
    if importlib.util.find_spec("scipy") is None:  # the checkout imports it without using it
        stand_in = ModuleType("scipy")
        stand_in.special = None  # type: ignore[attr-defined]
        sys.modules["scipy"] = stand_in
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Absent(f"{path} does not import: {error}") from error
    return module


def upstream_embedder(setting: Setting) -> tuple[Embed, torch.nn.Module]:
    embedder = published(setting, "qwen3_vl_embedding").Qwen3VLEmbedder(
        str(setting.folder), max_pixels=setting.max_pixels, dtype=setting.dtype
    )
    embedder.model.to(setting.device)  # by default it uses a GPU if there is one
    embed = in_batches(lambda items: array(embedder.process([each.named() for each in items])))
    return embed, embedder.model


def upstream_reranker(setting: Setting) -> tuple[Score, torch.nn.Module]:
    reranker = published(setting, "qwen3_vl_reranker").Qwen3VLReranker(
        str(setting.folder), max_pixels=setting.max_pixels, dtype=setting.dtype
    )
    reranker.model.to(setting.device)
    reranker.score_linear.to(setting.device)
    plain = reranker.tokenize

    def tokenize(pairs: list) -> object:
        inputs = plain(pairs)
        # transformers 5.3 and later needs tensors here; the class gives a list
        inputs["mm_token_type_ids"] = torch.tensor(inputs["mm_token_type_ids"])
        return inputs

    reranker.tokenize = tokenize

    def run(query: Item, documents: Sequence[Item]) -> np.ndarray:
        asked = {"query": query.named(), "documents": [each.named() for each in documents]}
        scores = np.array(reranker.process(asked))
        return np.log(scores / (1 - scores))

    return run, reranker.model


# ---- sentence-transformers


def sentence_embedder(setting: Setting) -> tuple[Embed, torch.nn.Module]:
    """Use last-token pooling, and the prompt and pixel budget of the others; it sorts by length."""
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling
    except ImportError as error:
        raise Absent(f"sentence-transformers: {error}") from error
    transformer = Transformer(
        str(setting.folder),
        model_kwargs={"dtype": setting.dtype},
        processing_kwargs={"chat_template": {"add_generation_prompt": True}},
    )
    sizes = {"shortest_edge": MIN_PIXELS, "longest_edge": setting.max_pixels}
    transformer.processor.image_processor.size = sizes
    width = transformer.model.config.text_config.hidden_size
    modules = [transformer, Pooling(width, "lasttoken"), Normalize()]
    model = SentenceTransformer(modules=modules, device=setting.device)

    def run(items: Sequence[Item], size: int) -> np.ndarray:
        return model.encode(
            [each.text if each.photo is None else Image.open(each.photo) for each in items],
            prompt=DOCUMENT_INSTRUCTION,
            batch_size=size,
            show_progress_bar=False,
        )

    return run, transformer.model


EMBEDDERS = {
    "qvsearch": our_embedder,
    "upstream": upstream_embedder,
    "transformers": plain_embedder,
    "sentence-transformers": sentence_embedder,
}
RERANKERS = {
    "qvsearch": our_reranker,
    "upstream": upstream_reranker,
    "transformers": plain_reranker,
}
