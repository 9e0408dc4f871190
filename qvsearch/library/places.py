"""Names of places and where they are, offline: cities, regions and countries of GeoNames.

The table `places.xz` has cities of at least 1,000 people, the first divisions of countries, and
countries. `tests/support/place_table.py` writes it. It is read when a place is first asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import lzma
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.cache import cache_folder, file_name, keep, read, trim
from qvsearch.errors import QvsearchError
from qvsearch.formats import unpack_arrays
from qvsearch.library.tokens import folded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from qvsearch.types import Metadata

    Numbers = NDArray[np.float64]
    Places = NDArray[np.int64]

PLACES = Path(__file__).with_name("places.xz")
STEP = 90 / 32_767  # degrees of latitude of a unit in the table, which is 300 m; twice of longitude
TYPES: dict[str, np.dtype[Any]] = {
    "latitudes": np.dtype("<i2"),
    "longitudes": np.dtype("<i2"),
    "inhabitants": np.dtype("<i4"),
    "countries": np.dtype("<i2"),
    "regions": np.dtype("<i2"),
    "region_countries": np.dtype("<i2"),
    "ends": np.dtype("<i8"),
    "texts": np.dtype("u1"),
}
NEAREST_KM = 50.0  # of a photo from the city that names it; villages in deserts are farther apart
PEOPLE_PER_KM2 = 2000  # of a city's circle: those of Vienna and New York reach to their borders
LEAST_KM = 3.0  # the radius of a circle; a village and its fields
MUCH_LARGER = 10  # so many times the people: the place that is meant, of several of a name
SHOWN = 6  # places in a message
DEGREE_KM = 111.2  # of latitude


@dataclass(frozen=True, slots=True)
class Place:
    """A place with a name, e.g. `Vienna, Austria`.

    A city is a `circle`: latitude and longitude in degrees, and kilometres. A region or a country
    is the `number` of its name in the table.
    """

    name: str
    circle: tuple[float, float, float] | None = None
    number: int = -1


def key(name: str) -> str:
    """Return a name as it is compared: without case, accents and signs."""
    return " ".join("".join(each if each.isalnum() else " " for each in folded(name)).split())


@cache
def place_table() -> PlaceTable:
    """Return the table, read once. The user's cache has it unpacked, which takes 0.4 s."""
    packed = PLACES.read_bytes()
    path = cache_folder("places") / file_name(hashlib.sha256(packed).hexdigest())
    unpacked = read(path)
    if unpacked is None:
        unpacked = lzma.decompress(packed)
        keep(path, unpacked)
        trim(path.parent, most_files=1)
    return PlaceTable(unpack_arrays(unpacked, TYPES))


def place_name(metadata: Metadata) -> str | None:
    """Return where a file was taken, e.g. `Vienna, Austria`; None if that has no name."""
    if metadata.latitude is None or metadata.longitude is None:
        return None
    return place_table().label(metadata.latitude, metadata.longitude)


