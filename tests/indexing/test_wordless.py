"""Libraries of an older version, which stored no words, get them without any embedding."""

import io
import json
import os

import pytest
from PIL import Image
from support.cheap_model import FINGERPRINT, DecodersHere, instead, write_notes
from support.hostile_videos import film
from support.pdf_files import drawn, lines
from support.readers import forget_words
from support.served import serving

from qvsearch.cli.app import main
from qvsearch.indexing import pipeline
from qvsearch.indexing.status import library_status
from qvsearch.indexing.wordless import add_missing_words
from qvsearch.library import rows, words_file
from qvsearch.library.library import Library
from qvsearch.library.repair import check, repair
from qvsearch.library.words_file import FILE, RowWords
from qvsearch.mcp.searching import _hints
from qvsearch.media import document, video
from qvsearch.media import words as media_words
from qvsearch.media.workers import Decoders
from qvsearch.paged_text import page_texts
from qvsearch.retrieval.missing_words import missing_words
from qvsearch.retrieval.query import read_item
from qvsearch.retrieval.shelf import Shelf
from qvsearch.timed_lines import timed_lines
from qvsearch.types import Item, Kind, Segment

NOTES = 30


class Unwanted:
    """A model that nothing may need."""

    def embed(self, inputs):
        raise AssertionError(f"{len(inputs)} inputs were embedded")


@pytest.fixture
def folder(in_memory):
    write_notes(in_memory / "notes", NOTES)
    for path in (in_memory / "notes").iterdir():
        path.write_text(f"{path.read_text()}\nNumber INV-{path.stem} of Zoë.\n")
    Library.create(in_memory / "library", FINGERPRINT)
    index(in_memory)
    return in_memory


def index(folder, model=None, expected=0, **options):
    with instead(model, batch=NOTES, commit_seconds=60.0, **options):
        command = ["index", str(folder / "notes"), "-l", str(folder / "library"), "--quiet"]
        assert main([*command, "--no-ocr"]) == expected


def words(folder):
    """Return the text of each file, and which files have some tokens."""
    library = Library.open(folder / "library")
    names = {row: each.item.path for row, each in library.segments.items()}
    found = {
        token: {names[row] for row in library.words.postings(token)[0].tolist()}
        for token in ("inv", "zoe", "notes", "txt", "number")
    }
    texts = {name: library.words.text(row) for row, name in names.items()}
    return texts, found


def test_words_come_with_the_next_index_and_without_a_model(folder):
    wanted = words(folder)
    assert all("Zoë" in text for text in wanted[0].values())
    assert len(wanted[1]["zoe"]) == len(wanted[1]["txt"]) == NOTES
    forget_words(folder / "library")
    library = Library.open(folder / "library")
    assert library_status(library).without_words == NOTES
    assert library.words.lengths()[0].size == 0
    index(folder, Unwanted())
    assert words(folder) == wanted
    assert library_status(Library.open(folder / "library")).without_words == 0
    assert check(folder / "library") == []
    manifest = (folder / "library" / "manifest.json").read_bytes()
    index(folder, Unwanted())
    assert (folder / "library" / "manifest.json").read_bytes() == manifest


def test_touched_and_renamed_files_keep_their_words_and_are_found_by_new_names(folder):
    texts, _ = words(folder)
    for path in (folder / "notes").iterdir():
        os.utime(path, ns=(0, 10**18))
    index(folder, Unwanted())
    assert words(folder)[0] == texts
    (folder / "notes" / "moved").mkdir()
    for path in (folder / "notes").glob("*.txt"):
        path.rename(folder / "notes" / "moved" / f"anew {path.name}")
    index(folder, Unwanted())
    assert {b"moved/anew " + name: text for name, text in texts.items()} == words(folder)[0]
    library = Library.open(folder / "library")
    assert library.words.postings("anew")[0].size == NOTES


