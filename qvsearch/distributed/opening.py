"""The table of a run, and the model that it has, or gets when it is created."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.models.registry import GENERATOR, role_of
from qvsearch.published.engine import NoTable, Table
from qvsearch.runtime.chosen import new_model
from qvsearch.runtime.loading import task_fingerprint
from qvsearch.types import Detail, Dtype, Precision

if TYPE_CHECKING:
    from qvsearch.published.address import Address
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Fingerprint


def open_table(address: Address, choice: Choice) -> Table | None:
    """Open the table at an address; None if there is none.

    Raises QvsearchError if its model is not the chosen one.
    """
    try:
        table = Table(address)
    except NoTable:
        return None
    check_choice(table, choice)
    return table


def new_fingerprint(choice: Choice, default_detail: Detail) -> Fingerprint:
    """Return what decides the vectors of a new table; the model is downloaded if necessary."""
    model = new_model(choice)
    if role_of(model) == GENERATOR:
        raise QvsearchError(f"{model} writes answers; give an embedder with --model")
    if choice.dtype == Dtype.INT8:
        raise QvsearchError(
            "--dtype int8 is compared with float32 first, which --ray does not do;"
            " publish a library of it, or leave the option out"
        )
    detail = choice.detail or default_detail
    return task_fingerprint(None, replace(choice, model=choice.model or model, detail=detail))


def check_choice(table: Table, choice: Choice) -> None:
    """Raise QvsearchError if an option contradicts the model of a table."""
    own = table.about.fingerprint
    # a folder may hold the table's model: the nodes look inside
    is_folder = choice.model is not None and Path(choice.model).is_dir()
    precision = None if choice.dtype is None else _precision(choice.dtype)
    for option, chosen, there in (
        ("--model", None if is_folder else choice.model, own.model),
        ("--dim", choice.dim, own.dim),
        ("--detail", choice.detail, own.detail),
        ("--video-mode", choice.video_mode, own.video_mode),
        ("--dtype", precision, own.precision),
    ):
        if chosen not in (None, there):
            raise QvsearchError(
                f"the table {table.address} was made with {option} {there}, not {chosen};"
                " leave the option out, or name another table"
            )


def _precision(dtype: str) -> Precision:
    return Precision.INT8 if dtype == Dtype.INT8 else Precision.FLOAT