class PlaceTable:
    """The places by number: countries, then regions, then cities from south to north.

    The text of each has a line for its name, one for its own name if that is another, and one for
    each name as `key` returns it.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._latitudes = arrays["latitudes"] * STEP
        self._longitudes = arrays["longitudes"] * (2 * STEP)
        self._people_of_city = arrays["inhabitants"].astype(np.int64)
        self._radii = np.maximum(
            LEAST_KM, np.sqrt(self._people_of_city / (math.pi * PEOPLE_PER_KM2))
        )
        self._countries, self._regions = arrays["countries"], arrays["regions"]
        self._region_countries = arrays["region_countries"]
        self._ends, self._texts = arrays["ends"], arrays["texts"].tobytes()
        self._first_city = len(self._ends) - len(self._countries)
        self._first_region = self._first_city - len(self._region_countries)

    def names_near(self, latitude: float, longitude: float) -> tuple[str, ...]:
        """Return the names of where coordinates are: city, larger city around it, region, country.

        Each is followed by its own name, if that is another. There are none far from all cities,
        e.g. on an ocean.
        """
        city, larger = self._cities_of(latitude, longitude)
        if city is None or larger is None:
            return ()
        numbers = (city, larger, *self._areas_of(city))
        return tuple(dict.fromkeys(name for each in numbers for name in self._names(each)))

    def label(self, latitude: float, longitude: float) -> str | None:
        """Return where coordinates are, e.g. `Vienna, Austria`; None far from all cities."""
        city, _ = self._cities_of(latitude, longitude)
        return None if city is None else self._name(city)

    def city(self, latitude: float, longitude: float) -> str | None:
        """Return the name of the city whose circle coordinates are in; None in the country."""
        cities, km = self._around(latitude, longitude)
        far = km / self._radii[cities - self._first_city]
        return self._name(int(cities[far.argmin()])) if far.min(initial=np.inf) <= 1 else None

    def country(self, latitude: float, longitude: float) -> str | None:
        """Return the name of the country that coordinates are in; None far from all cities."""
        _, (number,) = self.areas(np.array([latitude]), np.array([longitude]))
        return None if number < 0 else self._name(int(number))

    def areas(self, latitudes: Numbers, longitudes: Numbers) -> tuple[Places, Places]:
        """Return the numbers of the regions and countries (n,) of coordinates (n,); -1 is none.

        They are those of the nearest city. Beside a border that may be one behind it.
        """
        areas = np.full((2, len(latitudes)), -1)
        for row, place in enumerate(zip(latitudes.tolist(), longitudes.tolist(), strict=True)):
            cities, km = self._around(*place)
            if len(cities):
                areas[:, row] = self._areas_of(int(cities[km.argmin()]))
        return areas[0], areas[1]

    def is_region(self, number: int) -> bool:
        """Return whether a number is that of a region, not of a country."""
        return self._first_region <= number < self._first_city

    def meant(self, name: str) -> Place:
        """Return the place that a name means, which may have its region or country after a comma.

        A country is before all others, and a city before a region of the same name around it.
        Otherwise it is the one with far more people than the others; those of places that have the
        name in another language count a tenth. Raises QvsearchError for no place, and for several.
        """
        found = self._candidates(name)
        if not found:
            raise QvsearchError(
                f"--place {name!r} is no city, region or country that is known here;"
                f" {self._remedy(name)}"
            )
        first, second = (*(self._weight(each, name) for each in found[:2]), 0.0)[:2]
        is_clear = found[0] < self._first_region or first >= MUCH_LARGER * second
        if not is_clear:
            shown = "; ".join(self._name(each) for each in found[:SHOWN])
            raise QvsearchError(
                f"--place {name!r} may be one of {len(found)} places; write one of: {shown}"
            )
        number = found[0]
        if number < self._first_city:
            return Place(self._name(number), number=number)
        city = number - self._first_city
        place = float(self._latitudes[city]), float(self._longitudes[city])
        return Place(self._name(number), (*place, float(self._radii[city])))

    def _candidates(self, name: str) -> list[int]:
        """Return the numbers of the places that a name may mean, the most likely first."""
        first, *others = (key(each) for each in name.split(","))
        found = [
            number
            for number in self._called(first)
            if all(self._is_within(number, each) for each in others if each)
        ]
        around = {area for each in found for area in self._areas_of(each) if area != each}
        found = [each for each in found if each < self._first_region or each not in around]
        return sorted(
            found, key=lambda each: (each >= self._first_region, -self._weight(each, name))
        )

    def _called(self, name: str) -> Iterator[int]:
        """Yield the numbers of the places that have a name."""
        line, start = f"\n{name}\n".encode(), -1
        while name and (start := self._texts.find(line, start + 1)) >= 0:
            yield int(self._ends.searchsorted(start + 1, "right"))

    def _is_within(self, number: int, name: str) -> bool:
        line = f"\n{name}\n".encode()
        return any(line in self._text(each) for each in self._areas_of(number))

    def _areas_of(self, number: int) -> tuple[int, int]:
        """Return the numbers of the region, -1 if it has none, and of the country of a place."""
        if number < self._first_region:
            return -1, number
        if number < self._first_city:
            return number, int(self._region_countries[number - self._first_region])
        city = number - self._first_city
        region = int(self._regions[city])
        return -1 if region < 0 else region + self._first_region, int(self._countries[city])

    def _cities_of(self, latitude: float, longitude: float) -> tuple[int | None, int | None]:
        """Return the city that names coordinates, and the largest around them."""
        cities, km = self._around(latitude, longitude)
        if not len(cities):
            return None, None
        far = km / self._radii[cities - self._first_city]  # 1 is the edge of its circle
        best = int(far.argmin())
        people = np.where(
            far <= max(1, far[best]), self._people_of_city[cities - self._first_city], 0
        )
        return int(cities[best]), int(cities[people.argmax()])

    def _around(self, latitude: float, longitude: float) -> tuple[Places, Numbers]:
        """Return the numbers of the cities within NEAREST_KM, and how far they are in km."""
        reach = NEAREST_KM / DEGREE_KM
        first, end = self._latitudes.searchsorted([latitude - reach, latitude + reach])
        north = self._latitudes[first:end] - latitude
        east = (self._longitudes[first:end] - longitude + 180) % 360 - 180
        km = np.hypot(north, east * math.cos(math.radians(latitude))) * DEGREE_KM
        near = np.flatnonzero(km <= NEAREST_KM)
        return near + first + self._first_city, km[near]

    def _people(self, number: int) -> int:
        if number >= self._first_city:
            return int(self._people_of_city[number - self._first_city])
        at = self._countries if number < self._first_region else self._regions
        within = at == (number if number < self._first_region else number - self._first_region)
        return int(self._people_of_city[within].sum())

    def _weight(self, number: int, name: str) -> float:
        is_own = key(name.partition(",")[0]) in map(key, self._names(number))
        return self._people(number) / (1 if is_own else MUCH_LARGER)

    def _text(self, number: int) -> bytes:
        if number < 0:
            return b""
        start = int(self._ends[number - 1]) if number else 0
        return self._texts[start : int(self._ends[number])]

    def _names(self, number: int) -> list[str]:
        return [each for each in self._text(number).decode().split("\n")[:2] if each]

    def _name(self, number: int) -> str:
        """Return the name of a place with its region and its country."""
        numbers = dict.fromkeys((number, *self._areas_of(number)))
        return ", ".join(dict.fromkeys(self._names(each)[0] for each in numbers if each >= 0))

    def _remedy(self, name: str) -> str:
        """Return what to do about an unknown name: the nearest spellings, if any."""
        wanted = key(name.partition(",")[0])
        if not wanted:
            return "write a name, e.g. Vienna"
        pattern = rb"^%s.{%d,%d}$" % (re.escape(wanted[0].encode()), len(wanted) - 2, len(wanted))
        alike = {each.decode() for each in re.findall(pattern, self._texts, re.MULTILINE)}
        close = difflib.get_close_matches(wanted, sorted(alike), SHOWN, 0.75)
        found = [max(self._called(each), key=self._people, default=-1) for each in close]
        names = dict.fromkeys(self._name(each) for each in found if each >= 0)
        if not names:
            return "check the spelling, or give degrees with --near"
        return f"nearest spellings: {'; '.join(list(names)[: SHOWN // 2])}"
