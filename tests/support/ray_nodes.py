"""Ray nodes on the loopback interface, each with one CPU, ended by their own ids."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

START_SECONDS = 180
# a token of this computer, if it has one, is for other clusters
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Node:
    """A node; its processes are a group, which `kill` ends at once as a power cut would."""

    def __init__(self, *arguments, log):
        started = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments]
        limits = ["--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000"]
        ports = ["--min-worker-port=0", "--max-worker-port=0"]
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*started, *limits, *ports, "--block", "--disable-usage-stats"],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | ENVIRONMENT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while b"--block" not in log.read_bytes():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    def actors(self):
        """The processes that embed a block now."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in below if re.fullmatch(r"ray::MapWorker.*\)\.[a-z]+", _name(each))]

    def kill(self, number=signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self):
        self.kill(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.kill()
        self.process.wait()


def _name(process):
    """The first word of a command line; empty if the process has ended."""
    with suppress(psutil.Error):
        return "".join(process.cmdline()[:1])
    return ""


@contextmanager
def two_nodes():
    """Give the address of a cluster, and its nodes."""
    folder = tempfile.mkdtemp(prefix="q")  # short, since a socket's path has at most 107 bytes
    nodes, address = [], f"127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}/r"]
    try:
        nodes.append(Node(*head, "--node-ip-address=127.0.0.1", log=Path(folder, "head")))
        nodes.append(Node(f"--address={address}", log=Path(folder, "second")))
        yield address, nodes
    finally:
        for node in reversed(nodes):
            node.end()
        shutil.rmtree(folder, ignore_errors=True)
