"""The process that runs llama.cpp on one model, until its standard input ends.

`process` starts it with `python -m qvsearch.runtime.llama.server` and writes an order to its
standard input. It listens at a socket of the file system, on no port.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvsearch.models.prompt import MAX_INPUT_TOKENS
from qvsearch.runtime.llama.protocol import MIN_TOKENS

PASS_TOKENS = 2048  # of one forward pass; a longer prompt takes several
SPARE_TOKENS = 256  # of the context, which llama.cpp does not let an input fill
_ANY_PORT = 8080  # llama.cpp takes it and does not use it with a socket


@dataclass(frozen=True, slots=True)
class Order:
    """The two files to load, the socket in a folder of its own, and its key.

    `marker` stands for a picture in prompts. `gpu` allows llama.cpp to use one.
    """

    model: str
    mmproj: str
    socket: str
    key: str
    marker: str
    threads: int
    gpu: bool


def main() -> None:
    """Load the model, write `{"ready": true}` or the reason of a failure, and serve."""
    order = Order(**json.loads(sys.stdin.buffer.readline()))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # llama.cpp prints to both
    os.environ["LLAMA_MEDIA_MARKER"] = order.marker
    try:
        server = _start(order)
    except (ImportError, RuntimeError) as error:
        answers.write(json.dumps({"failed": str(error)}) + "\n")
        answers.flush()
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # llama.cpp has set its own
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    sys.stdin.buffer.read()  # until the other process closes it, or ends
    shutil.rmtree(Path(order.socket).parent, ignore_errors=True)
    os._exit(0 if server else 1)  # what runs is of no use to anybody


def _start(order: Order) -> Any:  # noqa: ANN401 (xllamacpp has no types)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.mmproj.path = order.model, order.mmproj
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    params.n_ctx = MAX_INPUT_TOKENS + SPARE_TOKENS
    params.n_batch = params.n_ubatch = PASS_TOKENS
    params.n_parallel = 1  # several inputs at once would have to share the context
    params.image_min_tokens = MIN_TOKENS
    # its rounding moves vectors to a cosine of 0.99996
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order.threads
    params.n_gpu_layers = -1 if order.gpu else 0
    params.mmproj_use_gpu = order.gpu
    params.cache_ram_mib = 0  # finished prompts are not asked again
    params.n_ctx_checkpoints = 0
    params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
    params.hostnames, params.port = [order.socket], _ANY_PORT
    params.api_keys = [order.key]
    params.verbosity = 1  # errors
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
