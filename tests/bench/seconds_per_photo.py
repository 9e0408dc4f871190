"""The seconds of an input with the 2B model: `python tests/bench/seconds_per_photo.py`.

The configuration is that of the 2B model; the weights are random, which changes no time. A text as
long as a query and a photo of each detail are embedded one at a time. Printed are medians and
extremes.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from qvsearch.models import devices  # before the reference, which sets one thread

sys.path.insert(0, str(Path(__file__).parent.parent))
from support.reference import TINY_TEXT, TINY_VISION, WIDE_TEXT, WIDE_VISION, write_checkpoint

from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import Detail, EmbedInput

TRUE_TEXT = WIDE_TEXT | {"num_hidden_layers": 28, "vocab_size": 151_936}
TRUE_VISION = WIDE_VISION | {"depth": 24, "deepstack_visual_indexes": [5, 11, 17]}
TRUE_PARAMETERS = 2_127_532_032
SIDES = {  # height and width in pixels, for the whole budget
    Detail.LOW: (512, 512),
    Detail.MEDIUM: (768, 1024),
    Detail.HIGH: (1152, 1600),
}


def measure(given: argparse.Namespace) -> None:
    """Print a line for each detail, and the peak memory of the process."""
    with tempfile.TemporaryDirectory() as folder:
        text, vision = (TINY_TEXT, TINY_VISION) if given.tiny else (TRUE_TEXT, TRUE_VISION)
        checkpoint = write_checkpoint(Path(folder), text, vision, dtype=torch.bfloat16)
        torch.set_num_threads(devices.DEFAULT_THREADS)
        devices.settle_threads()
        embedder = LocalEmbedder(checkpoint, given.device, given.dtype)
        embedder.network.load_vision()  # while the folder exists
    network = embedder.network
    parameters = sum(each.numel() for each in network.model.parameters())
    assert given.tiny or parameters == TRUE_PARAMETERS, parameters
    print(f"{network.device}, {network.dtype}, {torch.get_num_threads()} threads")
    # each begins differently: a shared prefix is computed once
    texts = [f"{number} dogs on a beach at sunset" for number in range(given.repeats + 1)]
    inputs = {"text": [EmbedInput(text) for text in texts]}
    for detail in given.details:
        pixels = np.random.default_rng(0).integers(0, 256, (*SIDES[detail], 3), np.uint8)
        inputs[f"photo, {detail}"] = [EmbedInput(images=(pixels,))] * len(texts)
    for name, (first, *others) in inputs.items():
        embedder.embed([first])
        seconds = [_seconds(embedder, source) for source in others]
        print(
            f"{name:14}{statistics.median(seconds):8.2f} s"
            f"  ({min(seconds):.2f} to {max(seconds):.2f}, {given.repeats} runs)",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"memory at its peak {peak / 2**20:.1f} GiB, the writing of the weights included")


def _seconds(embedder: LocalEmbedder, source: EmbedInput) -> float:
    start = time.perf_counter()
    embedder.embed([source])
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what a photo costs.")
    parser.add_argument("--device")
    parser.add_argument("--dtype", help="default: what qvsearch takes on the device")
    parser.add_argument("--details", nargs="+", type=Detail, default=list(Detail))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="narrow layers, to try the command")
    measure(parser.parse_args())
