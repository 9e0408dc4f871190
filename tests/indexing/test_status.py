import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from support.colours import FINGERPRINT, unit

from qvsearch.cli.app import main
from qvsearch.indexing.fields import library_fields
from qvsearch.library.filtering import hidden_by, passing_rows
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.types import Item, Kind, Metadata, Segment


@pytest.fixture(autouse=True)
def zone(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def make_library(tmp_path):
    def make(*segments, root=b"/media"):
        library = Library.create(tmp_path / "library", FINGERPRINT)
        library.add_root(root)
        if segments:
            library.add(segments, np.stack([unit(1, 0, 0)] * len(segments)))
        library.commit()
        return Library.open(library.folder)

    return make


def file(path, kind=Kind.IMAGE, size=(None, None), root=b"/media", **said):
    item = Item(root, path, kind, 1, 0)
    return Segment(item, "0", width=size[0], height=size[1], metadata=Metadata(**said))


PHONE = {"camera": "Apple iPhone 12", "latitude": 48.2, "longitude": 16.4}
NOTE = {"title": "On radium", "author": "Marie Curie", "keywords": ("sea", "Salt", "sea")}
FILM = file(b"a.mp4", Kind.VIDEO, (640, 480), duration=83.5, taken="2020-12-31T23:30:00Z")
FILES = [
    file(b"1.jpg", size=(4000, 3000), taken="2023-07-04T12:00:00", **PHONE),
    file(b"2.jpg", size=(300, 400), taken="2009-03-01T10:00:00+09:00", **PHONE),
    file(b"3.jpg", size=(500, 500), camera="Canon EOS 5D", latitude=47, longitude=17),
    file(b"notes/a.txt", Kind.TEXT, language="de", **NOTE),
    replace(FILM, start=0.0, end=1.0),
    replace(FILM, start=1.0, end=2.0),
    file(b"b.mp4", Kind.VIDEO, (480, 640), duration=5, keywords=("sea",), rating=4),
]


def record(capfdbinary, library):
    assert main(["status", "--fields", "--json", "-l", str(library.folder)]) == 0
    return json.loads(capfdbinary.readouterr().out)


def test_fields_say_how_many_files_have_what(capfdbinary, make_library):
    found = record(capfdbinary, library := make_library(*FILES))
    assert found == {
        "library": str(library.folder),
        "fields": {
            "kind": {
                "options": ["--kind"],
                "files": 6,
                "values": {"image": 3, "video": 2, "text": 1},
            },
            "path": {"options": ["--under", "--glob"], "files": 6, "values": {"/media": 6}},
            "taken": {
                "options": ["--after", "--before"],
                "files": 3,
                "least": "2009-03-01T02:00:00+01:00",
                "most": "2023-07-04T12:00:00+02:00",
            },
            "camera": {
                "options": ["--camera"],
                "files": 3,
                "values": {"Apple iPhone 12": 2, "Canon EOS 5D": 1},
            },
            "place": {
                "options": ["--near"],
                "files": 3,
                "least": [47, 16.4],
                "most": [48.2, 17],
            },
            "country": {
                "options": ["--place"],
                "files": 3,
                "values": {"Austria": 2, "Hungary": 1},
            },
            "city": {
                "options": ["--place"],
                "files": 2,
                "values": {"Vienna, Austria": 2},
            },
            "size": {
                "options": ["--min-size"],
                "files": 5,
                "least": [300, 400],
                "most": [4000, 3000],
            },
            "orientation": {
                "options": ["--orientation"],
                "files": 5,
                "values": {"landscape": 2, "portrait": 2, "square": 1},
            },
            "duration": {"options": ["--duration"], "files": 2, "least": 5, "most": 83.5},
            "suffix": {
                "options": ["--suffix"],
                "files": 6,
                "values": {"jpg": 3, "mp4": 2, "txt": 1},
            },
            "title": {"options": ["--title"], "files": 1},
            "author": {"options": ["--author"], "files": 1, "values": {"Marie Curie": 1}},
            "keyword": {
                "options": ["--keyword"],
                "files": 2,
                "values": {"sea": 2, "Salt": 1},
            },
            "rating": {"options": ["--rating"], "files": 1, "values": {"4": 1}},
            "page": {"options": ["--page"], "files": 0},
            "language": {"options": ["--language"], "files": 1, "values": {"de": 1}},
        },
    }


def test_what_a_field_says_is_what_its_filter_takes(make_library):
    """The ends of each range, given back to the option, find as many files as there are."""
    library = make_library(*FILES)
    fields = {each.name: each for each in library_fields(library)}
    columns = library.columns

    def files(**asked):
        rows = np.flatnonzero(passing_rows(columns, parse_filters(**asked)))
        return len({library.segments[row].item for row in rows.tolist()})

    for name, count in fields["camera"].values.items():
        assert files(camera=name) == count
    for name, count in (fields["country"].values | fields["city"].values).items():
        assert files(place=name) == count
    for name, count in fields["suffix"].values.items():
        assert files(suffixes=[name]) == count
    for name, count in fields["keyword"].values.items():
        assert files(keywords=[name]) == count
    assert files(author="curie", title="RADIUM", language="de") == 1
    assert files(rating="4-4") == files(rating="1") == 1
    assert files(page="1-") == 0
    for name, count in fields["orientation"].values.items():
        assert files(orientation=name) == count
    for name, count in fields["kind"].values.items():
        assert files(kinds=[Kind(name)]) == count
    for name, count in fields["path"].values.items():
        assert files(under=[name.encode()]) == count
    assert files(min_size="{}x{}".format(*fields["size"].most)) == 1
    duration = fields["duration"]
    assert files(duration=f"{duration.least}-{duration.most}") == duration.files
    assert files(near="{},{},0.001".format(*fields["place"].most)) == 0
    assert files(near="48.2,16.4,0.001") == 2
    taken = fields["taken"]
    assert files(after=taken.least) == taken.files
    (last,) = [each for each in FILES if not hidden_by(each, parse_filters(after=taken.most))]
    assert last.item.path == b"1.jpg"


@pytest.mark.parametrize(
    ("longitudes", "west", "east"),
    [
        ([10, -20, 30], -20, 30),
        ([170, -170, 179], 170, -170),
        ([5], 5, 5),
        ([180, -180], 180, -180),
        ([-90, 90], -90, 90),
    ],
)
def test_the_box_of_places_is_the_narrowest(make_library, longitudes, west, east):
    places = [
        file(b"%d.jpg" % number, latitude=number, longitude=longitude)
        for number, longitude in enumerate(longitudes)
    ]
    library = make_library(*places)
    (place,) = [each for each in library_fields(library) if each.name == "place"]
    assert place.least == (0, west)
    assert place.most == (len(longitudes) - 1, east)


def test_damaged_files_are_counted_and_named(capfdbinary, make_library):
    cut = "the last 12 % is missing"
    library = make_library(*FILES, file(b"cut.jpg", damaged=cut), file(b"b/cut.jpg", damaged=cut))
    assert main(["status", "-l", str(library.folder)]) == 0
    assert b"2 files; their readable part is indexed" in capfdbinary.readouterr().out
    assert main(["status", "--json", "-l", str(library.folder)]) == 0
    assert json.loads(capfdbinary.readouterr().out)["damaged"] == [
        {"path": "/media/b/cut.jpg", "missing": cut},
        {"path": "/media/cut.jpg", "missing": cut},
    ]


def test_an_empty_library_has_no_fields(capfdbinary, make_library):
    library = make_library()
    fields = record(capfdbinary, library)["fields"]
    assert {tuple(each) for each in fields.values()} == {("options", "files")}
    assert {each["files"] for each in fields.values()} == {0}
    assert main(["status", "--fields", "-l", str(library.folder)]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[name, "0"] for name in fields]


def on_a_terminal(*arguments):
    """What a command prints to a terminal of 80 columns."""
    ours, theirs = os.openpty()
    program = [sys.executable, "-m", "qvsearch", *arguments]
    environment = os.environ | {"COLUMNS": "80", "TERM": "dumb"}
    with subprocess.Popen(program, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 0
    return output.decode().replace("\r\n", "\n")


def test_fields_fit_a_terminal_and_hostile_names_do_no_harm(make_library):
    cameras = ["\x1b[2J\u202eevil\n", "相机" * 4000, "x" * 5000, "Canon", "Nikon", "[bold]Leica"]
    photos = [
        file(b"odd-%d.jpg" % number, camera=camera, size=(100, 50))
        for number, camera in enumerate(cameras)
    ]
    root = b"/media/\xff\x1b[31m" + b"long" * 40
    library = make_library(*FILES, *photos, root=b"/media")
    library.add_root(root)
    library.add([file(b"z.jpg", root=root, camera="Leica")], np.stack([unit(1, 0, 0)]))
    library.commit()
    output = on_a_terminal("status", "--fields", "-l", str(library.folder))
    assert "\u202e" not in output
    assert "\x1b[2J" not in output
    assert "\x1b[31m" not in output
    assert max(map(cell_len, output.splitlines())) <= 80
    words = " ".join(output.split())
    assert "Apple iPhone 12 (2), " in words
    assert "5 more" in words
    assert "2009-03-01 to 2023-07-04 --after --before" in words
    assert "47.00,16.40 to 48.20,17.00 --near" in words
    assert "100x50 to 4000x3000 --min-size" in words
    assert "00:05 to 01:24 --duration" in words
    assert "has the time of its last change" in words
