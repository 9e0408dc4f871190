"""The packages of extras, which may be missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from qvsearch.errors import QvsearchError


class Missing(QvsearchError):
    """A package of an extra is not installed; the text has the remedy."""


def needed(module: str, package: str, what: str, extra: str = "tasks") -> Any:  # noqa: ANN401 - any module
    """Return a module of an extra; raises Missing, with the remedy, if it is missing.

    `what` needs the `package`, e.g. a command.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise Missing(f'{what} needs {package}: pip install "qvsearch[{extra}]"') from error
