import math
import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvsearch.choices import Orientation
from qvsearch.errors import QvsearchError
from qvsearch.library.filtering import hidden_by
from qvsearch.library.filters import (
    Filters,
    filters_by_name,
    parse_date,
    parse_duration,
    parse_filters,
    parse_globs,
    parse_language,
    parse_near,
    parse_orientation,
    parse_pages,
    parse_part,
    parse_rating,
    parse_size,
    parse_suffixes,
    parse_under,
)
from qvsearch.library.patterns import glob_regex, path_text
from qvsearch.times import time_taken
from qvsearch.types import Item, Kind, Metadata, Segment

# as POSIX writes zones, so that no table of them has to be there
VIENNA = "CET-1CEST,M3.5.0,M10.5.0/3"
SAO_PAULO = "<-03>3<-02>,M11.1.0/0,M2.3.0/0"  # as it was: midnight is skipped, 23:00 comes twice
HAVANA = "CST5CDT,M3.2.0/0,M11.1.0/1"  # midnight is skipped, and comes twice
NUUK = "<-02>2<-01>,M3.5.0/-1,M10.5.0/0"  # the last hour of a day is skipped
KIRITIMATI = "<+14>-14"
ZONES = [VIENNA, SAO_PAULO, HAVANA, NUUK, KIRITIMATI]


def in_zone(zone):
    """Set this machine's zone; None is its own."""
    if zone is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = zone
    time.tzset()


@pytest.fixture(autouse=True)
def own_zone():
    before = os.environ.get("TZ")
    yield
    in_zone(before)


def nanoseconds(*moment):
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 10**9


def segment(kind=Kind.IMAGE, root=b"/media", path=b"a.jpg", mtime_ns=0, size=(None, None), **said):
    item = Item(root, path, kind, 1, mtime_ns)
    return Segment(item, "0", width=size[0], height=size[1], metadata=Metadata(**said))


