"""Runs a module of the published evaluation on drawn scenes: `PROGRAM MODULE ARGUMENTS...`.

It is a program of its own, run in a copy of the published code. The scenes stand for the data sets
of a hub; the device's name and a function that newer torchvision lacks are all that is replaced.
"""

import importlib
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torchvision.io
from PIL import Image

from qvsearch.demo.world import caption, draw, film, scenes

COUNT = 6


def candidate(kind, number, scene, rng):
    """A picture, a page or a video as a list of frames, in files."""
    frames = film(scene, rng).pixels if kind == "video" else [draw(scene, rng)]
    paths = [f"{kind}-{number}-{time}.png" for time in range(len(frames))]
    for frame, path in zip(frames, paths, strict=True):
        Image.fromarray(frame).save(path)
    empty = {"text": None, "image": None, "video": None}
    return empty | ({"video": paths} if kind == "video" else {"image": paths[0]})


def drawn(*, dataset_name, **_):
    from datasets import Dataset

    rng = np.random.default_rng(3)
    shown = list(islice(scenes(rng, held_out=True), COUNT))
    candidates = [candidate(dataset_name, *each, rng) for each in enumerate(shown)]
    names = [str(number) for number in range(COUNT)]
    query = {"image": None, "video": None, "instruction": "Find it."}
    rows = [
        {
            "query_input": query | {"text": caption(scene, rng)},
            "cand_input": candidates,
            "dataset_infos": {"cand_names": names, "label_name": str(number)},
        }
        for number, scene in enumerate(shown)
    ]
    return Dataset.from_list(rows), None


def main():
    torch.cuda.get_device_name = lambda *_: "cpu"
    torchvision.io.write_video = getattr(torchvision.io, "write_video", None)
    sys.path.insert(0, str(Path.cwd()))
    module = importlib.import_module(f"src.evaluation.mmeb_v2.{sys.argv.pop(1)}")
    sets = importlib.import_module("src.evaluation.mmeb_v2.data.datasets.base_eval_dataset")
    sets.AutoEvalPairDataset.register("drawn")(drawn)
    module.main()


if __name__ == "__main__":
    main()
