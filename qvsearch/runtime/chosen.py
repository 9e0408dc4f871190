"""What a choice stands for: a model, its files, and what a new library gets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.models import registry
from qvsearch.models.adapters import is_adapter
from qvsearch.models.registry import DEFAULT_MODEL, describe, resolve
from qvsearch.types import Detail, Dtype, Precision, VideoMode

if TYPE_CHECKING:
    from qvsearch.models.registry import Weights
    from qvsearch.runtime.choice import Choice


def new_model(choice: Choice) -> str:
    """Return the model that a new library gets; with an adapter, that is its base by default."""
    adapter = adapter_of(choice)
    if adapter is not None and choice.model in (None, adapter):
        return registry.base_of(adapter)
    return choice.model or os.environ.get("QVSEARCH_MODEL") or DEFAULT_MODEL


def new_detail(choice: Choice) -> Detail:
    """Return the detail that a new library gets."""
    if choice.detail is not None or choice.servers:
        return choice.detail or Detail.MEDIUM
    from qvsearch.models.devices import pick_device

    return Detail.LOW if pick_device(choice.device).type == "cpu" else Detail.MEDIUM


def new_document_detail(choice: Choice, detail: Detail) -> Detail | None:
    """Return the detail of documents of a library of this detail; None if it is the same."""
    return None if choice.document_detail is detail else choice.document_detail


def new_video_mode(choice: Choice) -> VideoMode:
    """Return the video mode that a new library gets."""
    return choice.video_mode or VideoMode.FRAMES


def precision_of(dtype: str | None) -> Precision | None:
    """Return the precision of a library whose vectors are computed so; None for the default."""
    if dtype is None:
        return None
    return Precision.INT8 if dtype == Dtype.INT8 else Precision.FLOAT


def weights_of(model: str, choice: Choice, adapter: str | None) -> Weights:
    """Return a model's files; without its weights if servers have them."""
    return (describe if choice.servers else resolve)(model, choice.hub, adapter)


def adapter_of(choice: Choice) -> str | None:
    """Return the chosen adapter, which may be given as the model; raises QvsearchError for two."""
    if choice.model is None or not is_adapter(choice.model):
        return choice.adapter
    if choice.adapter is not None:
        raise QvsearchError(f"--model {choice.model} is an adapter itself; leave out --adapter")
    return choice.model
