"""The errors that users see, and the exit codes of commands.

The text of an error names the thing, the value, the limit and the remedy. A failed command has the
exit code of its error.
"""

from enum import IntEnum


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
