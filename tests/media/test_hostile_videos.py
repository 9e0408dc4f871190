"""Videos that are damaged, lie or point elsewhere: each is decoded or refused with a reason.

No worker crashes, hangs, holds a gigabyte, writes, starts a process or opens a socket over any of
two hundred damaged films (ten thousand in the soak test), nor over headers that lie. Playlists and
the like, under a film's name, open neither a socket nor another file, even where the process might.
"""

import os
import random
import socket
import struct
import sys
import threading
from collections import Counter
from itertools import product

import av
import pytest
from av.error import FFmpegError
from support import hostile_videos
from support.damage import mutated
from support.hostile_videos import HEIGHT, WIDTH, seeds
from support.watching import Watch, is_a_reason, is_no_surprise, sort

from qvsearch import media
from qvsearch.errors import MediaError, QvsearchError
from qvsearch.media.clips import ClipFolder
from qvsearch.media.video import MAX_MOMENTS
from qvsearch.types import DecodeOptions, Item, Kind, VideoMode, kind_of

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

CONTAINERS = 14  # and codecs in them
DAMAGED, HOSTILE = "damaged films", "films that lie, ask for too much or point elsewhere"


def watch_films(tmp_path, films):
    """Decode films into pictures and clips; return how many of each name were, and were not."""
    return sort(tmp_path, Kind.VIDEO, films, 2 * MAX_MOMENTS, modes=(VideoMode.BOTH,))


def test_every_seed_is_a_film(tmp_path):
    assert watch_films(tmp_path, seeds().items()) == (Counter(seeds().keys()), Counter())
    assert len(seeds()) == CONTAINERS


def test_two_hundred_damaged_films(tmp_path, tally):
    decoded, refused = watch_films(tmp_path, map(hostile_videos.damaged, range(200)))
    assert decoded.total() + refused.total() == 200
    assert decoded.total() > 50
    assert refused.total() > 20
    tally[DAMAGED] += decoded.total() + refused.total()


def test_damaged_films_of_discs_and_broadcasters(tmp_path, tally):
    """Containers that came later: the seeds' numbers stay what they are."""
    films = {
        "ogg": hostile_videos.film("ogg", "libvpx"),
        "mxf": hostile_videos.film("mxf", "mpeg2video", rate=25),
    }
    rng = random.Random("hostile ogg and mxf")
    damaged = [
        (name, bytes(mutated(data, rng, list(films.values()))))
        for name, data in films.items()
        for _ in range(30)
    ]
    decoded, refused = watch_films(tmp_path, [*films.items(), *damaged])
    assert decoded.keys() == refused.keys() == films.keys()
    tally[DAMAGED] += decoded.total() + refused.total()


@pytest.mark.soak
def test_ten_thousand_damaged_films(tmp_path, tally):
    decoded, refused = watch_films(tmp_path, map(hostile_videos.damaged, range(200, 10_200)))
    assert decoded.total() + refused.total() == 10_000
    assert len(decoded) == len(refused) == CONTAINERS
    tally[DAMAGED] += decoded.total() + refused.total()


def test_damaged_films_are_cut_or_refused_by_one_process(tmp_path, tally):
    saved, refused = Counter(), Counter()
    nothing_to_copy = 3314  # between the keyframe and the end, but for damage
    with ClipFolder(tmp_path / "clips") as clips:
        for name, data in map(hostile_videos.damaged, [nothing_to_copy, *range(200)]):
            suffix = f".{name.split()[0]}"
            path = tmp_path / f"film{suffix if kind_of(f'film{suffix}'.encode()) else '.mp4'}"
            path.write_bytes(data)
            try:
                clip = clips.save(os.fsencode(path), 0.45, 1.4).path
            except QvsearchError as error:
                reason = str(error).removeprefix(f"{path} cannot be cut: ")
                assert is_a_reason(reason), (name, reason)
                assert is_no_surprise(reason), (name, reason)
                refused[name] += 1
            else:
                assert clip.stat().st_size > 0
                clip.unlink()
                saved[name] += 1
    assert saved.total() + refused.total() == 201
    assert saved.total() > 50
    assert refused.total() > 20
    assert list((tmp_path / "clips").iterdir()) == []
    tally["cuts of damaged films"] += saved.total() + refused.total()


def test_headers_that_lie_about_times_rates_and_counts(tmp_path, tally):
    films = dict(hostile_videos.lies())
    decoded, refused = watch_films(tmp_path, films.items())
    assert decoded.total() + refused.total() == len(films)
    lengths = {name for name in films if name.startswith(("avi", "mkv", "rate", "mp4 length"))}
    assert lengths <= decoded.keys()  # nothing that says only how long it plays is believed
    tally[HOSTILE] += decoded.total() + refused.total()


def test_a_film_whose_frames_change_their_size(tmp_path):
    with Watch(tmp_path, Kind.VIDEO) as watch:
        [(_, outcome)] = watch.outcomes([("changing", hostile_videos.changing_size())])
    assert isinstance(outcome, int)


def test_films_that_ask_for_much(tmp_path, tally):
    films = {
        "frames": hostile_videos.large_frames(),
        "samples": hostile_videos.many_samples(),
    }
    _, refused = watch_films(tmp_path, films.items())
    assert refused.keys() == films.keys()
    tally[HOSTILE] += refused.total()


def test_what_only_claims_to_be_a_film(tmp_path, tally):
    liars = {
        "text.mp4": b"These are words, and no film.\n" * 100,
        "page.mp4": b"<!DOCTYPE html><video src='http://127.0.0.1/'></video>",
        "one-byte.mp4": b"\0",
        "empty.mp4": b"",
        "eps.mp4": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "archive.mp4": b"PK\3\4" + bytes(200),
        "subtitles.mp4": b"1\n00:00:00,000 --> 00:00:09,000\nwords\n",
    }
    _, refused = watch_films(tmp_path, liars.items())
    assert refused.keys() == liars.keys()
    tally[HOSTILE] += refused.total()


