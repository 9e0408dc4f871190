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
from colours import FINGERPRINT
from reference import TINY_TEXT, TINY_VISION, write_checkpoint
from test_cli import records
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from qvsearch import samples, speeds, subject
from qvsearch.backends.local import LocalEmbedder
from qvsearch.bench import PHOTO, Wanted, measure
from qvsearch.cli import main
from qvsearch.errors import QvsearchError
from qvsearch.estimate import CLIP_PHOTOS, Expected, expect
from qvsearch.library import Library
from qvsearch.media import decode
from qvsearch.models.checkpoint import count_parameters, read_json
from qvsearch.models.shapes import CONFIG_2B, Shapes
from qvsearch.models.stand_in import write_stand_in
from qvsearch.models.weights import DEFAULT_MODEL, MODELS
from qvsearch.prompt import embed_prompt, visual_grids
from qvsearch.speeds import Speeds, keep_speeds, kept_speeds
from qvsearch.subject import LAYERS, loaded, open_subject
from qvsearch.tables import print_figures
from qvsearch.timings import Figure, Task, Turns
from qvsearch.types import Detail, EmbedInput, Kind, VideoMode

CPU = torch.device("cpu")
SMALL_FILM = (270, 480)  # where what it takes to write and decode is nobody's question


@pytest.fixture(scope="module")
def found(tiny, tmp_path_factory):
    """The lines of a quick run, and the cache that it has kept its figures in."""
    cache = tmp_path_factory.mktemp("cache")
    printed, said = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(said):
        patch.setattr(platformdirs, "user_cache_path", lambda *_, **__: cache)
        patch.setattr(samples, "FILM", SMALL_FILM)
        patch.setattr(subject, "ENOUGH_SECONDS", 0.05)
        code = main(["bench", "--model", str(tiny), "--quick", "--json"])
    assert (code, said.getvalue()) == (0, "")
    return records(printed.buffer.getvalue()), cache


def one(lines, figure, **fields):
    (line,) = [each for each in lines if {**fields, "figure": figure}.items() <= each.items()]
    return line


def test_every_figure_is_there_and_positive(found):
    lines, _ = found
    assert {each["figure"] for each in lines} == {
        *("decode", "gemm", "photo", "moment", "passage", "query", "video", "search", "size")
    }
    assert all(each["value"] > 0 for each in lines)
    assert {each.get("detail", "low") for each in lines} == {"low"}
    assert {each["how"] for each in lines if each["figure"] == "query"} == {"cold", "loaded"}
    assert {each["rows"] for each in lines if each["figure"] == "search"} == {10_000, 100_000}
    for each in lines:
        if "runs" in each:
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


def test_what_a_library_takes_is_what_files_take(found, tiny, tmp_path):
    lines, _ = found
    library = Library.create(tmp_path / "library", replace(FINGERPRINT, dim=64))
    library.add_root(PHOTO.item.root)
    segments = [
        replace(PHOTO, item=replace(PHOTO.item, path=b"%04d" % n + PHOTO.item.path[4:]))
        for n in range(2000)
    ]
    vectors = np.eye(64, dtype=np.float32)[np.arange(2000) % 64]
    library.add(segments, vectors)
    library.commit()
    size = sum(path.stat().st_size for path in (library.folder / "segments").iterdir())
    assert one(lines, "size")["value"] == pytest.approx(size * 5 / 1e6, rel=0.15)


def test_kinds_are_summed_each_at_its_own_cost():
    expected = Expected(photo=2.0, moment=3.0, passage=1.0, measured=True)
    segments = {Kind.IMAGE: 10, Kind.VIDEO: 20, Kind.TEXT: 30}
    frames = expected.seconds(segments, VideoMode.FRAMES)
    assert frames == 10 * 2 + 20 * 3 + 30
    assert expected.seconds(segments, VideoMode.CLIPS) == frames + 20 * 3 * (CLIP_PHOTOS - 1)
    assert frames < expected.seconds(segments, VideoMode.BOTH) < frames + 20 * 3
    assert expected.seconds({}, VideoMode.FRAMES) == 0


def test_the_table_for_people_has_every_figure_and_says_what_stood_for_what(found, capfdbinary):
    figures = [Figure(**line) for line in found[0]]
    print_figures(figures)
    table = capfdbinary.readouterr().out.decode()
    assert len(table.splitlines()) == 1 + len(figures) + 1
    for each in figures:
        assert re.search(rf"^{each.figure} .* {re.escape(each.unit)}", table, re.M)
    assert "random" not in table
    print_figures([replace(figures[-2], random=True, scaled=9.0, value=None, reason="too large")])
    table = capfdbinary.readouterr().out.decode()
    assert "too large" in table
    assert "the weights are random" in table
    assert "fewer layers" in table


