"""Memory and children of processes."""

import os
from pathlib import Path

import pytest

MEGABYTE = 2**20


def resident():
    """This process's memory in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


def children(pid):
    """The processes that this one has started, by Linux's own list."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]
