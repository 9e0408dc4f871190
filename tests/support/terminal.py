"""What a terminal of a given width shows."""

import io
import os
import pty
import subprocess
import sys
import unicodedata

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_harmless(text):
    """Judge by Unicode's own tables: no control, no override, nothing that cannot be encoded."""
    return all(
        unicodedata.category(each) not in {"Cc", "Cs", "Zl", "Zp"}
        and unicodedata.bidirectional(each) not in BIDI
        for each in text
    )


def in_terminal(code, columns=80):
    """Run Python on a terminal, and return what the terminal received."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    received = io.BytesIO()
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux says so where others return nothing
            break
        if not data:
            break
        received.write(data)
    os.close(ours)
    assert process.wait() == 0
    return received.getvalue().decode()


def without_escapes(text):
    import re

    return re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")
