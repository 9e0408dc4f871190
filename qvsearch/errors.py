"""The errors that users see, and the exit codes of commands.

The text of an error names the thing, the value, the limit and the remedy. A failed command has the
exit code of its error.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qvsearch.types import Vectors


class ExitCode(IntEnum):
    """The exit codes of all commands; a command that fails has the code of its error."""

    DONE = 0
    NOTHING_FOUND = 1  # no hit
    DAMAGED = 1  # of `check` and `models verify`
    FAILED = 2
    INCOMPLETE = 3  # some files, clips or queries are missing from the result
    LOCKED = 11
    INTERRUPTED = 130


class QvsearchError(Exception):
    """An error with a remedy; the command line prints its text and exits with `exit_code`."""

    exit_code = ExitCode.FAILED


class LibraryLocked(QvsearchError):
    """Another process is writing to the library; the text names it."""

    exit_code = ExitCode.LOCKED


class NothingToSearch(QvsearchError):
    """A library has no file that a search could return; another one may have."""


class MediaError(QvsearchError):
    """A file cannot be decoded; the text is the reason in the report."""


class InputsRefused(QvsearchError):
    """Some inputs of several have no vector; the others have theirs.

    `reasons` are texts by the number of the input. `vectors` (n, dim) has a row for each input;
    those of refused ones are NaN.
    """

    def __init__(self, reasons: Mapping[int, str], vectors: Vectors) -> None:
        """Take the reasons, of which the first is the text of the error."""
        super().__init__(next(iter(reasons.values())))
        self.reasons, self.vectors = reasons, vectors


class ServersFailed(QvsearchError):
    """No server computes, whatever the input; the text names each with its reason."""


def system_reason(error: OSError) -> str:
    """Return why the system refused something, e.g. `permission denied`."""
    return (error.strerror or str(error)).lower()
