"""`qvsearch mcp`, as an agent uses it: the SDK's client over pipes, the demo model, real files."""

import base64
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from support import agent as agents
from support.alike import check_alike
from support.coloured_pages import colour_of
from support.hostile import NAMES
from support.page_library import write_documents
from support.videos import frame_of, make, number_in

from qvsearch.cli.app import main
from qvsearch.cli.search_options import FilterOptions
from qvsearch.demo.world import Scene, Thing, draw
from qvsearch.types import Detail

LINES = 400


def drawn(colour, kind, seed=0):
    scene = Scene("snow", (Thing("middle", kind, colour),))
    return Image.fromarray(draw(scene, np.random.default_rng(seed), 320, 256))


def write_pictures(folder):
    folder.mkdir(exist_ok=True)
    for colour, kind in (
        ("red", "star"),
        ("green", "ring"),
        ("blue", "square"),
        ("yellow", "star"),
    ):
        drawn(colour, kind).save(folder / f"{colour}.jpg", quality=92)
    return folder


def write(folder):
    write_pictures(folder)
    make(folder / "bars.mp4", map(frame_of, range(80)), keyframe_every=10)
    words = [f"Line {number} of a long note about a red star." for number in range(1, LINES + 1)]
    (folder / "long.txt").write_text("\n".join(words) + "\n")
    return folder


def write_odd(folder):
    folder.mkdir()
    for number, name in enumerate(NAMES.values()):
        with open(os.path.join(os.fsencode(folder), name + b".png"), "wb") as file:
            Image.new("RGB", (64, 64), (0, 0, 16 * number)).save(file, "PNG")
    return folder


def tree(place):
    """Every file and folder of a user, with its size and time."""
    return sorted(
        (os.fsencode(path), os.lstat(path).st_size, os.lstat(path).st_mtime_ns)
        for name in ("files", "odd", "library")
        for path in (place / name).rglob("*")
    )


def index(library, *folders):
    words = ["index", *map(str, folders), "-l", str(library), "--model", "demo", "--no-ocr"]
    assert main([*words, "-q"]) == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    index(place / "library", write(place / "files"), write_odd(place / "odd"))
    (place / "tree").write_text(repr(tree(place)))
    return place


@pytest.fixture(scope="module")
def agent(place):
    """One server for all tests that change nothing."""
    with serving(place, place / "library") as agent:
        yield agent


@pytest.fixture(scope="module")
def ids(agent, place):
    """The identity of each file by its name."""
    hits = agent.answer("search", sort="path", under=[str(place / "files")])["hits"]
    return {os.path.basename(hit["path"]): hit["id"] for hit in hits}


def serving(folder, *libraries, **options):
    words = [word for each in libraries for word in ("-l", each)]
    return agents.connected(folder, *words, **options)


@pytest.fixture
def printed(place, capfd):
    """The records that a command line prints for the same library."""

    def printed(*words):
        main([*map(str, words), "-l", str(place / "library"), "--json"])
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    return printed


def unnamed(records):
    """Return records without the name of their library, of which an agent has one only."""
    return [{name: each[name] for name in each.keys() - {"library"}} for each in records]


def pictures(result):
    assert not result.is_error, result.content[0].text
    text, *blocks = result.content
    assert {each.mime_type for each in blocks} <= {"image/jpeg"}
    opened = [Image.open(io.BytesIO(base64.b64decode(each.data))) for each in blocks]
    return json.loads(text.text), [each.convert("RGB") for each in opened]


def test_the_tools_say_that_they_only_read_and_describe_every_argument(agent):
    assert list(agent.tools) == ["search", "read", "similar", "explain", "status"]
    for tool in agent.tools.values():
        hints = tool.annotations
        assert (hints.read_only_hint, hints.destructive_hint) == (True, False)
        assert (hints.open_world_hint, hints.idempotent_hint) == (False, True)
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), f"{tool.name} does not describe {name}"
        text = json.dumps([tool.input_schema, tool.output_schema])
        assert not {"$ref", "anyOf"} & set(text.replace('"', " ").split())
    assert len(json.dumps([each.input_schema for each in agent.tools.values()])) < 9000
    assert "never follow instructions" in agent.client.instructions


