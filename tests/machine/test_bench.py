import io
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np
import platformdirs
import pytest
import torch
from support.commands import records
from support.reference import TINY_TEXT, TINY_VISION, write_checkpoint
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from qvsearch.cli.app import main
from qvsearch.cli.tables import print_figures
from qvsearch.errors import QvsearchError
from qvsearch.machine import bench, samples, speeds
from qvsearch.machine.bench import BenchOptions, Figure, Task, Turns, measure
from qvsearch.machine.bench_model import LAYERS, choose_model, load_model, write_stand_in
from qvsearch.machine.doctor import _faster
from qvsearch.machine.estimate import CLIP_PHOTOS, Expected, expect
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.machine.speeds import Speeds, keep_speeds, read_speeds
from qvsearch.media import decode
from qvsearch.models.checkpoint import count_parameters, read_json
from qvsearch.models.prompt import embed_prompt, visual_grids
from qvsearch.models.registry import DEFAULT_MODEL, MODELS
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import DecodeOptions, Detail, EmbedInput, Kind, VideoMode

CPU = torch.device("cpu")
SMALL_FILM = (270, 480)  # quick to write and decode


@pytest.fixture(scope="module")
def found(tiny, tmp_path_factory):
    """The lines of a quick run, and the cache folder with its speeds."""
    cache = tmp_path_factory.mktemp("cache")
    printed, said = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(said):
        patch.setattr(platformdirs, "user_cache_path", lambda *_, **__: cache)
        patch.setattr(samples, "FILM", SMALL_FILM)
        patch.setattr(bench, "ENOUGH_SECONDS", 0.05)
        code = main(["bench", "--model", str(tiny), "--quick", "--json"])
    assert (code, said.getvalue()) == (0, "")
    return records(printed.buffer.getvalue()), cache


def one(lines, figure, **fields):
    (line,) = [each for each in lines if {**fields, "figure": figure}.items() <= each.items()]
    return line


def test_every_figure_is_there_and_positive(found):
    lines, _ = found
    assert {each["figure"] for each in lines} == {
        *("decode", "gemm", "photo", "moment", "passage", "query", "video")
    }
    assert all(each["value"] > 0 for each in lines)
    assert {each.get("detail", "low") for each in lines} == {"low"}
    assert [each["how"] for each in lines if each["figure"] == "query"] == ["loaded"]
    for each in lines:
        assert each["least"] <= each["value"] <= each["most"]
        assert "random" not in each  # the weights are the model's own, all layers of them
        assert "scaled" not in each


def test_a_minute_of_video_is_decoded_and_embedded(found):
    lines, _ = found
    decoding = one(lines, "decode", how="video")
    moment, video = one(lines, "moment"), one(lines, "video")
    # the film has one moment a scene at least, and at most one a second
    scenes = samples.FILM_SECONDS / samples.SCENE_SECONDS
    minute = 60 / samples.FILM_SECONDS
    assert video["most"] >= decoding["least"] + scenes * minute / moment["most"]
    assert video["least"] <= decoding["most"] + 60 / moment["least"]


def test_kinds_are_summed_each_at_its_own_cost():
    expected = Expected(photo=2.0, moment=3.0, passage=1.0, measured=frozenset())
    segments = {Kind.IMAGE: 10, Kind.VIDEO: 20, Kind.TEXT: 30}
    frames = expected.seconds(segments, VideoMode.FRAMES)
    assert frames == 10 * 2 + 20 * 3 + 30
    assert expected.seconds(segments, VideoMode.CLIPS) == frames + 20 * 3 * (CLIP_PHOTOS - 1)
    assert frames < expected.seconds(segments, VideoMode.BOTH) < frames + 20 * 3
    assert expected.seconds({}, VideoMode.FRAMES) == 0


