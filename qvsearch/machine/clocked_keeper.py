"""The warm process that `bench` asks: it says how long it computes, and ends with its parent.

`qvsearch.machine.asking` starts it: python -m qvsearch.machine.clocked_keeper ORDER
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.runtime.client import make_socket_folder
from qvsearch.runtime.server import read_order, run

if TYPE_CHECKING:
    from qvsearch.runtime.server import Compute
    from qvsearch.types import EmbedInput
    from qvsearch.wire import Array


def main() -> None:
    """Do what the first argument orders; on standard output it says when it is ready."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    order = read_order(sys.argv[1])
    try:
        if make_socket_folder() != Path(order.socket).parent:
            raise QvsearchError("this system gives processes no cache or sockets of their own")
        run(order, lambda: _say(ready=order.socket), _clocked)
    except QvsearchError as error:
        _say(failed=str(error))


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes however the parent ends."""
    sys.stdin.read()
    os._exit(0)


def _clocked(compute: Compute) -> Compute:
    def clocked(header: dict[str, Any], inputs: Sequence[EmbedInput]) -> Array:
        start = time.perf_counter()
        found = compute(header, inputs)
        _say(seconds=time.perf_counter() - start)
        return found

    return clocked


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