def passes(one, **filters):
    return not hidden_by(one, Filters(**filters))


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        (VIENNA, "2023-07-04", (2023, 7, 3, 22)),
        (VIENNA, "2023-07-04T18:30", (2023, 7, 4, 16, 30)),
        (VIENNA, "2023-07-04 18:30:05", (2023, 7, 4, 16, 30, 5)),
        (VIENNA, "2023-07-04T18:30Z", (2023, 7, 4, 18, 30)),
        (VIENNA, "2023-07-04T18:30+09:00", (2023, 7, 4, 9, 30)),
        (VIENNA, "2023-07", (2023, 6, 30, 22)),
        (VIENNA, "2023", (2022, 12, 31, 23)),
        # skipped: as long after the change as it says; shown twice: the first
        (VIENNA, "2023-03-26T02:30", (2023, 3, 26, 1, 30)),
        (VIENNA, "2023-10-29T02:30", (2023, 10, 29, 0, 30)),
        # days without a midnight, or with two, begin with their first instant
        (SAO_PAULO, "2018-11-04", (2018, 11, 4, 3)),
        (HAVANA, "2023-03-12", (2023, 3, 12, 5)),
        (HAVANA, "2023-11-05", (2023, 11, 5, 4)),
        (KIRITIMATI, "2023-07-04", (2023, 7, 3, 10)),
        (VIENNA, "1969-07-20T20:17:40.5Z", (1969, 7, 20, 20, 17, 40, 500_000)),
    ],
)
def test_dates_begin_with_their_first_instant(zone, text, expected):
    in_zone(zone)
    asked = datetime(*expected, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_date("--after", text) == asked // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize("zone", ZONES)
@settings(deadline=None)
@given(st.integers(0, 4 * 10**9))
def test_what_a_clock_showed_is_within_its_own_day(zone, seconds):
    in_zone(zone)
    shown = datetime.fromtimestamp(seconds)  # without a zone, as a camera writes it
    day, following = shown.date().isoformat(), (shown.date() + timedelta(1)).isoformat()
    filters = parse_filters(after=day, before=following)
    assert hidden_by(segment(taken=shown.isoformat()), filters) == []
    assert hidden_by(segment(taken=shown.isoformat()), parse_filters(before=day)) != []
    assert hidden_by(segment(taken=shown.isoformat()), parse_filters(after=following)) != []


def test_the_time_taken_counts_before_that_of_the_file():
    in_zone(VIENNA)
    mtime = nanoseconds(2024, 1, 1)
    for taken, expected in (
        ("2023-07-04T18:30:00", nanoseconds(2023, 7, 4, 16, 30)),
        ("2023-07-04T18:30:00+09:00", nanoseconds(2023, 7, 4, 9, 30)),
        ("2023-07-04", nanoseconds(2023, 7, 3, 22)),
        (None, mtime),
        ("0000:00:00", mtime),
        ("", mtime),
        ("0001-01-01T00:00:00", None),
        ("9999-12-31T23:59:59", None),
    ):
        found = time_taken(segment(taken=taken, mtime_ns=mtime))
        assert -(2**63) < found < 2**63
        assert found == expected or expected is None


def test_a_file_of_any_time_can_be_filtered():
    for mtime in (2**80, -(2**80)):
        one = segment(mtime_ns=mtime)
        assert passes(one, after=nanoseconds(2000, 1, 1)) == (mtime > 0)
        assert passes(one, before=nanoseconds(2000, 1, 1)) == (mtime < 0)


@pytest.mark.parametrize(
    "text",
    ["yesterday", "", "2023-13-01", "04.07.2023", "20", "2023-7", "2023-00", "0000", "\ud800"],
)
def test_what_is_no_date_is_said(text):
    with pytest.raises(QvsearchError, match="--before '.*' is not a date; write 2023-07-04 or"):
        parse_date("--before", text)


@pytest.mark.parametrize(
    ("after", "before"), [("2023", "2022"), ("2023-07-04", "2023-07-04"), ("2023-01-02", "2023")]
)
def test_dates_between_which_nothing_is_are_said(after, before):
    with pytest.raises(QvsearchError, match=f"nothing is both after {after} and before {before}"):
        parse_filters(after=after, before=before)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48.2,16.37", (48.2, 16.37, 1.0)),
        ("48.2, 16.37, 5", (48.2, 16.37, 5.0)),
        ("48.2 16.37 0.5km", (48.2, 16.37, 0.5)),
        ("-33.9,+151.2,5 km", (-33.9, 151.2, 5.0)),
        ("48.2N 16.37E", (48.2, 16.37, 1.0)),
        ("33.9s, 70.7w, 20", (-33.9, -70.7, 20.0)),
        ("48.2° N 16.37° E", (48.2, 16.37, 1.0)),
        ("-90,-180,20015.1", (-90.0, -180.0, 20015.1)),
    ],
)
def test_places(text, expected):
    assert parse_near(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Vienna", "'Vienna' is not a place; write degrees"),
        ("48.2", "is not a place"),
        ("48.2,16.37,5,6", "is not a place"),
        ("nan,16", "is not a place"),
        ("inf,16", "is not a place"),
        ("48.2,1e2", "is not a place"),
        ("-48.2S,16E", "is not a place"),
        ("48.2,16.37,-5", "is not a place"),
        ("", "is not a place"),
        ("90.1,0", r"'90.1,0' is out of range; the latitude \(first\) must be -90 to 90"),
        ("0,180.5", r"the longitude \(second\) must be -180 to 180"),
        ("48,16,0", "the distance must be more than 0 and at most 20016 km"),
        ("48,16,50000", "the distance must be more than 0"),
        ("٤٨,١٦", "is not a place"),
    ],
)
def test_what_is_no_place_is_said(text, message):
    with pytest.raises(QvsearchError, match=f"--near .*{message}"):
        parse_near(text)


@pytest.mark.parametrize(
    ("here", "there", "km"),
    [
        ((48.2082, 16.3738), (48.1486, 17.1077), 54.7),  # Vienna, Bratislava
        ((51.5074, -0.1278), (40.7128, -74.0060), 5570),  # London, New York
        ((-18.14, 178.44), (-13.83, -171.77), 1151),  # Suva, Apia: over the date line
        ((90.0, 0.0), (90.0, 137.0), 0.0),
        ((89.9, 0.0), (89.9, 180.0), 22.2),  # over the pole
        ((0.0, 180.0), (0.0, -180.0), 0.0),
        ((0.0, 0.0), (0.0, 180.0), 20015),
    ],
)
def test_distances_are_those_of_great_circles(here, there, km):
    one = segment(latitude=there[0], longitude=there[1])
    assert passes(one, near=(*here, km * 1.005 + 1e-6))
    assert km == 0 or not passes(one, near=(*here, km * 0.995))