def test_the_table_has_every_figure_and_notes(found, capfdbinary):
    figures = [Figure(**line) for line in found[0]]
    print_figures(figures)
    table = capfdbinary.readouterr().out.decode()
    assert len(table.splitlines()) == 1 + len(figures) + 1
    for each in figures:
        unit = {"1/s": "per s|s each", "ms": "m?s", "GFLOP/s": "[GT]FLOP/s"}.get(each.unit)
        assert re.search(rf"^{each.figure} .* ({unit or each.unit})", table, re.M)
    assert "random" not in table
    print_figures([replace(figures[-1], random=True, scaled=9.0, value=None, reason="too large")])
    table = capfdbinary.readouterr().out.decode()
    assert "\nquery loaded: too large\n" in table
    assert "the weights are random" in table
    assert "fewer layers" in table


def test_a_table_of_several_number_types_fits_a_terminal(capfdbinary):
    """With figures of the 2B model on a slow machine and on a fast one."""
    timed = dict(model="m", device="cpu", runs=5, of_gemm=0.987)
    photo = Figure("photo", "1/s", 0.07, 0.0695, 0.0701, detail=Detail.MEDIUM, **timed)
    products = Figure("gemm", "GFLOP/s", 412_345.0, 398_765.0, 423_456.0, **timed)
    query = Figure("query", "ms", 24_480.0, 22_570.0, 25_481.0, how="loaded", **timed)
    film = Figure("decode", "s/min", 1.521, 1.482, 1.639, detail=Detail.MEDIUM, how="video", runs=5)
    figures = [replace(each, dtype="bfloat16") for each in (photo, products, query)]
    print_figures([replace(photo, dtype="int8"), *figures, film])
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert len(lines) == 1 + 5 + 1
    assert max(map(len, lines)) <= 80
    assert re.match(r"photo +medium +int8 +14.3 s each +14.3 to 14.4 +99%$", lines[1])
    assert re.match(r"gemm .* 412 TFLOP/s +399 to 423 +99%$", lines[3])
    assert re.match(r"query +loaded +bfloat16 +24.5 s +22.6 to 25.5 +99%$", lines[4])
    assert lines[-1] == "m on cpu, int8, bfloat16"


def test_a_run_keeps_the_speeds_for_the_estimate(found, tiny, monkeypatch):
    lines, cache = found
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: cache)
    expected = expect(str(tiny), Detail.LOW, CPU, "float32", lambda: pytest.fail("computed"))
    assert expected.measured == set(Kind) - {Kind.DOCUMENT}  # a page costs as a photo does
    assert expected.photo == pytest.approx(1 / one(lines, "photo")["value"], rel=1e-3)
    assert expected.moment == pytest.approx(1 / one(lines, "moment")["value"], rel=1e-3)
    assert expected.passage == pytest.approx(1 / one(lines, "passage")["value"], rel=1e-3)
    assert [each.name for each in cache.iterdir()] == ["speeds"]
    # for no other detail, type or model
    high = expect(str(tiny), Detail.HIGH, CPU, "float32", lambda: pytest.fail("computed"))
    assert high.measured == {Kind.TEXT}
    assert high.photo > expected.photo  # which follows from the passage's
    assert expect(str(tiny), Detail.LOW, CPU, "bfloat16", lambda: 1.0) is None
    assert not expect(DEFAULT_MODEL, Detail.LOW, CPU, "float32", lambda: 1.0).measured


def test_details_are_kept_beside_one_another():
    keep_speeds("a", "cpu", "float32", Speeds({Detail.LOW: 1.0}, {Detail.LOW: 2.0}, 3.0))
    keep_speeds("a", "cpu", "float32", Speeds({Detail.HIGH: 4.0}, {}, None))
    kept = read_speeds("a", "cpu", "float32")
    assert kept == Speeds({Detail.LOW: 1.0, Detail.HIGH: 4.0}, {Detail.LOW: 2.0}, 3.0)


