"""Code as text: passages at functions, telling snippets, and what is data or minified."""

import os

import pytest

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media.code import telling_code
from qvsearch.types import DecodeOptions, Item, Kind, is_file_name, kind_of

FUNCTION = """def area_of_{0}(width, height):
    \"\"\"Return the area.\"\"\"

    first = width * height

    return first + {0}
"""


def decode(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    status = path.stat()
    item = Item(os.fsencode(path), b"", kind_of(name.encode()), status.st_size, status.st_mtime_ns)
    return media.decode(item, "", DecodeOptions(1)).segments


def test_passages_end_between_functions(tmp_path):
    text = "\n\n".join(FUNCTION.format(number) for number in range(60))
    found = [source.text for _, source in decode(tmp_path, "a.py", text)]
    assert len(found) > 3
    for passage in found[:-1]:
        assert passage.rstrip().splitlines()[-1].startswith("    return")
    assert {number for number in range(60) if any(f"area_of_{number}(" in p for p in found)} == set(
        range(60)
    )


@pytest.mark.parametrize(
    ("name", "text", "telling"),
    [
        (
            "a.py",
            "#!/usr/bin/env python\n# Copyright X\nimport os\nfrom a import b\n\nX = 1\n",
            "X = 1",
        ),
        ("a.c", "/*\n * Licence.\n */\n#include <a.h>\n\nint main(void) {\n", "int main(void) {"),
        (
            "a.js",
            "\"use strict\";\nconst a = require('a');\nimport b from 'b'\nlet c = 2\n",
            "let c = 2",
        ),
        ("a.rs", "// x\nuse std::io;\n\npub fn f() {}\n", "pub fn f() {}"),
        ("a.md", "# Title\n\nwords\n", "# Title words"),
        ("README", "# Title\n\nwords\n", "# Title words"),
        ("a.sh", "# All comment\n", "# All comment"),
    ],
)
def test_snippets_begin_with_the_first_telling_line(tmp_path, name, text, telling):
    [(segment, source)] = decode(tmp_path, name, text)
    assert segment.snippet == telling
    assert source.text == text.rstrip("\n")
    assert segment.lines == (1, text.count("\n"))


def test_no_line_tells():
    assert telling_code("import a\n)\n}") == ""


def test_minified_code_and_data_are_refused(tmp_path):
    with pytest.raises(MediaError, match="minified or generated: 3,000 characters a line"):
        decode(tmp_path, "a.js", "\n".join(["x" * 3000] * 9))
    with pytest.raises(MediaError, match=r"too large: 1\.5 MiB of code or data, the limit is 1"):
        decode(tmp_path, "a.json", "[1]\n" * (3 * 2**17))
    assert decode(tmp_path, "b.json", '{"one": "line"}')


def test_words_that_end_like_code_are_words():
    for word in (
        b"ann@museum.org",
        b"museum.org",
        b"node.js",
        b"main.go",
        b"license",
        b"README",
    ):
        assert kind_of(word) is Kind.TEXT
        assert not is_file_name(word)
    for word in (b"a.jpg", b"notes.txt", b"report.docx"):
        assert is_file_name(word)
