"""The endpoint of a search: the command line's hits, page by page."""

import shlex
import shutil

import pytest
from support.hits import hit as made_hit
from support.served import index, own_cache, printed, serving

from qvsearch.choices import Task
from qvsearch.library.library import Library
from qvsearch.web.rankings import KEPT_LISTS, KEPT_STATES, Ranking, Rankings


def without_ids(hits):
    """Hits as the command line prints them: their duplicates have no identity."""
    for hit in hits:
        for each in hit.get("duplicates", []):
            assert each.pop("id")
    return hits


def coarse(value):
    """Hits whose numbers may differ by what the order of additions changes."""
    if isinstance(value, float):
        return pytest.approx(value, abs=2e-5)
    if isinstance(value, list):
        return [coarse(each) for each in value]
    if isinstance(value, dict):
        return {name: coarse(each) for name, each in value.items()}
    return value


QUERIES = {  # of the page, and of the command line
    "q=a+red+star": "'a red star'",
    "q=a+red+star&all=1": "'a red star' --all",
    "q=snow&all=True&words-only=true": "snow --all --words-only",
    "q=a+red+star&all=false&words_only=0&meaning_only=False": "'a red star'",
    "q=snow&not=star&kind=image&kind=text": "snow --not star --kind image --kind text",
    "q=a+red+star&all=1&min-size=100x100&orientation=landscape": (
        "'a red star' --all --min-size 100x100 --orientation landscape"
    ),
    "q=a+red+star&min-relevance=0.1": "'a red star' --min-relevance 0.1",
    "kind=video": "--kind video",
    "glob=notes/**&sort=path": "--glob notes/** --sort path",
    "q=star&sort=date": "star --sort date",
    "q=a+red+star&task=TASK": "'a red star' --task TASK",
    "duration=5s&kind=video": "--duration 5s --kind video",
}


@pytest.mark.parametrize("parameters", QUERIES)
def test_the_hits_are_those_of_the_command_line(browser, world, capsys, parameters):
    task = next(iter(Task)).value
    arguments = shlex.split(QUERIES[parameters].replace("TASK", task))
    parameters = parameters.replace("TASK", task)
    answer = browser.get(f"/api/search?{parameters}&limit=200").json()
    expected = printed(
        capsys,
        "search",
        *arguments,
        "-k",
        "200",
        "-l",
        world / "library",
        "--device",
        "cpu",
        "--dtype",
        "float32",
    )
    assert without_ids(answer["hits"]) == coarse(expected)
    assert expected
    assert answer["relevant"]
    assert not answer["more"]


def test_pages_join_to_the_whole_list(browser):
    whole = browser.hits("q=red&all=1&limit=200")
    pages = []
    for offset in range(0, len(whole) + 4, 4):
        answer = browser.get(f"/api/search?q=red&all=1&offset={offset}&limit=4").json()
        pages += answer["hits"]
        assert answer["more"] == (offset + 4 < len(whole))
    assert pages == whole
    assert [hit["rank"] for hit in pages] == list(range(1, len(whole) + 1))
    assert browser.hits("q=red&limit=0") == []


def test_if_nothing_is_relevant_the_nearest_are_shown(browser):
    answer = browser.get("/api/search?q=red&min_size=100x100").json()
    assert not answer["relevant"]
    assert 0 < len(answer["hits"]) <= 12
    assert not answer["more"]
    whole = browser.get("/api/search?q=red&min_size=100x100&all=1").json()
    assert whole["relevant"]
    assert len(whole["hits"]) >= len(answer["hits"])


def test_a_file_of_the_library_is_an_example(browser):
    item = browser.id_of("picture-03.jpg")
    hits = browser.hits(f"like={item}&kind=image")
    assert hits[0]["id"] == item
    assert hits[0]["relevance"] == pytest.approx(1, abs=0.01)
    assert item not in [hit["id"] for hit in browser.hits(f"q=star&all=1&unlike={item}&limit=3")]


def test_duplicates_have_an_identity(browser):
    (hit,) = [
        each
        for each in browser.hits(f"like={browser.id_of('picture-01.jpg')}")
        if each.get("duplicates")
    ][:1]
    for each in hit["duplicates"]:
        assert browser.get(f"/api/items/{each['id']}").json()["path"] == each["path"]


