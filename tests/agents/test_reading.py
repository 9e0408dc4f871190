"""The tool `read` shows a document's page with its words, and its neighbours if they are wanted."""

import io
import os

import numpy as np
import pytest
from PIL import Image
from support.coloured_pages import colour_of
from support.page_library import make_library, write_documents

from qvsearch.errors import QvsearchError
from qvsearch.library.identity import id_at
from qvsearch.mcp.arguments import ReadArguments
from qvsearch.mcp.reading import MOST_BYTES, Reader
from qvsearch.retrieval.shelf import Shelf


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Read a page of a document of three pages: red, green and blue."""
    place = tmp_path_factory.mktemp("place")
    (place / "files").mkdir()
    write_documents(place / "files")
    library = make_library(place / "library", place / "files")
    identity = id_at(library, os.fsencode(place / "files" / "report.pdf"))
    shelf = Shelf([place / "library"])
    with Reader() as reader:
        yield lambda **more: reader.read(shelf, ReadArguments(id=identity, **more), lambda: False)


def shown(contents):
    assert sum(map(len, contents.pictures)) <= MOST_BYTES
    pictures = [Image.open(io.BytesIO(each)).convert("RGB") for each in contents.pictures]
    return [colour_of(np.asarray(each)) for each in pictures]


def test_a_page_is_its_picture_and_its_words(read):
    contents = read(page=2)
    assert (contents.record["kind"], contents.record["of"]) == ("document", 3)
    assert contents.record["pages"] == [{"page": 2, "text": "Meadows"}]
    assert shown(contents) == ["green"]


def test_the_first_page_is_read_without_a_wish(read):
    assert [each["page"] for each in read().record["pages"]] == [1]


def test_neighbours_are_pages_before_and_after(read):
    contents = read(page=1, neighbours=1)
    assert [each["page"] for each in contents.record["pages"]] == [1, 2]
    assert shown(contents) == ["red", "green"]
    assert shown(read(page=2, neighbours=5)) == ["red", "green", "blue"]


def test_pages_that_are_not_there_and_places_of_other_kinds_are_errors(read):
    with pytest.raises(QvsearchError, match="page 4 does not exist; the document has 3"):
        read(page=4)
    with pytest.raises(
        QvsearchError, match=r"lines is for a text, and .*report\.pdf is a document"
    ):
        read(lines=[1, 2])
    with pytest.raises(QvsearchError, match=r"start is for a video, and .*is a document"):
        read(start=1.0)


@pytest.mark.parametrize("section", ["Tides", "Ports", "Moon", "Tides – End"])
def test_a_passage_of_several_sections_is_read_by_each_of_them(tmp_path, section):
    (tmp_path / "files").mkdir()
    texts = {"Tides": "High water", "Ports": "Brest", "Moon": "Full", "End": "Low water. " * 300}
    page = "".join(f"<h1>{head}</h1><p>{text}" for head, text in texts.items())
    (tmp_path / "files" / "a.html").write_text(page)
    library = make_library(tmp_path / "library", tmp_path / "files")
    identity = id_at(library, os.fsencode(tmp_path / "files" / "a.html"))
    with Reader() as reader:
        wanted = ReadArguments(id=identity, section=section, neighbours=0)
        contents = reader.read(Shelf([tmp_path / "library"]), wanted, lambda: False)
    assert [each["section"] for each in contents.record["passages"]] == ["Tides – End"]
