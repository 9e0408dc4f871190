"""What a terminal of a given width shows."""

import os
import pty
import sys
import threading
import unicodedata
from contextlib import contextmanager
from functools import partial

import pytest

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_harmless(text):
    """Judge by Unicode's own tables: no control, no override, nothing that cannot be encoded."""
    return all(
        unicodedata.category(each) not in {"Cc", "Cs", "Zl", "Zp"}
        and unicodedata.bidirectional(each) not in BIDI
        for each in text
    )


@contextmanager
def terminal(columns=80, *, errors=True):
    """Have a terminal as this process's output, and perhaps for its errors; yield its reader.

    The reader returns what the terminal received, once the context has ended.
    """
    ours, theirs = pty.openpty()
    received = []
    reader = threading.Thread(target=lambda: received.extend(iter(partial(_read, ours), b"")))
    reader.start()
    with (
        pytest.MonkeyPatch.context() as patch,
        open(theirs, "w", 1, "utf-8") as out,
        open(theirs, "w", 1, "utf-8", "backslashreplace", closefd=False) as standard_error,
    ):
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(sys, "stdout", out)
        if errors:
            patch.setattr(sys, "stderr", standard_error)
        try:
            yield lambda: b"".join(received).decode()
        finally:
            standard_error.close()
            out.close()
            reader.join()
            os.close(ours)


def in_terminal(code, columns=80):
    """Run Python, in this process, with its output on a terminal; return what that received."""
    with terminal(columns) as received:
        exec(code, {"__name__": "__main__"})
    return received()


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so at the end, where others return nothing
        return b""


def without_escapes(text):
    import re

    return re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")
