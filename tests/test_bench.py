import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import platformdirs
import pytest
import torch
from colours import FINGERPRINT
from reference import TINY_TEXT, TINY_VISION, write_checkpoint
from test_cli import records
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from qvsearch.cli.app import main
from qvsearch.cli.tables import print_figures
from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.machine import samples, scans, speeds, subject
from qvsearch.machine.asking import asking
from qvsearch.machine.bench import Wanted, measure
from qvsearch.machine.doctor import _faster
from qvsearch.machine.estimate import CLIP_PHOTOS, Expected, expect
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.machine.sample_library import PHOTO, unit_rows
from qvsearch.machine.scans import SEARCHES, Scanned, searching
from qvsearch.machine.speeds import Speeds, keep_speeds, kept_speeds
from qvsearch.machine.stand_in import write_stand_in
from qvsearch.machine.subject import LAYERS, loaded, open_subject
from qvsearch.machine.timings import Figure, Task, Turns
from qvsearch.media import decode
from qvsearch.models.checkpoint import count_parameters, read_json
from qvsearch.models.prompt import embed_prompt, visual_grids
from qvsearch.models.registry import DEFAULT_MODEL, MODELS, resolve
from qvsearch.retrieval.first_pass import BEST
from qvsearch.runtime.client import ServerKey
from qvsearch.runtime.local import LocalEmbedder
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
    queries = [each["how"] for each in lines if each["figure"] == "query"]
    assert queries == ["loaded", "cold", "warm", "cached"]
    searches = {(each["how"], each["rows"]) for each in lines if each["figure"] == "search"}
    assert searches == set(product(("exact", "first pass"), (10_000, 100_000)))
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
    library.set_bank(vectors[:64])
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
        unit = {"1/s": "per s|s each", "ms": "m?s", "GFLOP/s": "[GT]FLOP/s"}.get(each.unit)
        assert re.search(rf"^{each.figure} .* ({unit or each.unit})", table, re.M)
    assert "random" not in table
    print_figures([replace(figures[-2], random=True, scaled=9.0, value=None, reason="too large")])
    table = capfdbinary.readouterr().out.decode()
    assert "\nsearch first pass, 100k rows: too large\n" in table
    assert "the weights are random" in table
    assert "fewer layers" in table


def test_a_table_of_several_number_types_fits_a_terminal(capfdbinary):
    """With the 2B model's figures on a slow machine and on a fast one."""
    timed = dict(model="m", device="cpu", runs=5, of_gemm=0.987)
    photo = Figure("photo", "1/s", 0.07, 0.0695, 0.0701, detail=Detail.MEDIUM, **timed)
    products = Figure("gemm", "GFLOP/s", 412_345.0, 398_765.0, 423_456.0, **timed)
    query = Figure("query", "ms", 24_480.0, 22_570.0, 25_481.0, how="cached", rows=10_000, **timed)
    search = Figure("search", "ms", 152.1, 148.2, 163.9, how="first pass", rows=10**6, runs=5)
    figures = [replace(each, dtype="bfloat16") for each in (photo, products, query)]
    print_figures([replace(photo, dtype="int8"), *figures, search])
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert len(lines) == 1 + 5 + 1
    assert max(map(len, lines)) <= 80
    assert re.match(r"photo +medium +int8 +14.3 s each +14.3 to 14.4 +99%$", lines[1])
    assert re.match(r"gemm .* 412 TFLOP/s +399 to 423 +99%$", lines[3])
    assert re.match(r"query +cached, 10k rows +bfloat16 +24.5 s +22.6 to 25.5 +99%$", lines[4])
    assert lines[-1] == "m on cpu, int8, bfloat16"


def test_a_run_keeps_what_the_estimate_asks_for(found, tiny, monkeypatch):
    lines, cache = found
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: cache)
    expected = expect(str(tiny), Detail.LOW, CPU, "float32", lambda: pytest.fail("computed"))
    assert expected.measured
    assert expected.photo == pytest.approx(1 / one(lines, "photo")["value"], rel=1e-3)
    assert expected.moment == pytest.approx(1 / one(lines, "moment")["value"], rel=1e-3)
    assert expected.passage == pytest.approx(1 / one(lines, "passage")["value"], rel=1e-3)
    # and of the queries that were asked nothing
    assert [each.name for each in cache.iterdir()] == ["speeds"]
    # of no other detail, type or model
    assert expect(str(tiny), Detail.HIGH, CPU, "float32", lambda: 1.0) is None
    assert expect(str(tiny), Detail.LOW, CPU, "bfloat16", lambda: 1.0) is None
    assert not expect(DEFAULT_MODEL, Detail.LOW, CPU, "float32", lambda: 1.0).measured


def test_details_are_kept_beside_one_another():
    keep_speeds("a", "cpu", "float32", Speeds({Detail.LOW: 1.0}, {Detail.LOW: 2.0}, 3.0))
    keep_speeds("a", "cpu", "float32", Speeds({Detail.HIGH: 4.0}, {}, None))
    kept = kept_speeds("a", "cpu", "float32")
    assert kept == Speeds({Detail.LOW: 1.0, Detail.HIGH: 4.0}, {Detail.LOW: 2.0}, 3.0)