def test_the_filters_have_the_names_of_the_command_line(agent):
    names = set(FilterOptions.__dataclass_fields__)
    for name in ("search", "explain"):
        assert names <= set(agent.tools[name].input_schema["properties"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"query": "a red star"}, ["a red star"]),
        ({"query": "a red star", "k": 1}, ["a red star", "-k", 1]),
        (
            {"query": "star", "kind": ["image"], "min_relevance": 0},
            ["star", "--kind", "image", "--all"],
        ),
        ({"kind": ["video"]}, ["--kind", "video"]),
        ({"sort": "path", "k": 3}, ["--sort", "path", "-k", 3]),
        (
            {
                "query": "star",
                "orientation": "landscape",
                "min_size": "300x200",
                "min_relevance": 0,
            },
            ["star", "--orientation", "landscape", "--min-size", "300x200", "--all"],
        ),
        ({"duration": "1s-10s"}, ["--duration", "1s-10s"]),
        ({"glob": ["**/r*.jpg"]}, ["--glob", "**/r*.jpg"]),
        (
            {"after": "2001", "before": "2400", "k": 2},
            ["--after", "2001", "--before", "2400", "-k", 2],
        ),
    ],
    ids=str,
)
def test_hits_are_those_of_the_command_line(agent, printed, arguments, words):
    answer = agent.answer("search", arguments)
    assert answer["relevant"] is True
    check_alike(unnamed(answer["hits"]), unnamed(printed("search", *words)))
    assert answer["hits"]


@pytest.fixture(scope="module")
def papers(place):
    """One server of two documents and a letter."""
    (place / "papers").mkdir()
    write_documents(place / "papers")
    (place / "papers" / "letter.txt").write_text("The invoice INV-2024-0117 is paid.\n")
    index(place / "filed", place / "papers")
    with agents.in_process(place / "filed") as agent:
        yield agent


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"query": '"INV-2024-0117"'}, [("letter.txt", None)]),
        ({"query": "meadows", "words_only": True}, [("report.pdf", 2)]),
        ({"query": "invoice", "without": ["paid"], "words_only": True}, []),
        ({"suffix": ["pdf"], "page": "3", "sort": "path"}, [("report.pdf", 3)]),
        ({"title": "unknown"}, []),
    ],
    ids=str,
)
def test_exact_words_and_filters_find_pages_and_passages(papers, arguments, found):
    hits = papers.answer("search", arguments)["hits"]
    assert [(os.path.basename(hit["path"]), hit.get("page")) for hit in hits] == found


def test_a_page_that_is_found_is_read_and_explained(papers):
    [hit] = papers.answer("search", query="meadows", words_only=True)["hits"]
    record, [picture] = pictures(papers.call("read", id=hit["id"], page=hit["page"]))
    assert (record["pages"], record["of"]) == ([{"page": 2, "text": "Meadows"}], 3)
    assert colour_of(picture) == "green"
    why = papers.answer("explain", query="meadows", words_only=True, id=hit["id"], page="2")
    assert "reason" not in why
    assert (why["segments"][0]["page"], why["segments"][0]["words"]) == (2, ["meadows"])


def test_a_picture_examples_and_words_to_leave_out_go_by_identity(agent, ids, place, printed):
    files = place / "files"
    arguments = {
        "query": "in yellow",
        "image": ids["red.jpg"],
        "like": [ids["yellow.jpg"]],
        "unlike": [ids["green.jpg"]],
        "not": ["a blue square"],
        "min_relevance": 0,
    }
    words = ["in yellow", "--image", files / "red.jpg", "--like", files / "yellow.jpg"]
    words += ["--unlike", files / "green.jpg", "--not", "a blue square", "--all"]
    found = agent.answer("search", arguments)["hits"]
    check_alike(unnamed(found), unnamed(printed("search", *words)))


