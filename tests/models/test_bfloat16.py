"""bfloat16 by default: where it is chosen, and that its answers are float32's."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from support.pairs import DOCUMENTS, QUERIES
from support.photo_sources import SOURCES

from qvsearch.cli.app import main
from qvsearch.demo.world import draw, random_scene
from qvsearch.errors import QvsearchError
from qvsearch.indexing.pipeline import IngestOptions
from qvsearch.machine import doctor
from qvsearch.machine.estimate import plan_index
from qvsearch.machine.speeds import Speeds, device_name, keep_speeds
from qvsearch.models import devices
from qvsearch.models.checkpoint import hidden_width
from qvsearch.models.devices import NARROWEST, bfloat16_pays, dtype_name, pick_dtype
from qvsearch.models.registry import DEFAULT_MODEL, DEMO_FOLDER
from qvsearch.runtime.loading import Choice
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.types import Detail

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Return a function that puts a processor in the place of this one: seconds of each product."""
    devices._bfloat16_is_faster.cache_clear()
    now, taken = 0.0, {}

    def multiply(states, _):
        nonlocal now
        now += taken[states.dtype].pop(0)

    monkeypatch.setattr(devices, "settle_threads", lambda: None)
    monkeypatch.setattr(devices, "linear", multiply)
    monkeypatch.setattr(devices.time, "perf_counter", lambda: now)

    def put(exact, half):
        taken.update({torch.float32: list(exact), torch.bfloat16: list(half)})

    yield put
    devices._bfloat16_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("exact", "half", "expected"),
    [
        ([2.5] * 4, [1.0] * 4, torch.bfloat16),
        ([1.4] * 4, [1.0] * 4, torch.float32),
        ([0.3] * 4, [1.0] * 4, torch.float32),
        ([9.0, 2.5, 2.5, 2.5], [9.0, 9.0, 9.0, 1.0], torch.bfloat16),  # others keep it busy
        ([9.0, 9.0, 9.0, 1.0], [9.0, 1.0, 1.0, 1.0], torch.float32),
    ],
)
def test_the_cpus_own_is_what_the_fastest_product_shows(processor, exact, half, expected):
    processor(exact, half)
    assert pick_dtype(None, CPU, 2048) == expected
    assert pick_dtype(None, CPU, 4096) == expected, "measured once"


def test_narrow_models_stay_in_float32_and_nothing_is_measured(processor, tiny):
    for width in (64, 128, NARROWEST - 1):
        assert pick_dtype(None, CPU, width) == torch.float32
    for folder in (tiny, DEMO_FOLDER):
        assert LocalEmbedder(folder, "cpu").network.dtype == torch.float32


@pytest.mark.parametrize("config", [{}, {"text_config": 1}, {"text_config": {"hidden_size": "x"}}])
def test_a_folder_of_another_kind_of_model_is_named(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(QvsearchError, match="not a Qwen3-VL checkpoint"):
        hidden_width(tmp_path)


def test_a_model_of_the_2b_widths_takes_this_processors_own(wide):
    expected = torch.bfloat16 if bfloat16_pays(2048) else torch.float32
    for found in (LocalEmbedder(wide, "cpu"), LocalReranker(wide, "cpu")):
        assert found.network.dtype == found.network.model.dtype == expected


def test_the_estimate_and_the_doctor_go_by_the_type_that_the_model_will_take(tmp_path):
    own = dtype_name(pick_dtype(None, CPU, 2048))
    each = dict.fromkeys(Detail, 100.0)
    keep_speeds(DEFAULT_MODEL, device_name(CPU), own, Speeds(each, each, 10.0))
    (tmp_path / "note.txt").write_text("a note")
    choice = Choice(DEFAULT_MODEL, device="cpu")
    paths = [os.fsencode(tmp_path / "note.txt")]
    _, found = plan_index(tmp_path / "library", paths, choice, IngestOptions())
    assert (found.seconds, found.measured) == (10, True)
    assert next(doctor._speed("cpu", None)).value == f"{device_name(CPU)}, {own}"


def test_vectors_and_verdicts_are_those_of_float32_at_the_2b_widths(wide):
    exact, half = (LocalEmbedder(wide, "cpu", dtype) for dtype in ("float32", "bfloat16"))
    assert (exact.embed(SOURCES) * half.embed(SOURCES)).sum(1).min() > 0.9995  # 0.9999 measured
    exact, half = (LocalReranker(wide, "cpu", dtype) for dtype in ("float32", "bfloat16"))
    for query in QUERIES:
        apart = np.subtract(exact.score(query, DOCUMENTS), half.score(query, DOCUMENTS))
        assert np.abs(apart).max() < 0.02  # 0.006 measured


@pytest.mark.parametrize("made", ["float32", "bfloat16"])
def test_a_library_is_searched_alike_in_either(made, tmp_path, capfd):
    library = ["--device", "cpu", "-l", str(tmp_path / "library")]
    rng = np.random.default_rng(3)
    (tmp_path / "pictures").mkdir()
    for number in range(24):
        path = tmp_path / f"pictures/{number}.png"
        Image.fromarray(draw(random_scene(rng), rng)).save(path)
    options = [*library, "--model", "demo", "--dtype", made, "-q"]
    assert main(["index", str(tmp_path / "pictures"), *options]) == 0
    for query in ("a red star", "a blue circle at night"):
        hits = []
        for dtype in ("float32", "bfloat16"):
            words = [query, *library, "--dtype", dtype, "--all", "-k", "24", "--json"]
            assert main(["search", *words]) == 0
            found = map(json.loads, capfd.readouterr().out.splitlines())
            hits.append({each["path"]: (each["score"], each["relevance"]) for each in found})
        exact, half = hits
        assert exact.keys() == half.keys()
        for path, figures in exact.items():
            assert figures == pytest.approx(half[path], abs=0.02)