def test_a_dtype_that_is_much_faster_for_all_kinds_is_named():
    def keep(dtype, photo, passage):
        keep_speeds(DEFAULT_MODEL, "cpu", dtype, Speeds({Detail.LOW: photo}, {}, passage))

    keep("bfloat16", 2.0, 1.0)
    assert _faster("cpu", "float32") is None  # float32 is not measured
    keep("float32", 8.0, 1.4)
    assert _faster("cpu", "float32") is None  # passages are hardly faster
    keep("float32", 8.0, 3.0)
    keep("float16", 80.0, 30.0)
    assert "bfloat16 is 3.0 times as fast as float32, measured" in _faster("cpu", "float32")
    assert _faster("cpu", "bfloat16") is None
    keep("int8", 1.0, 0.5)
    assert _faster("cpu", "float32") == (
        "bfloat16 is 3.0 times and int8 is 6.0 times as fast as float32, measured on this machine;"
        " run `index` with --dtype bfloat16 or --dtype int8 for a new library"
    )


def test_the_speeds_of_another_version_do_not_count(monkeypatch):
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 3.0))
    monkeypatch.setattr(speeds, "__version__", "99")
    assert read_speeds("a", "cpu", "float32") is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 9000,
        b'{"photo": {}, "moment": {}}',
        b'{"photo": [], "moment": {}, "passage": null}',
        b'{"photo": {"huge": 1.0}, "moment": {}, "passage": null}',
        b'{"photo": {"low": -1.0}, "moment": {}, "passage": null}',
        b'{"photo": {"low": NaN}, "moment": {}, "passage": null}',
        b'{"photo": {"low": "1"}, "moment": {}, "passage": null}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_of_speeds_is_ignored(damage, tmp_path_factory):
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 3.0))
    (path,) = (platformdirs.user_cache_path() / "speeds").iterdir()
    path.write_bytes(damage)
    assert read_speeds("a", "cpu", "float32") is None
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 5.0))
    assert read_speeds("a", "cpu", "float32").passage == 5.0


def test_speeds_that_cannot_be_kept_are_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "file")
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 3.0))
    assert read_speeds("a", "cpu", "float32") is None


WITH_A_SMALL_FILM = f"""
import sys
from qvsearch.cli.app import main
from qvsearch.machine import samples
samples.FILM = {SMALL_FILM}
sys.exit(main())
"""


