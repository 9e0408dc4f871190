"""The commands embed and export: whose vectors they write, in which forms, and with what names."""

import base64
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from support.commands import files, home, indexed, records, run  # noqa: F401 - fixtures
from support.hits import METADATA
from support.made_rows import DIM, FINGERPRINT, made_vectors, row
from support.processes import linux, resident
from support.videos import frame_of, make

from qvsearch import Embedder, Library, embed, export, parse_filters, write_vectors
from qvsearch.errors import QvsearchError
from qvsearch.tasks import vector_files
from qvsearch.tasks.vector_files import VectorRow
from qvsearch.types import Kind, Skipped, Stored


@pytest.fixture
def media(home):  # noqa: F811
    """A picture and a film that the model sees without a change of size, a note and a ruin."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).resize((384, 256)).save(home / "photo.png")
    make(home / "film.mp4", [frame_of(number, (384, 352)) for number in range(4)], rate=1)
    (home / "note.txt").write_text("a dog on a beach\nat sunset\n")
    (home / "ruin.jpg").write_bytes(b"\xff\xd8 no picture")
    return home


def frames(path):
    import av

    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def plain(tiny):
    from support.reference import Reference

    return Reference.load(tiny)


def plain_vector(plain, parts, instruction="Represent the user's input."):
    """The vector of one input by transformers and qwen-vl-utils, without our code."""
    videos = [part["video"] for part in parts if part["type"] == "video"]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": instruction}]},
        {"role": "user", "content": parts},
    ]
    if videos:
        return plain.embed(plain.frame_inputs(messages, videos[0], fps=1))[0].numpy()
    return plain.embed(plain.inputs([messages]))[0].numpy()


def test_vectors_are_those_of_plain_transformers(run, media, tiny, plain, monkeypatch):  # noqa: F811
    photo, film = media / "photo.png", media / "film.mp4"
    mixed = {"text": "at night", "image": str(photo), "instruction": "Find it"}
    (media / "lines.txt").write_text(json.dumps(mixed) + "\nzwei Wörter\n")
    inputs = ["a dog on a beach", photo, film, media / "note.txt"]
    how = ["--model", tiny, "--dtype", "float32", "--from", media / "lines.txt"]
    code, out, error = run("embed", *inputs, *how)
    assert (code, error) == (0, "")
    rows = records(out)
    assert [each["index"] for each in rows] == [0, 1, 2, 3, 4, 5]
    assert [each["name"] for each in rows] == [
        *("a dog on a beach", str(photo), str(film), str(media / "note.txt")),
        *(f"line 1 of {media / 'lines.txt'}", "zwei Wörter"),
    ]
    image = {"type": "image", "image": Image.open(photo)}
    expected = [
        plain_vector(plain, [{"type": "text", "text": "a dog on a beach"}]),
        plain_vector(plain, [image]),
        plain_vector(plain, [{"type": "video", "video": frames(film)}]),
        plain_vector(plain, [{"type": "text", "text": "a dog on a beach\nat sunset"}]),
        plain_vector(plain, [image, {"type": "text", "text": "at night"}], "Find it."),
        plain_vector(plain, [{"type": "text", "text": "zwei Wörter"}]),
    ]
    apart = np.abs(np.array([each["vector"] for each in rows]) - expected).max(axis=1)
    assert (apart < [1e-5, 1e-5, 1e-3, 1e-5, 1e-5, 1e-5]).all(), apart


def test_queries_instructions_and_dimensions(run, home, tiny, plain, demo_embedder):  # noqa: F811
    words = [{"type": "text", "text": "a dog"}]
    for options, instruction in (
        (["--query"], "Retrieve images or text relevant to the user's query."),
        (["--instruction", "Find dogs"], "Find dogs."),
    ):
        _, out, _ = run("embed", "a dog", "--model", tiny, "--dtype", "float32", *options)
        [record] = records(out)
        assert record["vector"] == pytest.approx(plain_vector(plain, words, instruction), abs=1e-5)
    cut = demo_embedder.embed_documents(["a dog"])[0, :64]
    _, out, _ = run("embed", "a dog", "--model", "demo", "--dim", "64", "--dtype", "float32")
    assert records(out)[0]["vector"] == pytest.approx(cut / np.linalg.norm(cut), abs=1e-5)


def test_bad_inputs_have_no_row_and_are_named(run, media, monkeypatch):  # noqa: F811
    lines = b'ein Kreis\n\n{"image": "ruin.jpg"}\n{"image": "photo.png"}\n{"a": 1}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    monkeypatch.chdir(media)
    arguments = ["a star", "gone.jpg", media, "photo.png", "-"]
    code, out, error = run("embed", *arguments, "--model", "demo", "-o", media / "v.npz")
    assert code == 3
    assert out == f"4 vectors of 128 numbers written to {media / 'v.npz'}\n".encode()
    first, second, third, fourth = error.splitlines()
    assert first.startswith("qvsearch: input 1, gone.jpg: there is no file")
    assert second.startswith("qvsearch: input 2, /")
    assert "folder" in second
    assert "qvsearch export" in second
    assert third.startswith("qvsearch: input 5, line 3 of standard input: ")
    assert "ruin.jpg" in third
    assert fourth.startswith("qvsearch: input 7, line 5 of standard input: ")
    assert "unknown key 'a'" in fourth
    file = np.load(media / "v.npz", allow_pickle=False)
    assert file["index"].tolist() == [0, 3, 4, 6]
    photo = str(media / "photo.png")
    assert file["names"].tolist() == ["a star", photo, "ein Kreis", photo]
    assert file["vectors"].shape == (4, 128)
    assert np.abs(file["vectors"][1] - file["vectors"][3]).max() < 1e-6


def test_without_a_vector_an_older_file_stays(run, home, monkeypatch):  # noqa: F811
    monkeypatch.chdir(home)
    older = Path("v.npz")
    older.write_bytes(b"of yesterday")
    code, out, error = run("embed", "gone.jpg", "away.jpg", "--model", "demo", "-o", "v.npz")
    assert (code, out) == (3, b"")
    assert error.splitlines()[-1] == "qvsearch: no input has a vector, so nothing was written"
    assert older.read_bytes() == b"of yesterday"


def test_paths_that_find_prints(run, media, monkeypatch):  # noqa: F811
    odd = media / "a\nb.png"
    Image.new("RGB", (64, 64), "red").save(odd)
    raw = os.fsencode(media) + b"/\xff.png"
    os.link(odd, raw)
    paths = b"\0".join([os.fsencode(odd), raw, b"gone.png", b"x.zip"]) + b"\0"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(paths)))
    code, out, error = run("embed", "-0", "-", "--model", "demo")
    assert code == 3
    one, other = records(out)
    assert one["name"] == str(odd)
    assert base64.b64decode(other["name_b64"]) == raw
    # they may be in different batches
    assert np.abs(np.subtract(one["vector"], other["vector"])).max() < 1e-6
    assert ["input 2" in error, "input 3" in error] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "INPUT is missing"),
        (["a", "-o", "a.txt"], "does not end in .npy, .npz, .jsonl or .parquet"),
        (["a", "-o", "none/a.npy"], "there is no folder"),
        (["a", "-o", "folder.npy"], "is not a plain file"),
        (["a", "-o", "a.npy", "--store", "int8"], "scales of int8"),
        (["--from", "lines.jsonl", "-o", "lines.jsonl"], "is the file of the inputs"),
        (["--from", "none.txt"], "No such file"),
        (["--from", "empty.txt", "-o", "a.npy"], "there is no input"),
        (["a", "-0"], "--null is for"),
        (["-", "--from", "lines.jsonl"], "give one"),
        (["a", "--dim", "7"], "--dim 7"),
        (["a", "--store", "int4"], "--store 'int4' is unknown"),
    ],
)
def test_mistakes_are_one_sentence(run, home, monkeypatch, arguments, message):  # noqa: F811
    monkeypatch.chdir(home)
    Path("folder.npy").mkdir()
    Path("empty.txt").write_text("\n \n")
    Path("lines.jsonl").write_text("a\n")
    code, out, error = run("embed", *arguments, "--model", "demo")
    assert (code, out) == (2, b"")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(os.listdir()) == ["empty.txt", "folder.npy", "lines.jsonl"]


def test_a_library_gives_its_model_and_its_own_vectors(run, indexed, tiny):  # noqa: F811
    code, out, _ = run("embed", indexed / "red.png")  # QVSEARCH_LIBRARY names it
    assert code == 0
    library = Library.open(os.environ["QVSEARCH_LIBRARY"])
    [rows] = [rows for path, rows in library.by_location().items() if path.endswith(b"red.png")]
    assert records(out)[0]["vector"] == pytest.approx(library.vectors(rows)[0], abs=2e-3)
    _, out, _ = run("embed", "a", "--dtype", "float32", "--dim", "64")
    _, whole, _ = run("embed", "a", "--dtype", "float32", "--model", tiny)
    assert records(out)[0]["vector"] == pytest.approx(records(whole)[0]["vector"])
    code, _, error = run("embed", "a", "--dim", "63")
    assert code == 2
    assert "--dim 63" in error
    code, out, _ = run("embed", "a", "--model", "demo")  # another one than the library's
    assert (code, len(records(out)[0]["vector"])) == (0, 128)


def some_rows(count):
    """Every third input, with names that are no text, empty or long."""
    vectors = made_vectors(max(count, 1))
    names = [b"\xff/a.png", "é".encode(), b"words, words " * 50, b"a\nb"]
    return [VectorRow(3 * each, names[each % 4], vectors[each]) for each in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2 * vector_files.AT_ONCE + 1])
def test_every_form_holds_the_same_rows(tmp_path, count):
    rows = some_rows(count)
    vectors = np.array([each.vector for each in rows], np.float32).reshape(count, DIM)
    index = [each.index for each in rows]
    names = [each.name for each in rows]
    for suffix in (".npy", ".npz", ".jsonl", ".parquet"):
        assert write_vectors(tmp_path / f"a{suffix}", rows, DIM) == count
    assert np.array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), vectors)
    file = np.load(tmp_path / "a.npz", allow_pickle=False)
    assert np.array_equal(file["vectors"], vectors)
    assert file["index"].tolist() == index
    assert [os.fsencode(each) for each in file["names"].tolist()] == names
    lines = [orjson.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()]
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    for some in (lines, table):
        assert [each["index"] for each in some] == index
        found = [
            each["name"].encode() if each.get("name") else base64.b64decode(each["name_b64"])
            for each in some
        ]
        assert found == names
        own = np.array([each["vector"] for each in some], np.float32).reshape(count, DIM)
        assert np.array_equal(own, vectors)
    assert len(os.listdir(tmp_path)) == 4


def test_int8_is_what_an_int8_library_stores(tmp_path):
    rows = some_rows(100)
    library = Library.create(tmp_path / "library", FINGERPRINT, Stored.INT8)
    segments = [row(number) for number in range(100)]
    for number in range(7):
        library.add_root(b"/media/%d" % number)
    library.add(segments, np.array([each.vector for each in rows]))
    expected = library.vectors(range(100))
    for suffix in (".npz", ".parquet", ".jsonl"):
        write_vectors(tmp_path / f"a{suffix}", rows, DIM, "int8")
    file = np.load(tmp_path / "a.npz", allow_pickle=False)
    assert file["codes"].dtype == np.int8
    lines = [orjson.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()]
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    for codes, scale in (
        (file["codes"], file["scale"]),
        *(([e["codes"] for e in some], [e["scale"] for e in some]) for some in (lines, table)),
    ):
        vectors = np.array(codes) * np.array(scale, np.float32)[:, None]
        assert np.abs(vectors - expected).max() < 1e-7


def test_an_old_file_stays_if_the_rows_fail(tmp_path):
    def failing():
        yield from some_rows(3000)
        raise KeyboardInterrupt

    for suffix in (".npy", ".npz", ".jsonl", ".parquet"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"old")
        with pytest.raises(KeyboardInterrupt):
            write_vectors(path, failing(), DIM)
        assert path.read_bytes() == b"old"
    with pytest.raises(QvsearchError, match="shape"):
        write_vectors(tmp_path / "a.npy", some_rows(2), DIM + 1)
    assert len(os.listdir(tmp_path)) == 4


def test_a_file_that_cannot_grow_is_one_sentence(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        for suffix in (".npy", ".npz", ".jsonl", ".parquet"):
            with pytest.raises(
                QvsearchError, match=rf"cannot write a{suffix} in .*: File too large"
            ):
                write_vectors(tmp_path / f"a{suffix}", some_rows(1000), DIM)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


@linux
def test_rows_are_written_as_they_come(tmp_path):
    vector = made_vectors(1)[0]
    peaks = []

    def rows():
        before = resident()
        for number in range(80_000):
            if number % 1000 == 0:
                peaks.append(resident() - before)
            yield VectorRow(number, b"a", vector)

    write_vectors(tmp_path / "a.npy", rows(), DIM)
    assert (tmp_path / "a.npy").stat().st_size > 160e6
    assert max(peaks) < 60e6


@pytest.mark.faults
@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_old_file_alone(home, number):  # noqa: F811
    target = home / "a.npy"
    target.write_bytes(b"old")
    command = [sys.executable, "-m", "qvsearch", "embed", "a", "-", "--model", "demo", "-o", target]
    shows_where = {**os.environ, "PYTHONFAULTHANDLER": "1"}  # it stands, at SIGABRT
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=shows_where
    )
    for each in range(600):  # more than are read at once, so that some are embedded
        process.stdin.write(b"%d red circles\n" % each)
    process.stdin.flush()
    deadline = time.monotonic() + 200
    while not list(home.glob(".a.npy.*")):  # created before the first input is read
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.02)  # without taking a core from it
        if time.monotonic() > deadline:
            process.send_signal(signal.SIGABRT)
            pytest.fail(f"it does not begin: {process.communicate(timeout=60)[1].decode()}")
    process.send_signal(number)
    _, error = process.communicate()
    # Python ends by the signal if it was in the `exec` of an import; shells say 130 of both
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    assert (code, error) == (130, b"")
    assert target.read_bytes() == b"old"
    assert list(home.glob(".a.npy.*")) == []


@pytest.mark.faults
def test_a_reader_that_leaves_ends_the_work(home):  # noqa: F811
    command = [sys.executable, "-m", "qvsearch", "embed", "-", "--model", "demo"]
    with subprocess.Popen(["yes", "a"], stdout=subprocess.PIPE) as endless:
        process = subprocess.Popen(command, stdin=endless.stdout, stdout=subprocess.PIPE)
        endless.stdout.close()
        assert process.stdout.readline().startswith(b'{"index": 0, "name": "a", "vector": [')
        process.stdout.close()
        assert process.wait() == 0  # though standard input goes on


def made_library(folder, count, store=Stored.FLOAT16):
    library = Library.create(folder, FINGERPRINT, store)
    for number in range(7):
        library.add_root(b"/media/%d" % number)
    library.add([row(number) for number in range(count)], made_vectors(count))
    library.commit()
    return Library.open(folder)


@pytest.mark.parametrize("store", Stored)
def test_an_export_is_the_library(tmp_path, store):
    library = made_library(tmp_path / "library", 3000, store)
    with library.lock():
        library.remove([3, 5, 2999])
        library.commit()
    rows = list(library.segments)
    expected = library.vectors(rows)
    target = tmp_path / "new" / "export"
    assert export(library, target) == 2997
    assert np.array_equal(np.load(target / "vectors.npy", allow_pickle=False), expected)
    lines = [json.loads(line) for line in (target / "rows.jsonl").read_text().splitlines()]
    for line, segment in zip(lines, library.segments.values(), strict=True):
        assert line["path"].encode() == segment.item.location
        assert line["kind"] == segment.item.kind
        assert (line.get("start"), line.get("end")) == (segment.start, segment.end)
    assert export(library, tmp_path / "other", parquet=True, projector=True) == 2997
    assert sorted(os.listdir(tmp_path / "other")) == [
        *("metadata.tsv", "rows.parquet", "vectors.tsv")
    ]
    table = parquet.read_table(tmp_path / "other" / "rows.parquet").to_pylist()
    assert [(each["path"], each["start"]) for each in table] == [
        (each["path"], each.get("start")) for each in lines
    ]
    assert np.array_equal(np.array([each["vector"] for each in table], np.float32), expected)
    shown = np.loadtxt(tmp_path / "other" / "vectors.tsv", delimiter="\t", dtype=np.float32)
    assert np.array_equal(shown, expected)
    labels = (tmp_path / "other" / "metadata.tsv").read_text().splitlines()
    assert len(labels) == 2998
    assert all(label.count("\t") == labels[0].count("\t") for label in labels)


def test_a_table_has_all_metadata_of_the_rows(tmp_path):
    library = Library.create(tmp_path / "library", FINGERPRINT)
    library.add_root(b"/media")
    bare, page = (replace(row(0), item=replace(row(0).item, root=b"/media")) for _ in "ab")
    item = replace(page.item, path=b"a.pdf", kind=Kind.DOCUMENT)
    library.add([bare, replace(page, item=item, page=7, metadata=METADATA)], made_vectors(2))
    library.commit()
    export(library, tmp_path / "json")
    export(library, tmp_path / "table", parquet=True)
    line = json.loads((tmp_path / "json" / "rows.jsonl").read_text().splitlines()[1])
    without, with_all = parquet.read_table(tmp_path / "table" / "rows.parquet").to_pylist()
    assert line.pop("page") == with_all["page_number"] == 7
    assert {name: with_all[name] for name in line} == line
    assert {name for name in asdict(METADATA) if without[name] is not None} == set()


@linux
def test_an_export_takes_no_more_memory_than_its_parts(tmp_path):
    library = made_library(tmp_path / "library", 20_000)
    sizes = []
    export(library, tmp_path / "out", progress=lambda done, of: sizes.append(resident()))
    assert (tmp_path / "out" / "vectors.npy").stat().st_size > 40e6
    assert max(sizes) - sizes[0] < 15e6


def test_parquet_without_pyarrow_names_the_extra(run, home, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    code, _, error = run("embed", "a", "--model", "demo", "-o", home / "a.parquet")
    assert (code, error) == (
        2,
        'qvsearch: Parquet needs pyarrow: pip install "qvsearch[parquet]"\n',
    )
    assert os.listdir(home) == []


def test_filters_choose_what_is_exported(tmp_path):
    library = made_library(tmp_path / "library", 100)
    videos = parse_filters(kinds=[Kind.VIDEO])
    assert export(library, tmp_path / "videos", videos) == 25
    lines = (tmp_path / "videos" / "rows.jsonl").read_text().splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {"video"}
    with pytest.raises(QvsearchError, match="no file"):
        export(library, tmp_path / "none", parse_filters(camera="canon"))
    assert not (tmp_path / "none").exists()


def test_an_export_needs_an_empty_folder_and_leaves_it_so_after_an_error(tmp_path):
    library = made_library(tmp_path / "library", 2000)
    with pytest.raises(QvsearchError, match="not a new or empty folder"):
        export(library, tmp_path / "library")

    def stop(done, of):
        raise KeyboardInterrupt

    (tmp_path / "empty").mkdir()
    for place in ("empty", "new"):
        for form in ({}, {"parquet": True}, {"projector": True}):
            with pytest.raises(KeyboardInterrupt):
                export(library, tmp_path / place, progress=stop, **form)
    assert os.listdir(tmp_path / "empty") == []
    assert not (tmp_path / "new").exists()


def test_the_command_exports_without_a_model(run, indexed, tmp_path):  # noqa: F811
    code, out, error = run("export", tmp_path / "out", "--kind", "image")
    assert (code, error) == (0, "")
    assert out == f"4 vectors of 64 numbers written to {tmp_path / 'out'}\n".encode()
    code, out, error = run("export", tmp_path / "out")
    assert (code, out) == (2, b"")
    assert "not a new or empty folder" in error


def test_from_python(tmp_path, demo_embedder):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    sources = ["a red circle", tmp_path / "red.png", {"text": "x", "image": 3}, Path("gone.jpg")]
    outcomes = list(embed(sources, demo_embedder))
    assert [type(each) for each in outcomes] == [VectorRow, VectorRow, Skipped, Skipped]
    expected = demo_embedder.embed_documents(sources[:2])
    assert np.abs(np.stack([each.vector for each in outcomes[:2]]) - expected).max() < 1e-5
    assert [each.path for each in outcomes[2:]] == [b"input 2", os.path.abspath(b"gone.jpg")]
    assert isinstance(demo_embedder, Embedder)