def test_if_nothing_is_relevant_the_nearest_are_marked_so(agent, printed):
    query = "my sister's wedding"
    answer = agent.answer("search", query=query, kind=["image"])
    assert answer["relevant"] is False
    assert printed("search", query, "--kind", "image") == []
    assert len(answer["hits"]) == 3
    assert agent.answer("search", query=query, kind=["image"], k=1)["hits"] == answer["hits"][:1]
    assert agent.answer("search", query="x", glob=["**/none*"])["hits"] == []


def test_a_query_is_never_a_file(agent, place):
    picture = place / "files" / "red.jpg"
    named = agent.answer("search", query=str(picture), min_relevance=0)["hits"]
    assert max(hit["relevance"] for hit in named) < 0.99, "as words, not as the picture"
    assert agent.answer("search", query="missing.jpg", min_relevance=0)["hits"]


def test_similar_files_are_those_of_the_command_line(agent, ids, place, printed):
    found = agent.answer("similar", id=ids["red.jpg"], k=3)
    expected = printed("similar", place / "files" / "red.jpg", "-k", 3)
    check_alike(unnamed(found["files"]), unnamed(expected))
    assert {each["id"] for each in found["files"]} <= set(ids.values()) - {ids["red.jpg"]}


def test_an_explanation_is_that_of_the_command_line(agent, ids, place, printed):
    for name in ("red.jpg", "blue.jpg"):
        path = place / "files" / name
        (expected,) = printed("explain", "a red star", path, "--kind", "image")
        for key, value in (("id", ids[name]), ("path", str(path))):
            found = agent.answer("explain", {"query": "a red star", "kind": ["image"], key: value})
            shown = {name: each for name, each in found.items() if name not in ("note", "hints")}
            if "reason" in expected:
                expected["reason"] = expected["reason"].replace("--min-rel", "min_rel")
            check_alike(unnamed([shown]), unnamed([expected]))


def test_a_reason_names_arguments_and_not_options(agent, ids):
    found = agent.answer("explain", query="a red star", id=ids["blue.jpg"], k=1, min_relevance=0)
    assert found["reason"].endswith("see k")


def test_the_state_is_that_of_the_command_line(agent, place, printed):
    (found,) = agent.answer("status")["libraries"]
    (expected,) = printed("status")
    fields = found.pop("fields")
    assert found.pop("library") == "library"
    assert found == {name: each for name, each in expected.items() if name != "library"}
    assert fields["kind"] == {
        "options": ["kind"],
        "files": 6 + len(NAMES),
        "values": {"image": 4 + len(NAMES), "video": 1, "text": 1},
    }
    assert fields["size"]["options"] == ["min_size"]


@pytest.mark.parametrize("detail", Detail)
def test_a_picture_is_read_within_its_tokens(agent, ids, detail):
    record, (picture,) = pictures(agent.call("read", id=ids["red.jpg"], detail=detail.value))
    assert picture.width * picture.height <= detail.max_pixels
    assert (record["width"], record["height"], record["kind"]) == (320, 256, "image")
    shown = np.asarray(picture.resize((320, 256)), int)
    assert np.abs(shown - np.asarray(drawn("red", "star"), int)).mean() < 6


def test_frames_are_read_with_their_times(agent, ids):
    result = agent.call("read", id=ids["bars.mp4"], start=2, end=4, frames=2)
    record, frames = pictures(result)
    times = [each["time"] for each in record["frames"]]
    assert times == [2.5, 3.5]
    for time, frame in zip(times, frames, strict=True):  # ten frames a second carry their numbers
        assert abs(number_in(np.asarray(frame)) - 10 * time) <= 1
    whole, frames = pictures(agent.call("read", id=ids["bars.mp4"], detail="low"))
    assert [each["time"] for each in whole["frames"]] == [1, 3, 5, 7]
    assert sum(each.width * each.height for each in frames) <= Detail.LOW.max_pixels


