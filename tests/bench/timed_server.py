"""A warm server that prints how long each request computes; it ends when its parent ends.

`warm_query.py` starts it: `python tests/bench/timed_server.py ORDER`
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from qvsearch.errors import QvsearchError
from qvsearch.runtime import server


def main() -> None:
    """Serve the order in the first argument; a line on standard output says when it is ready."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    order = server.read_order(sys.argv[1])
    load = server.load
    server.load = lambda order: _timed(load(order))
    try:
        server.run(order, lambda: _print(ready=order.socket))
    except QvsearchError as error:
        _print(failed=str(error))


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes however the parent ends."""
    sys.stdin.read()
    os._exit(0)


def _timed(compute: server.Compute) -> server.Compute:
    def timed(header, inputs):
        start = time.perf_counter()
        vectors = compute(header, inputs)
        _print(seconds=time.perf_counter() - start)
        return vectors

    return timed


def _print(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
