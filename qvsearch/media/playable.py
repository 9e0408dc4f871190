"""Writes a moment of a video as browsers play it, unless they play the file itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media.clip_writer import can_encode, copy_moment, encode_moment
from qvsearch.media.frames import Film
from qvsearch.media.motion import open_film
from qvsearch.media.packets import DAMAGE, choose_stream, open_container

if TYPE_CHECKING:
    from av.container import InputContainer

    from qvsearch.types import Item

SIDE = 1280  # pixels of the longer side, if the pictures are encoded
# codecs that all present browsers play, by FFmpeg's names
PICTURES_IN_MP4, SOUNDS_IN_MP4 = {"h264", "vp9", "av1"}, {"aac", "mp3", "opus", "flac"}
PICTURES_IN_WEBM, SOUNDS_IN_WEBM = {"vp8", "vp9", "av1"}, {"opus", "vorbis"}
MP4_SUFFIXES = {".mp4", ".m4v", ".mov"}
EIGHT_BITS = {"yuv420p", "yuvj420p"}  # of h264; of others also ten
TEN_BITS = EIGHT_BITS | {"yuv420p10le"}


def write_playable(item: Item, content_hash: str, start: float, end: float, target: Path) -> bool:
    """Write the moment `[start, end)`, in seconds, of a video as MP4; False if it need not be.

    Nothing is written if browsers play the file itself. Pictures are copied where browsers play
    them, else encoded with at most SIDE pixels. Raises MediaError if the video cannot be cut.
    """
    try:
        with (
            media.open_unchanged(item, content_hash) as first,
            media.open_unchanged(item, content_hash) as second,
        ):
            file, again = (open_film(each, item.location) for each in (first, second))
            film = Film(file)
            film.find_restarts()
            suffix = Path(item.location.decode("utf-8", "replace")).suffix.lower()
            with open_container(again) as opened:
                if not film.restarts and _plays(opened, suffix):
                    return False
                if _pictures_play(opened, PICTURES_IN_MP4):
                    with suppress(*DAMAGE):  # it may still be decoded
                        copied = copy_moment(
                            film, opened, suffix, start, end, target, in_mp4=SOUNDS_IN_MP4
                        )
                        if copied is not None and target.exists():
                            return True
            if not can_encode("libx264"):
                raise MediaError("this FFmpeg has no encoder for browsers")
            with open_container(again) as opened:
                encode_moment(film, opened, start, end, target, in_mp4=SOUNDS_IN_MP4, side=SIDE)
            return True
    except DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(reason.lower()) from error


def _plays(opened: InputContainer, suffix: str) -> bool:
    """Return whether browsers play the file itself; the suffix decides the type it is sent with."""
    sound = opened.streams.best("audio")
    if suffix in MP4_SUFFIXES and opened.format.name.startswith("mov,mp4"):
        pictures, sounds = PICTURES_IN_MP4, SOUNDS_IN_MP4
    elif suffix == ".webm" and opened.format.name == "matroska,webm":
        pictures, sounds = PICTURES_IN_WEBM, SOUNDS_IN_WEBM
    else:
        return False
    if sound is not None and (
        sound.codec_context is None or sound.codec_context.codec.canonical_name not in sounds
    ):
        return False
    return _pictures_play(opened, pictures)


def _pictures_play(opened: InputContainer, codecs: set[str]) -> bool:
    context = choose_stream(opened).codec_context
    codec = context.codec.canonical_name
    return codec in codecs and context.pix_fmt in (EIGHT_BITS if codec == "h264" else TEN_BITS)
