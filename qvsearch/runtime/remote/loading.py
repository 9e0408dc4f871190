"""Loads an embedder or a reranker over the servers that the user chose."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.choices import Wire
from qvsearch.errors import QvsearchError
from qvsearch.runtime.opened import folder_of
from qvsearch.runtime.remote.discovery import discover, discover_rerankers
from qvsearch.runtime.remote.embedder import RemoteEmbedder
from qvsearch.runtime.remote.handshake import Handshake
from qvsearch.runtime.remote.http import KEY_VARIABLE, Server
from qvsearch.runtime.remote.rerank_handshake import RerankHandshake
from qvsearch.runtime.remote.reranker import RemoteReranker
from qvsearch.runtime.remote.texts import Texts
from qvsearch.types import VideoMode

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice
    from qvsearch.runtime.remote.protocol import Dialect
    from qvsearch.types import EmbedInput, Fingerprint

LONGEST_KEY = 10_000  # bytes of the file of a key


def load_remote_embedder(
    fingerprint: Fingerprint, choice: Choice, folder: Callable[[], Path]
) -> RemoteEmbedder:
    """Return the embedder of a library over the chosen servers, which are proven when it embeds.

    `folder` returns the folder of the model's tokenizer, which is read only for long texts. Raises
    QvsearchError for a URL or a server that cannot be used.
    """
    handshake = load_handshake(fingerprint, choice, folder)
    return handshake.embedder(handshake.servers, handshake.require)


def load_handshake(
    fingerprint: Fingerprint,
    choice: Choice,
    folder: Callable[[], Path],
    option: str = "--server",
) -> Handshake:
    """Return the proof of the chosen servers, given by an option; as `load_remote_embedder`."""
    wire = Wire(choice.wire)
    dialects = discover(
        _servers(option, choice.servers, choice),
        wire,
        clips=fingerprint.video_mode != VideoMode.FRAMES,
    )
    texts, dim, options = Texts(folder), fingerprint.dim, fingerprint.decode_options

    def embedder(
        servers: Mapping[Server, Dialect], prove: Callable[[Sequence[EmbedInput]], None]
    ) -> RemoteEmbedder:
        return RemoteEmbedder(servers, texts, dim, options, wire, prove)

    notice = choice.notice or (lambda _: None)
    return Handshake(dialects, embedder, fingerprint, folder_of(fingerprint), wire, notice)


def load_remote_reranker(model: str, choice: Choice, folder: Callable[[], Path]) -> RemoteReranker:
    """Return the reranker over the chosen servers, which are proven; else as the embedder."""
    handshake = load_rerank_handshake(model, choice, folder)
    handshake.prove()
    return handshake.reranker(handshake.servers)


def load_rerank_handshake(
    model: str, choice: Choice, folder: Callable[[], Path], option: str = "--rerank-server"
) -> RerankHandshake:
    """Return the proof of the chosen servers of a reranker; raises as `load_remote_reranker`."""
    dialects = discover_rerankers(_servers(option, choice.rerank_servers, choice))
    texts, wire = Texts(folder), Wire(choice.wire)
    return RerankHandshake(dialects, lambda some: RemoteReranker(some, texts, wire), model)


def _servers(option: str, urls: tuple[str, ...], choice: Choice) -> list[Server]:
    key, notice = _key(choice.key_file), choice.notice or (lambda _: None)
    return [
        Server(url, key, insecure=choice.insecure, option=option, notice=notice)
        for url in dict.fromkeys(urls)
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
