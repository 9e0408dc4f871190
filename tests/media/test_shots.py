"""Where films are cut, and which of their frames stand for a moment."""

import math
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from support.moving_videos import HEIGHT, RATE, WIDTH, moving, scene, still
from support.videos import assert_whole, decode, decode_both, make

from qvsearch.media import video
from qvsearch.media.shots import FINE, WHOLE, Look, cut
from qvsearch.types import VideoMode


def starts(segments):
    return [segment.start for segment, _ in segments]


def difference(pixels, expected):
    height, width, _ = pixels.shape
    resized = np.asarray(Image.fromarray(expected).resize((width, height)), np.int16)
    return np.abs(pixels - resized).mean()


@st.composite
def films(draw):
    """Looks at a film: what is seen, when, and how often it is looked at."""
    gaps = draw(st.lists(st.floats(0.02, 6.0), min_size=1, max_size=60))
    levels = draw(st.lists(st.integers(0, 255), min_size=len(gaps), max_size=len(gaps)))
    looks, time = [], draw(st.floats(0.0, 0.5))
    since = 0.0
    for gap, level in zip(gaps, levels, strict=True):
        thumbnail = np.full((32, 32, 3), level, np.float32)
        looks.append(Look(time, since, thumbnail, draw(st.floats(0, 9)), draw(st.booleans())))
        since = time + gap * draw(st.floats(0.01, 1.0))
        time += gap
    return looks, time


@settings(deadline=None, max_examples=100)
@given(films(), st.sampled_from([WHOLE, FINE]), st.integers(1, 40))
def test_shots_tile_any_film(film, pace, most):
    looks, end = film
    shots = cut(looks, end, pace, most)
    assert 1 <= len(shots) <= most
    assert shots[0].start == 0.0
    assert shots[-1].end == end
    for one, other in pairwise(shots):
        assert one.end == other.start
    for shot in shots:
        assert shot.looks
        assert shot.picture() in shot.looks
        assert shot.start <= shot.looks[-1].time < shot.end or shot is shots[0]
        assert 1 <= len(shot.spread(32)) <= 32
        if len(shots) > 1:
            assert shot.end - shot.start >= pace.floor - 1e-9


@settings(deadline=None, max_examples=10)
@given(
    st.sampled_from([3, 10, 24, 60]),
    st.lists(
        st.tuples(st.sampled_from([still, moving]), st.floats(0.2, 7.0)), min_size=1, max_size=4
    ),
    st.sampled_from(list(VideoMode)),
    st.booleans(),
)
def test_no_second_of_a_video_belongs_to_no_moment(tmp_path_factory, rate, parts, mode, jitter):
    frames = [
        frame for seed, (kind, seconds) in enumerate(parts) for frame in kind(seed, seconds, rate)
    ] or still(0, 1, rate)
    times = [round(1000 * n / rate) for n in range(len(frames))]
    if jitter:  # some frames are never written, as in a film of a screen
        keep = [n for n in range(len(frames)) if n == 0 or n % 7 in (1, 3)]
        frames, times = [frames[n] for n in keep], [times[n] for n in keep]
    path = tmp_path_factory.mktemp("films") / "a.mkv"
    make(path, frames, form="matroska", rate=rate, times=times)
    segments = decode(path, mode)
    clips = [each for each in segments if each[0].clip]
    pictures = [each for each in segments if not each[0].clip]
    assert bool(clips) == (mode is not VideoMode.FRAMES)
    assert bool(pictures) == (mode is not VideoMode.CLIPS)
    for each in filter(None, (pictures, clips)):
        assert_whole(each, times[-1] / 1000 + 1 / rate, within=1 / rate + 0.01)


@pytest.mark.parametrize(("rate", "within"), [(3, 0.01), (10, 0.01), (24, 0.13), (60, 0.13)])
def test_a_hard_cut_is_found_between_two_looks(tmp_path, rate, within):
    lengths = [3.3, 2.7, 4.45, 1.7, 5.2]
    frames = [f for seed, seconds in enumerate(lengths) for f in moving(seed, seconds, rate)]
    path = make(tmp_path / "a.mp4", frames, rate=rate, keyframe_every=1000)
    counts = np.cumsum([round(seconds * rate) for seconds in lengths[:-1]])
    segments = decode(path)
    assert starts(segments) == pytest.approx([0, *(counts / rate)], abs=within)
    for seed, (_, input_) in enumerate(segments):
        assert difference(input_.images[0], scene(seed)) < 25


