"""An album of the demo model's world, like a person's: shapes, dates, cameras, repeats."""

import shutil
from fractions import Fraction
from itertools import islice

import av
import numpy as np
from PIL import Image

from qvsearch.demo.world import caption, draw, note, scenes

SHAPES = ((640, 480), (480, 640), (800, 450), (600, 600), (640, 427), (427, 640), (900, 400))
CAMERAS = (("Canon", "Canon EOS R6"), ("Google", "Pixel 8"))
PLACES = ((48.2082, 16.3738), (47.8095, 13.055))
HOSTILE = "an\x1b[31m \u202egpj.exe <img src=x onerror=alert(1)>.jpg"
TAG = {"make": 271, "model": 272, "exif": 0x8769, "gps": 0x8825, "taken": 36867}
SCENE_SECONDS, RATE = 4, 5


def write_album(folder, pictures=30, notes=6, size=1.0):
    """Write pictures/, clips/ and notes/; returns captions of some pictures by their names."""
    rng = np.random.default_rng(5)
    source = scenes(rng, held_out=True)
    captions = {}
    (folder / "pictures").mkdir(parents=True)
    for number, scene in enumerate(islice(source, pictures), 1):
        width, height = (round(side * size) for side in SHAPES[number % len(SHAPES)])
        path = folder / "pictures" / f"IMG_{number:04}.jpg"
        picture = Image.fromarray(draw(scene, rng, width, height))
        picture.save(path, quality=88, exif=exif(picture, number))
        captions[path.name] = caption(scene, rng)
    write_repeats(folder / "pictures")
    (folder / "clips").mkdir()
    for name, codec in (("holiday.webm", "libvpx"), ("old camera.avi", "mpeg4")):
        write_clip(folder / "clips" / name, codec, list(islice(source, 3)), round(160 * size) * 2)
    (folder / "notes").mkdir()
    for number, scene in enumerate(islice(source, notes), 1):
        (folder / "notes" / f"note {number}.txt").write_text(note(scene, rng), encoding="utf-8")
    return captions


def exif(picture, number):
    """Every third picture has no date; cameras take turns; some have a place."""
    tags = picture.getexif()
    tags[TAG["make"]], tags[TAG["model"]] = CAMERAS[number % 2]
    if number % 3:
        taken = (
            f"{2021 + number % 5}:{1 + number % 12:02}:{1 + number % 28:02} 1{number % 10}:30:00"
        )
        tags.get_ifd(TAG["exif"])[TAG["taken"]] = taken
    if number % 4 == 0:
        latitude, longitude = PLACES[number // 4 % 2]
        tags.get_ifd(TAG["gps"]).update(
            {1: "N", 2: degrees(latitude), 3: "E", 4: degrees(longitude)}
        )
    return tags


def degrees(value):
    minutes = value % 1 * 60
    return int(value), int(minutes), round(minutes % 1 * 60, 2)


def write_repeats(folder):
    """Write a copy, a smaller one, and one whose name is an attack."""
    first, second, third = (folder / f"IMG_000{number}.jpg" for number in (1, 2, 3))
    shutil.copy2(first, folder / "IMG_0001 (1).jpg")
    with Image.open(second) as picture:
        picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)).save(
            folder / "IMG_0002 small.jpg", quality=80
        )
    with Image.open(third) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / HOSTILE, quality=88)


def write_clip(path, codec, shown, width):
    """Write scenes whose shapes drift to the right, each for some seconds."""
    height = width * 9 // 32 * 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 1_500_000
        for scene in shown:
            for step in range(SCENE_SECONDS * RATE):
                moved = 0.08 * (step / (SCENE_SECONDS * RATE) - 0.5)
                pixels = draw(scene, np.random.default_rng(1), width, height, moved)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
