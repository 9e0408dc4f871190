"""What files say of themselves, written by other programs' hands and by nonsense."""

import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvsearch.media.metadata import video_metadata
from qvsearch.types import NO_METADATA, Metadata


def container(tags, form="mov"):
    """An open video of two frames with some tags."""
    file = io.BytesIO()
    with av.open(file, "w", form, container_options={"movflags": "use_metadata_tags"}) as film:
        film.metadata.update(tags)
        stream = film.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 64, 48
        for grey in (0, 200):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8))
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    file.seek(0)
    return av.open(file, "r", metadata_errors="replace")


def test_an_iphones_video():
    tags = {
        "creation_time": "2023-07-04T16:30:00.000000Z",
        "com.apple.quicktime.creationdate": "2023-07-04T18:30:00+0200",
        "com.apple.quicktime.location.ISO6709": "+48.8577+002.2950+035.000/",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 12",
    }
    assert video_metadata(container(tags), 0.4) == Metadata(
        "2023-07-04T18:30:00+02:00", "Apple iPhone 12", 48.8577, 2.295, 0.4
    )


def test_an_android_phones_video():
    tags = {
        "creation_time": "2023-07-04T16:30:00Z",
        "location": "-33.8568+151.2153/",
        "com.android.manufacturer": "Google",
        "com.android.model": "Pixel 6",
    }
    assert video_metadata(container(tags, "mp4"), 0.4) == Metadata(
        "2023-07-04T16:30:00+00:00", "Google Pixel 6", -33.8568, 151.2153, 0.4
    )


@pytest.mark.parametrize("form", ["avi", "matroska", "mpeg", "mov"])
def test_a_video_that_says_nothing(form):
    assert video_metadata(container({}, form), None) == NO_METADATA


class Tagged:
    """As much of a container as metadata is read from; FFmpeg would not write these tags."""

    def __init__(self, **tags):
        self.metadata = {name.replace("__", "."): value for name, value in tags.items()}


@pytest.mark.parametrize(
    "when",
    [
        "1904-01-01T00:00:00.000000Z",
        "1970-01-01T00:00:00Z",
        "2040-02-30T00:00:00Z",
        "0000-00-00 00:00:00",
        "12345-01-01T00:00:00",
        "yesterday",
        "",
        "\0",
    ],
)
def test_no_date_of_a_video(when):
    assert video_metadata(Tagged(creation_time=when), None).taken is None


def test_a_nonsensical_date_with_a_zone_leaves_the_other():
    tags = {"com.apple.quicktime.creationdate": "n/a", "creation_time": "2023-07-04T16:30:00Z"}
    assert video_metadata(Tagged(**tags), None).taken == "2023-07-04T16:30:00+00:00"


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("+48.8577+002.2950/", (48.8577, 2.295)),
        ("-00.5-078.25+2850/", (-0.5, -78.25)),
        ("+90-180", (90.0, -180.0)),
        ("+00.0000+000.0000/", (None, None)),  # no fix
        ("+91.0+002.0/", (None, None)),
        ("+48.0+181.0/", (None, None)),
        ("+48.8577", (None, None)),
        ("+nan+inf/", (None, None)),
        ("+" + "9" * 5000, (None, None)),
        ("Paris", (None, None)),
        ("\N{ARABIC-INDIC DIGIT FOUR}+2", (None, None)),
    ],
)
def test_places_of_videos(location, place):
    found = video_metadata(Tagged(location=location), None)
    assert (found.latitude, found.longitude) == place


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf"), None])
def test_no_duration(duration):
    assert video_metadata(Tagged(), duration).duration is None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("EASTMAN KODAK COMPANY", "KODAK DX6490 ZOOM", "KODAK DX6490 ZOOM"),
        ("samsung\0\0\0", "  SM-G991B  ", "samsung SM-G991B"),
        ("SONY", "", "SONY"),
        ("", "DSC-F828", "DSC-F828"),
        ("Red\x1b[31m", "X100", "X100"),
        ("x" * 10_000, "X100", "X100"),
        ("\ufffd\ufffd", "\u202e", None),
        ("\n", "\ud800", None),
    ],
)
def test_cameras(make, model, camera):
    assert video_metadata(Tagged(make=make, model=model), None).camera == camera


TAGS = st.sampled_from(
    ["creation_time", "com.apple.quicktime.creationdate", "location", "make", "model", "LOCATION"]
)
NONSENSE = st.text(st.characters(), max_size=200) | st.from_regex(r"[-+0-9.:TZ /]{0,40}")


@settings(deadline=None)
@given(st.dictionaries(TAGS, NONSENSE), st.floats() | st.none())
def test_no_tag_is_an_error(tags, duration):
    found = video_metadata(Tagged(**tags), duration)
    assert found.latitude is None or -90 <= found.latitude <= 90
    assert found.longitude is None or -180 <= found.longitude <= 180
    assert (found.camera or "").isprintable()
