"""The files of a model that sentence-transformers loads: found, checked and identified."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from qvsearch.choices import Hub
from qvsearch.errors import QvsearchError
from qvsearch.models import checkpoint, hubs
from qvsearch.models.registry import HUB_ID, ST, Weights, refuse_damaged

OWN = "sentence_transformers."  # the package whose modules are trusted
SETTINGS = ("*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = ("*.safetensors",)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TRAINING_DATA = "data_config.json"  # a list of datasets, e.g. of all-MiniLM-L6-v2; not settings
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(model: str, hub: str = Hub.HUGGINGFACE, revision: str | None = None) -> Weights:
    """Return the files of `st:OWNER/NAME` or `st:FOLDER`, which are downloaded if necessary.

    `revision` is the hub's commit (default: the one on this disk, or the newest). With a complete
    copy on this disk no network is used. Raises QvsearchError, before the weights are downloaded if
    possible, for a model that needs code of its own, that has only pickled weights, or that is no
    embedding model.
    """
    name = model.removeprefix(ST)
    if not name:
        raise QvsearchError("--model st: names no model; give st:OWNER/NAME or st:FOLDER")
    if Path(name).is_dir():
        folder = Path(name).resolve()
        check(folder)
        return Weights(folder, f"{ST}{folder}", digest(folder))
    if not HUB_ID.fullmatch(name):
        raise QvsearchError(
            f"no model {model!r}: {name} is neither a folder that exists nor a hub's OWNER/NAME"
        )
    here = _complete(name, revision)
    folder = here or _download(model, name, revision, hub)
    commit = folder.name if _COMMIT.fullmatch(folder.name) else digest(folder)
    return Weights(folder, model, commit)


def find(model: str, revision: str) -> Path | None:
    """Return the folder of a library's model, without network; None if it is not on this disk."""
    name = model.removeprefix(ST)
    try:
        return Path(name) if Path(name).is_dir() else _complete(name, revision)
    except QvsearchError:
        return None


def check(folder: Path) -> None:
    """Raise QvsearchError, with the reason, unless a folder is an embedding model that is safe."""
    check_settings(folder)
    weights = [path for part in parts(folder) for path in _weights(part)]
    if not weights:
        raise checkpoint.IncompleteCheckpoint(f"{folder} is incomplete: it has no .safetensors")
    lost = [path.name for path in weights if not path.exists()]
    if lost:
        raise checkpoint.IncompleteCheckpoint(f"{folder} is incomplete: it lacks {lost[0]}")


def check_settings(folder: Path) -> None:
    """Raise QvsearchError for settings that name other code, an adapter or another sort of model.

    The weights may still be missing.
    """
    if not (folder / "modules.json").exists() and not (folder / "config.json").exists():
        raise checkpoint.IncompleteCheckpoint(
            f"{folder} is no model of sentence-transformers: it has no modules.json"
        )
    for module in _modules(folder):
        if not str(module.get("type", "")).startswith(OWN):
            raise _needs_code(folder, str(module.get("type")))
    for part in parts(folder):
        for kind in _routed(part).values():
            if not str(kind).startswith(OWN):
                raise _needs_code(folder, str(kind))
        if (part / "adapter_config.json").exists():
            raise QvsearchError(
                f"{folder} is an adapter, not a whole model; save it merged into its base"
            )
        for path in sorted({*part.glob("*config.json")} - {part / TRAINING_DATA}):
            _check_code(folder, checkpoint.read_json(path), part)
    about = folder / "config_sentence_transformers.json"
    sort = checkpoint.read_json(about).get("model_type") if about.exists() else None
    if sort not in (None, "SentenceTransformer"):
        raise QvsearchError(
            f"{folder} is a {sort}, which makes no vectors of its own; give another"
        )


def parts(folder: Path) -> list[Path]:
    """Return the folders of a model's modules, its own first; those that do not exist are left out.

    Raises QvsearchError for a module outside the folder.
    """
    found = [folder]
    for part in found:  # which grows by the modules of routers
        modules = _modules(folder) if part == folder else []
        for name in (*(str(each.get("path", "")) for each in modules), *_routed(part)):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name:
                raise QvsearchError(f"{part} names {path}, outside of the model")
            if (part / path).is_dir() and part / path not in found:
                found.append(part / path)
    return found


