"""Libraries by name: opened, named where one is misspelt, completed by the Tab key."""

import os
import subprocess
import sys

import pytest
from support.colours import FINGERPRINT

from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.library.creation import check_place
from qvsearch.library.library import Library, library_folder
from qvsearch.library.names import option


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("QVSEARCH_LIBRARY", raising=False)
    monkeypatch.chdir(tmp_path)


def create(*names):
    return [Library.create(library_folder(name), FINGERPRINT) for name in names]


def test_a_library_is_opened_by_its_name(tmp_path):
    (made,) = create("main")
    assert Library.exists("main")
    assert not Library.exists("here")
    assert Library.create("family", FINGERPRINT).folder == library_folder("family")
    assert Library.open("family").folder == library_folder("family")
    Library.create(tmp_path / "here", FINGERPRINT)
    assert Library.open("main").folder == Library.open(made.folder).folder == made.folder
    assert Library.open(str(made.folder)).folder == made.folder
    assert Library.open("here").folder == Library.open("./here").folder == tmp_path / "here"


def test_a_library_that_is_not_there_names_those_that_are(tmp_path):
    photos = tmp_path / "Photos"
    photos.mkdir()
    (photos / "a.jpg").touch()

    def said(name):
        with pytest.raises(QvsearchError) as caught:
            Library.open(library_folder(name))
        return str(caught.value)

    assert said("phtos") == (
        f"no library at {library_folder('phtos')}; make one with: qvsearch index PATH... -l phtos"
    )
    other = f"no library at {photos}: this folder holds other files; "
    assert said("Photos") == other + "name another one with --library"
    create("photos", "main")
    assert said("phtos") == "no library phtos; did you mean photos? there are: main, photos"
    assert said("PHOTO") == "no library PHOTO; did you mean photos? there are: main, photos"
    assert said("xyz") == "no library xyz; there are: main, photos"
    assert said("Photos") == other + "there are: main, photos"
    with pytest.raises(QvsearchError, match=r"is not a library and holds a\.jpg; give --library"):
        check_place(library_folder("Photos"))


def test_the_tab_key_completes_names_without_loading_what_is_heavy():
    create("photos", "phones", "main")
    code = (
        "import sys; from qvsearch.cli.app import main; main(); print({*sys.modules} & {'numpy'})"
    )
    words = {"_QVSEARCH_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "qvsearch search -l ph"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **words},
        check=True,
    )
    assert "photos" in done.stdout
    assert "phones" in done.stdout
    assert "main" not in done.stdout
    assert done.stdout.endswith("set()\n")


def test_commands_in_hints_name_the_library(tmp_path, capfd):
    assert option(library_folder(None)) == ""
    assert option(library_folder("family")) == " -l family"
    assert option(tmp_path / "two words") == f" -l '{tmp_path}/two words'"
    create("family")
    assert main(["search", "-l", "family", "red"]) == 2
    assert "fill it with: qvsearch index FOLDER -l family" in capfd.readouterr().err


def test_an_empty_name_is_refused():
    with pytest.raises(QvsearchError, match="the name of the library is empty"):
        library_folder("")


def test_what_is_no_library_is_not_asked_about(capfd):
    create("family")
    assert main(["libraries", "delete", "famly"]) == 2
    assert "no library famly; did you mean family?" in capfd.readouterr().err


def test_a_file_is_no_folder_for_clips(tmp_path, capfd):
    create("family")
    (tmp_path / "clips").touch()
    assert main(["search", "-l", "family", "red", "--save-clips", "clips"]) == 2
    assert "clips is not a folder" in capfd.readouterr().err


def test_a_dry_run_of_a_missing_folder_ends_as_the_run_does(tmp_path, capfd):
    (tmp_path / "notes").mkdir()
    create("family")
    assert main(["index", "-l", "family", "notes", "gone", "--dry-run"]) == 3
    assert "not there" in capfd.readouterr().out