def test_one_bright_frame_is_no_cut(tmp_path):
    frames = moving(1, 9)
    for n in (20, 43, 45):
        frames[n] = np.full_like(frames[n], 255)
    [(_, input_)] = decode(make(tmp_path / "a.mp4", frames))
    assert difference(input_.images[0], scene(1)) < 25


def test_a_fade_is_one_cut_and_no_picture(tmp_path):
    dark = np.linspace(1, 0, RATE)[:, None, None, None]
    out = (scene(1)[None] * dark).astype(np.uint8)
    into = (scene(2)[None] * (1 - dark)).astype(np.uint8)
    frames = [*still(1, 6), *out, *into, *still(2, 6)]
    segments = decode(make(tmp_path / "a.mp4", frames))
    assert len(segments) in (2, 3)
    for seed, (_, input_) in zip((1, 2), (segments[0], segments[-1]), strict=True):
        assert difference(input_.images[0], scene(seed)) < 6
    assert 5.9 <= segments[1][0].start <= 8.0


def test_a_dissolve_is_cut_once_where_both_scenes_move(tmp_path):
    one, other = moving(1, 8), moving(2, 8)
    share = np.linspace(0, 1, 20)
    mixed = [
        (a * (1 - s) + b * s).astype(np.uint8)
        for a, b, s in zip(one[-20:], other[:20], share, strict=True)
    ]
    segments = decode(make(tmp_path / "a.mp4", [*one[:-20], *mixed, *other[20:]]))
    assert len(segments) in (2, 3)
    assert difference(segments[0][1].images[0], scene(1)) < 25
    assert difference(segments[-1][1].images[0], scene(2)) < 25


@pytest.mark.parametrize("seconds", [1.2, 2.0, 3.0])
def test_what_happens_for_a_moment_in_a_long_still_is_a_moment(tmp_path, seconds):
    event = scene(1)
    event[30:60, 60:90] = (250, 40, 40)
    frames = [*still(1, 33.3), *[event] * round(seconds * RATE), *still(1, 40)]
    segments = decode(make(tmp_path / "a.mp4", frames))
    assert starts(segments) == pytest.approx([0, 33.3, 33.3 + seconds], abs=0.11)
    assert difference(segments[1][1].images[0], event) < 4


def test_what_is_still_is_one_vector_and_one_clip_of_two_frames(tmp_path):
    frames = [scene(3)] * 900
    path = make(tmp_path / "a.mp4", frames, rate=1)
    [(segment, _)] = decode(path)
    assert (segment.start, segment.end) == (0, pytest.approx(900, abs=1.1))
    [_, (clip, input_)] = decode(path, VideoMode.BOTH)
    assert (clip.clip, clip.start, clip.end) == (True, 0, segment.end)
    assert len(input_.video.pixels) == 2


def test_what_moves_is_cut_every_ten_seconds_into_even_parts(tmp_path):
    segments = decode(make(tmp_path / "a.mp4", moving(1, 47)))
    lengths = [segment.end - segment.start for segment, _ in segments]
    assert len(segments) == 5
    assert max(lengths) <= 10
    assert min(lengths) > 8


def test_a_camera_that_turns_shows_something_else_every_few_seconds(tmp_path):
    wide = scene(5, width=WIDTH * 6)
    frames = [wide[:, n * 4 : n * 4 + WIDTH] for n in range(200)]
    segments = decode(make(tmp_path / "a.mp4", [np.ascontiguousarray(f) for f in frames]))
    lengths = [segment.end - segment.start for segment, _ in segments]
    assert 3 <= len(segments) <= 7
    assert min(lengths[:-1]) >= 2.9


def test_the_picture_is_the_sharp_one(tmp_path):
    board = 12 * (np.indices((HEIGHT, WIDTH)).sum(0) % 2 * 2 - 1)  # as fine as can be
    sharp = (scene(1) * 0.6 + 50 + board[..., None]).astype(np.uint8)
    blurred = np.array(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(1)))
    frames = [blurred] * 12 + [sharp] * 13 + [blurred] * 5
    [(_, input_)] = decode(make(tmp_path / "a.mp4", frames))
    assert difference(input_.images[0], sharp) < difference(input_.images[0], blurred)


