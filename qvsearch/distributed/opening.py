"""The table of a run, and the model that it has, or gets when it is created."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.models.gguf import is_gguf
from qvsearch.models.registry import GENERATOR, role_of
from qvsearch.published.engine import NoTable, Table
from qvsearch.runtime.backends import other_name
from qvsearch.runtime.chosen import new_model, precision_of
from qvsearch.runtime.loading import check_fingerprint, task_fingerprint
from qvsearch.types import Detail, Dtype

if TYPE_CHECKING:
    from qvsearch.published.address import Address
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Fingerprint


def open_table(address: Address, choice: Choice) -> Table | None:
    """Open the table at an address; None if there is none.

    Raises QvsearchError if its model is not the chosen one, or if this version cannot compute its
    vectors.
    """
    try:
        table = Table(address)
    except NoTable:
        return None
    check_choice(table, choice)
    check_fingerprint(table.about.fingerprint, f"the table {address}", "table")
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
    if is_gguf(model) and not choice.servers:
        raise QvsearchError(
            f"{model} is compared with exact vectors first, which --ray does not do;"
            " publish a library of it, or give another --model"
        )
    detail = choice.detail or default_detail
    return task_fingerprint(None, replace(choice, model=choice.model or model, detail=detail))


def check_choice(table: Table, choice: Choice) -> None:
    """Raise QvsearchError if an option contradicts the model of a table."""
    own = table.about.fingerprint
    for option, chosen, there in (
        ("--model", other_name(choice.model, own.model), own.model),
        ("--dim", choice.dim, own.dim),
        ("--detail", choice.detail, own.detail),
        ("--document-detail", choice.document_detail, own.document_detail or own.detail),
        ("--video-mode", choice.video_mode, own.video_mode),
        ("--dtype", precision_of(choice.dtype), own.precision),
    ):
        if chosen not in (None, there):
            raise QvsearchError(
                f"the table {table.address} was made with {option} {there}, not {chosen};"
                " leave the option out, or name another table"
            )
