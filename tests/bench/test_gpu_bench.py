"""The script that measures a GPU runs, at its smallest size, on a CPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torchvision", reason="the reference's processors need torchvision")
pytest.importorskip("qwen_vl_utils", reason="transformers called the plain way reads with it")

BENCH = Path(__file__).parents[1] / "bench"
SMALLEST = "--device cpu --tiny --text-layers 2 --vision-layers 1 --photos 2 --repeats 1"
PARTS = ["speed", "rerank", "parity", "rivals", "ways"]  # and `compiled`, which takes a minute


def ran(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BENCH / "gpu.sh", *arguments],
        env=os.environ | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.soak
def test_the_script_prints_the_figures_of_each_part():
    done = ran(*SMALLEST.split(), "--parts", *PARTS)
    assert done.returncode == 0, done.stderr
    examine(done.stdout)
    assert re.findall("^### (.*)$", done.stdout, re.M) == PARTS


def test_each_part_prints_its_figures(gpu, capsys):
    parts = [each for each in PARTS if each != "rivals"]  # test_side_by_side.py has that
    assert gpu.main([*SMALLEST.split(), "--parts", *parts]) == 0
    printed = capsys.readouterr().out
    assert re.findall("^### (.*)$", printed, re.M) == parts
    examine(printed)


def examine(printed):
    """Fail if a figure is missing, or a way to compute gives other vectors."""
    assert "left out" not in printed.replace("upstream is left out: no --upstream is given", "")
    works = ["photos, low", "photos, medium", "photos, high", "passages"]
    assert (
        re.findall(r"^\| (\S.*?) \| [\d.]+ \| [\d.]+ to [\d.]+ \| \d\.\d\d \|$", printed, re.M)
        == works
    )
    assert re.search(r"^\| cpu, float32 \|( \d\.\d{4} s \|){3} \d\.\d GB \|$", printed, re.M)
    assert re.search(r"documents of 30 to 256 tokens: [\d.]+ pairs a second", printed)
    parities = re.findall(r"^\| (?:qvsearch|transformers), float32 \| (\S+) \|$", printed, re.M)
    assert [float(each) for each in parities] == pytest.approx([1, 1], abs=1e-5)
    ways = re.findall(r"^\| (\S.*?) \|(?: [\d.]+ \|){4} (\S+) \|$", printed, re.M)
    assert {"as it is", "one at a time", "beginning not shared", "copies not pinned"} <= set(
        dict(ways)
    )
    assert [float(cosine) for _, cosine in ways] == pytest.approx([1] * len(ways), abs=1e-5)


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module, without the seconds that a process of its own takes to start."""
    monkeypatch.syspath_prepend(BENCH)
    import gpu

    return gpu


def test_what_is_not_there_is_said(gpu, capsys):
    with pytest.raises(SystemExit, match="the device 'quantum' is not usable here"):
        gpu.main(["--device", "quantum", "--tiny"])
    assert capsys.readouterr().out == ""
    done = ran(PYTHON=str(BENCH / "no-python"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no numpy" in done.stderr


def test_a_part_without_time_is_left_out_and_the_exit_code_says_so(gpu, capsys):
    assert gpu.main([*SMALLEST.split(), "--parts", "compiled", "--seconds", "1"]) == 1
    assert "### compiled\n\nleft out: RuntimeError:" in capsys.readouterr().out
