"""Motion photos: the film within a picture is found and decoded, and never costs the picture."""

import io
import os
import random
import shutil
import subprocess

import av
import numpy as np
import pytest
from PIL import Image
from support import fatal_films, motion_photos
from support.cheap_model import DecodersHere
from support.damage import mutated
from support.images import decode, item_of
from support.motion_photos import FORMS, GAIN_MAP, SIZE, STILL, box, directory, google, still
from support.videos import LOW, frame_of, make, number_in

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.files import content_hash
from qvsearch.media import motion
from qvsearch.media.clip_writer import write_clip
from qvsearch.media.motion import LONGEST, film_in
from qvsearch.media.pages import with_losses
from qvsearch.media.player import Player
from qvsearch.media.thumbnails import Thumbnails
from qvsearch.media.workers import Decoders
from qvsearch.types import DecodeOptions, Kind, Skipped, VideoMode

EXIFTOOL = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
FILMS = DecodeOptions(LOW, films=True)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two seconds of frames that carry their number."""
    return motion_photos.film(tmp_path_factory.mktemp("film") / "film.mp4")


def segments_of(path, options=FILMS):
    item = item_of(path)
    return media.decode(item, content_hash(item.location, item.size), options).segments


def found(path):
    with path.open("rb") as file:
        inside = film_in(file)
        return None if inside is None else inside.read()


def numbers(path):
    """The numbers of a film's frames."""
    with av.open(os.fspath(path)) as container:
        frames = container.decode(video=0)
        return [number_in(each.to_ndarray(format="rgb24")) for each in frames]


def assert_still_alone(path, partial=None):
    """The picture is indexed as if there were no film; `partial` is the reason that it has."""
    [(segment, source)] = segments_of(path)
    assert (segment.width, segment.height) == SIZE
    assert abs(source.images[0].reshape(-1, 3).astype(int) - STILL).max() < 12
    assert (segment.start, segment.metadata.duration, segment.metadata.damaged) == (None,) * 3
    assert (segment.metadata.partial or "").startswith(partial or "")
    assert (segment.metadata.partial is None) == (partial is None)
    return segment


@pytest.mark.parametrize("name", FORMS)
def test_the_moments_of_the_film_follow_the_picture(tmp_path, film, name):
    path = tmp_path / name
    path.write_bytes(FORMS[name](film))
    assert found(path).startswith(film)
    (photo, picture), *frames = segments_of(path)
    [(alone, same)] = decode(path, LOW).segments
    assert np.array_equal(picture.images[0], same.images[0]), "the picture's own vector stays"
    assert (photo.start, photo.end, photo.dhash) == (None, None, alone.dhash)
    assert frames[0][0].start == 0.0
    assert frames[-1][0].end == pytest.approx(2.0, abs=0.11)
    for segment, source in frames:
        [shown] = source.images
        assert segment.start - 0.011 <= number_in(shown) / 10 < segment.end + 0.011
        assert (segment.width, segment.height, segment.clip) == (*SIZE, False)
        assert segment.item.kind is Kind.IMAGE
    assert {each.metadata.duration for each, _ in segments_of(path)} == {frames[-1][0].end}


@EXIFTOOL
@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("older.jpg", "EmbeddedVideo"),
        ("samsung.jpg", "EmbeddedVideoFile"),
        ("film.heic", "MotionPhotoVideo"),
    ],
)
def test_exiftool_finds_the_same_film(tmp_path, film, name, tag):
    path = tmp_path / name
    path.write_bytes(FORMS[name](film))
    command = ["exiftool", "-ee", "-b", f"-{tag}", os.fspath(path)]
    theirs = subprocess.run(command, capture_output=True, check=True).stdout
    assert theirs == found(path) == film


@EXIFTOOL
def test_exiftool_reads_the_same_lengths(tmp_path, film):
    path = tmp_path / "a.jpg"
    path.write_bytes(google(film, before=GAIN_MAP, behind=GAIN_MAP))
    command = ["exiftool", "-a", "-s3", "-DirectoryItemLength", os.fspath(path)]
    lengths = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    assert lengths == ["0", f"{len(GAIN_MAP)}", f"{len(film)}", f"{len(GAIN_MAP)}"]
    assert found(path) == film


def test_properties_may_be_elements_with_other_prefixes(tmp_path, film):
    packet = (
        b"<r:Description><C:MotionPhoto>1</C:MotionPhoto><D:Directory><r:Seq>"
        b"<r:li><D:Item><I:Mime>image/jpeg</I:Mime><I:Semantic>Primary</I:Semantic></D:Item></r:li>"
        b"<r:li><D:Item><I:Semantic>MotionPhoto</I:Semantic><I:Length>%d</I:Length></D:Item></r:li>"
        b"</r:Seq></D:Directory><aux:FocalLength>50</aux:FocalLength></r:Description>"
    )
    (tmp_path / "a.jpg").write_bytes(still(xmp=packet % len(film)) + film)
    assert found(tmp_path / "a.jpg") == film


