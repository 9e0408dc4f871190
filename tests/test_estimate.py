"""How long indexing will take: in rounded words, and with the faster numbers if there are any."""

import os

import pytest
import torch
from colours import FINGERPRINT

from qvsearch.cli.app import main
from qvsearch.indexing.pipeline import IngestOptions
from qvsearch.library.library import Library
from qvsearch.machine.estimate import Estimate, advice, gemm_rate, plan_index
from qvsearch.machine.speeds import Speeds, device_name, keep_speeds
from qvsearch.models.devices import dtype_name, pick_dtype
from qvsearch.models.registry import DEFAULT_MODEL
from qvsearch.runtime.loading import Choice
from qvsearch.types import Detail, Kind

CPU = torch.device("cpu")
CHOICE = Choice(DEFAULT_MODEL, device="cpu")


def measured(model=DEFAULT_MODEL, **seconds):
    """Let `bench` have found that everything takes so long in each type of numbers."""
    for dtype, each in seconds.items():
        speeds = Speeds(dict.fromkeys(Detail, each), dict.fromkeys(Detail, each), each)
        keep_speeds(model, device_name(CPU), dtype, speeds)


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes").mkdir()
    for number in range(300):
        (tmp_path / "notes" / f"{number}.txt").write_text(f"note {number}")
    return tmp_path / "notes"


@pytest.mark.parametrize(("int8", "faster"), [(24.0, 7200.0), (90.0, None)])
def test_int8_is_named_if_it_is_much_faster(tmp_path, notes, int8, faster, capfd):
    measured(**{dtype_name(pick_dtype(None, CPU, 2048)): 120.0, "int8": int8})
    paths = [os.fsencode(notes)]
    _, found = plan_index(tmp_path / "library", paths, CHOICE, IngestOptions())
    assert found == Estimate(36_000, True, faster)
    index = ["index", str(notes), "--device", "cpu", "--dry-run", "-l", str(tmp_path / "library")]
    assert main(index) == 0
    other = "; with --dtype int8 about 2 hours" if faster else ""
    basis = "measured by qvsearch bench"
    expected = f"would take about 10 hours on this machine ({basis}){other}\n"
    assert capfd.readouterr().out.endswith(expected)
    assert main([*index, "--json"]) == 0
    assert ('"seconds_int8": 7200' in capfd.readouterr().out) == bool(faster)


def test_who_has_chosen_is_not_told_of_other_numbers(tmp_path, notes):
    measured(float32=120.0, int8=20.0)
    chosen = Choice(DEFAULT_MODEL, device="cpu", dtype="float32")
    _, found = plan_index(tmp_path / "library", [os.fsencode(notes)], chosen, IngestOptions())
    assert found.faster is None


def test_a_first_run_of_many_files_is_told_of_the_faster_way(tmp_path):
    library = Library.create(tmp_path / "library", FINGERPRINT)
    own = dtype_name(pick_dtype(None, CPU, 2048))
    measured(FINGERPRINT.model, **{own: 120.0, "int8": 24.0})
    choice = Choice(device="cpu")
    assert advice(library, choice, {Kind.IMAGE: 3}) is None
    said = advice(library, choice, {Kind.IMAGE: 300})
    assert "with --dtype int8 about 2 hours" in said
    library.add_root(b"/photos")
    library.commit()
    assert advice(library, choice, {Kind.IMAGE: 300}) is None


def test_a_guess_says_that_it_is_rough():
    assert Estimate(35_137, False).text() == "about 10 hours on this machine (a rough guess)"


def test_the_rate_is_that_of_whole_products():
    # no machine does either in a second: a rate of a fraction, or of many at once, would
    assert 1e8 < gemm_rate(CPU, torch.float32, 0.2) < 1e14
