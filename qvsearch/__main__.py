"""`qvsearch`, and `python -m qvsearch`."""

import signal
import sys


def main() -> int:
    """Run the command line; a Ctrl-C while it is loaded ends the process without a word."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # and not where Ctrl-C is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from qvsearch.cli import app

    signal.signal(signal.SIGINT, handler)
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
