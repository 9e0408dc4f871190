"""Texts as files: encodings, passages with their lines, and what is no text."""

import os
from itertools import pairwise

import pytest

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media.text import MAX_BYTES, SNIPPET_CHARACTERS, reads_otherwise
from qvsearch.types import DecodeOptions, Item, Kind


def decode(path, content):
    path.write_bytes(content)
    status = os.stat(path)
    item = Item(os.fsencode(path), b"", Kind.TEXT, status.st_size, status.st_mtime_ns)
    return [
        (segment, input_.text)
        for segment, input_ in media.decode(item, "", DecodeOptions(1)).segments
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "note.txt"


GREETING = "Grüße aus Málaga,\nçà et là\n"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", GREETING),
        ("utf-8-sig", GREETING),
        ("utf-16", GREETING),  # with its mark
        ("utf-32", GREETING),
        ("utf-16-le", GREETING),
        ("utf-16-be", GREETING),
        ("latin-1", GREETING),
        ("cp1252", GREETING + "“quoted” – 5 €\n"),
        ("utf-8", "一九四九年\n你好，世界\n"),
        ("utf-16-le", "一九四九年 1949\n你好，世界\n"),
        ("utf-16-be", "一九四九年 1949\n你好，世界\n"),
        ("utf-8", "Привет\nмир\n"),
        ("ascii", "\x1b[31mcoloured log\x1b[0m\n\ttabbed\x0c\n"),
    ],
)
def test_encodings(path, encoding, text):
    [(segment, passage)] = decode(path, text.encode(encoding))
    assert passage == text.rstrip("\n")
    assert segment.lines == (1, len(text.rstrip("\n").split("\n")))


def test_broken_utf8_is_still_utf8(path):
    cut = "ein schöner Tag, 東京".encode()[:-1]
    assert decode(path, cut)[0][1] == "ein schöner Tag, 東\ufffd"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b" \n\t\r\n", "no text"),
        ("\n ".encode("utf-16"), "no text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary file"),
        (bytes(range(256)) * 20, "binary file"),
        (bytes(4096), "no text"),
        (b"\xef\xbb\xbf", "no text"),
        (b"\xff\xfe", "no text"),
        (b"SQLite format 3\0\x10\0\1\1\0@  \0\0\0\2\0\0\0\2" + bytes(70), "binary file"),
        (b"\x01\x02\x03 controls", "binary file"),
    ],
)
def test_what_is_no_text(path, content, reason):
    with pytest.raises(MediaError, match=reason):
        decode(path, content)


def test_a_picture_called_txt(path):
    from PIL import Image

    Image.effect_noise((64, 64), 50).save(path, "JPEG")
    with pytest.raises(MediaError, match="binary file"):
        decode(path, path.read_bytes())