BAD = {
    "q=red&kind=movie": "--kind 'movie' is unknown",
    "q=red&after=yesterday": "--after 'yesterday' is not a date",
    "near=here": "--near 'here' is not a place",
    "limit=201": "limit '201' must be a whole number from 0 to 200",
    "limit=-1": "limit '-1' must be",
    "offset=1e3": "offset '1e3' must be",
    "offset=" + "9" * 300: "must be a whole number",
    "limit=%D9%A3": "must be a whole number",  # a digit of Arabic
    "q=a&q=b": "q is given twice",
    "colour=red": "unknown parameter 'colour'",
    "q=a&min_relevance=2": "min_relevance '2' must be a number from 0 to 1",
    "q=a&min_relevance=nan": "must be a number from 0 to 1",
    "not=red": "the query looks for nothing",
    "without=red": "the query looks for nothing",
    "q=a&not=+": "--not is empty",
    "q=a" + "&not=b" * 33: "a query has at most 32 examples and nots",
    "sort=relevance": "nothing is relevant without a query",
    "q=a&words_only=no": "words_only 'no' must be true or false",
    "q=a&task=nonsense": "--task 'nonsense' is unknown",
    "under=%2Fnowhere%2Fat%2Fall": "neither on the disk nor in the library",
    "glob=%5B": "",
    "min_size=big": "--min-size 'big' is not a size",
    "orientation=round": "--orientation 'round'",
}


@pytest.mark.parametrize("parameters", BAD)
def test_bad_parameters_are_named(browser, parameters, tally):
    answer = browser.http.get(f"/api/search?{parameters}")
    if parameters != "glob=%5B":
        assert answer.status_code == 400
        assert BAD[parameters] in answer.json()["error"]
    assert answer.status_code < 500
    tally["bad parameters named"] += 1


@pytest.mark.parametrize(
    ("parameters", "status"),
    [("like=00", 410), (f"like={'0' * 48}", 410), ("upload=nothing", 410), ("library=other", 404)],
)
def test_what_is_away_is_said(browser, parameters, status):
    assert browser.get(f"/api/search?{parameters}", status).json().keys() == {"error"}


def test_hostile_bytes_do_no_harm(browser):
    for query in (b"q=%ff%fe", b"q=%00", b"q=%ed%a0%80", b"q=" + b"a" * 5_000, b"&&&=&=%", b"q"):
        answer = browser.http.get("/api/search?" + query.decode())
        assert answer.status_code in (200, 400), answer.text[:300]
        assert answer.headers["content-type"] == "application/json"


def test_hostile_names_reach_the_page_as_json(browser):
    text = browser.get("/api/search?limit=200").text
    assert "\\u202e" in text
    assert not {"\u202e", "\r"} & set(text)