def test_each_moment_is_one_picture_whatever_videos_are(tmp_path, film):
    (tmp_path / "a.jpg").write_bytes(google(film))
    plain = segments_of(tmp_path / "a.jpg")
    for mode in VideoMode:
        options = DecodeOptions(LOW, mode, films=True)
        places = [(each.start, each.end) for each, _ in segments_of(tmp_path / "a.jpg", options)]
        assert places == [(each.start, each.end) for each, _ in plain]


def test_the_date_and_camera_are_those_of_the_picture(tmp_path, film):
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "Maker", "2020:01:02 03:04:05"
    xmp = directory((b"MotionPhoto", len(film)))
    (tmp_path / "a.jpg").write_bytes(still(xmp=xmp, exif=exif) + film)
    about = {
        (each.metadata.camera, each.metadata.taken) for each, _ in segments_of(tmp_path / "a.jpg")
    }
    assert about == {("Maker", "2020-01-02T03:04:05")}


LYING = {
    "film removed": lambda film: still(xmp=directory((b"MotionPhoto", len(film)))),
    "beyond the end": lambda film: still(xmp=directory((b"MotionPhoto", 10**11))) + film,
    "before the beginning": lambda film: still(xmp=motion_photos.micro_video(10**11)) + film,
    "the whole file": lambda film: still(xmp=motion_photos.micro_video(len(film) + 3)) + film,
    "one byte off": lambda film: still(xmp=directory((b"MotionPhoto", len(film) - 1))) + film,
    "no length": lambda film: still(xmp=directory((b"MotionPhoto", 0))) + film,
    "not a motion photo": lambda film: (
        still(xmp=directory((b"MotionPhoto", len(film)), flag=b"0")) + film
    ),
    "only a gain map": lambda _: still(xmp=directory((b"GainMap", len(GAIN_MAP)))) + GAIN_MAP,
    "trailer beyond": lambda film: (
        motion_photos.samsung(film)[:-8] + (10**9).to_bytes(4, "little") + b"SEFT"
    ),
    "trailer alone": lambda _: motion_photos.samsung(b"")[-36:],
    "endless trailer": lambda film: still() + film + b"\xff\xff\xff\xffSEFT",
}


@pytest.mark.parametrize("name", LYING)
def test_a_picture_whose_film_is_not_where_it_says_is_an_ordinary_one(tmp_path, film, name):
    data = LYING[name](film)
    (tmp_path / "a.jpg").write_bytes(data if data.startswith(b"\xff\xd8") else still() + data)
    assert_still_alone(tmp_path / "a.jpg")


def test_boxes_that_lie_end_the_search(tmp_path, film):
    (tmp_path / "a.heic").write_bytes(still("HEIC"))
    for lying in (
        b"\0\0\0\x07mpvd" + film,
        b"\0\0\0\x01mpvd" + b"\xff" * 8 + film,
        b"\0\0\0\x01mpvd" + bytes(8) + film,
        b"\xff\xff\xff\xffmpvd" + film,
        b"\0\0\0",
    ):
        (tmp_path / "a.heic").write_bytes(still("HEIC") + lying)
        assert found(tmp_path / "a.heic") is None
    (tmp_path / "a.heic").write_bytes(still("HEIC") + b"\0\0\0\0mpvd" + film)
    assert found(tmp_path / "a.heic") == film, "a length of 0 is up to the end"


def test_ten_thousand_items_and_boxes_are_no_matter(tmp_path, film):
    parts = [(b"GainMap", 1)] * 10_000
    packet = directory(*parts, (b"MotionPhoto", len(film)))
    assert list(motion._in_directory(packet.decode(), 10**9)) == [(10**9 - len(film), 10**9)]
    # a part of a JPEG has 64 KiB at most, so the rest of the packet is missing
    head = b"\xff\xe1\xff\xff" + (motion._XMP + packet)[: 2**16 - 3]
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8" + head + still()[2:] + film)
    assert_still_alone(tmp_path / "a.jpg")
    (tmp_path / "a.heic").write_bytes(
        still("HEIC") + box(b"free", b"") * 10_000 + box(b"mpvd", film)
    )
    assert found(tmp_path / "a.heic") is None


@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_file_has_a_film_or_none(film, name):
    whole = FORMS[name](film)
    rng = random.Random(1)
    for number in range(200):
        damaged = bytes(mutated(whole, rng, [film])) if number else whole[:-1]
        inside = film_in(io.BytesIO(damaged))
        assert inside is None or len(inside.read()) < len(damaged)


