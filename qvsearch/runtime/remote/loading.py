"""Loads an embedder or a reranker over the servers that the user chose."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.choices import Wire
from qvsearch.errors import QvsearchError
from qvsearch.runtime.remote.discovery import discover, discover_rerankers
from qvsearch.runtime.remote.embedder import RemoteEmbedder
from qvsearch.runtime.remote.http import KEY_VARIABLE, Server
from qvsearch.runtime.remote.reranker import RemoteReranker
from qvsearch.runtime.remote.texts import Texts
from qvsearch.types import VideoMode

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Fingerprint

LONGEST_KEY = 10_000  # bytes of the file of a key


def load_remote_embedder(
    fingerprint: Fingerprint, choice: Choice, folder: Callable[[], Path]
) -> RemoteEmbedder:
    """Return the embedder of a library over the chosen servers.

    `folder` returns the folder of the model's tokenizer, which is read only for long texts. Raises
    QvsearchError for a URL or a server that cannot be used.
    """
    wire = Wire(choice.wire)
    dialects = discover(
        _servers("--server", choice.servers, choice),
        wire,
        clips=fingerprint.video_mode != VideoMode.FRAMES,
    )
    return RemoteEmbedder(
        dialects, Texts(folder), fingerprint.dim, fingerprint.decode_options, wire
    )


def load_remote_reranker(choice: Choice, folder: Callable[[], Path]) -> RemoteReranker:
    """Return the reranker over the chosen servers; raises as `load_remote_embedder` does."""
    servers = _servers("--rerank-server", choice.rerank_servers, choice)
    return RemoteReranker(discover_rerankers(servers), Texts(folder), Wire(choice.wire))


def _servers(option: str, urls: tuple[str, ...], choice: Choice) -> list[Server]:
    key = _key(choice.key_file)
    return [
        Server(url, key, insecure=choice.insecure, option=option) for url in dict.fromkeys(urls)
    ]


def _key(file: str | None) -> str | None:
    """Return the key of servers, from a file or else from the environment."""
    if file is None:
        return os.environ.get(KEY_VARIABLE)
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(LONGEST_KEY + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text"
        raise QvsearchError(f"--server-key-file {file} cannot be read: {reason.lower()}") from error
    if not text.strip() or len(text) > LONGEST_KEY:
        raise QvsearchError(f"--server-key-file {file} has no key; write it there as one line")
    return text
