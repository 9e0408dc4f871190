"""The estimated time of indexing, in rounded words, and with int8 if that is much faster."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support.cheap_model import CheapModel
from support.colours import FINGERPRINT

from qvsearch.cli.app import main
from qvsearch.indexing.pipeline import IngestOptions
from qvsearch.library.library import Library
from qvsearch.machine import estimate, speeds
from qvsearch.machine.estimate import Estimate, advice, expect, gemm_rate, plan_index
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.machine.speeds import RunTimer, Speeds, device_name, keep_speeds, read_speeds
from qvsearch.models.devices import dtype_name, pick_dtype
from qvsearch.models.registry import DEFAULT_MODEL
from qvsearch.runtime.client import WarmEmbedder
from qvsearch.runtime.loading import Choice
from qvsearch.types import Detail, EmbedInput, Kind

CPU = torch.device("cpu")
CHOICE = Choice(DEFAULT_MODEL, device="cpu")


def measured(model=DEFAULT_MODEL, **seconds):
    """Keep that everything takes this long in each dtype."""
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
    other = "; with `--dtype int8` about 2 hours" if faster else ""
    expected = f"would take about 10 hours (measured on this machine){other}\n"
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
    assert "with `--dtype int8` about 2 hours" in said
    library.add_root(b"/photos")
    library.commit()
    assert advice(library, choice, {Kind.IMAGE: 300}) is None


def test_a_guess_says_that_it_is_rough():
    assert Estimate(35_137, False).text() == "about 10 hours (a rough guess)"


def test_the_rate_is_that_of_whole_products():
    # no machine does either in a second: a rate of a fraction, or of many at once, would
    assert 1e8 < gemm_rate(CPU, torch.float32, 0.2) < 1e14


def test_the_unmeasured_kinds_follow_from_a_measured_one():
    name = device_name(CPU)
    keep_speeds(DEFAULT_MODEL, name, "float32", Speeds({Detail.LOW: 3.0}, {}, None))
    given = expect(DEFAULT_MODEL, Detail.LOW, CPU, "float32", lambda: pytest.fail("computed"))
    assert given.measured == {Kind.IMAGE}
    assert (given.photo, given.moment) == (3.0, pytest.approx(3.0))
    assert 0 < given.passage < 20
    assert given.covers({Kind.IMAGE: 9, Kind.TEXT: 0})
    assert not given.covers({Kind.IMAGE: 9, Kind.TEXT: 1})


def test_int8_is_compared_by_its_products_until_it_is_measured(tmp_path, notes, monkeypatch):
    own = pick_dtype(None, CPU, 2048)
    for model in (DEFAULT_MODEL, "demo"):
        measured(model, **{dtype_name(own): 120.0, "float32": 120.0})
    rates = {own: 1e9, torch.int8: 4e9}
    monkeypatch.setattr(estimate, "_rate", lambda _, dtype: rates[dtype])
    _, found = plan_index(tmp_path / "library", [os.fsencode(notes)], CHOICE, IngestOptions())
    assert found == Estimate(36_000, True, 9_000)
    demo = Choice("demo", device="cpu")  # whose layers are narrower than the products
    _, found = plan_index(tmp_path / "library", [os.fsencode(notes)], demo, IngestOptions())
    assert found == Estimate(36_000, True)


@pytest.fixture
def clock(monkeypatch):
    """A clock that each call of the timer's model moves on by `seconds`."""
    clock = SimpleNamespace(now=0.0, seconds=0.0)
    monkeypatch.setattr(speeds.time, "perf_counter", lambda: clock.now)

    class Model(CheapModel):
        def embed(self, inputs):
            clock.now += clock.seconds
            return super().embed(inputs)

    clock.model = Model()
    return clock


def test_a_run_times_its_pictures_and_passages(clock):
    timer = RunTimer(Detail.LOW)
    embedder = timer.around(clock.model)
    assert embedder.dim == clock.model.dim

    def embed(seconds, *inputs):
        clock.seconds = seconds
        embedder.embed(inputs)

    passage = EmbedInput("word " * 320)
    whole, half = (
        EmbedInput(images=(np.zeros((height, 512, 3), np.uint8),)) for height in (512, 256)
    )
    embed(1000, passage)  # the first one allocates
    embed(1000, passage, whole)
    embed(1000, EmbedInput("a query", instruction="Find it."))
    embed(6, passage, passage)
    embed(2, passage)
    assert timer.speeds() == Speeds(passage=8 / 3)
    embed(3, whole)
    embed(1, half)
    assert timer.speeds() == Speeds(passage=8 / 3)  # five seconds are the least
    embed(11, whole, whole, half)
    shapes = Shapes.of(CONFIG_2B)
    share = shapes.flop(128 + 24, [128]) / shapes.flop(256 + 24, [256])
    pictures = {Detail.LOW: pytest.approx(15 / (3 + 2 * share))}
    assert timer.speeds() == Speeds(pictures, pictures, 8 / 3)


@pytest.mark.parametrize(("words", "sides"), [(16, (128, 128)), (320, (512, 512))])
def test_short_texts_and_small_pictures_give_the_speed_of_whole_ones(words, sides):
    """A model whose time is its arithmetic, on files that are not of the usual size."""
    timer, shapes = RunTimer(Detail.LOW), Shapes.of(CONFIG_2B)
    text = EmbedInput("word " * words)
    picture = EmbedInput(images=(np.zeros((*sides, 3), np.uint8),))
    tokens, visual = 5 * words // 4, sides[0] * sides[1] // 1024
    for _ in range(200):
        timer.add([text], shapes.flop(tokens + 24) / 4e11)
        timer.add([picture], shapes.flop(visual + 24, [visual]) / 4e11)
    speeds = timer.speeds()
    assert speeds.passage == pytest.approx(shapes.flop(400 + 24) / 4e11, rel=0.01)
    assert speeds.photo[Detail.LOW] == pytest.approx(shapes.flop(256 + 24, [256]) / 4e11, rel=0.01)


def test_a_warm_server_is_not_timed():
    warm = WarmEmbedder.__new__(WarmEmbedder)
    assert RunTimer(Detail.LOW).around(warm) is warm


def test_the_next_estimate_has_the_speed_of_a_run(tmp_path, notes, tiny, monkeypatch, capfd):
    monkeypatch.setattr(speeds, "LEAST_SECONDS", 0.0)
    (tmp_path / "photos").mkdir()
    for shade in range(3):
        Image.new("RGB", (64, 64), (shade, 0, 0)).save(tmp_path / "photos" / f"{shade}.png")
    index = ["index", str(notes), "-l", str(tmp_path / "library"), "--device", "cpu"]
    assert main([*index, "--model", str(tiny), "--detail", "low", "-q"]) == 0
    index[1] = str(tmp_path / "photos")
    assert main([*index, "-q"]) == 0
    kept = read_speeds(str(tiny), device_name(CPU), "float32")
    assert kept.photo.keys() == kept.moment.keys() == {Detail.LOW}
    assert 0 < kept.passage < 10
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "photos" / "another.png")
    capfd.readouterr()
    assert main([*index, "--dry-run"]) == 0
    assert "would take about 1 second (measured on this machine)\n" in capfd.readouterr().out
