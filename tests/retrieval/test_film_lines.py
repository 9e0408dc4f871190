"""Words of films and pictures on disk: a hit on a line of a film starts when it is spoken."""

import json

import numpy as np
import pytest
from support.cheap_model import FINGERPRINT, instead, vector_of
from support.hostile_videos import film

from qvsearch.cli.app import main
from qvsearch.library.library import Library
from qvsearch.types import Item, Kind, Segment

SPOKEN = """1
00:00:00,250 --> 00:00:01,000
Good evening

2
00:00:01,750 --> 00:00:02,000
Where is the kumquat?

3
00:00:02,500 --> 00:00:03,000
Good night
"""


@pytest.fixture
def place(in_memory):
    return in_memory / "library"


def find(place, query, capsys):
    """Return each hit's name and start, by words alone."""
    code = main(["search", query, "--words-only", "-l", str(place), "--json", "--quiet"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == (0 if lines else 1)
    return [(hit["path"].rpartition("/")[2], hit.get("start")) for hit in lines]


def test_a_hit_on_a_line_starts_with_it(place, in_memory, capsys):
    films = in_memory / "films"
    films.mkdir()
    data = film("mp4")
    for name in ("one", "two"):
        (films / f"{name}.mp4").write_bytes(data)
    (films / "one.srt").write_text(SPOKEN)
    Library.create(place, FINGERPRINT)
    with instead():
        assert main(["index", str(films), "-l", str(place), "--quiet"]) == 0
    assert find(place, '"the kumquat"', capsys) == [("one.mp4", 1.75)]
    assert find(place, '"good night"', capsys) == [("one.mp4", 2.5)]
    assert find(place, "one.mp4", capsys)[0][0] == "one.mp4"
    for time in ('"1 750"', '"750 where"', '"2 500"'):
        assert find(place, time, capsys) == [], "times are no words"


def test_words_in_pictures_are_found_after_they_were_read(place, capsys):
    library = Library.create(place, FINGERPRINT)
    library.add_root(b"/media")
    picture = Segment(Item(b"/media", b"screen.png", Kind.IMAGE, 1, 0), "a")
    film = Item(b"/media", b"talk.mp4", Kind.VIDEO, 1, 0)
    moments = [Segment(film, "b", start=10.0 * n, end=10.0 * n + 10) for n in range(3)]
    segments = [picture, *moments]
    library.add(segments, np.stack([vector_of(str(n)) for n in range(4)]))
    library.commit()
    library = Library.open(place)
    library.add_words({0: "Error 0x80070057", 2: "10.000\tSlide of kumquats", 3: ""}, "ocr")
    library.commit()
    assert Library.open(place).words.read_by("ocr").tolist() == [0, 2, 3]
    assert find(place, '"error 0x80070057"', capsys) == [("screen.png", None)]
    assert find(place, "kumquats", capsys) == [("talk.mp4", 10.0)]
    assert find(place, '"10 000"', capsys) == []
    # words that come later are added to these
    library = Library.open(place)
    library.add_words({0: "in a dialogue"}, "other")
    library.commit()
    assert find(place, '"0x80070057 in a dialogue"', capsys) == [("screen.png", None)]
    assert Library.open(place).words.read_by("ocr").tolist() == [0, 2, 3]
