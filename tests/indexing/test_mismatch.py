"""A library takes and answers only vectors made as its own were; anything else names both sides.

Proved for each field of the fingerprint and for the stored form, as the command line and Python
meet them. Files and queries are read, but no model is loaded before the refusal.
"""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from support.colours import ColourEmbedder

from qvsearch import search
from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.models.registry import fingerprint, resolve
from qvsearch.runtime.loading import Choice, load_embedder, open_library, query_embedder
from qvsearch.types import Detail, Fingerprint, Item, Kind, Precision, Segment, Stored, VideoMode

DIM = 64
OTHERS = {  # another value of each field, and what is said of it
    "model": ("some/model", "--model some/model, not demo"),
    "revision": ("abc123", "revision abc123, not demo at "),
    "dim": (32, "--dim 32, not 64"),
    "detail": (Detail.HIGH, "--detail high, not low"),
    "document_detail": (Detail.HIGH, "--document-detail high, not low"),
    "instruction": ("Represent.", "instruction 'Represent.', this qvsearch has \"Represent the"),
    "prompt_layout": (0, "prompt layout 0, this qvsearch has "),
    "preprocessing": (3, "preprocessing 3, this qvsearch has 1 and 2; index into a new --library"),
    "video_mode": (VideoMode.BOTH, "--video-mode both, not frames"),
    "precision": (Precision.INT8, "--dtype int8, not float32"),
    "adapter": ("/none", "/none is not an adapter: it has no adapter_config.json; if it was moved"),
}


def made(folder, stored=Stored.FLOAT16, **other):
    """A library with one row, but for these fields as the demo's model would make it."""
    own = fingerprint(resolve("demo"), DIM, Detail.LOW)
    library = Library.create(folder, replace(own, **other), stored)
    library.add_root(b"/photos")
    row = Segment(Item(b"/photos", b"a.jpg", Kind.IMAGE, 1, 1), "h")
    library.add([row], np.eye(1, library.fingerprint.dim, dtype=np.float32))
    library.commit()
    return library


def asked(name):
    """What a user says who means the library that `made` makes without other fields."""
    said = {
        "model": ["--model", "demo"],
        "dim": ["--dim", str(DIM)],
        "detail": ["--detail", "low"],
        "document_detail": ["--document-detail", "low"],
        "video_mode": ["--video-mode", "frames"],
        "precision": ["--dtype", "float32"],
        "store": ["--store", "float16"],
    }
    return said.get(name, [])


def test_every_field_is_tried():
    # the demo's model has neither; the revision of a GGUF file covers `mmproj`
    of_other_engines = {"kinds", "mmproj"}
    assert OTHERS.keys() | of_other_engines == {field.name for field in fields(Fingerprint)}


@pytest.fixture
def note(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("a note")
    return str(path)


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_is_added_to_a_library_made_otherwise(tmp_path, note, capfd, name):
    other, says = OTHERS[name]
    library = made(tmp_path / "library", **{name: other})
    before = (library.folder / "manifest.json").read_bytes()
    folder = str(library.folder)
    assert main(["index", note, "-l", folder, "--quiet", *asked(name)]) == 2
    error = capfd.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert (library.folder / "manifest.json").read_bytes() == before


def test_nothing_is_added_to_a_library_stored_otherwise(tmp_path, note, capfd):
    folder = str(made(tmp_path / "library", Stored.INT8).folder)
    assert main(["index", note, "-l", folder, "--quiet", *asked("store")]) == 2
    assert "--store int8, not float16" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["revision", "instruction", "prompt_layout", "preprocessing"])
def test_no_query_is_answered_by_vectors_made_otherwise(tmp_path, capfd, name):
    other, says = OTHERS[name]
    library = made(tmp_path / "library", **{name: other})
    assert main(["search", "sea", "-l", str(library.folder), "--all"]) == 2
    output = capfd.readouterr()
    assert (says in output.err, output.out) == (True, "")
    with pytest.raises(QvsearchError) as caught:
        search(library, "sea")
    assert says in str(caught.value)


def test_a_chosen_model_is_no_other_for_a_query(tmp_path):
    library = made(tmp_path / "library", model="some/model", revision="abc123")
    with pytest.raises(QvsearchError, match="--model some/model, not demo"):
        open_library(library.folder, Choice("demo"))
    for load in (query_embedder, load_embedder):
        with pytest.raises(QvsearchError, match="some/model at revision abc123, not demo at "):
            load(library.fingerprint, Choice("demo"))


def test_an_embedder_of_another_dim_answers_nothing(tmp_path):
    library = made(tmp_path / "library")
    with pytest.raises(QvsearchError, match=r"\(1, 3\), but \(n, 64\) is needed"):
        search(library, "red", ColourEmbedder())


def test_a_folder_that_holds_another_model_is_refused(tmp_path, tiny):
    library = made(tmp_path / "library")
    assert Path(tiny).is_dir()
    with pytest.raises(QvsearchError, match=f"demo at revision .*, not {tiny} at "):
        load_embedder(library.fingerprint, Choice(str(tiny)))
