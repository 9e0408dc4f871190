"""Checks the files of a checkpoint, and identifies it, without loading it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qvsearch.errors import QvsearchError

MODEL_TYPE = "qwen3_vl"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
TEXTS = ("config.json", TOKENIZER)

SAMPLE = 4096  # bytes of each tensor, which differ between checkpoints of the same shape
LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library

SHA256_DIGITS = 64
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class IncompleteCheckpoint(QvsearchError):
    """Files of a checkpoint are missing; its text names them."""


def check_folder(folder: Path) -> None:
    """Raise QvsearchError with the reason if a folder is not a complete Qwen3-VL checkpoint."""
    check_texts(folder)
    missing = [path.name for path in [*shards(folder), folder / TOKENIZER] if not path.exists()]
    if missing:
        raise IncompleteCheckpoint(f"{folder} is incomplete: it lacks {', '.join(missing)}")


def check_texts(folder: Path) -> None:
    """Raise QvsearchError if a folder has no configuration of Qwen3-VL, or would run code."""
    config = read_json(folder / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        raise QvsearchError(
            f"{folder} holds a model of type {config.get('model_type')!r};"
            f" qvsearch takes Qwen3-VL-Embedding and Qwen3-VL-Reranker ({MODEL_TYPE})"
        )
    tokenizer_config = folder / "tokenizer_config.json"
    if "auto_map" in config or (
        tokenizer_config.exists() and "auto_map" in read_json(tokenizer_config)
    ):
        raise QvsearchError(
            f"{folder} would run its own code (auto_map), which qvsearch never does"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Return a checkpoint's JSON object; raises QvsearchError if it is missing or broken."""
    content = _read(path)
    if not isinstance(content, dict):
        raise QvsearchError(f"{path} cannot be read: it is not a JSON object")
    return content


def read_json_list(path: Path) -> list[Any]:
    """Return a checkpoint's JSON list; raises QvsearchError if it is missing or broken."""
    content = _read(path)
    if not isinstance(content, list):
        raise QvsearchError(f"{path} cannot be read: it is not a JSON list")
    return content


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise IncompleteCheckpoint(
            f"{path.parent} is not a complete checkpoint: it has no {path.name}"
        ) from error
    except (OSError, ValueError) as error:
        raise QvsearchError(f"{path} cannot be read: {error}") from error


def hidden_width(folder: Path) -> int:
    """Return the width of the language model's hidden states; raises QvsearchError without one."""
    text = read_json(folder / "config.json").get("text_config")
    if not isinstance(text, dict) or not isinstance(text.get("hidden_size"), int):
        raise QvsearchError(f"{folder} is not a Qwen3-VL checkpoint: its config.json has no width")
    return int(text["hidden_size"])


def shards(folder: Path) -> list[Path]:
    """Return the safetensors files of the weights, even missing ones; refuses pickled weights."""
    if (folder / INDEX).exists():
        weight_map = read_json(folder / INDEX).get("weight_map", {})
        return [folder / name for name in sorted(set(weight_map.values()))]
    single = folder / SINGLE
    pickled = next((path for path in sorted(folder.glob("*.bin"))), None)
    if pickled is not None and not single.exists():
        raise QvsearchError(
            f"{folder} has only pickled weights ({pickled.name}), which can run code;"
            " save the model again as safetensors"
        )
    return [single]


def digest(folder: Path) -> str:
    """Return a hash of the configuration, the tokenizer and the first 4 KiB of each tensor.

    That is quick, and training changes all tensors.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update((folder / "config.json").read_bytes())
    digest.update((folder / TOKENIZER).read_bytes())
    for path in shards(folder):
        for sample in tensor_samples(path):
            digest.update(sample)
    return digest.hexdigest()


def tensor_samples(path: Path) -> Iterator[bytes]:
    """Yield the header of a safetensors file and the first 4 KiB of each tensor, by its name."""
    header, start = read_header(path)
    yield json.dumps(header, sort_keys=True).encode()
    with path.open("rb") as file:
        for _, tensor in sorted(header.items()):
            begin, end = tensor["data_offsets"]
            file.seek(start + begin)
            yield file.read(min(SAMPLE, end - begin))


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's tensors by name (dtype, shape, offsets), and where data begin."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST_HEADER:
                raise QvsearchError(f"{path} is not a safetensors file")
            header = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise QvsearchError(f"{path} is not a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise QvsearchError(f"{path} is not a safetensors file: its header is no JSON object")
    header.pop("__metadata__", None)
    return header, 8 + length


def count_parameters(folder: Path) -> int:
    """Return the number of parameters in a checkpoint's tensors."""
    total = 0
    for path in shards(folder):
        for tensor in read_header(path)[0].values():
            size = 1
            for side in tensor["shape"]:
                size *= side
            total += size
    return total


def problems(folder: Path) -> list[str]:
    """Read every byte of a checkpoint; return its problems, a line each."""
    lines = [line for path in shards(folder) for line in _shard_problems(folder, path)]
    for path in damaged_files(folder):
        lines.append(f"{path.name}: its content is not what the hub sent (hash mismatch)")
    return lines


def damaged_files(folder: Path) -> list[Path]:
    """Compare the files in a hub's cache with their hashes; return those that differ."""
    links = [path for path in sorted(folder.iterdir()) if path.is_symlink()]
    return [path for path in links if not _matches_blob(path)]


def _shard_problems(folder: Path, path: Path) -> list[str]:
    """Compare a shard's header with its length, and with the index."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as tensors:
            names = set(tensors.keys())
    except (SafetensorError, OSError) as error:
        return [f"{path.name}: {error}"]
    if not (folder / INDEX).exists():
        return []
    weight_map = read_json(folder / INDEX)["weight_map"]
    missing = sorted(name for name, file in weight_map.items() if file == path.name)
    return [f"{path.name}: lacks the tensor {name}" for name in missing if name not in names]


def _matches_blob(link: Path) -> bool:
    """Compare a file of Hugging Face's cache with the hash in its blob's name.

    Large files are named by SHA-256, small ones by git's SHA-1 of an object.
    """
    blob = link.resolve()
    if not _HASH.fullmatch(blob.name):
        return True
    with blob.open("rb") as file:
        if len(blob.name) == SHA256_DIGITS:
            return hashlib.file_digest(file, "sha256").hexdigest() == blob.name
        content = file.read()
    git_hash = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return git_hash.hexdigest() == blob.name