def digest(folder: Path) -> str:
    """Return a hash of the settings, the tokenizer and the first 4 KiB of each tensor."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts(folder):
        for pattern in SETTINGS:
            for path in sorted(part.glob(pattern)):
                whole.update(f"{path.relative_to(folder)}\0".encode())
                whole.update(path.read_bytes())
        for path in _weights(part):
            for sample in checkpoint.tensor_samples(path):
                whole.update(sample)
    return whole.hexdigest()


def hidden_width(folder: Path) -> int:
    """Return the width of the first network's hidden states; 0 if its settings do not have it."""
    widths = (each["hidden_size"] for each in _configs(folder) if "hidden_size" in each)
    return next((int(each) for each in widths if isinstance(each, int)), 0)


def longest_text(folder: Path) -> int | None:
    """Return how many tokens of a text a model reads; None if its settings do not have it."""
    limits = []
    for part in parts(folder):
        for name, key in (
            ("sentence_bert_config.json", "max_seq_length"),
            ("tokenizer_config.json", "model_max_length"),
        ):
            value = checkpoint.read_json(part / name).get(key) if (part / name).exists() else None
            if isinstance(value, int):
                limits.append(value)
    for config in _configs(folder):
        if isinstance(config.get("max_position_embeddings"), int):
            limits.append(config["max_position_embeddings"])
    return min(limits, default=None)


def model_types(folder: Path) -> Iterator[str]:
    """Yield the architectures that the settings of a model name, e.g. `gemma3_text`."""
    for each in _configs(folder):
        if isinstance(each.get("model_type"), str):
            yield each["model_type"]


def _configs(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the settings of each network, and those of its text part."""
    for part in parts(folder):
        if (part / "config.json").exists():
            config = checkpoint.read_json(part / "config.json")
            yield config
            if isinstance(config.get("text_config"), dict):
                yield config["text_config"]


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    if not path.exists():
        return []
    modules = checkpoint.read_json_list(path)
    if not all(isinstance(each, dict) for each in modules):
        raise QvsearchError(f"{path} cannot be read: it is not a list of modules")
    return modules


def _routed(part: Path) -> dict[str, Any]:
    """Return the classes of a router's modules by their folders; empty for another module."""
    for name in ("router_config.json", "config.json"):
        config = checkpoint.read_json(part / name) if (part / name).exists() else {}
        if "structure" in config and isinstance(config.get("types"), dict):
            return dict(config["types"])
    return {}


def _weights(part: Path) -> list[Path]:
    """Return the safetensors files of a module, even missing ones; refuses pickled weights."""
    if (part / checkpoint.INDEX).exists():
        return checkpoint.shards(part)
    found = sorted(part.glob("*.safetensors"))
    pickled = [path for pattern in PICKLES for path in sorted(part.glob(pattern))]
    if pickled and not found:
        raise QvsearchError(
            f"{part} has only pickled weights ({pickled[0].name}), which can run code;"
            " save the model again as safetensors"
        )
    return found


def _check_code(folder: Path, config: dict[str, Any], part: Path) -> None:
    """Raise QvsearchError for settings that name code, unless transformers has the architecture."""
    if "auto_map" not in config:
        return
    from transformers import CONFIG_MAPPING

    own = part / "config.json"
    kind = checkpoint.read_json(own).get("model_type") if own.exists() else None
    if kind not in CONFIG_MAPPING:
        raise _needs_code(folder, str(next(iter(dict(config["auto_map"]).values()), kind)))


def _needs_code(folder: Path, what: str) -> QvsearchError:
    return QvsearchError(
        f"{folder} needs code of its own ({what}), and qvsearch never runs a model's code"
        " (trust_remote_code); give a model that sentence-transformers loads by itself"
    )


def _complete(name: str, revision: str | None) -> Path | None:
    """Return the complete copy of a hub's model on this disk; None without one."""
    folder = hubs.find(name, revision, (*SETTINGS, *WEIGHTS))
    if folder is None:
        return None
    try:
        check(folder)
    except checkpoint.IncompleteCheckpoint:  # a client shows the files that it has so far
        return None
    return folder


def _download(model: str, name: str, revision: str | None, hub: str) -> Path:
    try:
        settings = hubs.download(name, revision, hub, SETTINGS)
        check_settings(settings)  # before gigabytes are fetched
        folder = hubs.download(name, revision, hub, (*SETTINGS, *WEIGHTS))
    except hubs.NotHere as error:
        raise QvsearchError(
            f"the model {name} is not on this computer: {error}; with a network, run:"
            f" qvsearch models pull {model}; or name a copy: --model {ST}FOLDER"
        ) from error
    for part in parts(folder):
        refuse_damaged(part, model)
    check(folder)
    return folder