DEGREES = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@settings(deadline=None)
@given(DEGREES, DEGREES, st.floats(0.001, 20015))
def test_distances_are_haversines(here, there, km):
    (north, east), (south, west) = (map(math.radians, place) for place in (here, there))
    haversine = (
        math.sin((south - north) / 2) ** 2
        + math.cos(north) * math.cos(south) * math.sin((west - east) / 2) ** 2
    )
    away = 2 * 6371.0088 * math.asin(math.sqrt(min(1, haversine)))
    if abs(away - km) > 1e-3:  # a metre: doubles say no more of places across the globe
        one = segment(latitude=there[0], longitude=there[1])
        assert passes(one, near=(*here, km)) == (away < km)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1920x1080", (1920, 1080)), ("1X1", (1, 1)), (" 800 × 600 ", (800, 600))],
)
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["1920", "x", "0x5", "5x0", "-1x5", "1920x1080x3", "1.5x2", "bigxbig", "", "9" * 5000]
)
def test_what_is_no_size_is_said(text):
    with pytest.raises(
        QvsearchError, match="--min-size '.*' is not a size; write width and height"
    ):
        parse_size(text)


def test_both_sides_have_the_size():
    for size, expected in (
        ((1920, 1080), True),
        ((1919, 1080), False),
        ((1920, 1079), False),
        ((1080, 1920), False),
        ((None, None), False),
    ):
        assert passes(segment(size=size), min_size=(1920, 1080)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10s", (10, math.inf)),
        ("90", (90, math.inf)),
        ("1m30s", (90, math.inf)),
        ("1h 2m 3.5s", (3723.5, math.inf)),
        ("10-60", (10, 60)),
        ("2m-", (120, math.inf)),
        ("-30s", (0, 30)),
        ("- 30", (0, 30)),
        ("0-2m", (0, 120)),
        ("1.5M - 2M", (90, 120)),
        ("0", (0, math.inf)),
        ("5-5", (5, 5)),
    ],
)
def test_durations(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "is not a duration; write 10s") for text in ("", "-", "long", "1d", "1m30")),
        *(
            (text, "is not a duration; write 10s")
            for text in ("10-20-30", "--5", "s", "inf", "nan-")
        ),
        ("60-10", "begins with the longer"),
        ("1-2m", "has a unit for one of its two numbers; write 1m-2m"),
        ("1m-90", "has a unit for one of its two numbers"),
    ],
)
def test_what_is_no_duration_is_said(text, message):
    with pytest.raises(QvsearchError, match=f"--duration '.*' {message}"):
        parse_duration(text)


def test_fields_of_documents_and_ratings():
    assert parse_suffixes([".PDF, docx", "*.Tar"]) == ("pdf", "docx", "tar")
    for text in ("", "a,", "a/b", "*.*"):
        with pytest.raises(QvsearchError, match=r"--suffix '.*' is not the end .*; write pdf or"):
            parse_suffixes([text])
    assert [parse_rating(each) for each in ("4", " 2-4 ", "0-0", "3-")] == [
        *((4, 5), (2, 4), (0, 0), (3, 5))
    ]
    for text in ("", "6", "4-2", "four", "-1", "2-9"):
        with pytest.raises(QvsearchError, match=r"--rating '.*' is not a rating from 0 to 5; wri"):
            parse_rating(text)
    assert [parse_pages(each) for each in ("12", "3-8", "3-")] == [(12, 12), (3, 8), (3, 999_999)]
    for text in ("", "0", "0-3", "8-3", "two", "-8"):
        with pytest.raises(QvsearchError, match=r"--page '.*' is not a page .*; write 12, 3-8"):
            parse_pages(text)
    assert [parse_language(each) for each in ("de", " EN-us ", "yue")] == ["de", "en", "yue"]
    for text in ("", "german", "d", "1"):
        with pytest.raises(QvsearchError, match="--language '.*' is not a code .* write e.g. de"):
            parse_language(text)


