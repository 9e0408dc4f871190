"""`qvsearch`, and `python -m qvsearch`."""

import signal
import sys


def main() -> int:
    """Run the command line; Ctrl-C while it loads ends the process without a message."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # not if Ctrl-C is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from qvsearch.cli import app

    signal.signal(signal.SIGINT, handler)
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
