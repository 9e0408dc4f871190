"""Inputs of tasks: each gets the vector that its content has elsewhere, in its own place."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image
from support.coloured_pages import colour_of, write_pdf
from support.images import scene
from support.videos import frame_of, make

from qvsearch.compat.inputs import Limits
from qvsearch.errors import QvsearchError
from qvsearch.tasks.embedding import embed_rows
from qvsearch.tasks.inputs import (
    TaskInput,
    embed_inputs,
    file_input,
    parse_argument,
    parse_dictionary,
    read_inputs,
    read_lines,
)
from qvsearch.tasks.sources import read_live
from qvsearch.types import DecodeOptions, Detail, EmbedInput, Skipped

LOW = DecodeOptions(Detail.LOW.max_pixels)


@pytest.fixture
def files(tmp_path):
    scene().save(tmp_path / "photo.png")
    scene(64, 96).rotate(90, expand=True).save(tmp_path / "other.jpg")
    make(tmp_path / "clip.mp4", [frame_of(number) for number in range(30)])
    (tmp_path / "note.txt").write_text("a red circle on the grass\n" * 300)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return tmp_path


def argument(path):
    return parse_argument(os.fspath(path))


def test_each_input_has_the_vector_of_its_content(files, demo_embedder):
    words = "a red circle"
    both = parse_dictionary("both", {"text": words, "image": "photo.png"}, os.fsencode(files))
    inputs = [parse_argument(words), argument(files / "photo.png"), both]
    vectors = np.stack(
        list(embed_inputs(inputs, lambda: demo_embedder, demo_embedder.decode_options))
    )
    picture = Image.open(files / "photo.png")
    alone = [
        demo_embedder.embed([each])[0]
        for each in (
            EmbedInput(words),
            EmbedInput(images=(picture,)),
            EmbedInput(words, images=(picture,)),
        )
    ]
    assert np.abs(vectors - alone).max() < 1e-5


def test_a_film_is_one_input_with_the_published_frames(files):
    [source] = read_inputs([argument(files / "clip.mp4")], LOW)
    published = Limits().video(files / "clip.mp4")
    assert source.video.times == published.times
    assert source.video.pixels.shape == published.pixels.shape
    apart = source.video.pixels.astype(int) - published.pixels
    assert np.abs(apart).mean() < 1  # torchvision's bicubic beside Pillow's


def test_a_text_file_is_one_input_without_repeated_lines(files):
    [source] = read_inputs([argument(files / "note.txt")], LOW)
    assert source.text == (files / "note.txt").read_text().strip()  # longer than any passage


@pytest.mark.parametrize("name", ["in.jsonl", "folder/in.ndjson"])
def test_a_broken_line_of_json_lines_is_no_words(name):
    lines = [b'"a star"', b'text": "a ring"}', b"", b"plain words", b'{"text": "a star"}']
    first, second, third, last = read_lines(lines, name, b"/")
    assert (first.text, last.text) == ("a star", "a star")
    assert [each.path.decode() for each in (second, third)] == [
        f"line 2 of {name}",
        f"line 4 of {name}",
    ]
    assert all(each.reason.startswith("it is no JSON: ") for each in (second, third))
    assert [each.text for each in read_lines(lines[1:2], "in.txt", b"/")] == ['text": "a ring"}']


def test_bad_inputs_are_named_in_their_places(files, demo_embedder):
    lines = [
        json.dumps(each).encode()
        for each in (
            "a star",
            {"text": "x", "image": "missing.jpg"},
            {"image": ["photo.png", "broken.jpg"]},
            {"image": "https://example.org/a.jpg"},
            {"image": "\ud800.jpg"},
            {"image": {"a": 1}},
            {"pixels": 3},
            {},
            [1],
            {"video": ["clip.mp4", "clip.mp4"]},
            {"image": "other.jpg"},
        )
    ]
    lines += [b"{broken", b"\xff", b"", b"plain words", b"[" * 100_000]
    inputs = read_lines(lines, "in.txt", os.fsencode(files))
    outcomes = list(embed_inputs(inputs, lambda: demo_embedder, LOW))
    assert len(outcomes) == 15  # the blank line is none
    bad = {each.path.decode(): each.reason for each in outcomes if isinstance(each, Skipped)}
    assert [number for number, each in enumerate(outcomes) if not isinstance(each, Skipped)] == [
        *(0, 10, 13)
    ]
    assert all(name.startswith("line ") and name.endswith(" of in.txt") for name in bad)
    reasons = list(bad.values())
    for reason, words in zip(
        reasons,
        (
            *(
                "missing.jpg",
                "broken.jpg",
                "URLs are not fetched",
                "is not a path",
                "dict; give a string",
            ),
            *("unknown key 'pixels'", "no content", "give a dictionary", "give one"),
            *("no JSON", "UTF-8", "no JSON"),
        ),
        strict=True,
    ):
        assert words in reason, reason
    alone = demo_embedder.embed([EmbedInput("plain words")])[0]
    assert np.abs(outcomes[13] - alone).max() < 1e-5


def test_an_input_that_the_model_refuses_costs_no_other(demo_embedder):
    class Refusing:
        dim = demo_embedder.dim

        def embed(self, inputs):
            if any(each.text == "bad" for each in inputs):
                raise QvsearchError("not this one")
            return demo_embedder.embed(inputs)

    texts = ["one", "bad", "two", "three", "bad", "four"]
    inputs = [TaskInput(b"%d" % number, text) for number, text in enumerate(texts)]
    outcomes = list(embed_inputs(inputs, Refusing, LOW))
    assert [isinstance(each, Skipped) for each in outcomes] == [text == "bad" for text in texts]
    assert [each.path for each in outcomes if isinstance(each, Skipped)] == [b"1", b"4"]
    expected = demo_embedder.embed([EmbedInput(text) for text in texts if text != "bad"])
    rows = np.stack([each for each in outcomes if not isinstance(each, Skipped)])
    assert np.abs(rows - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), (" ", "empty"), ("\udcff", "UTF-8"), ("gone.jpg", "no file")],
)
def test_a_wrong_argument_is_refused(text, reason):
    with pytest.raises(QvsearchError, match=reason):
        parse_argument(text)


def test_a_folder_and_an_unknown_suffix_are_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    for path in (tmp_path, tmp_path / "a.zip"):
        with pytest.raises(QvsearchError, match=path.name):
            parse_argument(os.fspath(path))
    with pytest.raises(QvsearchError, match="unsupported suffix"):
        file_input(b"/a.zip")


def test_the_mark_of_utf8_is_no_part_of_the_first_line():
    lines = [b"\xef\xbb\xbf" + b'{"text": "a"}\n', b"b\n"]
    assert [each.text for each in read_lines(lines, "lines", b"/")] == ["a", "b"]


@pytest.fixture
def hurried():
    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("hurried")
def test_what_has_come_is_embedded_without_waiting_for_more(files, demo_embedder, monkeypatch):
    monkeypatch.chdir(files)
    reading, writing = os.pipe()
    rows = []
    with os.fdopen(writing, "wb", 0) as writer, os.fdopen(reading, "rb") as reader:
        outcomes = embed_rows(read_live(reader, "a pipe"), lambda: demo_embedder, LOW)
        for lines in (["a star"], ['{"image": "photo.png"}', '{"image": "no.png"}', ""], ["night"]):
            writer.write("".join(f"{line}\n" for line in lines).encode())
            rows += [next(outcomes) for line in lines if line]
        writer.close()
        assert list(outcomes) == []
    assert [getattr(each, "index", None) for each in rows] == [0, 1, None, 3]
    assert rows[2].path == b"line 3 of a pipe"
    expected = demo_embedder.embed_documents(["a star", files / "photo.png", "night"])
    found = np.stack([rows[place].vector for place in (0, 1, 3)])
    assert np.abs(found - expected).max() < 1e-5


def test_a_document_is_one_input_of_its_pages(files, demo_embedder):
    path = write_pdf(files / "a.pdf", ("red", "one"), ("blue", "two"))
    [source] = read_inputs([argument(path)], LOW)
    assert [colour_of(each) for each in source.images] == ["red", "blue"]
    [vector] = embed_inputs([argument(path)], lambda: demo_embedder, LOW)
    assert np.allclose(vector, demo_embedder.embed([source])[0], atol=1e-5)
