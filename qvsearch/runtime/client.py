"""Finds the server that has a model loaded, and computes with it without importing torch.

If the server stops responding, the model is loaded in this process.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
import platformdirs

from qvsearch.cache import cache_folder, file_name
from qvsearch.errors import QvsearchError
from qvsearch.files import PRIVATE_FOLDER, make_folder
from qvsearch.models.patches import PREPROCESSING
from qvsearch.models.prompt import PROMPT_LAYOUT
from qvsearch.runtime.inputs import QueriesAndDocuments, ready
from qvsearch.types import Precision
from qvsearch.version import __version__
from qvsearch.wire import pack_inputs, receive, send

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Embedder, EmbedInput, Reranker, Vectors
    from qvsearch.wire import Array

Local = TypeVar("Local")

SUFFIX = ".sock"
HELLO_SECONDS = 2.0  # without a greeting, after which a server counts as hanging
BEAT = 1.0  # seconds between signs of life of a server that computes
SILENCE = 10.0  # seconds without one, after which the server is given up
UNIT = 1e-3  # how far from 1 the length of a vector may be


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The model that a server has loaded, and everything else that affects its results.

    `device` and `dtype` are as the user chose them, None for this machine's default: only torch can
    tell which that is, and clients do not wait for torch. A library's `precision` decides the
    default, so it is FLOAT if a dtype was chosen.
    """

    role: str
    revision: str
    device: str | None
    dtype: str | None
    precision: Precision = Precision.FLOAT  # of the libraries that the server is for
    version: str = __version__
    prompt_layout: int = PROMPT_LAYOUT
    preprocessing: int = PREPROCESSING

    @property
    def socket(self) -> Path:
        """The socket that the server of this model listens at."""
        return socket_folder() / f"{file_name(self)[:16]}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a socket, as the system reports it."""

    pid: int
    uid: int


def socket_folder() -> Path:
    """Return the user's own folder for sockets, which may not exist; default: in the cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime folder that the system does not have
        runtime = platformdirs.user_runtime_path("qvsearch", appauthor=False)
    return runtime if _is_private(runtime.parent) else cache_folder("run")


def has_sockets() -> bool:
    """Return whether this system has the sockets that servers listen at; Windows has none."""
    return hasattr(socket, "AF_UNIX")


def make_socket_folder() -> Path:
    """Make the folder for sockets.

    Raises QvsearchError if the system has none, and if other users have access to the folder.
    """
    if not has_sockets():
        raise QvsearchError(
            "this system has no Unix sockets, so no model can be kept loaded; search without warm"
        )
    folder = socket_folder()
    make_folder(folder, private=True)
    if not _is_private(folder):
        raise QvsearchError(
            f"other users have access to {folder}; give it mode 0700, or set XDG_RUNTIME_DIR"
        )
    return folder


def greet(path: Path) -> tuple[socket.socket, dict[str, Any]] | None:
    """Connect to a server of this user and return the connection and its greeting.

    None if nothing listens there, if another user's process does, or if it does not respond.
    """
    if not _is_private(path.parent):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(HELLO_SECONDS)
        connection.connect(os.fspath(path))
        if peer(connection).uid == os.getuid():
            return connection, receive(connection)[0]
    except (OSError, ValueError, EOFError):
        pass
    connection.close()
    return None


def find_server(key: ServerKey) -> socket.socket | None:
    """Connect to the server that has exactly this model loaded, if there is one."""
    if not has_sockets():
        return None
    greeted = greet(key.socket)
    if greeted is None:
        return None
    connection, hello = greeted
    if hello.get("kept") == asdict(key):
        return connection
    connection.close()
    return None


def sockets() -> Iterator[Path]:
    """Yield the sockets of all servers of this user, live or stale."""
    if not has_sockets():
        return
    with suppress(OSError):
        yield from sorted(socket_folder().glob(f"*{SUFFIX}"))


def peer(connection: socket.socket) -> Peer:
    """Return the process at the other end."""
    if sys.platform == "darwin":
        local, user, process = 0, 1, 2  # SOL_LOCAL, LOCAL_PEERCRED, LOCAL_PEERPID
        _, uid = struct.unpack_from("=II", connection.getsockopt(local, user, 128))
        return Peer(connection.getsockopt(local, process), uid)
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", credentials)
    return Peer(pid, uid)


def _is_private(folder: Path) -> bool:
    """Return whether a folder is this user's, and other users have no access to it."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    return ours and not stat.S_IMODE(state.st_mode) & ~PRIVATE_FOLDER & 0o777


class _Warm(Generic[Local]):
    """A connection to a server, or the model in this process if that failed."""

    def __init__(self, connection: socket.socket, load: Callable[[], Local]) -> None:
        """Take a greeted connection, and a function that loads the same model in this process."""
        connection.settimeout(SILENCE)
        weakref.finalize(self, connection.close)
        self._connection = connection
        self._load = load
        self._local: Local | None = None

    def compute(self, inputs: Sequence[EmbedInput], dim: int | None = None) -> Array | None:
        """Return the server's result; None without one. Raises QvsearchError as the model does."""
        if self._local is not None:
            return None
        fields, arrays = pack_inputs(inputs)
        try:
            send(self._connection, {"do": "compute", "dim": dim, "inputs": fields}, arrays)
            while (response := receive(self._connection))[0].get("state") == "busy":
                pass
        except (OSError, ValueError, EOFError):
            self._connection.close()
            return None
        header, results = response
        match header.get("state"), results:
            case "failed", []:
                raise QvsearchError(str(header.get("reason")))
            case "done", [array]:
                return array
        return None

    def here(self) -> Local:
        """Return the model in this process, loading it if need be."""
        if self._local is None:
            self._connection.close()
            self._local = self._load()
        return self._local


class WarmEmbedder(QueriesAndDocuments):
    """Embeds on a server; after its first failure to respond, in this process."""

    def __init__(
        self,
        connection: socket.socket,
        dim: int,
        load: Callable[[], Embedder],
        decode_options: DecodeOptions = QueriesAndDocuments.decode_options,
    ) -> None:
        """Take a greeted connection, the dimension, and a function that loads the same model."""
        self.dim = dim
        self.decode_options = decode_options
        self._warm = _Warm(connection, load)

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i; raises QvsearchError on NaN."""
        inputs = ready(inputs, self.decode_options)
        vectors = self._warm.compute(inputs, self.dim)
        if vectors is not None and _are_unit_rows(vectors, (len(inputs), self.dim)):
            return cast("Vectors", vectors)
        return self._warm.here().embed(inputs)


class WarmReranker:
    """Scores pairs on a server; after its first failure to respond, in this process."""

    def __init__(self, connection: socket.socket, load: Callable[[], Reranker]) -> None:
        """Take a greeted connection, and a function that loads the same model."""
        self._warm = _Warm(connection, load)

    def score(self, query: EmbedInput, documents: Sequence[EmbedInput]) -> list[float]:
        """Return P(relevant) of each document, 0 to 1."""
        query, *documents = ready([query, *documents])
        scores = self._warm.compute([query, *documents])
        if scores is not None and _are_probabilities(scores, len(documents)):
            return [float(each) for each in scores]
        return self._warm.here().score(query, documents)


def _are_unit_rows(vectors: Array, shape: tuple[int, int]) -> bool:
    if vectors.shape != shape or vectors.dtype != np.float32:
        return False
    return bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) <= UNIT).all())


def _are_probabilities(scores: Array, count: int) -> bool:
    return scores.shape == (count,) and bool(((scores >= 0) & (scores <= 1)).all())
