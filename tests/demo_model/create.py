"""Makes the demo's untrained checkpoint and writes a trained one, as the real ones are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from qvsearch.demo.world import caption, change, note, random_scene
from qvsearch.models.network import Network
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, QUERY_INSTRUCTION

if TYPE_CHECKING:
    from numpy.random import Generator

VOCABULARY = 1200
SPECIAL_TOKENS = [  # Qwen's, in its order
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


def new_network(folder: Path, rng: Generator) -> Network:
    """Write an untrained checkpoint to `folder` and load it the way any checkpoint is loaded."""
    from transformers import Qwen3VLConfig, Qwen3VLModel

    tokenizer = _new_tokenizer(rng)
    number = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config=dict(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=32768,
            rope_parameters=dict(
                rope_type="default",
                rope_theta=5_000_000,
                mrope_section=[6, 5, 5],
                mrope_interleaved=True,
            ),
        ),
        vision_config=dict(
            depth=4,
            hidden_size=96,
            intermediate_size=384,
            num_heads=4,
            out_hidden_size=128,
            num_position_embeddings=256,
            deepstack_visual_indexes=[1, 2, 3],
        ),
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return written(Qwen3VLModel(config), tokenizer, folder)


def written(model: Any, tokenizer: Any, folder: Path) -> Network:  # noqa: ANN401 (transformers has no narrower type)
    """Write a model of transformers and its tokenizer to `folder`, and load them to be trained."""
    model.save_pretrained(folder)
    model.config.architectures = ["Qwen3VLForConditionalGeneration"]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loaded(folder)


def loaded(folder: Path) -> Network:
    """Load a checkpoint whole, before its weights are written again."""
    network = Network(folder, device="cpu", dtype="float32")
    network.load_vision()
    return network


def _new_tokenizer(rng: Generator) -> Any:  # noqa: ANN401 (transformers has no narrower type)
    """Learn byte-level BPE from the world's own sentences, with Qwen's special tokens after."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(_sentences(rng), trainer)
    learned = json.loads(learner.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],  # type: ignore[misc]  # lists it can't read
        eos_token="<|im_end|>",  # noqa: S106 (a word, no secret)
        pad_token="<|endoftext|>",  # noqa: S106
        unk_token=None,  # type: ignore[arg-type]  # bytes have no unknown word
        additional_special_tokens=SPECIAL_TOKENS,
        padding_side="right",
    )


def _sentences(rng: Generator) -> Iterator[str]:
    fixed = (
        f"system\n{DOCUMENT_INSTRUCTION}",
        f"system\n{QUERY_INSTRUCTION}",
        "user\n",
        "assistant\n",
    )
    for _ in range(3000):
        yield from fixed
        yield "yes no"
        scene = random_scene(rng)
        yield from (caption(scene, rng, language) for language in ("en", "es", "zh"))
        yield note(scene, rng)
        yield change(scene.things[0], rng)


def save(network: Network, folder: Path) -> None:
    """Write the weights in half precision, under the names that the real checkpoints use."""
    weights = {f"model.{name}": value.half() for name, value in network.model.state_dict().items()}
    embed = "model.visual.patch_embed"
    proj = weights.pop(f"{embed}.weight")
    weights[f"{embed}.proj.weight"] = proj.view(-1, 3, 2, 16, 16)
    weights[f"{embed}.proj.bias"] = weights.pop(f"{embed}.bias")
    tensors = {name: value.contiguous() for name, value in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