def test_orientations_and_cameras():
    assert parse_orientation(" Portrait") is Orientation.PORTRAIT
    with pytest.raises(
        QvsearchError, match="'round' is not an orientation; write landscape or portrait or square"
    ):
        parse_orientation("round")
    assert parse_part("--camera", " canon ", "canon") == "canon"
    for nothing in ("", "  "):
        with pytest.raises(QvsearchError, match="--camera is empty"):
            parse_part("--camera", nothing, "canon")
    for camera, part, expected in (
        ("Canon EOS 5D", "canon", True),
        ("Canon EOS 5D", "EOS 5d", True),
        ("FUJIFILM X-Straße", "STRASSE", True),
        ("Caméra Łódź", "camera lodz", True),
        ("Canon EOS 5D", "nikon", False),
        ("", "n", False),
        (None, "n", False),
    ):
        assert passes(segment(camera=camera), camera=part) == expected


@pytest.mark.parametrize("asked", ["soren grun", "SØREN GRÜN", "Søren Gru\u0308n"])
@pytest.mark.parametrize("name", ["Søren Grün", "Søren Gru\u0308n", "SOREN GRUN"])
def test_case_accents_and_strokes_of_texts_do_not_count(name, asked):
    described = segment(title=f"A {name} b", author=name, keywords=("x", name))
    assert passes(described, title=asked, author=asked, keywords=(asked,))
    assert not passes(described, keywords=(asked.split()[0],))


def test_folders_are_absolute_and_any_is_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    under = parse_under([b"a", b"/b/../c/", b"\xff"])
    here = os.fsencode(tmp_path)
    assert under == (here + b"/a", b"/c", here + b"/\xff")
    assert passes(segment(root=b"/c", path=b"x.jpg"), under=under)
    assert not passes(segment(root=b"/cc", path=b"x.jpg"), under=under)
    assert passes(segment(root=here, path=b"\xff/x.jpg"), under=under)
    for wrong in (b"", b"a\0b"):
        with pytest.raises(QvsearchError, match="--under is empty"):
            parse_under([wrong])


def test_a_folder_is_found_in_both_forms_of_its_name():
    forms = [name.encode() for name in ("/Caf\u00e9", "/Cafe\u0301")]
    for under in forms:
        for folder in forms:
            assert passes(segment(root=folder, path=b"x.jpg"), under=(under,))
            assert passes(segment(root=b"/", path=folder[1:] + b"/x.jpg"), under=(under,))
        assert not passes(segment(root=b"/Cafe", path=b"x.jpg"), under=(under,))


