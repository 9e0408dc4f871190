"""The packages of extras, which may be missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from qvsearch.errors import QvsearchError


def needed(module: str, package: str, what: str, extra: str = "tasks") -> Any:  # noqa: ANN401 - any module
    """Return a module of an extra; raises QvsearchError, with the remedy, if it is missing.

    `what` needs the `package`, e.g. a command.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise QvsearchError(f'{what} needs {package}: pip install "qvsearch[{extra}]"') from error
