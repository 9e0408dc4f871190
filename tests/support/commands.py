"""The command line run in one process, and files for it."""

import json
import os
from functools import partial

import pytest
from PIL import Image

from qvsearch.cli.app import main
from qvsearch.machine.estimate import gemm_rate

COLOURS = ["red", "green", "blue", "yellow"]


@pytest.fixture
def run(capfdbinary):
    """Run a command line in this process; give its exit code, output and errors."""

    def run(*arguments):
        code = main([os.fsdecode(argument) for argument in arguments])
        captured = capfdbinary.readouterr()
        return code, captured.out, captured.err.decode()

    return run


@pytest.fixture
def brief_doctor(monkeypatch):
    """`doctor` as it is, but each of its two measurements takes much less than a second."""
    brief = partial(gemm_rate, seconds=0.02)
    monkeypatch.setattr("qvsearch.machine.doctor.gemm_rate", brief)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A computer of its own, without a network, where nothing was indexed or downloaded."""
    for variable in ("XDG_DATA_HOME", "HF_HOME", "MODELSCOPE_CACHE", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # this process may have read the variables already
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home"))
    monkeypatch.delenv("QVSEARCH_MODEL", raising=False)
    monkeypatch.setenv("QVSEARCH_LIBRARY", str(tmp_path / "library"))
    return tmp_path


def write_files(folder):
    for colour in COLOURS:
        Image.new("RGB", (64, 64), colour).save(folder / f"{colour}.png")
    (folder / "note.txt").write_text("A note about the sea.\nIt has two lines.\n")


@pytest.fixture
def files(home):
    folder = home / "files"
    folder.mkdir()
    write_files(folder)
    return folder


@pytest.fixture
def indexed(run, files, tiny):
    """Files in a library that the test may change."""
    code, _, error = run("index", files, "--model", tiny, "--quiet")
    assert (code, error) == (0, "")
    return files


def records(output):
    return [json.loads(line) for line in output.splitlines()]
