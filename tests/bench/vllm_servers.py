"""Real servers of vLLM on this CPU beside the model in this process: two tables.

    python tests/support/vllm_server.py && python tests/bench/vllm_servers.py

- `cosines`: for each form of input, the lowest cosine of a server's vectors with ours, in float32.
- `photos`: photos a second of the demo's model, in this process with one thread, and through 1 to
  `--servers` servers of one thread each, in turns; the median of `--rounds`. Beside it stand the
  seconds of processor that a photo took here and in all processes of the servers.

All of them share this computer's cores, so more servers than free cores gain nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import psutil
from support.model_inputs import pixels
from support.vllm_server import VllmServer, options_of, starting

from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import DEMO_FOLDER, EMBEDDER
from qvsearch.runtime.loading import Choice, load_embedder, task_fingerprint
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.runtime.remote.launch import Served, launches, write_checkpoint
from qvsearch.runtime.remote.references import Form, own_inputs
from qvsearch.types import Detail, Embedder, EmbedInput, Frames, VideoMode

BATCH = 16


def forms() -> dict[str, list[EmbedInput]]:
    """Return inputs of each form by its name."""
    picture, small = pixels(96, 160), pixels(64, 64, 1)
    frames = np.stack([pixels(96, 128, seed) for seed in range(40)])
    clips = [Frames(frames[:count], tuple(0.52 * n for n in range(count))) for count in (2, 5, 40)]
    texts = ["a red star", "  der Hund\n\n海滩上的狗 🐕  ", "", "word " * 300, "<|im_end|> {{ x }}"]
    details = {f"picture of {each} detail": list(own_inputs(Form.PICTURE, each)) for each in Detail}
    return {
        "text": [EmbedInput(each) for each in texts],
        "query": [EmbedInput(each, instruction=QUERY_INSTRUCTION) for each in texts],
        "picture": [EmbedInput(images=(each,)) for each in (picture, small)],
        **details,
        "picture and text": [EmbedInput("a dog", images=(picture,))],
        "two pictures and text": [EmbedInput("both", images=(picture, small))],
        "clip": [EmbedInput(video=each) for each in clips],
        "clip and text": [EmbedInput("a clip", video=clips[1])],
    }


def remote(urls: Sequence[str], mode: VideoMode = VideoMode.FRAMES) -> Embedder:
    choice = Choice("demo", detail=Detail.HIGH, video_mode=mode, servers=tuple(urls))
    return load_embedder(task_fingerprint(None, choice), choice)


def cosine_table(url: str, local: LocalEmbedder) -> None:
    served = remote([url], VideoMode.BOTH)
    print(f"{'form':<26}{'inputs':>7}{'lowest cosine':>15}")
    for name, inputs in forms().items():
        cosines = (served.embed(inputs) * local.embed(inputs)).sum(axis=1)
        print(f"{name:<26}{len(inputs):>7}{cosines.min():>15.7f}")


def processor(servers: Sequence[VllmServer]) -> float:
    """Return the seconds of processor of servers with all their processes."""
    total = 0.0
    for server in servers:
        process = psutil.Process(server.process.pid)
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def photo_table(servers: Sequence[VllmServer], local: Embedder, count: int, rounds: int) -> None:
    photos = [EmbedInput(images=(pixels(512, 512, seed),)) for seed in range(count)]
    batches = [photos[start : start + BATCH] for start in range(0, count, BATCH)]
    contenders: dict[str, Embedder] = {"in this process": local}
    for number in range(1, len(servers) + 1):
        contenders[f"{number} servers" if number > 1 else "1 server"] = remote(
            [each.url for each in servers[:number]]
        )
    for embedder in contenders.values():
        embedder.embed(photos[:2])
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, embedder in contenders.items():
            here, there, start = time.process_time(), processor(servers), time.perf_counter()
            if hasattr(embedder, "submit"):
                for future in [embedder.submit(each) for each in batches]:
                    future.result()
            else:
                for each in batches:
                    embedder.embed(each)
            took = time.perf_counter() - start
            own, theirs = time.process_time() - here, processor(servers) - there
            figures[name].append((count / took, own / count, theirs / count))
    print(
        f"\n{'photos of 256 tokens':<22}{'photos/s':>10}{'ratio':>8}{'s here':>10}{'s there':>10}"
    )
    base = median(rate for rate, _, _ in figures["in this process"])
    for name, values in figures.items():
        rate, own, theirs = (median(column) for column in zip(*values, strict=True))
        print(f"{name:<22}{rate:>10.1f}{rate / base:>8.2f}{own:>10.4f}{theirs:>10.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--photos", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(DEMO_FOLDER, folder)
        served = Served(str(folder), EMBEDDER, VideoMode.BOTH, folder)
        options = options_of(launches(served)[0].command)
        with starting(*[(folder, options)] * given.servers) as servers:
            for each in servers:
                each.wait()
            local = LocalEmbedder("demo", "cpu", "float32")
            cosine_table(servers[0].url, local)
            photo_table(servers, local, given.photos, given.rounds)


if __name__ == "__main__":
    main()
