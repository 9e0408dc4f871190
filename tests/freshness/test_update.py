"""A library is brought up to date with all its folders: `index` without a path, and `--update`."""

import json
import os
import signal

import pytest
from support.cheap_model import FINGERPRINT, CheapModel, instead, write_notes
from support.commands import home, records, run  # noqa: F401 - fixtures
from support.modules import loaded_by

from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.library.lock import WriterLock
from qvsearch.library.rules import Rules
from qvsearch.types import Kind


class Interrupting(CheapModel):
    """Ctrl-C arrives with the first documents, once: a second one would end this process."""

    interrupted = False

    def embed(self, inputs):
        if not self.interrupted and inputs[0].instruction is None:
            self.interrupted = True
            os.kill(os.getpid(), signal.SIGINT)
        return super().embed(inputs)


@pytest.fixture
def notes(home):  # noqa: F811
    """Three notes, and a library that has them."""
    Library.create(home / "library", FINGERPRINT)
    write_notes(home / "notes", 3)
    with instead():
        from qvsearch.cli.app import main

        assert main(["index", str(home / "notes"), "--quiet"]) == 0
    return home / "notes"


def names(home):  # noqa: F811
    return {
        os.path.basename(os.fsdecode(place))
        for place in Library.open(home / "library").by_location()
    }


def summary_of(out):
    return json.loads(out.splitlines()[-1])


def test_without_a_path_all_folders_are_indexed_each_as_before(run, home, notes):  # noqa: F811
    (home / "texts").mkdir()
    (home / "texts" / "a.txt").write_text("a")
    (home / "texts" / ".secret.txt").write_text("s")
    with instead():
        assert (
            run("index", home / "texts", "--kind", "text", "--exclude", "drafts/", "--hidden")[0]
            == 0
        )
        write_notes(notes, 1, first=7)
        for path in ("b.txt", "picture.png", "drafts/c.txt", ".later.txt"):
            (home / "texts" / path).parent.mkdir(exist_ok=True)
            (home / "texts" / path).write_text(path)
        code, out, error = run("index", "--json")
    assert (code, error) == (0, "")
    assert summary_of(out)["embedded"] == 3
    assert names(home) >= {"0007.txt", "b.txt", ".secret.txt", ".later.txt"}
    assert not names(home) & {"picture.png", "c.txt"}


def test_options_of_a_run_widen_what_later_runs_without_a_path_take(run, home, notes):  # noqa: F811
    def rules():
        return Library.open(home / "library").rules.get(os.fsencode(notes), Rules())

    with instead():
        assert run("index", notes, "--kind", "image", "--hidden", "--quiet")[0] == 0
        assert rules() == Rules(hidden=True), "texts, which it took before, are not given up"
        assert run("index", notes, "--quiet")[0] == 0
        assert rules() == Rules(hidden=True)
        assert run("index", notes, "--forget-rules", "--kind", "text", "--quiet")[0] == 0
        assert rules() == Rules(kinds=(Kind.TEXT,))
        assert run("index", notes, "--kind", "image", "--quiet")[0] == 0
        assert rules() == Rules(kinds=(Kind.IMAGE, Kind.TEXT))


def test_a_folder_that_is_away_is_named_and_costs_nothing(run, home, notes):  # noqa: F811
    write_notes(home / "others", 1)
    with instead() as model:
        assert run("index", home / "others", "--quiet")[0] == 0
        (home / "others").rename(home / "away")
        before = names(home)
        code, out, _ = run("index", "--json")
        assert (code, names(home)) == (3, before)
        assert summary_of(out)["unreachable"] == [{"path": str(home / "others")}]
        code, out, _ = run("index")
    assert b"not there: " in out
    assert isinstance(model, CheapModel)


def test_an_interrupted_first_run_goes_on(run, home):  # noqa: F811
    Library.create(home / "library", FINGERPRINT)
    write_notes(home / "notes", 9)

    with instead(Interrupting(), batch=3):
        assert run("index", home / "notes")[0] == 130
    with instead():
        code, out, _ = run("index", "--json")
    assert (code, len(names(home))) == (0, 9)
    assert summary_of(out)["found"] == 9


