"""A subtitle file beside its film is no text of its own; a folder of transcripts is."""

from support.hostile_videos import seeds

from qvsearch.indexing.scan import scan
from qvsearch.indexing.subtitle_files import film_of, subtitles_of
from qvsearch.library.rules import ScanOptions
from qvsearch.types import Item, Kind, Skipped

CUE = "00:00:01,000 --> 00:00:02,000\nHello\n"


def scanned(folder, **options):
    found = scan(bytes(folder), bytes(folder), ScanOptions(**options))
    return sorted(each.path.decode() for each in found if isinstance(each, Item))


def write(folder):
    (folder / "film.mp4").write_bytes(seeds()["mp4"])
    for name in ("film.srt", "film.en.vtt", "talk.srt", "notes.ass"):
        (folder / name).write_text(CUE)


def test_a_film_has_its_subtitles(tmp_path):
    write(tmp_path)
    assert scanned(tmp_path) == ["film.mp4", "notes.ass", "talk.srt"]


def test_they_are_texts_if_the_film_is_not_indexed(tmp_path):
    write(tmp_path)
    texts = ["film.en.vtt", "film.srt", "notes.ass", "talk.srt"]
    assert scanned(tmp_path, kinds=frozenset({Kind.TEXT})) == texts
    assert scanned(tmp_path, exclude=("*.mp4",)) == texts
    (tmp_path / ".qvsearchignore").write_text("*.mp4\n")
    assert scanned(tmp_path) == texts


def test_a_subtitle_file_given_by_its_name_is_skipped_with_the_reason(tmp_path):
    write(tmp_path)
    [skipped] = scan(bytes(tmp_path / "film.srt"), bytes(tmp_path), ScanOptions())
    assert skipped == Skipped(
        bytes(tmp_path / "film.srt"), "subtitles of film.mp4, which has their lines"
    )
    [item] = scan(bytes(tmp_path / "talk.srt"), bytes(tmp_path), ScanOptions())
    assert item.kind is Kind.TEXT


def test_a_folder_whose_names_cannot_be_listed_has_no_films():
    assert film_of(b"/nowhere/film.srt", ScanOptions()) is None


def test_rows_of_such_files_from_before_are_removed():
    unseen = [b"/a/film.srt", b"/a/talk.srt", b"/b/film.srt", b"/a/film.txt"]
    assert list(subtitles_of(unseen, [b"/a/film.mp4", b"/b/other.mp4"])) == [b"/a/film.srt"]