def test_what_is_much_faster_in_all_that_was_measured_is_said():
    def keep(dtype, photo, passage):
        keep_speeds(DEFAULT_MODEL, "cpu", dtype, Speeds({Detail.LOW: photo}, {}, passage))

    keep("bfloat16", 2.0, 1.0)
    assert _faster("cpu", "float32") is None  # as nothing is known of float32
    keep("float32", 8.0, 1.4)
    assert _faster("cpu", "float32") is None  # as passages are hardly faster
    keep("float32", 8.0, 3.0)
    keep("float16", 80.0, 30.0)
    assert "found bfloat16 3.0 times as fast as float32 on" in _faster("cpu", "float32")
    assert _faster("cpu", "bfloat16") is None
    keep("int8", 1.0, 0.5)
    assert _faster("cpu", "float32") == (
        "`qvsearch bench` found bfloat16 3.0 times and int8 6.0 times as fast as float32 on this"
        " machine; give `index` --dtype bfloat16 or --dtype int8 for a new library, which keeps it"
    )


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


@pytest.fixture
def deep(tmp_path):
    """A deep, narrow model."""
    folder = tmp_path / "deep"
    folder.mkdir()
    return write_checkpoint(
        folder, TINY_TEXT | {"num_hidden_layers": 12}, TINY_VISION | {"depth": 12}
    )


def test_fewer_layers_stand_for_all_by_their_arithmetic(deep):
    """A shallow model's times stand for a deep one's, against its own."""
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


def test_a_warm_query_needs_the_process_and_one_asked_before_does_not(deep, tmp_path, monkeypatch):
    """And nothing of it stays: no process, no file, and none where the user's are."""
    for name in ("CACHE_HOME", "RUNTIME_DIR", "DATA_HOME"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name))
    made, left = open_subject(str(deep), "cpu", None), []

    def ask_and_leave():
        with loaded(made, shallow=True) as model, asking(model) as asked:
            left.append(asked)
            warm, cached = asked.tasks(Figure("query", "s"), lambda seconds: seconds)
            assert warm.figure.scaled > 1
            assert cached.figure.scaled is None
            new = next(asked.queries)
            assert asked._warm(new, 1e6) > 100 + asked._cached(new)  # what is computed is scaled
            with pytest.raises(QvsearchError, match="a search ended with 2: qvsearch: no model"):
                asked._cached(next(asked.queries))
            os.kill(asked.keeper.pid, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_and_leave()
    with pytest.raises(ProcessLookupError):
        os.kill(left[0].keeper.pid, 0)
    assert not left[0].folder.exists()
    assert list(tmp_path.iterdir()) == [deep]


def test_the_process_that_is_asked_ends_with_its_parent(tiny, tmp_path):
    """Whose end is that of its standard input; it does not even load the model then."""
    kept = ServerKey("embedder", resolve(str(tiny)).revision, "cpu", "float32")
    socket = str(tmp_path / "qvsearch" / "a.sock")
    order = {"kept": asdict(kept), "model": str(tiny), "socket": socket, "idle": 600}
    done = subprocess.run(
        [sys.executable, "-m", "qvsearch.machine.clocked_keeper", json.dumps(order)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("free", [10**6, None])
def test_rows_that_fit_no_memory_are_not_made(free, monkeypatch):
    monkeypatch.setattr(scans, "LARGE", 2000)
    monkeypatch.setattr(scans, "free_memory", lambda: free)
    turns = Turns(1, lambda _: None, lambda: False)
    found = list(searching(64, (1000, 2000, 4000), turns, lambda seconds: seconds))
    fitting = [(each.rows, each.how) for each in found if each.value is not None]
    assert fitting == list(product((1000,) if free is None else (1000, 2000), SEARCHES))
    for each in found:
        if each.value is None:
            assert each.reason == f"it needs {each.rows * 2 * 136 / 1e9:.1f} GB of free memory"


def test_a_first_pass_scores_what_its_guesses_choose():
    rows = Scanned.of(70_000, 64)
    query = unit_rows(1, 64)[0]
    assert len(np.unique(rows.signs.bits, axis=0)) > 69_000  # no row is another's copy
    exact = rows.exact(query)
    np.testing.assert_allclose(exact, rows.store.codes.astype(np.float32) @ query, atol=1e-5)
    chosen = np.sort(np.argsort(-rows.signs.guess(query), kind="stable")[:BEST])
    found = rows.after_first_pass(query)
    assert len(found) == BEST
    assert np.isin(found, exact).all()
    assert np.isin(exact[chosen], found).mean() > 0.9  # guesses are of few bits: many are alike


def test_a_run_that_is_stopped_at_once_begins_nothing_more(tiny, monkeypatch):
    monkeypatch.setattr(samples, "FILM", SMALL_FILM)
    begun = []
    assert list(measure(Wanted(str(tiny), "cpu", quick=True), begun.append, lambda: True)) == []
    assert begun == ["drawing a photo and a film"]