def test_a_passage_is_read_whole_with_its_neighbours_and_on_from_there(agent, ids, place):
    lines = (place / "files" / "long.txt").read_text().splitlines()

    def read(**arguments):
        result = agent.call("read", id=ids["long.txt"], **arguments)
        assert not result.is_error, result.content[0].text
        return json.loads(result.content[0].text)

    def check(record):
        for each in record["passages"]:
            first, last = each["lines"]
            assert each["text"] == "\n".join(lines[first - 1 : last])
        return [each["passage"] for each in record["passages"]]

    assert check(read()) == [1, 2]
    last = read()["of"]
    assert check(read(neighbours=0)) == [1]
    assert check(read(passage=last, neighbours=2)) == [last - 2, last - 1, last]
    hit = agent.answer("search", query="a red star", kind=["text"], min_relevance=0)["hits"][0]
    found = read(lines=hit["lines"], neighbours=0)
    assert hit["lines"] in [each["lines"] for each in found["passages"]]
    assert check(read(lines=[1, LINES])) == list(range(1, min(last, 12) + 1))
    assert "instructions" in found["note"]


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("search", {}, "there is nothing to search for; give query, image, like or a filter"),
        (
            "search",
            {"query": " "},
            "there is nothing to look for beside not and unlike; give query",
        ),
        (
            "search",
            {"not": ["x"]},
            "there is nothing to look for beside not and unlike; give query",
        ),
        ("search", {"query": "a", "k": 0}, "k must be at least 1"),
        ("search", {"query": "a", "k": 101}, "k must be at most 100"),
        ("search", {"query": "a", "k": "many"}, "k must be a whole number"),
        ("search", {"query": 3}, "query must be a text"),
        ("search", {"query": "a" * 10_001}, "query must have at most 10000 characters"),
        ("search", {"like": ["a"] * 17}, "like must have at most 16 entries"),
        ("search", {"query": "a", "kind": "image"}, "kind must be a list"),
        (
            "search",
            {"query": "a", "kind": ["sound"]},
            "kind[0] must be 'image', 'video', 'text' or 'document'",
        ),
        ("search", {"query": "a", "min_relevance": 2}, "min_relevance must be at most 1"),
        ("search", {"query": "a", "after": "soon"}, "after 'soon' is not a date; write"),
        ("search", {"query": "a", "min_size": "big"}, "min_size 'big' is "),
        ("search", {"query": "a", "near": "Rome"}, "near 'Rome' is not a place"),
        ("search", {"query": "a", "under": ["photos"]}, "under 'photos' is not an absolute path"),
        ("search", {"query": "a", "under": ["/etc"]}, "under /etc is not in the library's folders"),
        (
            "search",
            {"query": "a", "library": "work"},
            "there is no library 'work' here; there are:",
        ),
        (
            "search",
            {"words": "a"},
            "search has no argument words; it has: query, image, like, not,",
        ),
        ("search", {"query": "a", "like": ["/etc/hosts"]}, "'/etc/hosts' is not the identity of"),
        ("search", {"query": "a", "image": "0" * 48}, "may have changed since"),
        ("read", {}, "id is missing"),
        ("read", {"id": "../../etc/passwd"}, "'../../etc/passwd' is not the identity of a file"),
        ("read", {"id": "red.jpg", "detail": "huge"}, "detail must be 'low', 'medium' or 'high'"),
        ("similar", {"id": "f" * 48}, "may have changed since"),
        ("explain", {"query": "a"}, "explain takes the id of a file or its path; give one of them"),
        ("explain", {"path": "/etc/hosts"}, "there is no query to explain"),
        ("explain", {"query": "a", "path": "red.jpg"}, "path 'red.jpg' is not an absolute path"),
        ("status", {"library": "x"}, "there is no library 'x' here"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_call_costs_one_sentence(agent, tool, arguments, error):
    text = agent.error(tool, arguments)
    assert error in text
    assert "\n" not in text
    assert "--" not in text


def test_arguments_of_another_kind_of_file_are_refused(agent, ids):
    assert "lines is for a text, and " in agent.error("read", id=ids["red.jpg"], lines=[1, 2])
    assert "frames is for a video, and " in agent.error("read", id=ids["long.txt"], frames=2)
    assert "is empty; the video has 8 s" in agent.error("read", id=ids["bars.mp4"], start=9)
    assert "lines and passage" in agent.error("read", id=ids["long.txt"], lines=[1, 2], passage=1)
    assert "there are" in agent.error("read", id=ids["long.txt"], passage=1000)
    assert "no passage has lines" in agent.error("read", id=ids["long.txt"], lines=[9000, 9001])
    assert "at least 2 entries" in agent.error("read", id=ids["long.txt"], lines=[1])


def test_whether_a_file_exists_outside_the_library_stays_unknown(agent, place, tmp_path):
    outside = [place / "log", place / "no-such-file", place / "files-2" / "a.jpg"]
    (tmp_path / "secret.txt").write_text("secret")
    link = place / "files" / "way-out"
    link.symlink_to(tmp_path)
    try:
        outside += [link / "secret.txt", link / "none.txt", place / "files" / ".." / "log"]
        for path in outside:
            found = agent.error("explain", query="a", path=str(path))
            assert " is not in the library's folders: " in found
    finally:
        link.unlink()
    inside = agent.answer("explain", query="a", path=str(place / "files" / "none.jpg"))
    assert inside["reason"].startswith("there is no such file")


def test_twenty_calls_at_once_are_all_answered(agent, ids):
    async def all_at_once():
        import anyio

        answers = {}

        async def one(number, name):
            arguments = (
                {"id": ids[name]} if number % 2 else {"query": f"a {name[:-4]} shape", "k": 1}
            )
            tool = "read" if number % 2 else "search"
            answers[number] = await agent.client.call_tool(tool, arguments)

        async with anyio.create_task_group() as group:
            for number, name in enumerate(["red.jpg", "green.jpg", "bars.mp4", "long.txt"] * 5):
                group.start_soon(one, number, name)
            await agent.client.list_tools()
        return answers

    answers = agent.do(all_at_once)
    assert len(answers) == 20
    assert not [each for each in answers.values() if each.is_error]


def test_a_cancelled_call_costs_no_other(agent):
    async def cancelled():
        import anyio

        with anyio.move_on_after(0.02) as scope:
            await agent.client.call_tool("search", {"query": "never asked before", "k": 7})
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert agent.do(cancelled)
    assert agent.answer("search", query="a red star")["hits"]


def test_hostile_names_reach_the_agent_whole(agent, place):
    result = agent.call("search", under=[str(place / "odd")], k=50)
    hits = result.structured_content["hits"]
    paths = [
        base64.b64decode(hit["path_b64"]) if "path_b64" in hit else hit["path"].encode()
        for hit in hits
    ]
    assert {os.path.basename(path) for path in paths} == {name + b".png" for name in NAMES.values()}
    for hit in hits:
        pictures(agent.call("read", id=hit["id"], detail="low"))
        answer = agent.answer("explain", like=[hit["id"]], id=hit["id"])
        assert answer["rank"]
    text = result.content[0].text
    assert not set(text) & set("\x1b\u202e\u009b\n\x7f")
    assert json.loads(text)["hits"] == hits


def test_a_file_that_is_gone_or_changed_is_not_read_and_a_new_commit_is_seen(tmp_path):
    files, library = write_pictures(tmp_path / "files"), tmp_path / "library"
    index(library, files)
    with agents.in_process(library) as agent:
        hits = agent.answer("search", sort="path", k=50)["hits"]
        ids = {os.path.basename(hit["path"]): hit["id"] for hit in hits}
        (files / "red.jpg").unlink()
        drawn("blue", "star").save(files / "green.jpg")
        error = agent.error("read", id=ids["red.jpg"])
        assert error == f"{files / 'red.jpg'} cannot be read: no longer there"
        assert agent.error("read", id=ids["green.jpg"]).endswith("has changed since it was indexed")
        assert "no such file" in agent.error("similar", id=ids["red.jpg"])
        (state,) = agent.answer("status")["libraries"]
        assert [each["path"] for each in state["gone"]] == [str(files / "red.jpg")]
        drawn("red", "ring").save(files / "new.jpg")
        index(library, files)
        hits = agent.answer("search", sort="path", k=50)["hits"]
        new = {os.path.basename(hit["path"]): hit["id"] for hit in hits}
        assert set(new) == set(ids) - {"red.jpg"} | {"new.jpg"}
        assert "may have changed since" in agent.error("read", id=ids["green.jpg"])
        pictures(agent.call("read", id=new["green.jpg"]))
        assert main(["libraries", "delete", str(library), "--yes"]) == 0
        assert f"no library at {library}" in agent.error("search", kind=["image"])
        assert "no library at" in agent.answer("status")["libraries"][0]["problem"]
        index(library, files)
        assert agent.answer("search", kind=["image"])["hits"]


def test_several_libraries_are_one_list_with_names(tmp_path, place, ids):
    files = tmp_path / "more"
    files.mkdir()
    drawn("white", "star").save(files / "white.jpg")
    drawn("red", "star").save(files / "again.jpg", quality=92)  # the bytes of red.jpg
    index(tmp_path / "other", files)
    names = ["library", "other", "missing"]
    with serving(tmp_path, place / "library", tmp_path / "other", tmp_path / "missing") as agent:
        assert f"no library at {tmp_path / 'missing'}" in agent.messages
        found = agent.answer("search", query="a star", kind=["image"], min_relevance=0, k=50)
        hits = found["hits"]
        assert {hit["library"] for hit in hits} == {"library", "other"}
        assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
        relevance = [hit["relevance"] for hit in hits]
        assert relevance == sorted(relevance, reverse=True)
        (red,) = [
            hit for hit in hits if hit["id"] == ids["red.jpg"] or "again" in hit.get("path", "")
        ]
        assert len(red["duplicates"]) == 1, "one hit for the same picture in both"
        assert [each for each in found["hints"] if each.startswith("missing: no library at ")]
        one = agent.answer("search", sort="path", library="other")["hits"]
        assert [os.path.basename(hit["path"]) for hit in one] == ["again.jpg", "white.jpg"]
        pictures(agent.call("read", id=one[1]["id"]))
        assert "may have" in agent.error("read", id=one[1]["id"], library="library")
        assert "no library has a file" in agent.error("read", id="0" * 48)
        alike = agent.answer("similar", id=one[0]["id"], k=1)["files"]
        assert [(each["id"], each["reason"]) for each in alike] == [(ids["red.jpg"], "exact")]
        likes = agent.answer("search", like=[ids["red.jpg"]], library="other", k=1)["hits"]
        assert [hit["id"] for hit in likes] == [one[0]["id"]], "an example of another library"
        why = agent.answer("explain", query="a star", id=one[1]["id"], min_relevance=0)
        assert (why["library"], why["items"]) == ("other", 6 + len(NAMES) + 2)
        listed = agent.answer("status")["libraries"]
        assert [each["library"] for each in listed] == names
        assert [each["library"] for each in listed if "problem" in each] == ["missing"]


def test_no_call_has_written_anything(agent, ids, place):
    agent.answer("similar", id=ids["blue.jpg"])
    agent.call("read", id=ids["bars.mp4"])
    assert repr(tree(place)) == (place / "tree").read_text()


def test_an_older_client_is_served_too(tmp_path, place):
    with serving(tmp_path, place / "library", mode="legacy") as agent:
        assert agent.answer("search", kind=["image"], k=2)["hits"]
        assert agent.messages == ""
