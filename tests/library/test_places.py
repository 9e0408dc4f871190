"""Places by name and names of coordinates, against places that everybody can look up."""

from dataclasses import replace

import numpy as np
import pytest

from qvsearch.cache import cache_folder
from qvsearch.errors import QvsearchError
from qvsearch.library.columns import Columns, source_of
from qvsearch.library.filtering import hidden_by, passing_rows
from qvsearch.library.filters import parse_filters
from qvsearch.library.places import place_table
from qvsearch.library.words import about
from qvsearch.types import Item, Kind, Metadata, Segment

COUNTRIES = ["Austria", "Canada", "Georgia", "Germany", "Luxembourg", "Netherlands"]
WHERE = {
    "Stephansplatz": (48.2085, 16.3731),
    "Lisbon": (38.7139, -9.1394),
    "Toronto": (43.6532, -79.3832),
    "Kyoto": (35.0116, 135.7681),
    "Fiji": (-18.1416, 178.4419),
    "Atlantic": (0.0, -30.0),
    "South Pole": (-90.0, 0.0),
    "nowhere": (None, None),
}


def photo(name, root=b"/media"):
    latitude, longitude = WHERE[name]
    item = Item(root, name.encode() + b".jpg", Kind.IMAGE, 1, 0)
    return Segment(item, "0", metadata=Metadata(latitude=latitude, longitude=longitude))


PHOTOS = [photo(name) for name in WHERE]


def found(place):
    columns = Columns([source_of(np.arange(len(PHOTOS)), PHOTOS)], len(PHOTOS))
    rows = passing_rows(columns, parse_filters(place=place)).tolist()
    hidden = [bool(hidden_by(each, parse_filters(place=place))) for each in PHOTOS]
    assert hidden == [not each for each in rows]
    return [name for name, passes in zip(WHERE, rows, strict=True) if passes]


@pytest.mark.parametrize(
    ("place", "names"),
    [
        *(
            (each, ["Stephansplatz"])
            for each in ("Vienna", "wien", "Вена", "ウィーン", "Vienna, AT")
        ),
        *((each, ["Stephansplatz"]) for each in ("Austria", "Österreich", "osterreich", "奥地利")),
        *((each, ["Toronto"]) for each in ("Canada", "Kanada", "Ontario", "Toronto, Ontario")),
        *((each, ["Lisbon"]) for each in ("Lisboa", "Portugal")),
        *((each, ["Kyoto"]) for each in ("京都", "Japan")),
        ("Vienna, Virginia", []),
        ("Bavaria", []),
    ],
)
def test_a_place_is_found_by_its_names(place, names):
    assert found(place) == names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((each, each) for each in COUNTRIES),
        ("Holland", "Netherlands"),
        ("Bayern", "Bavaria, Germany"),
        ("Georgia, US", "Georgia, United States"),
        ("Ontario", "Ontario, Canada"),
        ("Rome", "Rome, Latium, Italy"),
        ("New York", "New York City, New York, United States"),
        ("Springfield, IL", "Springfield, Illinois, United States"),
    ],
)
def test_the_place_that_most_people_mean(name, meant):
    assert place_table().meant(name).name == meant


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Springfield", "may be one of .* places; write one of: Springfield, Missouri, United St"),
        ("Veinna", "is no city, region or country that is known here; .*: Vienna, Austria"),
        ("Qxzzyq", "is known here|check the spelling, or give degrees with --near"),
        (" , ", "write a name, e.g. Vienna"),
        ("Vienna, Nowhere", "nearest spellings: Vienna, Austria"),
    ],
)
def test_other_names_are_said_with_a_way_out(name, reason):
    with pytest.raises(QvsearchError, match=reason) as raised:
        parse_filters(place=name)
    assert f"--place {name!r} " in str(raised.value)


def test_coordinates_have_the_names_of_city_region_and_country():
    near = place_table().names_near
    assert near(*WHERE["Stephansplatz"])[0] == "Vienna"
    assert {"Wien", "Austria", "Österreich"} <= set(near(*WHERE["Stephansplatz"]))
    assert near(48.1374, 11.5755) == ("Munich", "Bavaria", "Bayern", "Germany", "Deutschland")
    # a town beside Vienna has its own name first
    assert near(48.305, 16.325)[:2] == ("Klosterneuburg", "Vienna")
    for nothing in ("Atlantic", "South Pole"):
        assert near(*WHERE[nothing]) == ()
        assert place_table().label(*WHERE[nothing]) is None
    assert place_table().label(*WHERE["Lisbon"]).endswith("Portugal")


def test_the_unpacked_table_is_cached_and_a_damaged_one_is_ignored():
    read_anew, folder = place_table.__wrapped__, cache_folder("places")
    first = read_anew()
    [path] = folder.iterdir()
    whole = path.read_bytes()
    for content in (whole, whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(content)
        assert read_anew().label(*WHERE["Lisbon"]) == first.label(*WHERE["Lisbon"])
        assert path.read_bytes() == whole


def test_both_sides_of_the_date_line_are_near_each_other():
    """Beringovsky lies at 179.3 degrees; what is 40 km east of it has longitudes below 0."""
    assert "Russia" in place_table().names_near(63.06, 179.9)
    assert place_table().names_near(63.06, 179.9) == place_table().names_near(63.06, -179.9)


def test_words_have_the_place():
    said = about(photo("Lisbon"))
    assert "Portugal" in said
    assert "Lisboa" in said
    assert about(photo("nowhere")).strip().endswith("nowhere.jpg")


def test_the_reason_names_the_place_of_a_photo():
    assert hidden_by(photo("Lisbon"), parse_filters(place="Vienna"))[0].startswith(
        "--place Vienna, Austria: taken in São Mamede, Lisbon, Portugal"
    )
    assert hidden_by(photo("nowhere"), parse_filters(place="Austria")) == [
        "--place Austria: its place is not known"
    ]
    far = replace(photo("Atlantic"))
    assert hidden_by(far, parse_filters(place="Austria")) == [
        "--place Austria: taken in 0.00,-30.00"
    ]