def test_without_folders_or_a_library_the_command_is_named(run, home):  # noqa: F811
    code, out, error = run("index")
    assert (code, out) == (2, b"")
    assert "make one with: qvsearch index PATH" in error
    Library.create(home / "library", FINGERPRINT)
    code, out, error = run("index")
    assert (code, out) == (2, b"")
    assert f"has no folders yet; add one with: qvsearch index FOLDER -l {home / 'library'}" in error


def test_options_of_a_folder_need_its_path(run, notes):
    for option in ("--kind text", "--exclude a", "--hidden", "--forget-rules", "--prune"):
        code, _, error = run("index", *option.split())
        assert (code, f"index PATH {option.split()[0]}" in error) == (2, True)


def test_a_dry_run_without_a_path_plans_for_all(run, notes):
    write_notes(notes, 2, first=5)
    with instead():
        code, out, _ = run("index", "--dry-run", "--json")
    plan = summary_of(out)
    assert (code, plan["to_embed"], plan["unchanged"]) == (0, {"text": 2}, 3)


def test_search_with_update_finds_what_is_new_and_prints_only_hits(run, notes):
    write_notes(notes, 1, first=4)
    with instead():
        code, out, error = run("search", "note 4\n", "--update", "--all", "--json")
    assert code == 0
    assert records(out)[0]["path"].endswith("0004.txt")
    assert (all("rank" in each for each in records(out)), error) == (True, "")


def test_an_update_that_finds_a_folder_empty_says_so_and_keeps_its_files(run, home, notes):  # noqa: F811
    notes.rename(home / "away")
    notes.mkdir()
    with instead():
        code, out, error = run("search", "note", "--update", "--all", "--paths")
    assert (code, len(out.splitlines())) == (0, 3)
    assert f"not updated: kept 3 files of {notes}: it is empty" in error


def test_similar_with_update_finds_what_is_new(run, notes):
    write_notes(notes, 1, first=4)
    with instead():
        code, out, _ = run("similar", notes / "0001.txt", "--update", "--json")
    assert code == 0
    assert any(each["path"].endswith("0004.txt") for each in records(out))


def test_search_with_update_while_another_process_indexes(run, home, notes):  # noqa: F811
    write_notes(notes, 1, first=4)
    with instead(), WriterLock(home / "library").held():
        code, out, error = run("search", "note 1\n", "--update", "--all", "--paths")
    assert (code, len(out.splitlines())) == (0, 3)
    assert error.startswith("not updated: ")
    assert f"process {os.getpid()}" in error


def test_ctrl_c_during_the_update_keeps_what_is_finished(run, home, notes):  # noqa: F811
    write_notes(notes, 9, first=10)
    with instead(Interrupting(), batch=3):
        code, out, error = run("search", "note 1\n", "--update", "--all", "--paths")
    assert (code, out) == (130, b"")
    assert error == "interrupted; what is finished is saved\n"
    assert 3 < len(names(home)) < 12
    with instead():
        assert run("search", "note 1\n", "--all", "--paths")[0] == 0


def test_a_file_that_fails_during_the_update_is_counted_and_the_rest_searched(run, home, notes):  # noqa: F811
    class Failing(CheapModel):
        def embed(self, inputs):
            if any("note 11" in (each.text or "") for each in inputs):
                raise QvsearchError("not a number")
            return super().embed(inputs)

    write_notes(notes, 1, first=11)
    with instead(Failing()):
        code, out, error = run("search", "note 1\n", "--update", "--all", "--paths")
    assert (code, len(out.splitlines())) == (0, 3)
    see = f"qvsearch status -l {home}/library"
    assert error == f"not updated: 1 file could not be indexed; see: {see}\n"


def test_an_unchanged_update_loads_no_model(home, notes):  # noqa: F811
    code = """
from pathlib import Path
from qvsearch.freshness.update import bring_up_to_date
from qvsearch.runtime.loading import Choice
folder = Path({!r})
summary = bring_up_to_date(folder, Choice(), lambda _: None, lambda: False)
assert summary.unchanged == 3, summary
"""
    loaded = loaded_by(code.format(str(home / "library")))
    assert "qvsearch.indexing.pipeline" in loaded
    assert not loaded & {"torch", "transformers", "qvsearch.models.network"}