def test_a_run_keeps_what_the_estimate_asks_for(found, tiny, monkeypatch):
    lines, cache = found
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: cache)
    expected = expect(str(tiny), Detail.LOW, CPU, "float32", lambda: pytest.fail("computed"))
    assert expected.measured
    assert expected.photo == pytest.approx(1 / one(lines, "photo")["value"], rel=1e-3)
    assert expected.moment == pytest.approx(1 / one(lines, "moment")["value"], rel=1e-3)
    assert expected.passage == pytest.approx(1 / one(lines, "passage")["value"], rel=1e-3)
    # of no other detail, type or model
    assert expect(str(tiny), Detail.HIGH, CPU, "float32", lambda: 1.0) is None
    assert expect(str(tiny), Detail.LOW, CPU, "bfloat16", lambda: 1.0) is None
    assert not expect(DEFAULT_MODEL, Detail.LOW, CPU, "float32", lambda: 1.0).measured


def test_details_are_kept_beside_one_another():
    keep_speeds("a", "cpu", "float32", Speeds({Detail.LOW: 1.0}, {Detail.LOW: 2.0}, 3.0))
    keep_speeds("a", "cpu", "float32", Speeds({Detail.HIGH: 4.0}, {}, None))
    kept = kept_speeds("a", "cpu", "float32")
    assert kept == Speeds({Detail.LOW: 1.0, Detail.HIGH: 4.0}, {Detail.LOW: 2.0}, 3.0)


def test_another_version_s_figures_do_not_count(monkeypatch):
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 3.0))
    monkeypatch.setattr(speeds, "__version__", "99")
    assert kept_speeds("a", "cpu", "float32") is None


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
def test_a_damaged_file_of_figures_is_as_none(damage, tmp_path_factory):
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 3.0))
    (path,) = (platformdirs.user_cache_path() / "speeds").iterdir()
    path.write_bytes(damage)
    assert kept_speeds("a", "cpu", "float32") is None
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 5.0))
    assert kept_speeds("a", "cpu", "float32").passage == 5.0


def test_figures_that_cannot_be_kept_are_no_failure(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "file")
    keep_speeds("a", "cpu", "float32", Speeds({}, {}, 3.0))
    assert kept_speeds("a", "cpu", "float32") is None


def test_ctrl_c_prints_what_was_measured(tiny, tmp_path):
    """The terminal shows what is being timed; when it says a photo, Ctrl-C comes."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "qvsearch", "bench", "--model", tiny, "--quick"],
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
    assert "\nsearch" not in output
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
    Turns(3, lambda _: None, lambda: False).take(tasks)
    assert order == ["a", "b", "c", "c", "a", "a", "c"]
    first, second, third = (task.finished(rate=20.0) for task in tasks)
    assert (first.value, first.least, first.most, first.runs) == (5.0, 1.0, 6.0, 3)
    assert first.of_gemm == 0.1
    assert (second.value, second.reason) == (None, "no memory")
    assert third.runs == 3


def test_texts_and_queries_begin_apart():
    """What two inputs begin with is computed once, which a measurement must not profit from."""
    source = samples.queries()
    words = [next(source).text.split()[0] for _ in range(20)]
    assert len(set(words)) == 20


def test_the_film_has_a_moment_a_scene_at_least(tmp_path):
    film = samples.write_film(tmp_path)
    segments = [segment for segment, _ in decode(film, "", Detail.LOW.max_pixels).segments]
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


def test_fewer_layers_stand_for_all_by_their_arithmetic(tmp_path):
    """A deep, narrow model at a shallow one's times, against its own."""
    deep = tmp_path / "deep"
    deep.mkdir()
    write_checkpoint(deep, TINY_TEXT | {"num_hidden_layers": 12}, TINY_VISION | {"depth": 12})
    made = open_subject(str(deep), "cpu", None)
    with loaded(made, shallow=True) as model, loaded(made, shallow=False) as whole:
        assert model.shapes.layers == LAYERS
        assert count_parameters(model.folder) < count_parameters(whole.folder)
        task = model.task(Figure("photo", "s"), samples.photos(Detail.LOW), lambda value: value)
        other = whole.task(Figure("photo", "s"), samples.photos(Detail.LOW), lambda value: value)
        assert task.figure.scaled > 2
        assert other.figure.scaled is None
        assert task.flop == pytest.approx(other.flop, rel=0.3)  # another tokenizer
        assert (model.figure.random, whole.figure.random) == (True, None)


def test_a_run_that_is_stopped_at_once_says_what_needs_no_time(tiny, monkeypatch):
    monkeypatch.setattr(samples, "FILM", SMALL_FILM)
    figures = list(measure(Wanted(str(tiny), "cpu", quick=True), lambda _: None, lambda: True))
    assert [each.figure for each in figures] == ["size"]
