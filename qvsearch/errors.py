"""The errors that users see, and the exit codes of commands.

The text of an error names the thing, the value, the limit and the remedy. A failed command has the
exit code of its error.
"""

NOTHING_FOUND = 1
FAILED = 2
INCOMPLETE = 3  # done, except for some files, clips or queries
INTERRUPTED = 130


class QvsearchError(Exception):
    """An error with a remedy; the command line prints its text and exits with `exit_code`."""

    exit_code = FAILED


class LibraryLocked(QvsearchError):
    """Another process is writing to the library; the text names it."""

    exit_code = 11


class MediaError(QvsearchError):
    """A file cannot be decoded; the text is the reason in the report."""