def test_files_that_are_away_get_words_once_they_are_back_and_changed_ones_are_indexed(folder):
    forget_words(folder / "library")
    paths = sorted((folder / "notes").iterdir())
    (folder / "notes").rename(folder / "away")
    index(folder, Unwanted(), expected=3)
    assert library_status(Library.open(folder / "library")).without_words == NOTES
    (folder / "away").rename(folder / "notes")
    paths[0].write_text("It says something else now.")
    index(folder)
    texts, _ = words(folder)
    assert texts[os.fsencode(paths[0].name)] == "It says something else now."
    assert all(texts.values())


def test_words_of_folders_that_are_away_are_pointed_out_once_these_are_back(folder):
    library, notes = folder / "library", folder / "notes"
    (folder / "more").mkdir()
    (folder / "more" / "other.txt").write_text("Other words.")
    command = ["index", str(folder / "more"), "-l", str(library), "--quiet", "--no-ocr"]
    with instead(batch=NOTES, commit_seconds=60.0):
        assert main(command) == 0
    forget_words(library)
    notes.rename(folder / "away")
    assert missing_words(Library.open(library)), "those in the other folder"
    with instead(Unwanted(), batch=NOTES, commit_seconds=60.0):
        assert main(command) == 0
    assert library_status(Library.open(library)).without_words == NOTES
    assert missing_words(Library.open(library)) is None
    notes.mkdir()  # the empty folder that a drive is mounted on
    assert missing_words(Library.open(library)) is None
    notes.rmdir()
    (folder / "away").rename(notes)
    assert missing_words(Library.open(library))
    index(folder, Unwanted())
    assert missing_words(Library.open(library)) is None


def test_answers_of_a_server_count_the_rows_without_words_once(folder, monkeypatch):
    forget_words(folder / "library")
    counted, without_words = [], Library.without_words

    def recorded(self):
        counted.append(self)
        return without_words(self)

    monkeypatch.setattr(Library, "without_words", recorded)
    shelf = Shelf([folder / "library"])
    for _ in range(3):
        assert any("has no words of some files" in each for each in _hints(shelf.now().opened))
    assert len(counted) == 1


def test_a_stop_keeps_what_was_read(folder):
    wanted = words(folder)
    forget_words(folder / "library")

    class Stopping(DecodersHere):
        def decode(self, jobs, options, stop):
            for number, outcome in enumerate(super().decode(jobs, options, stop)):
                if number == NOTES // 2:
                    return
                yield outcome

    index(folder, Unwanted(), decoders=Stopping)
    left = library_status(Library.open(folder / "library")).without_words
    assert 0 < left < NOTES
    index(folder, Unwanted())
    assert words(folder) == wanted


