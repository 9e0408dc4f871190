"""Vectors of GGUF files of the demo's checkpoint beside our own in float32, by numbers.

python tests/bench/quantised.py
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from gguf import GGMLQuantizationType
from support.gguf_files import write_gguf

from qvsearch.demo.world import caption, draw, random_scene
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import DEMO_FOLDER
from qvsearch.runtime.llama.embedder import LlamaEmbedder
from qvsearch.runtime.llama.pair import read_pair
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import EmbedInput
from qvsearch.vectors.agreement import agreement_of

SCENES = 64


def main() -> None:
    rng = np.random.default_rng(5)
    scenes = [random_scene(rng) for _ in range(SCENES)]
    pictures = [EmbedInput(images=(np.ascontiguousarray(draw(each, rng)),)) for each in scenes]
    queries = [EmbedInput(caption(each, rng), instruction=QUERY_INSTRUCTION) for each in scenes]
    exact = LocalEmbedder("demo", "cpu", "float32")
    ours = exact.embed(pictures), exact.embed(queries)
    print("numbers  size     start  pictures lowest  queries lowest  nearest the same")
    for name in ("F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_0"):
        with tempfile.TemporaryDirectory() as folder:
            pair = read_pair(*write_gguf(DEMO_FOLDER, Path(folder), GGMLQuantizationType[name]))
            started = time.perf_counter()
            embedder = LlamaEmbedder(pair)
            seconds = time.perf_counter() - started
            theirs = embedder.embed(pictures), embedder.embed(queries)
            embedder.close()
        lowest = [(a * b).sum(axis=1).min() for a, b in zip(ours, theirs, strict=True)]
        overlap = agreement_of(ours, theirs).overlap
        size = f"{pair.text.size / 1e6:.1f} MB"
        print(
            f"{name:7}  {size:7}  {seconds:4.2f} s  {lowest[0]:15.7f}  {lowest[1]:14.7f}"
            f"  {overlap:.1%}"
        )


if __name__ == "__main__":
    main()