def total_pixels(segments):
    images = sum(image.size // 3 for _, source in segments for image in source.images)
    return images + sum(s.video.pixels.size // 3 for _, s in segments if s.video is not None)


def test_a_film_of_many_scenes_stays_within_its_pixels(tmp_path):
    large = [scene(seed, 416, 320) for seed in range(12)]
    frames = [large[n % 12] for n in range(480)]
    path = make(tmp_path / "a.mp4", frames, rate=1, keyframe_every=1)
    segments = decode(path, VideoMode.BOTH, max_pixels=1800 * 1024)
    pictures = [each for each in segments if not each[0].clip]
    clips = [each for each in segments if each[0].clip]
    assert 150 < len(pictures) <= video.MAX_MOMENTS
    assert 40 < len(clips) <= video.MAX_MOMENTS
    for each in (pictures, clips):
        assert_whole(each, 480, within=1.1)
        assert total_pixels(each) <= video.FILM_PIXELS
    assert all(source.images[0].size // 3 > 100_000 for _, source in pictures)
    assert all(source.video.pixels[0].size // 3 > 50_000 for _, source in clips)


@pytest.mark.parametrize(("size", "max_pixels"), [((1280, 720), 256 * 1024), ((160, 96), 10**6)])
def test_the_frames_of_a_clip(tmp_path, size, max_pixels):
    width, height = size
    small = moving(1, 30, rate=5)
    frames = [np.array(Image.fromarray(f).resize(size, Image.Resampling.NEAREST)) for f in small]
    segments = decode(make(tmp_path / "a.mp4", frames, rate=5), VideoMode.CLIPS, max_pixels)
    assert 3 <= len(segments) <= 5
    for segment, source in segments:
        assert source.images == ()
        assert source.text is None
        count, h, w, _ = source.video.pixels.shape
        assert count == max(4, math.ceil(segment.end - segment.start))
        assert (h % 32, w % 32) == (0, 0)
        assert count * h * w <= video.CLIP_IMAGES * max_pixels
        assert h * w <= (width + 31) * (height + 31)
        assert w / h == pytest.approx(width / height, rel=0.2)
        assert list(source.video.times) == sorted(source.video.times)
        assert 0 <= source.video.times[0] < 0.6
        assert source.video.times[-1] < segment.end - segment.start
        assert (segment.width, segment.height) == size


def test_frames_of_another_size_fit_into_their_clip(tmp_path):
    parts = []
    for number, (width, height) in enumerate([(192, 128), (128, 192)]):
        pixels = [scene(n % 7, width, height) for n in range(10)]
        path = make(
            tmp_path / f"{number}.mpg", pixels, form="mpeg1video", codec="mpeg1video", rate=25
        )
        parts.append(path.read_bytes())
    path = tmp_path / "a.mpg"
    path.write_bytes(b"".join(parts))
    [(_, source)] = decode(path, VideoMode.CLIPS)
    assert source.video.pixels.ndim == 4


def test_a_hit_on_a_clip_lies_within_finer_pictures(tmp_path):
    frames = [*moving(1, 12), *moving(2, 9)]
    pictures, clips = decode_both(make(tmp_path / "a.mp4", frames))
    assert len(clips) == 3
    for clip, _ in clips:
        inside = [p for p, _ in pictures if clip.start <= p.start and p.end <= clip.end]
        assert len(inside) >= math.floor(clip.end - clip.start) - 2


def test_every_segment_knows_the_films_length_and_its_picture(tmp_path):
    path = make(tmp_path / "a.mp4", [*still(1, 3), *still(2, 3)])
    for mode in VideoMode:
        segments = decode(path, mode)
        lengths = [segment.metadata.duration for segment, _ in segments]
        assert lengths == pytest.approx([6.0] * len(segments))
        assert len({segment.dhash for segment, _ in segments}) == 2
        assert None not in {segment.dhash for segment, _ in segments}


def test_a_keyframe_serves_as_the_picture_so_that_little_is_decoded(tmp_path):
    path = tmp_path / "a.mp4"
    make(path, [f for seed in range(6) for f in still(seed, 5)], keyframe_every=50)
    with av.open(str(path)) as container:
        keys = [p.pts * p.time_base for p in container.demux(video=0) if p.is_keyframe]
    pictures = [round(segment.start, 1) for segment, _ in decode(path)]
    assert set(pictures) <= {round(float(key), 1) for key in keys}