def test_damaged_words_are_dropped_and_read_again(folder):
    wanted = words(folder)
    [file, *_] = sorted((folder / "library").glob("segments/*.words"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert [each.file for each in check(folder / "library")] == [f"segments/{file.name}"]
    assert main(["status", "-l", str(folder / "library"), "--quiet"]) == 2
    repaired = repair(folder / "library")
    assert (repaired.kept, repaired.lost) == (NOTES, 0)
    assert check(folder / "library") == []
    assert (folder / "library" / "quarantine" / file.name).exists()
    index(folder, Unwanted())
    assert words(folder) == wanted


def test_words_of_a_damaged_shard_are_read_again_without_embedding_what_was_kept(folder, capsys):
    wanted = words(folder)
    place = folder / "library"
    library = Library.open(place)
    library.add_words({3: "seen in a picture"}, "ocr")
    library.commit()
    [file, *_] = sorted(place.glob("segments/*.faiss"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 64  # of the last vector
    file.write_bytes(data)
    assert main(["check", "--repair", "-l", str(place)]) == 0
    rows = len(Library.open(place))
    assert 0 < rows < NOTES
    assert f"index` embeds the lost ones again, and reads the words of {rows}" in (
        capsys.readouterr().out
    )
    assert library_status(Library.open(place)).without_words == rows
    assert Library.open(place).words.read_by("ocr").size == 0, "these are looked for again, too"
    lost = {*wanted[0]} - {each.item.path for each in Library.open(place).segments.values()}
    for name in map(os.fsdecode, lost):
        (folder / "notes" / name).rename(folder / name)
    index(folder, Unwanted())
    assert words(folder)[0].items() == {*wanted[0].items()} - {(n, wanted[0][n]) for n in lost}
    assert library_status(Library.open(place)).without_words == 0
    assert check(place) == []


def test_words_of_other_tokens_are_divided_again_without_their_files(folder, monkeypatch):
    wanted = words(folder)
    library = Library.open(folder / "library")
    library.add_words({3: "seen"}, "ocr")
    with monkeypatch.context() as patch:
        patch.setattr(words_file, "TOKENS", 1)
        patch.setattr(words_file, "divided", lambda text: text.upper().replace("Ë", " "))
        library.commit()
    older = Library.open(folder / "library")
    assert older.words.postings("zoe")[0].size < NOTES
    for path in (folder / "notes").iterdir():
        path.chmod(0)  # not read
    index(folder, Unwanted())
    renewed = Library.open(folder / "library")
    assert renewed.words.text(3).endswith("seen")
    assert renewed.words.read_by("ocr").tolist() == [3]
    assert words(folder)[1] == wanted[1]
    manifest = (folder / "library" / "manifest.json").read_bytes()
    index(folder, Unwanted())
    assert (folder / "library" / "manifest.json").read_bytes() == manifest


def test_a_root_with_another_name_is_found_by_it(folder):
    (folder / "notes").rename(folder / "diary")
    command = ["roots", "move", str(folder / "notes"), str(folder / "diary")]
    assert main([*command, "-l", str(folder / "library"), "--json"]) == 0
    library = Library.open(folder / "library")
    assert library.words.postings("diary")[0].size == NOTES
    assert library.words.postings("notes")[0].size == 0
    assert library.words.postings("zoe")[0].size == NOTES
    assert check(folder / "library") == []


def test_status_says_how_many_files_lack_words(folder, capsys):
    forget_words(folder / "library")
    assert main(["status", "-l", str(folder / "library"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["without_words"] == NOTES
    assert main(["status", "-l", str(folder / "library")]) == 0
    assert f"the next index stores the words of {NOTES} files" in capsys.readouterr().out


def test_pictures_of_an_older_version_are_found_by_their_names(folder):
    library = Library.open(folder / "library")
    item = Item(os.fsencode(folder / "notes"), b"IMG_4711.jpg", Kind.IMAGE, 1, 1)
    library.add([Segment(item, "hash")], library.vectors(list(library.segments)[:1]))
    library.commit()
    forget_words(folder / "library")
    library = Library.open(folder / "library")
    add_missing_words(library, {}, DecodersHere(), lambda _: None, lambda: False)
    library = Library.open(folder / "library")
    [row] = library.words.phrase(["img", "4711"]).tolist()
    assert library.segments[row].item == item
    assert sum(map(len, library.without_words())) == NOTES, "the notes were not scanned"


def test_films_and_documents_are_read_again_without_their_pictures(folder, monkeypatch):
    notes = folder / "notes"
    (notes / "film.mp4").write_bytes(film("mp4"))
    (notes / "film.srt").write_text(
        "00:00:00,500 --> 1\nHello kumquat\n\n00:00:02,250 --> 3\nBye\n"
    )
    (notes / "paper.pdf").write_bytes(drawn(lines("number {}"), pages=3))
    index(folder)

    def of_each_row():
        library = Library.open(folder / "library")
        return {
            (each.item.path, each.start, each.page): library.words.text(row)
            for row, each in library.segments.items()
        }

    wanted = of_each_row()
    assert {wanted[b"paper.pdf", None, page] for page in (1, 2, 3)} == {
        *("number 1", "number 2", "number 3")
    }
    spoken = "".join(text for (path, *_), text in wanted.items() if path == b"film.mp4")
    assert ("0.500\tHello kumquat" in spoken, "2.250\tBye" in spoken) == (True, True)
    forget_words(folder / "library")
    for decoder in (document, video):
        monkeypatch.delattr(decoder, "decode")
    index(folder, Unwanted())
    assert of_each_row() == wanted
    assert library_status(Library.open(folder / "library")).without_words == 0


def tiff_of(pages):
    file = io.BytesIO()
    sheets = [Image.new("1", (64, 64), number % 2) for number in range(pages)]
    sheets[0].save(file, "TIFF", save_all=True, append_images=sheets[1:])
    return file.getvalue()


def test_pages_between_the_indexed_ones_get_their_words_without_a_model(folder, monkeypatch):
    (folder / "notes" / "book.pdf").write_bytes(drawn(lines("number {}"), pages=203))
    (folder / "notes" / "scan.tif").write_bytes(tiff_of(202))

    def texts():
        library = Library.open(folder / "library")
        return {
            (each.item.path, each.page): library.words.text(row)
            for row, each in library.segments.items()
        }

    def manifest():
        return (folder / "library" / "manifest.json").read_bytes()

    with monkeypatch.context() as patch:  # as an older version did
        patch.setattr(document, "_words", lambda *_: iter(()))
        patch.setattr(rows, "own_words", lambda each: RowWords(each.words or "", {FILE}))
        patch.setattr(pipeline, "lacks_words", lambda _: False)
        index(folder)
    before = texts()
    assert before[b"book.pdf", 34] == "number 34"
    assert (b"book.pdf", 35) not in before
    for forget in (False, True):  # also one that stored no words at all
        if forget:
            forget_words(folder / "library")
        index(folder, Unwanted())
        found = texts()
        pair = page_texts(found[b"book.pdf", 34], 34)
        assert pair == [(34, "number 34"), (35, "number 35")]
        between = [
            each
            for (path, page), text in found.items()
            if path == b"book.pdf"
            for each in page_texts(text, page)
        ]
        assert sorted(between) == [(n, f"number {n}") for n in range(1, len(between) + 1)]
        assert len(between) > 35
        assert {text for (path, _), text in found.items() if path == b"scan.tif"} == {""}
        saved = manifest()
        index(folder, Unwanted())
        assert manifest() == saved
    (folder / "notes" / "other.pdf").write_bytes(drawn(lines("page {}"), pages=203))
    index(folder)
    saved = manifest()
    index(folder, Unwanted())
    assert manifest() == saved


def test_passages_of_one_long_line_keep_their_own_words(folder):
    (folder / "notes" / "long.txt").write_text(" ".join(f"word{n}" for n in range(3000)))
    index(folder)

    def passages():
        library = Library.open(folder / "library")
        rows = [row for row, each in library.segments.items() if each.item.path == b"long.txt"]
        return [library.words.text(row) for row in rows]

    wanted = passages()
    assert len(set(wanted)) == len(wanted) > 3
    forget_words(folder / "library")
    index(folder, Unwanted())
    assert passages() == wanted


def test_words_are_read_again_in_workers(folder):
    (folder / "film.mp4").write_bytes(film("mp4"))
    (folder / "film.vtt").write_text(
        "WEBVTT\n\n" + "".join(f"00:0{n % 3}.000 --> 9\nline {n}\n\n" for n in range(500))
    )
    (folder / "paper.pdf").write_bytes(drawn(lines("number {}"), pages=2))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    files = [read_item(os.fsencode(folder / n)) for n in ("film.mp4", "paper.pdf", "broken.pdf")]
    with Decoders(1, decode=media_words.decode) as decoders:
        spoken, paper, broken = decoders.decode(files, FINGERPRINT.decode_options)
    texts = [segment.words for segment, _ in spoken.segments]
    assert sum(len(timed_lines(text)) for text in texts) == 500
    assert [(each.page, each.words) for each, _ in paper.segments] == [
        *((1, "number 1"), (2, "number 2"))
    ]
    assert "PDF" in broken.reason


def test_the_page_points_out_files_without_words(folder):
    library = folder / "library"
    for expected in (None, {"all": False, "command": f"qvsearch index -l {library}"}):
        with serving(library) as page:
            [state] = page.get("/api/status").json()["libraries"]
        assert state.get("missing_words") == expected
        forget_words(library)