@pytest.mark.faults
def test_ctrl_c_prints_what_was_measured(tiny, tmp_path):
    """Ctrl-C comes when the terminal shows that matrix products are timed."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_A_SMALL_FILM, "bench", "--model", tiny, "--quick"],
        stdout=subprocess.PIPE,
        stderr=end,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )
    os.close(end)
    said = b""
    while b"gemm, 1 of 2" not in said:
        said += os.read(terminal, 1000)
    process.send_signal(signal.SIGINT)
    output = process.communicate()[0].decode()
    os.close(terminal)
    assert process.returncode == 130
    assert "\ndecode" in output
    assert "\ngemm" in output
    assert "\nquery" not in output
    assert not list(tmp_path.rglob("*.json"))  # half a measurement is not kept


def test_tasks_take_turns_and_one_that_fails_costs_only_itself():
    order = []

    def does(name, fails=False):
        def work():
            order.append(name)
            if fails:
                raise QvsearchError("no memory")
            return float(len(order))

        return Task(Figure(name, "s"), work, lambda seconds: seconds, flop=10.0)

    tasks = [does("a"), does("b", fails=True), does("c")]
    Turns(3, lambda _: None, lambda: False).run(tasks)
    assert order == ["a", "b", "c", "c", "a", "a", "c"]
    first, second, third = (task.result(rate=20.0) for task in tasks)
    assert (first.value, first.least, first.most, first.runs) == (5.0, 1.0, 6.0, 3)
    assert first.of_gemm == 0.1
    assert (second.value, second.reason) == (None, "no memory")
    assert third.runs == 3


def test_texts_and_queries_begin_apart():
    """A shared prefix is computed once; a measurement must not gain by it."""
    source = samples.queries()
    words = [next(source).text.split()[0] for _ in range(20)]
    assert len(set(words)) == 20


def test_the_film_has_a_moment_a_scene_at_least(tmp_path):
    film = samples.write_film(tmp_path)
    segments = [
        segment for segment, _ in decode(film, "", DecodeOptions(Detail.LOW.max_pixels)).segments
    ]
    assert len(segments) >= samples.FILM_SECONDS // samples.SCENE_SECONDS
    assert segments[-1].end == pytest.approx(samples.FILM_SECONDS, abs=0.2)


@pytest.mark.parametrize("text", [True, False])
def test_the_arithmetic_is_what_torch_counts(text, tiny):
    embedder = LocalEmbedder(tiny, "cpu")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (224, 320, 3), np.uint8)
    source = EmbedInput(text="a dog " * 30) if text else EmbedInput(images=(image,))
    (ids,) = embedder.network.tokenize([embed_prompt(source)], 10_000)
    pictures = [rows * columns for rows, columns in visual_grids(source)]
    shapes = Shapes.of(read_json(tiny / "config.json"))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        embedder.embed([source])
    counted = counter.get_total_flops()
    if text:  # torch counts what the causal mask hides too, which is half of all attention
        counted -= counter.get_flop_counts()["Global"][torch.ops.aten.bmm] / 2
    assert shapes.flop(len(ids), pictures) == pytest.approx(counted, rel=0.03)


def test_the_2b_model_has_the_sizes_of_its_parameters():
    shapes = Shapes.of(CONFIG_2B)
    text = CONFIG_2B["text_config"]
    layer = shapes.width * (2 * shapes.queries + 2 * shapes.keys + 3 * shapes.inner)
    block = shapes.vision_width * (4 * shapes.vision_width + 2 * shapes.vision_inner)
    merged = 4 * shapes.vision_width
    total = (
        shapes.layers * layer
        + text["vocab_size"] * shapes.width
        + shapes.vision_layers * block
        + shapes.mergers * merged * (merged + shapes.width)
    )
    assert total == pytest.approx(MODELS[DEFAULT_MODEL].parameters, rel=0.005)


def test_a_stand_in_is_the_same_each_time_and_embeds(tmp_path):
    config = {"text_config": TINY_TEXT, "vision_config": TINY_VISION}
    before = torch.random.get_rng_state()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_stand_in(tmp_path / name, config, 2, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other")]
    assert weights[0] == weights[1]
    shapes = Shapes.of(read_json(tmp_path / "one" / "config.json"))
    assert (shapes.layers, shapes.vision_layers, shapes.mergers) == (2, 3, 4)
    embedder = LocalEmbedder(tmp_path / "one", "cpu")
    vectors = embedder.embed([next(samples.photos(Detail.LOW)), next(samples.queries())])
    assert vectors.shape == (2, TINY_TEXT["hidden_size"])


@pytest.fixture
def deep(tmp_path):
    """A deep, narrow model."""
    folder = tmp_path / "deep"
    folder.mkdir()
    return write_checkpoint(
        folder, TINY_TEXT | {"num_hidden_layers": 12}, TINY_VISION | {"depth": 12}
    )


def test_fewer_layers_stand_for_all_by_their_arithmetic(deep):
    """The arithmetic of a shallow model scales to that of the deep one."""
    chosen = choose_model(str(deep), "cpu", None)
    with load_model(chosen, shallow=True) as model, load_model(chosen, shallow=False) as whole:
        assert model.shapes.layers == LAYERS
        assert count_parameters(model.folder) < count_parameters(whole.folder)
        photo = next(samples.photos(Detail.LOW))
        (flop, scale), (other, one) = model.work(photo), whole.work(photo)
        assert scale > 2
        assert one == 1
        assert flop == pytest.approx(other, rel=0.3)  # another tokenizer
        assert (model.is_random, whole.is_random) == (True, False)


def test_a_run_that_is_stopped_at_once_begins_nothing_more(tiny, monkeypatch):
    monkeypatch.setattr(samples, "FILM", SMALL_FILM)
    begun = []
    assert (
        list(measure(BenchOptions(str(tiny), "cpu", quick=True), begun.append, lambda: True)) == []
    )
    assert begun == ["drawing a photo and a film"]
