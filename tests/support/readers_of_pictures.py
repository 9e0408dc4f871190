"""What a process that reads pictures does instead of OCR; the file's name chooses it."""

import os
import time
from pathlib import Path

from qvsearch.errors import MediaError
from qvsearch.wire import send


def work(pipe, item, segments):
    """Answer each segment with its page; the third one of some files never gets an answer.

    Those of a file that counts are numbered by their times.
    """
    for place, segment in enumerate(segments):
        if segment.page == 3:
            trouble(pipe, os.fsdecode(item.root), item.path)
        number = segment.start if item.path == b"counting" else segment.page
        send(pipe, {"place": place, "text": f"page {number}"})


def trouble(pipe, folder, name):
    if name == b"hangs":
        Path(folder, "hanging").touch()
        time.sleep(600)
    if name == b"crashes":
        os.kill(os.getpid(), 11)
    if name == b"fails":
        raise MediaError("no picture")
    if name == b"lies":
        send(pipe, {"place": 1_000, "text": "of another file"})
    if name == b"talks":
        send(pipe, {"place": 2, "text": "x" * 10_000_000})
    if name == b"connects":
        import socket

        socket.socket()