class TestAnotherProcess:
    @pytest.fixture
    def changing(self, tmp_path):
        (tmp_path / "files").mkdir()
        for number, words in enumerate(("red circle", "green ring", "blue star", "fresh snow")):
            (tmp_path / f"files/{number}.txt").write_text(f"A note about a {words}.\n")
        with own_cache(tmp_path / "cache"):
            library = index(tmp_path / "files")
            with serving(library) as browser:
                yield tmp_path, browser

    def test_new_files_are_found_and_removed_ones_are_gone(self, changing):
        folder, browser = changing
        page = browser.id_of("0.txt")
        (folder / "files/new.txt").write_text("A dark night, and a yellow square.\n")
        (folder / "files/0.txt").unlink()
        index(folder / "files")
        assert browser.hits("q=a+yellow+square+at+night")[0]["path"].endswith("new.txt")
        browser.get(f"/api/items/{page}", 410)
        browser.get(f"/media/{page}/file", 410)

    def test_a_list_that_one_scrolls_through_stays_the_list(self, changing):
        folder, browser = changing
        before = browser.hits("q=snow&all=1&limit=200")
        first = browser.hits("q=snow&all=1&limit=2")
        (folder / "files/first.txt").write_text("A dark night, and a yellow square.\n")
        index(folder / "files")
        rest = browser.hits("q=snow&all=1&offset=2&limit=200")
        assert first + rest == before
        assert len(browser.hits("q=snow&all=1&limit=200")) == len(before) + 1

    def test_a_library_made_anew_is_read_anew(self, changing):
        folder, browser = changing
        browser.hits("q=red")
        for path in sorted((folder / "library").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (folder / "library").rmdir()
        assert "no library" in browser.get("/api/search?q=red", 503).json()["error"]
        (shelf,) = browser.get("/api/status").json()["libraries"]
        assert "no library" in shelf["problem"]
        index(folder / "files")
        assert browser.hits("q=red&all=1")

    def test_a_damaged_library_does_not_end_the_server(self, changing):
        folder, browser = changing
        manifest = folder / "library/manifest.json"
        for path in (manifest, folder / "library/manifest.json.bak"):
            whole = path.read_bytes()
            path.write_bytes(b"{}")
        browser.get("/api/search?q=red", 503)
        manifest.write_bytes(whole)
        assert browser.hits("q=red&all=1")


def test_one_damaged_library_of_two_costs_only_itself(world, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.txt").write_text("A note about a red star in the snow.\n")
    shutil.copy(world / "files/notes/note-1.txt", tmp_path / "files/note-1.txt")
    with own_cache(tmp_path / "cache"):
        other = index(tmp_path / "files")
        with serving(world / "library", other) as browser:
            hits = browser.hits("q=a+red+star&all=1&limit=200")
            assert {hit["library"] for hit in hits} == {str(world / "library"), str(other)}
            assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
            only = browser.hits(f"q=a+red+star&all=1&library={other}")
            assert {hit["library"] for hit in only} == {str(other)}
            mine = next(hit for hit in hits if hit["path"].endswith("a.txt"))
            assert browser.get(f"/media/{mine['id']}/file").text.startswith("A note")
            for path in (other / "manifest.json", other / "manifest.json.bak"):
                path.write_bytes(b"{}")
            hits = browser.hits("q=a+red+star&all=1&limit=200")
            assert {hit["library"] for hit in hits} == {str(world / "library")}
            first, second = browser.get("/api/status").json()["libraries"]
            assert ("problem" in first, "problem" in second) == (False, True)
            browser.get(f"/api/search?q=a&library={other}", 503)
            browser.get(f"/media/{mine['id']}/file", 410)


def test_an_empty_library_says_the_command(tmp_path):
    with own_cache(tmp_path / "cache"):
        from qvsearch.models.registry import fingerprint, resolve
        from qvsearch.types import Detail

        made = fingerprint(resolve("demo"), 128, Detail.LOW)
        Library.create(tmp_path / "library", made)
        with serving(tmp_path / "library") as browser:
            (shelf,) = browser.get("/api/status").json()["libraries"]
            assert shelf["empty"]
            assert shelf["command"].startswith("qvsearch index FOLDER -l ")
            assert "is empty" in browser.get("/api/search?q=red", 400).json()["error"]


def ranked(count):
    names = [b"/photos/%d.jpg" % number for number in range(count)]
    return [made_hit(name, rank=rank) for rank, name in enumerate(names, start=1)]


def test_a_ranking_is_computed_as_far_as_it_is_asked_for():
    hits, reached = ranked(1000), []

    def in_turn():
        for each in hits:
            reached.append(each)
            yield each

    ranking = Ranking(in_turn())
    assert ranking.page(0, 60) == (hits[:60], True)
    assert len(reached) == 61
    assert ranking.page(60, 60) == (hits[60:120], True)
    assert ranking.page(0, 60) == (hits[:60], True)
    assert ranking.page(940, 60) == (hits[940:], False)
    assert ranking.page(5000, 60) == ([], False)
    assert ranking.page(0, 0) == ([], True)


def test_old_rankings_are_dropped():
    rankings = Rankings()
    for number in range(KEPT_LISTS + 3):
        rankings.keep(number, "state", Ranking(iter([])))
    assert rankings.get(2, "state", is_first=True) is None
    assert rankings.get(3, "state", is_first=True) is not None
    assert rankings.get(3, "later", is_first=True) is None
    assert rankings.get(3, "later", is_first=False) is not None


def test_lists_of_few_old_states_keep_their_libraries_open():
    rankings = Rankings()
    for commit in range(KEPT_STATES + 2):
        for number in range(2):
            rankings.keep((commit, number), [commit], Ranking(iter(ranked(3))))
    kept = [rankings.get((commit, 0), None, is_first=False) for commit in range(KEPT_STATES + 2)]
    assert [each is not None for each in kept] == [False] * 2 + [True] * KEPT_STATES


def test_a_list_ends_before_it_fills_the_memory(browser):
    assert browser.get("/api/search?q=red&all=1&offset=100000").json()["hits"] == []
    answer = browser.get("/api/search?q=red&all=1&offset=100001", 400)
    assert "narrow the search" in answer.json()["error"]
