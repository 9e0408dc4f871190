"""The errors that a user sees, each with the thing, the value and a remedy, and the exit codes."""

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
    """Something a user can act on; the command line prints its text and exits with `exit_code`."""

    exit_code = ExitCode.FAILED


class LibraryLocked(QvsearchError):
    """Another process writes to the library; the text names it."""

    exit_code = ExitCode.LOCKED


class MediaError(QvsearchError):
    """One file cannot be decoded; its text is the reason that the report shows."""
