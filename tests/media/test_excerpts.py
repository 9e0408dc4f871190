"""Lines of texts in all encodings."""

import pytest
from support.images import item_of

from qvsearch.files import content_hash
from qvsearch.media import excerpts
from qvsearch.types import DecodeOptions, Kind


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        ("Übung\nzwei".encode("utf-16"), "Übung\nzwei"),
        ("snow\nгород над рекой, снег и лёд, снег и лёд\n".encode("cp1251"), None),
        (b"x" * 300_000 + b"\nsnow", "x" * 100_000),
    ],
)
def test_any_encoding_and_line_end_is_read(tmp_path, data, expected):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    item = item_of(path, Kind.TEXT)
    digest = content_hash(item.location, item.size)
    decoded = excerpts.decode(item, digest, DecodeOptions(1, moments=((1.0, 50.0),)))
    ((segment, source),) = decoded.segments
    assert expected is None or source.text == expected
    assert segment.lines == (1, 1 + source.text.count("\n"))
