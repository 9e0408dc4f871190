"""A terminal shows the nearest hits if nothing is relevant; programs get nothing."""

import numpy as np
import pytest
from PIL import Image
from support.terminal import terminal, without_escapes

from qvsearch.cli.app import main
from qvsearch.demo.world import draw, scenes
from qvsearch.retrieval.calibration import ANSWERED, CUT

NONSENSE = "asdkjh qwe zxcv"  # the drawn world has no such thing
HEADING = "nothing is clearly relevant; nearest:"
PICTURES = 40


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Pictures of the drawn world, indexed with the demo's model."""
    folder = tmp_path_factory.mktemp("nearest") / "files"
    folder.mkdir()
    rng = np.random.default_rng(1)
    drawn = scenes(rng, held_out=True)
    for number in range(PICTURES):
        Image.fromarray(draw(next(drawn), rng)).save(folder / f"{number}.jpg")
    library = folder.parent / "library"
    assert main(["index", str(folder), "--model", "demo", "-l", str(library), "-q"]) == 0
    return library


def on_a_terminal(library, *arguments):
    """Run a search with output on a terminal; return the exit code and what it received."""
    with terminal(100, errors=False) as received:
        code = main(["search", "-l", str(library), *arguments])
    return code, received()


def ranks(lines):
    return [line.split()[0] for line in lines if line.rstrip().endswith(".jpg")]


def test_a_terminal_shows_three_hits_if_nothing_is_relevant(library):
    code, shown = on_a_terminal(library, NONSENSE)
    heading, *lines = without_escapes(shown).splitlines()
    assert code == 1
    assert heading.strip() == HEADING
    assert ranks(lines) == ["1", "2", "3"]
    relevance = [float(line.split()[1]) for line in lines if line.rstrip().endswith(".jpg")]
    assert relevance == sorted(relevance, reverse=True)
    assert max(relevance) < ANSWERED + 0.005
    assert "below" not in shown


def test_the_nearest_hits_are_dimmed(library):
    _, shown = on_a_terminal(library, NONSENSE)
    rows = [line for line in shown.splitlines() if ".jpg" in line]
    dim = "\x1b[2"
    assert len(rows) == 3
    assert all(dim in row for row in rows)


def test_no_more_of_the_nearest_hits_are_shown_than_were_asked_for(library):
    code, shown = on_a_terminal(library, NONSENSE, "-k", "1")
    assert (code, ranks(without_escapes(shown).splitlines())) == (1, ["1"])


def test_filters_hold_for_the_nearest_hits(library):
    code, shown = on_a_terminal(library, NONSENSE, "--glob", "7.jpg")
    assert (code, ranks(without_escapes(shown).splitlines())) == (1, ["1"])
    code, shown = on_a_terminal(library, NONSENSE, "--kind", "video")
    assert (code, shown) == (1, "")


@pytest.mark.parametrize("option", ["--quiet", "--json", "--paths"])
def test_an_option_for_programs_shows_no_nearest_hits_on_a_terminal(library, option):
    assert on_a_terminal(library, NONSENSE, option) == (1, "")


@pytest.mark.parametrize("options", [[], ["--json"], ["--quiet"], ["--print0"]])
def test_a_pipe_stays_empty_if_nothing_is_relevant(library, options, capfd):
    assert main(["search", "-l", str(library), NONSENSE, *options]) == 1
    out, errors = capfd.readouterr()
    assert out == ""
    assert HEADING not in errors


def test_all_parts_relevant_hits_from_the_rest_by_a_line(library):
    picture = str(library.parent / "files" / "5.jpg")  # surely relevant: it is its own copy
    code, shown = on_a_terminal(library, picture, "--all", "-k", str(PICTURES))
    lines = without_escapes(shown).splitlines()
    assert code == 0
    (line,) = (number for number, each in enumerate(lines) if f"below {CUT:.2f}" in each)

    def relevance(some):
        return [float(each.split()[1]) for each in some if each.rstrip().endswith(".jpg")]

    assert lines[1].rstrip().endswith("5.jpg")
    assert min(relevance(lines[:line])) >= round(CUT, 2)
    assert max(relevance(lines[line:])) <= round(CUT, 2)
    assert len(ranks(lines[:line])) + len(ranks(lines[line:])) == PICTURES


def test_all_without_relevant_hits_has_no_line(library):
    code, shown = on_a_terminal(library, NONSENSE, "--all")
    assert code == 0
    assert "below" not in shown
    assert HEADING not in shown
