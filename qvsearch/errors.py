"""The errors that a user sees: each names the thing, the value, the limit and the way out.

The exit codes of commands are here as well; a failed command has that of its error.
"""

NOTHING_FOUND = 1
FAILED = 2
INCOMPLETE = 3  # done, but for some files, clips or queries
INTERRUPTED = 130


class QvsearchError(Exception):
    """Something a user can act on; the command line prints its text and exits with `exit_code`."""

    exit_code = FAILED


class LibraryLocked(QvsearchError):
    """Another process writes to the library; the text names it."""

    exit_code = 11


class MediaError(QvsearchError):
    """One file cannot be decoded; its text is the reason that the report shows."""