def test_a_truncated_film_leaves_the_picture_with_the_reason(tmp_path, film):
    (tmp_path / "a.jpg").write_bytes(google(film[: len(film) // 3]))
    segment = assert_still_alone(tmp_path / "a.jpg", "the picture without its film: ")
    assert "not a video, or a damaged one" in segment.metadata.partial


def test_a_film_with_an_unsupported_codec_leaves_the_picture_with_the_reason(tmp_path):
    make(tmp_path / "film.mp4", map(frame_of, range(5)), codec="libx264")
    data = (tmp_path / "film.mp4").read_bytes().replace(b"avc1", b"zzz1")
    (tmp_path / "a.jpg").write_bytes(google(data))
    assert_still_alone(tmp_path / "a.jpg", "the picture without its film: its codec")


def test_a_film_of_other_length_than_phones_make_is_left_out(tmp_path, film, monkeypatch):
    data = motion_photos.film(tmp_path / "film.mp4", count=int(LONGEST) + 2, rate=1)
    (tmp_path / "a.jpg").write_bytes(google(data))
    reason = "the picture without its film: it has 12 s, the limit is 10 s"
    assert assert_still_alone(tmp_path / "a.jpg", reason).metadata.partial == reason
    monkeypatch.setattr(motion, "MOST_BYTES", len(film) - 1)
    (tmp_path / "a.jpg").write_bytes(google(film))
    assert_still_alone(tmp_path / "a.jpg", f"the picture without its film: it has {len(film):,} b")


def test_a_film_that_crashes_the_process_does_not_cost_the_picture(tmp_path, film):
    (tmp_path / "a.jpg").write_bytes(google(film))
    (tmp_path / "b.jpg").write_bytes(still())
    jobs = [(item_of(tmp_path / name), "") for name in ("a.jpg", "b.jpg")]
    with Decoders(1, decode=fatal_films.decode) as decoders:
        again, behind = decoders.decode(jobs, FILMS, in_parts=True)
    assert (len(again.segments), again.more, len(behind.segments)) == (1, False, 1)
    [segment] = with_losses([segment for segment, _ in again.segments], again.lost)
    reason = "the picture without its film: the decoder crashed (SIGSEGV)"
    assert segment.metadata.partial == reason


@pytest.mark.parametrize(
    ("name", "crashes", "left"), [("plain-once.jpg", 1, 1), ("always.jpg", 2, 0)]
)
def test_a_crash_says_nothing_of_a_film_that_is_not_there(tmp_path, name, crashes, left):
    (tmp_path / name).write_bytes(still())
    with Decoders(1, decode=fatal_films.decode_some) as decoders:
        [outcome] = decoders.decode([(item_of(tmp_path / name), "")], FILMS, in_parts=True)
    assert len((tmp_path / f"{name}.crashes").read_bytes()) == crashes
    if left:
        [segment] = with_losses([segment for segment, _ in outcome.segments], outcome.lost)
        assert segment.metadata.partial is None
    else:
        assert outcome == Skipped(os.fsencode(tmp_path / name), "the decoder crashed (SIGSEGV)")


def test_a_moment_is_shown_played_and_saved_and_the_picture_is_not(tmp_path, film, monkeypatch):
    monkeypatch.setattr("qvsearch.media.thumbnails.Decoders", DecodersHere)
    path = tmp_path / "a.jpg"
    path.write_bytes(google(film))
    (photo, _), *frames = segments_of(path)
    moment = frames[-1][0]
    with Thumbnails(1, tmp_path / "thumbnails") as thumbnails:
        shown = thumbnails.picture(photo, 320).pixels
        assert abs(shown.reshape(-1, 3).astype(int) - STILL).max() < 12
        number = number_in(thumbnails.picture(moment, 176).pixels)
        assert moment.start <= number / 10 < moment.end
        assert number_in(thumbnails.picture(photo, 176, start=1.5, end=2.0).pixels) >= 15
        assert thumbnails.webp(photo) != thumbnails.webp(moment)
    with Player(1, tmp_path / "moments") as player:
        played = player.moment(photo, moment.start, moment.end)
    assert write_clip(path, moment.start, moment.end, tmp_path / "clip") == (".mp4", None)
    for each in (numbers(played), numbers(tmp_path / "clip")):
        assert set(each) >= set(range(round(10 * moment.start), round(10 * moment.end)))


def test_a_picture_without_a_film_has_no_moments(tmp_path):
    (tmp_path / "a.jpg").write_bytes(still())
    [(photo, _)] = segments_of(tmp_path / "a.jpg")
    with Player(1, tmp_path / "moments") as player:
        assert player.moment(photo, 0, 1) == Skipped(photo.item.location, "only a video plays")
    with pytest.raises(MediaError, match="there is no film within the picture"):
        write_clip(tmp_path / "a.jpg", 0, 1, tmp_path / "clip")
