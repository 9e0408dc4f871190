"""Words in pictures are read in a confined process; whatever a picture does costs only itself."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from support.readers_of_pictures import work

from qvsearch.media import ocr
from qvsearch.media.picture_reader import PictureReader
from qvsearch.types import Item, Kind, Segment

needs_ocr = pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs the extra [ocr]")


def pages(name, count, folder="/nowhere"):
    item = Item(os.fsencode(folder), name, Kind.DOCUMENT, 1, 1)
    return item, [Segment(item, "hash", page=page) for page in range(1, count + 1)]


@pytest.mark.faults
@pytest.mark.parametrize("name", [b"hangs", b"crashes", b"lies", b"talks", b"connects"])
def test_a_picture_that_ends_the_process_costs_only_itself(name, tmp_path):
    item, segments = pages(name, 5, tmp_path)
    with PictureReader(work, lambda *_: 6.0 if name == b"hangs" else 60.0) as reader:
        texts = reader.read(item, segments)
        assert texts == {0: "page 1", 1: "page 2", 2: "", 3: "page 4", 4: "page 5"}
        assert reader.read(*pages(b"sound", 2)) == {0: "page 1", 1: "page 2"}


def test_a_file_that_cannot_be_decoded_is_tried_once():
    with PictureReader(work) as reader:
        texts = reader.read(*pages(b"fails", 5))
    assert texts == {0: "page 1", 1: "page 2", 2: "", 3: "", 4: ""}


def test_a_stop_keeps_what_was_read(tmp_path):
    calls = iter([False] * 5 + [True] * 100)
    with PictureReader(work) as reader:
        hanging = tmp_path / "hanging"  # made by the process
        texts = reader.read(*pages(b"hangs", 5, tmp_path), lambda: hanging.exists() and next(calls))
    assert texts == {0: "page 1", 1: "page 2"}


def test_a_page_that_cannot_be_drawn_costs_only_itself(tmp_path):
    path, page = tmp_path / "fax.tif", Image.new("L", (300, 400))
    page.save(path, save_all=True, append_images=[page])
    path.write_bytes(path.read_bytes()[:-50_000])  # of the second page
    status = path.stat()
    item = Item(bytes(path), b"", Kind.DOCUMENT, status.st_size, status.st_mtime_ns)
    decoded = ocr._decoded(item, [Segment(item, "", page=number) for number in (2, 1)])
    assert [segment.page for segment, _ in decoded] == [1]


def drawn(lines, size=28, width=700):
    fonts = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
    font = ImageFont.truetype(fonts / "DejaVuSans.ttf", size)
    image = Image.new("RGB", (width, 60 + 2 * size * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((30, 30 + 2 * size * number), line, font=font, fill="black")
    return image


def item_of(path):
    status = path.stat()
    return Item(
        bytes(path.parent), path.name.encode(), Kind.IMAGE, status.st_size, status.st_mtime_ns
    )


@needs_ocr
def test_drawn_words_are_read_in_the_confined_process(tmp_path):
    lines = ["Invoice INV-2024-0117", "Total 1,234.56 EUR", "Grand café, Zürich"]
    path = tmp_path / "screen.png"
    drawn(lines).save(path)
    item = item_of(path)
    with PictureReader() as reader:
        texts = reader.read(item, [Segment(item, "", width=700, height=228)])
    assert texts[0].splitlines() == lines


def test_a_long_strip_is_read_in_pieces_that_overlap():
    strip = np.zeros((7000, 1000, 3), np.uint8)
    strip[:, 0, 0] = np.arange(7000) % 251
    pieces = list(ocr._pieces(strip))
    assert max(piece.shape[0] for piece in pieces) <= ocr.PIECE_SIDE
    tops = [0]
    for before, after in zip(pieces, pieces[1:], strict=False):
        assert (before[-ocr.OVERLAP :] == after[: ocr.OVERLAP]).all()
        tops.append(tops[-1] + len(before) - ocr.OVERLAP)
    assert tops[-1] + len(pieces[-1]) == 7000
    [whole] = ocr._pieces(np.zeros((2400, 1700, 3), np.uint8))
    assert whole.shape == (2400, 1700, 3)


def frame(*lines):
    """A frame of a film with lines on it, as decoded."""
    return np.array(drawn([*lines, *[""] * (5 - len(lines))], width=704).crop((0, 0, 704, 320)))


def test_a_number_is_another_screen_but_not_a_blinking_cursor():
    one = frame("Balance", "12.34 EUR")
    assert ocr.is_another_screen(one, frame("Balance", "99.57 EUR"))
    assert ocr.is_another_screen(one, frame("Balance", "12.34 EUR", "paid"))
    assert ocr.is_another_screen(one, one[:160])
    cursor = one.copy()
    cursor[200:228, 100:103] = 0
    assert not ocr.is_another_screen(one, cursor)
    noise = np.random.default_rng(0).integers(-9, 10, one.shape)
    assert not ocr.is_another_screen(one, np.clip(one + noise, 0, 255).astype(np.uint8))


@needs_ocr
def test_the_models_are_in_the_wheel_and_have_the_letters_of_each_language():
    import onnxruntime
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    assert (folder / ocr._DETECTOR).is_file()
    session = onnxruntime.InferenceSession(folder / ocr._RECOGNISER)
    letters = set(session.get_modelmeta().custom_metadata_map["character"])
    alphabets = {
        **{"de": "äöüß", "fr": "àâæçéèêëîïôœùûüÿ", "pl": "ąćęłńóśźż", "cs": "čďěňřšťůž"},
        **{"tr": "çğıöşü", "is": "ðþæö", "hu": "őű", "ro": "ășțâî", "az": "əğ", "zh": "的是"},
        **{"ja": "あのアメリカ", "lv": "āčēģīķļņ", "mt": "ċġħż", "cy": "ŵŷ"},
    }
    for language, alphabet in alphabets.items():
        assert language in ocr.LANGUAGES
        assert set(alphabet) <= letters, language
    assert not set("ж한กअع") & letters