def test_a_folder_may_be_asked_for_by_a_link(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    one = segment(root=os.fsencode(real))
    assert passes(one, under=(os.fsencode(tmp_path / "link"),))
    assert not passes(one, under=(os.fsencode(tmp_path / "other"),))


@pytest.mark.parametrize(
    ("glob", "fits", "misses"),
    [
        (
            "*.jpg",
            [b"a.jpg", b"x/y/a.jpg", b".jpg", b"n\nl.jpg"],
            [b"a.JPG", b"a.jpg.txt", b"a.jpg/b"],
        ),
        ("2023/*.jpg", [b"2023/a.jpg"], [b"x/2023/a.jpg", b"2023/x/a.jpg"]),
        ("**/2023/*.jpg", [b"2023/a.jpg", b"x/y/2023/a.jpg"], [b"2023/x/a.jpg", b"12023/a.jpg"]),
        ("2023/**", [b"2023/a", b"2023/x/y/a"], [b"2023", b"x/2023/a"]),
        ("a/**/b", [b"a/b", b"a/x/b", b"a/x/y/b"], [b"ab", b"a/xb", b"x/a/b"]),
        ("**", [b"a", b"a/b"], []),
        ("a**b/c", [b"ab/c", b"axxb/c"], [b"a/b/c", b"a/x/b/c"]),
        ("*a*b*", [b"aba", b"xaxbxax"], [b"ba", b"a/b"]),
        ("**/a/**/b/**", [b"a/b/a/c", b"x/a/x/b/a/x"], [b"b/a/c", b"a/b"]),
        ("?.png", ["é.png".encode(), b"\xff.png", b"a.png"], [b".png", b"ab.png"]),
        ("[a-c]?[!0-9].x", [b"b1z.x", b"ccc.x"], [b"d1z.x", b"a11.x"]),
        ("[!a]", [b"b", b"x/b"], [b"a", b"ab"]),
        ("[[]1].x", [b"[1].x"], [b"1.x"]),
        ("[]-]", [b"]", b"-"], [b"a"]),
        ("[+-9]a", [b".a", b"7a"], [b"x/+/a"]),
        ("x[+-9]a", [b"x.a"], [b"x/a"]),
        ("{a,b}\\*.$", [b"{a,b}\\c.$"], [b"a.$"]),
        (os.fsdecode(b"\xff*"), [b"\xff.jpg"], [b"\xfe.jpg", "ÿ.jpg".encode()]),
        ("Ü*", ["Über".encode()], ["über".encode()]),
        *(
            (glob, ["Caf\u00e9/1".encode(), "Cafe\u0301/1".encode()], [b"Cafe/1", b"Caf/1"])
            for glob in ("Caf\u00e9/*", "Cafe\u0301/*", "**/Caf[\u00e9]/1")
        ),
    ],
)
def test_patterns(glob, fits, misses):
    globs = parse_globs([glob])
    for path in fits + misses:
        assert passes(segment(path=path), globs=globs) == (path in fits), path


def test_any_pattern_is_enough_and_a_root_that_is_a_file_has_its_name():
    one = segment(root=b"/media/a.jpg", path=b"")
    assert passes(one, globs=("*.png", "a.jpg"))
    assert passes(one, globs=("**/a.jpg",))
    assert not passes(one, globs=("media/*", "*.png"))


@pytest.mark.parametrize(
    ("glob", "why"),
    [
        ("", "a part of it is empty, . or .."),
        ("/home/me/*.jpg", "a part of it is empty"),
        ("2023/", "a part of it is empty"),
        ("./a", "a part of it is empty"),
        ("a//b", "a part of it is empty"),
        ("a/../b", "a part of it is empty"),
        ("[", r"a \[ is not closed"),
        ("a[b/c]", r"a \[ is not closed"),
        ("[]", r"a \[ is not closed"),
        ("[!]", r"a \[ is not closed"),
        ("[z-a]", "the range z-a is empty"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_what_is_no_pattern_is_said(glob, why):
    with pytest.raises(QvsearchError, match=f"--glob '.*' is invalid.*{why}.*; write"):
        parse_globs(["*.jpg", glob])


def fits(parts, names):
    """What a pattern's parts mean, said plainly; fnmatch knows names."""
    if not parts or not names:
        return not parts and not names
    if parts[0] == "**":
        rest = parts[1:]
        return not rest or any(fits(rest, names[skip:]) for skip in range(len(names)))
    return fnmatchcase(names[0], parts[0]) and fits(parts[1:], names[1:])


PARTS = st.one_of(st.just("**"), st.text("ab*?", min_size=1, max_size=6), st.just("[ab]*[!b]"))
NAMES = st.lists(st.text("ab.\n", min_size=1, max_size=6), min_size=1, max_size=6)


@settings(deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=6), NAMES)
def test_patterns_mean_what_their_parts_mean(parts, names):
    if {".", ".."}.isdisjoint(names):
        glob = parts if len(parts) > 1 else ["**", *parts]
        found = glob_regex(("/".join(parts),)).fullmatch("/".join(names))
        assert (found is not None) == fits(glob, names)


def test_no_pattern_is_slow():
    for glob in ("*a" * 40 + "b", "**/a*a*/" * 40 + "b", "**/*a*a*a*a*a*a*/" + "**/" * 30 + "x"):
        assert not glob_regex((glob,)).fullmatch("/".join(["a" * 60] * 60))


@settings(deadline=None)
@given(st.text(), st.text("0123456789.,-+ NSEWxhms[]!*?/:TZ"), st.binary())
def test_parsers_raise_nothing_else(text, likely, path):
    for parse in (
        lambda each: parse_date("--after", each),
        lambda each: parse_part("--title", each, "a"),
        parse_rating,
        parse_pages,
        parse_language,
        lambda each: parse_suffixes([each]),
        parse_near,
        parse_size,
        parse_duration,
        parse_orientation,
        lambda each: parse_globs([each]),
    ):
        for each in (text, likely):
            with suppress(QvsearchError):
                parse(each)
    with suppress(QvsearchError):
        parse_under([path])


@settings(deadline=None)
@given(st.binary(min_size=1).filter(lambda path: b"/" not in path and b"\0" not in path))
def test_every_name_has_a_pattern_of_its_own(name):
    glob = "".join(f"[{each}]" if each in "*?[" else each for each in os.fsdecode(name))
    if name not in (b".", b".."):
        assert glob_regex((glob,)).fullmatch(path_text(name))


def test_reasons_name_option_and_value():
    in_zone(VIENNA)
    phone = segment(
        size=(4032, 3024),
        taken="2021-03-04T10:00:00",
        camera="Apple iPhone 12",
        latitude=48.2,
        longitude=16.4,
    )
    film = segment(Kind.VIDEO, path=b"clips/a.mp4", duration=5.25, mtime_ns=nanoseconds(2020, 1, 1))
    strict = {
        "kinds": [Kind.TEXT],
        "under": [b"/notes"],
        "globs": ["*.txt"],
        "after": "2023-07-04",
        "camera": "canon",
        "near": "48.2N 17.4E 5",
        "min_size": "5000x100",
        "duration": "10-60",
        "orientation": "portrait",
    }
    assert hidden_by(phone, parse_filters(**strict)) == [
        "--kind text: it is image",
        "--under /notes: it is /media/a.jpg",
        "--glob *.txt: it is a.jpg",
        "--after 2023-07-04T00:00:00+02:00: taken 2021-03-04T10:00:00+01:00",
        "--camera canon: taken with Apple iPhone 12",
        "--near 48.2,17.4,5: taken 74.1 km from there",
        "--min-size 5000x100: it is 4032x3024",
        "--duration 10s-60s: it has no duration",
        "--orientation portrait: it is landscape",
    ]
    assert hidden_by(film, parse_filters(**strict | {"kinds": [Kind.VIDEO]})) == [
        "--under /notes: it is /media/clips/a.mp4",
        "--glob *.txt: it is clips/a.mp4",
        "--after 2023-07-04T00:00:00+02:00: last changed 2020-01-01T01:00:00+01:00",
        "--camera canon: its camera is not known",
        "--near 48.2,17.4,5: its place is not known",
        "--min-size 5000x100: it has no size",
        "--duration 10s-60s: it lasts 5.25s",
        "--orientation portrait: it has no size",
    ]
    assert hidden_by(film, parse_filters(before="1990")) == [
        "--before 1990-01-01T00:00:00+01:00: last changed 2020-01-01T01:00:00+01:00"
    ]
    assert hidden_by(segment(), Filters()) == []
    for duration in ("5.25", "-5.25", "5-6"):
        assert hidden_by(film, parse_filters(duration=duration)) == []
    summed = segment(Kind.VIDEO, duration=29 * 0.1 + 0.1)
    assert summed.metadata.duration > 3
    assert hidden_by(summed, parse_filters(duration="-3s")) == []


def test_a_date_that_a_name_gives_is_said_to_be_so():
    in_zone(VIENNA)
    sent = segment(taken="2019-07-04", taken_from="name")
    assert hidden_by(sent, parse_filters(after="2019-07-05")) == [
        "--after 2019-07-05T00:00:00+02:00: taken 2019-07-04T00:00:00+02:00, by its name"
    ]
    assert hidden_by(sent, parse_filters(after="2019-07-04", before="2019-07-05")) == []
    scan = segment(taken="1985")
    assert hidden_by(scan, parse_filters(after="1985", before="1986")) == []
    assert hidden_by(scan, parse_filters(before="1985")) != []


def test_filters_are_read_by_the_names_of_options():
    texts = {"kind": ["image"], "under": ["/photos/\udcff"], "min-size": "10x20", "words": "a"}
    found = filters_by_name({**texts, "after": None})
    assert found == parse_filters(kinds=[Kind.IMAGE], under=[b"/photos/\xff"], min_size="10x20")
    assert filters_by_name({"min_size": "10x20"}) == parse_filters(min_size="10x20")
    with pytest.raises(
        QvsearchError, match="--kind 'movie' is unknown; give image, video, text, d"
    ):
        filters_by_name({"kind": ["movie"]})
