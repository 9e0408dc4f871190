"""What a decode process calls in place of a decoder: it does what the name of its file says.

Every new process imports this, so it imports little.
"""

import ctypes
import gc
import importlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

import numpy as np

from qvsearch.errors import MediaError
from qvsearch.media import sandbox
from qvsearch.types import Decoded, DecodeOptions, EmbedInput, Item, Kind, Segment

OPTIONS = DecodeOptions(256 * 32 * 32)
HEAVY = ["torch", "torchvision", "qwen_vl_utils", "transformers", "faiss"]


def named(name, kind=Kind.IMAGE, size=1):
    """An item that no file stands behind, for decoders that look at its name only."""
    return Item(b"/nowhere", name.encode(), kind, size, 0)


def hang():
    threading.Event().wait()


def spin():
    while True:
        pass


def ignore_every_signal():
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    hang()


def make_noise():
    os.write(1, b"NOISE")
    os.write(2, b"NOISE")


def stutter():
    """Begin to say something to the parent, and go no further."""
    for descriptor in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # that of the folder is closed again
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"q")
    hang()


def refuse():
    raise MediaError("truncated image")


def hoard():
    """Ask for more than a worker may have, though less than a machine will promise."""
    bytearray(sandbox.MOST_BYTES)


def attempt(act):
    try:
        act()
    except OSError as error:
        raise MediaError(error.strerror) from error


def connect():
    """Call who listens at the port that the environment names."""
    socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))).close()


def reach_into_the_parent():
    """Write nothing into its memory, which is allowed to whoever may write something."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_writev(os.getppid(), None, 0, None, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


ACTS = {
    "hang": hang,
    "spin": spin,
    "stubborn": ignore_every_signal,
    "stutter": stutter,
    "noise": make_noise,
    "bad": refuse,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "nameless": lambda: os.kill(os.getpid(), 40),
    "exit": lambda: os._exit(0),
    "bug": lambda: {}["not foreseen"],
    "hoard": hoard,
    "program": lambda: attempt(lambda: subprocess.run(["true"])),
    "packet": lambda: attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "connect": lambda: attempt(connect),
    "memory": lambda: attempt(reach_into_the_parent),
}


def acting(item, content_hash, options):
    """Do what the item's name says, then make something up; runs in the worker process."""
    name = os.fsdecode(item.path)
    ACTS.get(name.rstrip("0123456789"), lambda: None)()
    images = 64 if item.kind is Kind.VIDEO else 1
    pixels = np.full((64, 64, 3), len(name), np.uint8)
    segment = Segment(item, content_hash, snippet=f"{os.getpid()} {options.max_pixels}")
    return Decoded(item, tuple((segment, EmbedInput(images=(pixels,))) for _ in range(images)))


def half_sent(item, content_hash, options):
    """Give a segment, and one that kills the process while it is being sent."""
    return Decoded(item, ((Segment(item, content_hash), EmbedInput()), _Deadly()))


class _Deadly:
    def __iter__(self):
        os.kill(os.getpid(), signal.SIGKILL)


class _Order:
    """In a pickle, an order to its reader to make a folder."""

    def __reduce__(self):
        return os.mkdir, ("obeyed",)


def taken_over(item, content_hash, options):
    """Do what a hostile file could make a decoder do: write to its parent what it likes."""
    if item.path == b"pickled":
        [pipe] = [each for each in gc.get_objects() if isinstance(each, Connection)]
        pipe.send(_Order())
    if item.path == b"wrong":
        return Decoded(item, ((Segment(item, content_hash, width="100"), EmbedInput()),))
    if item.path == b"half":
        return Decoded(item, ((Segment(item, content_hash, snippet="\ud800"), EmbedInput()),))
    if item.path == b"vast":
        return Decoded(item, ((Segment(item, content_hash, width=2**64), EmbedInput()),))
    if item.path == b"long":
        return Decoded(item, ((Segment(item, content_hash, snippet="a" * 2**20), EmbedInput()),))
    return acting(item, content_hash, options)


def imported(item, content_hash, options):
    """Load every decoder, and say which heavy modules that brought; runs in the worker."""
    for kind in Kind:
        importlib.import_module(f"qvsearch.media.{kind}")
    snippet = str([name for name in HEAVY if name in sys.modules])
    return Decoded(item, ((Segment(item, content_hash, snippet=snippet), EmbedInput()),))


def counting_threads(item, content_hash, options):
    """Return how many threads OpenCV uses; runs in the worker."""
    import cv2

    snippet = str(cv2.getNumThreads())
    return Decoded(item, ((Segment(item, content_hash, snippet=snippet), EmbedInput()),))


def cutting(source, start, end, made):
    """Do what the name of a film says in place of cutting it; runs in the process that cuts."""
    ACTS.get(source.stem, lambda: None)()
    match source.stem:
        case "empty":
            made.touch()
        case "link":
            made.symlink_to(source)
        case "nothing":
            pass
        case _:
            made.write_bytes(b"a clip")
    return "/../../elsewhere.mp4" if source.stem == "escape" else ".mp4", None


def hanging(item, content_hash, options, most=None):
    """Say so in a file beside the one to decode, and hang."""
    open(os.path.splitext(item.location)[0] + b".started", "wb").close()
    hang()