def test_codecs_that_nobody_films_in_are_refused(tmp_path):
    films = {
        "magicyuv": hostile_videos.film("avi", "magicyuv"),
        "snow": hostile_videos.film("avi", "snow"),
        "zlib": hostile_videos.film("avi", "zlib", pixels="bgr24"),
    }
    with Watch(tmp_path, Kind.VIDEO) as watch:
        outcomes = dict(watch.outcomes(films.items()))
    assert outcomes == {name: f"its codec, {name}, is not supported" for name in films}


def elsewhere(url):
    """What would have FFmpeg open `url`, by name, if every container and protocol were let in."""
    script = f"ffconcat version 1.0\nfile '{url}'\nduration 2\n"
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n",
        "hls key": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
        f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n',
        "hls master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
        "playlist": f"[playlist]\nFile1={url}\nNumberOfEntries=1\n",
        "ffconcat": script,
        "concat protocol": f"concat:{url}|{url}",
        "concatf": f"concatf:{url}",
        "subfile": f"subfile,,start,0,end,0,,:{url}",
        "crypto": f"crypto+{url}",
        "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f'<Period><AdaptationSet><Representation id="1" mimeType="video/mp4"><BaseURL>{url}'
        "</BaseURL><SegmentBase/></Representation></AdaptationSet></Period></MPD>\n",
        "smooth": f'<?xml version="1.0"?><SmoothStreamingMedia Url="{url}"/>\n',
        "imf": f'<?xml version="1.0"?><AssetMap><Path>{url}</Path></AssetMap>\n',
        "asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>\n',
        "smil": f'<smil><body><video src="{url}"/></body></smil>\n',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {port_of(url)} RTP/AVP 96\na=rtpmap:96 H264/90000\na=control:{url}\n",
        "rtsp": f"RTSPtext\n{url}\n",
        "reference": f"[Reference]\nRef1={url}\n",
        "vobsub": f"# VobSub index file, v7\nid: en, index: 0\n{url}\n",
        "avisynth": f'FFVideoSource("{url}")\n',
        "vapoursynth": f'# vapoursynth\nimport os\nos.system("touch {url}")\n',
        "graph": f"movie={url}\n",
        "script": f"#!/bin/sh\ncat {url}\n",
    }


def port_of(url):
    return url.split(":")[2].partition("/")[0] if url.startswith("http") else "5004"


def with_reference(data, url):
    """A film whose pictures are said to be in another file: `dref` of ISO/IEC 14496-12, 8.7.2.

    Nothing that it points to moves: the boxes that grow stand behind the pictures.
    """
    name = url.encode()
    entry = struct.pack(">I4sI", 12 + len(name) + 1, b"url ", 0) + name + b"\0"
    old = struct.pack(">I4sI", 12, b"url ", 1)
    grown = len(entry) - len(old)
    changed = bytearray(data)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = changed.index(box) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", changed, place)[0] + grown)
    place = changed.index(old)
    changed[place : place + len(old)] = entry
    return bytes(changed)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_playlist_is_followed_without_the_settings(tmp_path):
    """It is no idle trick: FFmpeg by itself calls, and such a listener hears it."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(4))

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        path = tmp_path / "trick.m3u8"
        path.write_text(elsewhere(f"http://127.0.0.1:{server.getsockname()[1]}/film.ts")["hls"])
        with pytest.raises(FFmpegError):
            av.open(str(path), options={"protocol_whitelist": "file,http,tcp"})
        thread.join(60)
    assert heard == [b"GET "]


@pytest.fixture
def tricks(tmp_path, listener):
    """Films and texts that name a file outside, a real film, and what listens here."""
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(seeds()["mp4"])
    http = f"http://127.0.0.1:{listener.getsockname()[1]}/film.ts"
    return {
        f"{name} {url}": text.encode()
        for url in (http, http.replace("http:", "tcp:"), str(outside), f"file:{outside}")
        for name, text in elsewhere(url).items()
    }


def test_no_trick_opens_a_socket_or_another_file(tmp_path, tricks):
    """In this process, which may do both: it is FFmpeg's own settings that hold."""
    for (name, data), suffix in product(tricks.items(), ("mp4", "m3u8", "ts")):
        path = tmp_path / f"trick.{suffix}"
        path.write_bytes(data)
        status = path.stat()
        item = Item(os.fsencode(path), b"", Kind.VIDEO, status.st_size, status.st_mtime_ns)
        with pytest.raises(MediaError) as caught:
            media.decode(item, "hash", DecodeOptions(WIDTH * HEIGHT * 64))
        assert is_a_reason(str(caught.value)), name


def test_no_trick_is_a_surprise_to_a_worker(tmp_path, tally, tricks):
    _, refused = watch_films(tmp_path, tricks.items())
    assert refused.keys() == tricks.keys()
    tally[HOSTILE] += refused.total()


def test_a_film_that_says_its_pictures_are_elsewhere(tmp_path, tally, listener):
    """The other file is a pipe without a writer: to open it would take for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    http = f"http://127.0.0.1:{listener.getsockname()[1]}/film.mp4"
    films = {
        url: with_reference(seeds()["mov"], url) for url in (http, f"file://{pipe}", str(pipe))
    }
    decoded, refused = watch_films(tmp_path, films.items())
    assert decoded.keys() | refused.keys() == films.keys()
    tally[HOSTILE] += decoded.total() + refused.total()
