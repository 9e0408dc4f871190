"""Motion photos built from bytes, as phones write them: a drawn picture with a film within it."""

import io
import struct

import pillow_heif
from PIL import Image

from support.videos import frame_of, make

STILL, SIZE = (200, 40, 30), (320, 256)
GAIN_MAP = b"\xff\xd8\xff\xe0 a gain map \xff\xd9"

_PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
    b' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    b' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"%s</rdf:Description>'
    b"</rdf:RDF></x:xmpmeta>"
)
_DIRECTORY = b"><Container:Directory><rdf:Seq>%s</rdf:Seq></Container:Directory>"
_ITEM = (
    b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="%s" Item:Semantic="%s"'
    b' Item:Length="%d" Item:Padding="0"/></rdf:li>'
)


def film(path, count=20, **options):
    """A film of numbered frames, ten a second; `path` is where it is written first."""
    return make(path, map(frame_of, range(count)), **options).read_bytes()


def still(form="JPEG", **options):
    image = Image.new("RGB", SIZE, STILL)
    file = io.BytesIO()
    if form == "HEIC":
        pillow_heif.from_pillow(image).save(file)
    else:
        image.save(file, form, **options)
    return file.getvalue()


def items(*parts):
    """The items of Google's directory behind the picture, given as (semantic, length)."""
    primary = _ITEM % (b"image/jpeg", b"Primary", 0)
    return primary + b"".join(
        _ITEM % (b"video/mp4" if name == b"MotionPhoto" else b"image/jpeg", name, length)
        for name, length in parts
    )


def directory(*parts, flag=b"1"):
    """Google's XMP of today, for a picture with these parts behind it."""
    flags = b' GCamera:MotionPhoto="%s" GCamera:MotionPhotoVersion="1"' % flag
    return _PACKET % (flags + _DIRECTORY % items(*parts))


def micro_video(length):
    """Google's XMP of before."""
    return _PACKET % (
        b' GCamera:MicroVideo="1" GCamera:MicroVideoVersion="1" GCamera:MicroVideoOffset="%d">'
        % length
    )


def google(data, *, before=b"", behind=b""):
    """A JPEG with a film, and perhaps gain maps before and behind it."""
    lengths = ((b"GainMap", before), (b"MotionPhoto", data), (b"GainMap", behind))
    parts = [(name, len(part)) for name, part in lengths if part]
    return still(xmp=directory(*parts)) + before + data + behind


def older_google(data):
    return still(xmp=micro_video(len(data))) + data


def samsung(data, picture=None):
    """A JPEG with a trailer (SEF), whose directory counts bytes back from its own start."""
    name = b"MotionPhoto_Data"
    block = struct.pack("<HHI", 0, 0x0A30, len(name)) + name + data
    head = b"SEFH" + struct.pack("<II", 107, 1)
    head += struct.pack("<HHII", 0, 0x0A30, len(block), len(block))
    return (picture or still()) + block + head + struct.pack("<I", len(head)) + b"SEFT"


def box(name, data):
    return struct.pack(">I", 8 + len(data)) + name + data


def heic(data):
    return still("HEIC") + box(b"mpvd", data)


def long_box(name, data):
    """A box with a length of 64 bits."""
    return struct.pack(">I", 1) + name + struct.pack(">Q", 16 + len(data)) + data


def avif(data):
    return still("AVIF") + long_box(b"mpvd", data)


FORMS = {
    "google.jpg": google,
    "gain map before.jpg": lambda data: google(data, before=GAIN_MAP),
    "gain map behind.jpg": lambda data: google(data, behind=GAIN_MAP),
    "older.jpg": older_google,
    "samsung.jpg": samsung,
    "film.heic": heic,
    "film.avif": avif,
}


def written(folder, name="google.jpg", count=20):
    """Write a motion photo, and return its path."""
    data = film(folder / "film.tmp", count)
    (folder / "film.tmp").unlink()
    (folder / name).write_bytes(FORMS[name](data))
    return folder / name
