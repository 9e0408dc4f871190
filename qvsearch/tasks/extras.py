"""Whether the packages of an extra are installed."""

from __future__ import annotations

from qvsearch.errors import QvsearchError


def check_sklearn(command: str) -> None:
    """Raise QvsearchError, with the remedy, if `qvsearch COMMAND` lacks scikit-learn."""
    try:
        import sklearn  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise QvsearchError(
            f'qvsearch {command} needs scikit-learn: pip install "qvsearch[tasks]"'
        ) from error
