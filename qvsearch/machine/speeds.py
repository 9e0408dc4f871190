"""What `bench` found on this machine, kept in the user's cache folder; it measures nothing."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, open_file, write_file
from qvsearch.types import Detail
from qvsearch.version import __version__

if TYPE_CHECKING:
    import torch

LONGEST_FILE = 10_000  # bytes


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds that the model takes for a photo and a video's moment at a detail, and a passage."""

    photo: Mapping[Detail, float] = field(default_factory=dict)
    moment: Mapping[Detail, float] = field(default_factory=dict)
    passage: float | None = None

    def times_as_fast(self, other: Speeds) -> float | None:
        """Return how many times as fast as others these are: the least of what both tell."""
        pairs = [(self.passage, other.passage)]
        for ours, theirs in ((self.photo, other.photo), (self.moment, other.moment)):
            pairs += [(ours[each], theirs[each]) for each in ours.keys() & theirs.keys()]
        known = [theirs / ours for ours, theirs in pairs if ours and theirs]
        return min(known, default=None)


def device_name(device: torch.device) -> str:
    """Return what tells this device from others that a computer may have had."""
    import torch

    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()})"


def kept_speeds(model: str, device: str, dtype: str) -> Speeds | None:
    """Return what this version of qvsearch measured with a model; None where it did not."""
    try:
        with open_file(_path(model, device, dtype)) as file:
            content = json.loads(file.read(LONGEST_FILE) or b"")
        passage = content["passage"]
        return Speeds(
            {Detail(name): _seconds(value) for name, value in content["photo"].items()},
            {Detail(name): _seconds(value) for name, value in content["moment"].items()},
            None if passage is None else _seconds(passage),
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def keep_speeds(model: str, device: str, dtype: str, found: Speeds) -> None:
    """Keep what was found beside what is there of other details; a full disk is no failure."""
    before = kept_speeds(model, device, dtype) or Speeds()
    record = {
        "photo": {**before.photo, **found.photo},
        "moment": {**before.moment, **found.moment},
        "passage": before.passage if found.passage is None else found.passage,
    }
    path = _path(model, device, dtype)
    with suppress(QvsearchError):
        make_folder(path.parent)
        write_file(path, json.dumps(record).encode())


def _seconds(value: object) -> float:
    if not isinstance(value, float) or not 0 < value < math.inf:
        raise ValueError(f"{value!r} is no time")
    return value


def _path(model: str, device: str, dtype: str) -> Path:
    """Name the file after everything that its figures depend on."""
    name = hashlib.sha256(repr((model, device, dtype, __version__)).encode()).hexdigest()[:32]
    folder = platformdirs.user_cache_path("qvsearch", appauthor=False)
    return folder / "speeds" / f"{name}.json"
