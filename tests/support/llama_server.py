"""A real llama-server on the loopback interface, of xllamacpp, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def llama_server(text: Path, mmproj: Path | None, min_tokens: int = 4) -> Iterator[str]:
    """Serve a model with the flags that the documentation names; give its URL."""
    order = [str(text), None if mmproj is None else str(mmproj), min_tokens]
    with subprocess.Popen(
        [sys.executable, "-m", "support.llama_server", json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        lines = iter(process.stdout.readline, b"")
        yield next(line for line in lines if line.startswith(b"http")).decode().strip()
        process.stdin.close()


def main() -> None:
    import xllamacpp

    text, mmproj, min_tokens = json.loads(sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path = text
    if mmproj is not None:
        params.mmproj.path = mmproj
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.n_ctx, params.n_batch, params.n_ubatch = 8448, 2048, 2048
    params.n_parallel = 2
    params.image_min_tokens = min_tokens
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = params.ui = False
    params.hostnames, params.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