def test_the_size_cap(path):
    with open(path, "wb") as file:
        file.truncate(5 * 2**30)  # sparse: reading it would fill the memory
    status = os.stat(path)
    item = Item(os.fsencode(path), b"", Kind.TEXT, status.st_size, status.st_mtime_ns)
    with pytest.raises(MediaError, match=r"too large: 5120\.0 MiB of text, the limit is 10"):
        media.decode(item, "", DecodeOptions(1))
    assert decode(path, b"word " * (MAX_BYTES // 5))


def numbered(count, words=12):
    return [f"line {number} " + "word " * words for number in range(1, count + 1)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_passages_are_the_lines_that_they_name(path, end):
    lines = numbered(300)
    passages = decode(path, end.join(lines).encode())
    assert len(passages) > 5
    for segment, passage in passages:
        first, last = segment.lines
        assert passage == end.join(lines[first - 1 : last])
    ranges = [segment.lines for segment, _ in passages]
    assert ranges[0][0] == 1
    assert ranges[-1][1] == 300
    for (_, last), (first, _) in pairwise(ranges):
        assert first <= last  # whole lines are repeated,
        assert sum(len(line) for line in lines[first - 1 : last]) / 4 <= 41  # of 40 tokens
    for _, passage in passages:
        assert 200 <= len(passage) / 4 <= 500


def test_paragraphs_are_kept_together(path):
    paragraphs = ["\n".join(numbered(5, words=20)) + f"\nend of {index}" for index in range(20)]
    for _, passage in decode(path, "\n\n".join(paragraphs).encode()):
        assert passage.splitlines()[-1].startswith("end of")


def test_a_short_rest_is_not_a_passage_of_its_own(path):
    [(segment, _)] = decode(path, "\n".join(numbered(27)).encode())  # about 480 tokens
    assert segment.lines == (1, 27)


def test_blank_lines_around_a_passage_are_not_its_lines(path):
    [(segment, passage)] = decode(path, b"\n\n  \n  indented\n\n\tmore\n\n\n")
    assert segment.lines == (4, 6)
    assert passage == "  indented\n\n\tmore"


def test_a_long_line_is_cut_at_sentences(path):
    sentence = "The 3.14 quick brown foxes jump over the lazy dog. "
    passages = decode(path, (sentence * 200).encode())
    assert len(passages) > 5
    assert {segment.lines for segment, _ in passages} == {(1, 1)}
    for _, passage in passages:
        assert passage.startswith("The 3.14")
        assert passage.endswith("dog. ")
    assert "".join(passage for _, passage in passages) == sentence * 200


@pytest.mark.parametrize("unit", ["x", "你", "word ", "é", "😀"])
def test_one_line_of_ten_megabytes(path, unit):
    text = unit * (MAX_BYTES // len(unit.encode()))
    passages = decode(path, text.encode())
    assert "".join(passage for _, passage in passages) == text
    longest = max(len(passage) for _, passage in passages)
    tokens_of_unit = {"x": 0.25, "你": 1, "word ": 0.25, "é": 2 / 3, "😀": 4 / 3}[unit]
    assert longest * tokens_of_unit <= 500


def test_wide_characters_count_more_than_ascii(path):
    chinese = ("春眠不觉晓，处处闻啼鸟。" * 2 + "\n") * 60
    longest = max(len(passage) for _, passage in decode(path, chinese.encode()))
    assert 300 <= longest <= 500


def test_snippets(path):
    [(segment, _)] = decode(path, b"# Title\n\n  some\ttext\n" + b"and more " * 50)
    assert segment.snippet.startswith("# Title some text and more and more")
    assert len(segment.snippet) == SNIPPET_CHARACTERS


def test_everything_is_in_some_passage(path):
    lines = []
    for number in range(400):
        lines.append(f"marker{number} " + "filler " * (number * 37 % 90))
        lines.extend([""] * (number % 3))
    passages = decode(path, "\n".join(lines).encode())
    whole = " ".join(passage for _, passage in passages).split()
    assert {f"marker{number}" for number in range(400)} <= set(whole)


@pytest.mark.parametrize(
    ("name", "content", "otherwise"),
    [
        ("a.txt", "Plain words, naïve.\n".encode(), False),
        ("a.txt", "Plain words, naïve.\n".encode("cp1252"), False),
        ("a.txt", "Plain words, naïve.\n".encode("utf-16"), False),
        ("a.txt", "Plain words, naïve.\n".encode("utf-16-le"), False),
        ("a.txt", "Пожалуйста, приходите вовремя.\n".encode(), False),
        ("a.txt", "Пожалуйста, приходите вовремя.\n".encode("cp1251"), True),
        ("a.txt", b"1. one\n\n\n" * 50, False),
        ("a.csv", b"1,2\n" * 50, True),
        ("a.md", b"---\ntitle: x\n---\nwords\n", True),
        ("a.md", b"![](data:image/png;base64," + b"A" * 200 + b")\n", True),
    ],
)
def test_what_version_1_read_otherwise(tmp_path, name, content, otherwise):
    path = tmp_path / name
    path.write_bytes(content)
    item = Item(os.fsencode(path), b"", Kind.TEXT, len(content), 0)
    for since in (1, 2):
        with path.open("rb") as file:
            assert reads_otherwise(file, item, since) == (otherwise and since == 1)
