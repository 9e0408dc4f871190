"""Differences of vectors and logits from plain transformers: `python tests/bench/parity.py`.

The weights are random, in float32 on the CPU. The tests hold the same comparisons to 1e-5 and 1e-4.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from support.model_inputs import conversation, mixed_inputs, pixels
from support.pairs import DOCUMENTS, QUERIES
from support.pairs import conversation as pair
from support.reference import (
    WIDE_TEXT,
    WIDE_VISION,
    Reference,
    load_generator,
    logit_difference,
    write_checkpoint,
)

from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.types import EmbedInput, Frames


def compare(folder: Path) -> None:
    """Print the largest difference for each kind of input."""
    reference, embedder = (
        Reference.load(folder),
        LocalEmbedder(folder, device="cpu", dtype="float32"),
    )
    sources = mixed_inputs()
    for source, vector in zip(sources, embedder.embed(sources), strict=True):
        expected = reference.embed(reference.inputs([conversation(source)]))[0].numpy()
        what = f"{len(source.images)} images, {len(source.text or '')} characters"
        print(f"  {what:40}{np.abs(vector - expected).max():.1e}")
    print(f"  {'5 frames of a video':40}{_frames(reference, embedder):.1e}")
    print(f"  {'reranker logits':40}{_logits(reference, folder):.1e}")


def _frames(reference: Reference, embedder: LocalEmbedder) -> float:
    frames = np.stack([pixels(64, 96, seed) for seed in range(5)])
    source = EmbedInput("what", video=Frames(frames, tuple(i / 2 for i in range(5))))
    messages = conversation(source)
    messages[1]["content"].insert(0, {"type": "video"})
    images = [Image.fromarray(frame) for frame in frames]
    expected = reference.embed(reference.frame_inputs(messages, images, 2.0))[0].numpy()
    return float(np.abs(embedder.embed([source])[0] - expected).max())


def _logits(reference: Reference, folder: Path) -> float:
    reranker, generator = (
        LocalReranker(folder, device="cpu", dtype="float32"),
        load_generator(folder),
    )
    tokenizer = reference.processor.tokenizer
    return max(
        abs(float(logit) - logit_difference(generator, reference.inputs([pair(q, d)]), tokenizer))
        for q in QUERIES
        for logit, d in zip(reranker.logits(q, DOCUMENTS), DOCUMENTS, strict=True)
    )


if __name__ == "__main__":
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as tiny, tempfile.TemporaryDirectory() as wide:
        print("tiny")
        compare(write_checkpoint(Path(tiny)))
        print("2B widths, 2 text and 3 vision layers")
        compare(write_checkpoint(Path(wide), WIDE_TEXT, WIDE_VISION, dtype=torch.bfloat16))
