"""Documents: each page is the picture that a viewer shows, with the words of its text layer.

Pixels are compared with PDFium's own drawing at a high resolution, reduced by Pillow, and with what
was drawn; texts with what was written and with poppler's, if that is installed.
"""

import io
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pypdfium2
import pytest
from PIL import Image, ImageDraw
from reportlab.lib.colors import red
from reportlab.lib.pdfencrypt import StandardEncryption
from support.images import MEDIUM, item_of
from support.pdf_files import drawn, lines, one_page, shown, stream, written

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media import document, spread
from qvsearch.media.pages import PART_PIXELS, chosen_pages
from qvsearch.media.pdf_notes import MOST_BYTES
from qvsearch.media.pdf_text import MOST_LETTERS
from qvsearch.media.workers import Decoders
from qvsearch.paged_text import DOCUMENT_PAGES, page_texts
from qvsearch.types import DecodeOptions, Kind

SMALL = DecodeOptions(64 * 32 * 32)


def decode(tmp_path, data, options=SMALL, name="a.pdf"):
    (tmp_path / name).write_bytes(data)
    return media.decode(item_of(tmp_path / name, Kind.DOCUMENT), "", options).segments


def reason(tmp_path, data):
    with pytest.raises(MediaError) as caught:
        decode(tmp_path, data)
    return str(caught.value)


def report(paper, number):
    lines(*["The quick brown fox jumps over page {}."] * 30)(paper, number)
    paper.setFillColor(red)
    paper.circle(300, 150, 80, fill=1)


def test_a_page_is_what_pdfium_draws_in_full_size(tmp_path):
    data = drawn(report)
    [(segment, source)] = decode(tmp_path, data, DecodeOptions(MEDIUM))
    pixels = source.images[0]
    large = pypdfium2.PdfDocument(data)[0].render(scale=4).to_pil().convert("RGB")
    expected = large.resize(pixels.shape[1::-1], Image.Resampling.BOX)
    assert pixels.shape[0] % 32 == pixels.shape[1] % 32 == 0
    assert 0.9 * MEDIUM < pixels.shape[0] * pixels.shape[1] <= MEDIUM
    assert np.abs(pixels.astype(int) - np.asarray(expected)).mean() < 3
    assert (segment.width, segment.height) == (595, 842)
    assert segment.dhash is not None
    assert segment.patches is not None


def test_a_page_has_the_colours_and_places_that_were_drawn(tmp_path):
    [(_, source)] = decode(tmp_path, drawn(report))
    pixels = source.images[0]
    high, wide, _ = pixels.shape
    assert pixels[round(high * (1 - 150 / 842)), round(wide * 300 / 595)].tolist() == [255, 0, 0]
    assert pixels[-3, 3].tolist() == [255, 255, 255]


def test_words_are_those_that_were_written(tmp_path):
    texts = ("Invoice INV-2024-0117", "Größe: 12 m², naïve café", "total 1,234.50 EUR")
    found = decode(tmp_path, drawn(lines(*texts, "page {}"), pages=3))
    assert [segment.page for segment, _ in found] == [1, 2, 3]
    for segment, source in found:
        assert segment.words.split("\n") == [*texts, f"page {segment.page}"]
        assert segment.snippet == " ".join([*texts, f"page {segment.page}"])
        assert segment.metadata.page is False
        assert source.text is None
    assert found[0][0].metadata.pages == 3


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext of poppler-utils")
def test_another_reader_finds_the_same_words(tmp_path):
    (tmp_path / "a.pdf").write_bytes(drawn(report, pages=2))
    other = subprocess.run(["pdftotext", tmp_path / "a.pdf", "-"], capture_output=True, check=True)
    found = decode(tmp_path, (tmp_path / "a.pdf").read_bytes())
    words = " ".join(segment.words for segment, _ in found).split()
    assert words == other.stdout.decode().split()


def test_a_word_that_a_line_breaks_is_whole(tmp_path):
    content = b"BT /F 12 Tf 60 700 Td (a docu-) Tj 0 -14 Td (ment of words) Tj ET"
    [(segment, _)] = decode(tmp_path, one_page(content))
    assert "document of words" in segment.words


def by_ghostscript(*words):
    """Return operators that show words as Ghostscript does: gaps as spacing of the two letters."""
    gap, size = 3, 12
    parts = [b"BT /F %d Tf 60 700 Td" % size]
    for place, word in enumerate(words):
        first, middle, last = word[:1], word[1:-1], word[-1:]
        if place == 0:
            first, middle = b"", first + middle
        parts.append(b"(%s) Tj" % middle)
        if place + 1 < len(words):
            # the spacing behind the second of the letters is taken back
            pair = last + words[place + 1][:1]
            parts.append(b"%d Tc (%s) Tj 0 Tc [%d ()] TJ" % (gap, pair, 1000 * gap // size))
        else:
            parts.append(b"(%s) Tj" % last)
    return b" ".join(parts) + b" ET\n"


def test_gaps_that_ghostscript_writes_as_spacing_are_between_words(tmp_path):
    words = (b"rather", b"few", b"keys", b"of", b"any", b"node,", b"even", b"yellow")
    [(segment, _)] = decode(tmp_path, one_page(by_ghostscript(*words)))
    assert segment.words == b" ".join(words).decode()


CMAP = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap
1 begincodespacerange <00> <ff> endcodespacerange
1 beginbfrange <61> <7a> <05d0> endbfrange
endcmap end end"""


@pytest.mark.parametrize("parts", [["amil", "jabit", "fma"], list("amiljabitfma")])
def test_words_from_right_to_left_stay_whole(tmp_path, parts):
    """The letters a to z are shown for the Hebrew ones, in the order in which they are drawn."""
    content = b"BT /F 12 Tf 60 700 Td %s ET" % b" ".join(b"(%s) Tj" % p.encode() for p in parts)
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    resources = b"/Resources << /Font << /F 5 0 R >> >>"
    data = written(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R %s >>" % resources,
        stream(content),
        font,
        stream(CMAP),
    )
    [(segment, _)] = decode(tmp_path, data)
    drawn_letters = "".join(chr(0x5D0 + ord(letter) - ord("a")) for letter in "amiljabitfma")
    assert segment.words in (drawn_letters, drawn_letters[::-1])


@pytest.mark.parametrize("spacing", [2, 6, 12])
def test_letters_with_spacing_stay_together(tmp_path, spacing):
    title = b"BT /F 24 Tf %d Tc 60 700 Td (TITLE AV OF TO 1984.) Tj 0 Tc ET\n" % spacing
    [(segment, _)] = decode(tmp_path, one_page(title + shown(b"and a plain line", y=600)))
    assert segment.words == "TITLE AV OF TO 1984.\nand a plain line"


def test_a_page_without_a_text_layer_is_a_scan(tmp_path):
    def draw(paper, number):
        if number == 2:
            lines("A page with words among scanned ones")(paper, number)
        else:
            paper.rect(100, 100, 300, 500, fill=1)
            paper.drawString(300, 20, f"{number}")

    found = decode(tmp_path, drawn(draw, pages=3))
    assert [segment.metadata.page for segment, _ in found] == [True, False, True]
    assert found[0][0].words == "1"


def test_metadata_are_those_of_the_file(tmp_path):
    def draw(paper, number):
        paper.setTitle("Minutes\nof the meeting")
        paper.setAuthor("Ada Lovelace")
        paper.setKeywords(["engine", "notes", "engine"])

    metadata = decode(tmp_path, drawn(draw))[0][0].metadata
    assert metadata.title == "Minutes of the meeting"
    assert metadata.author == "Ada Lovelace"
    assert metadata.keywords == ("engine", "notes")
    plain = decode(tmp_path, one_page(shown(b"words")))[0][0].metadata
    assert (plain.title, plain.author, plain.keywords, plain.taken) == (None, None, None, None)


@pytest.mark.parametrize(
    ("date", "taken"),
    [
        (b"D:20240506070809+02'00'", "2024-05-06T07:08:09+02:00"),
        (b"D:20240506070809Z", "2024-05-06T07:08:09+00:00"),
        (b"D:20240506", "2024-05-06"),
        (b"D:19040101000000Z", None),
        (b"yesterday", None),
    ],
)
def test_the_date_is_that_of_creation(tmp_path, date, taken):
    data = written(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
        b"<< /CreationDate (%s) >>" % date,
        trailer=b"/Info 4 0 R",
    )
    assert decode(tmp_path, data)[0][0].metadata.taken == taken


def test_a_page_that_is_turned_is_drawn_upright(tmp_path):
    [(segment, source)] = decode(tmp_path, one_page(shown(b"sideways"), page=b"/Rotate 90"))
    assert (segment.width, segment.height) == (842, 595)
    assert source.images[0].shape[1] > source.images[0].shape[0]


def test_values_of_forms_are_drawn(tmp_path):
    def draw(value):
        def form(paper, number):
            paper.acroForm.textfield(
                name="sum", value=value, x=100, y=600, width=300, height=60, fontSize=40
            )

        return form

    filled, empty = (
        decode(tmp_path, drawn(draw(value)), DecodeOptions(MEDIUM))[0][1].images[0]
        for value in ("4711", "")
    )
    assert np.count_nonzero((filled != empty).any(axis=-1)) > 200


def note(kind, text, more=b""):
    return b"<< /Type /Annot /Subtype /%s /Rect [9 9 99 99] /Contents (%s) %s >>" % (
        kind,
        text,
        more,
    )


def test_values_of_forms_and_notes_of_readers_are_words(tmp_path):
    fields = [
        b"<< /Type /Annot /Subtype /Widget /Rect [9 9 99 99] /T (%d) %s >>" % (number, field)
        for number, field in enumerate(
            [
                b"/FT /Tx /V (INV-4711)",
                b"/FT /Ch /Ff 131072 /Opt [(Vienna) (Graz)] /V (Graz)",
                b"/FT /Ch /Ff 2097152 /Opt [(Linz) (Wels) [(S) (Steyr)]] /V [(Linz) (S)]",
                b"/FT /Ch /Ff 393216 /Opt [(Enns)] /V (Traun)",
                b"/FT /Btn /V /Yes /AS /Yes",
                b"/FT /Tx /Ff 8192 /V (secret)",
                b"/FT /Tx /F 2 /V (hidden)",
                b"/FT /Tx /V <FEFF04120435043D0430000D006C0069006E0065>",
            ]
        )
    ]
    notes = [
        note(b"FreeText", b"typed on it"),
        note(b"Text", b"a sticky note"),
        note(b"Highlight", b"a comment\\rof two lines"),
        note(b"Popup", b"a window"),
        note(b"Link", b"a link"),
    ]
    numbers = [b"%d 0 R" % (6 + number) for number in range(len(fields + notes))]
    data = one_page(
        shown(b"The text of the page itself is as long as that of others", size=12),
        *fields,
        *notes,
        page=b"/Annots [%s]" % b" ".join(numbers),
        catalog=b"/AcroForm << /Fields [%s] >>" % b" ".join(numbers[: len(fields)]),
    )
    [(segment, _)] = decode(tmp_path, data)
    words = (
        "The text of the page itself is as long as that of others\nINV-4711\nGraz\nLinz\n"
        "Steyr\nTraun\nВена\nline\n"
        "typed on it\na sticky note\na comment\nof two lines"
    )
    assert segment.words == words
    with open(tmp_path / "a.pdf", "rb") as file:
        assert list(document.page_words(file, segment.item)) == [(1, words)]


def test_long_notes_are_cut_and_end_those_of_a_page(tmp_path):
    for size, kept in ((500_000, MOST_LETTERS), (MOST_BYTES, 0)):
        long, short = note(b"Text", b"x" * size), note(b"Text", b"after")
        for order, shown_ in (((short, long), 6), ((long, short), 0)):
            data = one_page(b"", *order, page=b"/Annots [6 0 R 7 0 R]")
            [(segment, _)] = decode(tmp_path, data)
            words = ("after\n" if shown_ else "") + "x" * (kept - shown_)
            assert segment.words == (words.strip() or None)


def test_version_1_gave_other_words_if_there_are_notes(tmp_path):
    remark = one_page(shown(b"words"), note(b"Text", b"a remark"), page=b"/Annots [6 0 R]")
    for data, differs in ((one_page(shown(b"words")), False), (remark, True)):
        [(segment, _)] = decode(tmp_path, data)
        with open(tmp_path / "a.pdf", "rb") as file:
            found = [document.reads_otherwise(file, segment.item, since) for since in (1, 2)]
        assert found == [differs, False]


def test_a_scanned_page_with_a_note_is_still_a_scan(tmp_path):
    text = b"a note of some length, which nobody could see in the scanned page itself"
    data = one_page(b"", note(b"Text", text), page=b"/Annots [6 0 R]")
    [(segment, _)] = decode(tmp_path, data)
    assert (segment.metadata.page, segment.words) == (True, text.decode())


def test_a_password_is_asked_for_only_by_those_that_need_one(tmp_path):
    locked = drawn(report, encrypt=StandardEncryption("secret", "owner", strength=128))
    assert reason(tmp_path, locked) == "encrypted: it needs a password to be opened"
    restricted = drawn(report, encrypt=StandardEncryption("", "owner", canPrint=0, canCopy=0))
    assert "quick brown fox" in decode(tmp_path, restricted)[0][0].words


def test_what_is_no_document_says_so(tmp_path):
    whole = drawn(report)
    for data in (
        b"words",
        b"%PDF-1.7\n",
        whole[:300],
        bytes(5000),
        b"\x89PNG\r\n\x1a\n" + whole[9:99],
    ):
        assert reason(tmp_path, data) == "not a PDF, or a damaged one"
    assert reason(tmp_path, b"") == "empty file"


def test_only_pages_that_are_damaged_are_left_out(tmp_path):
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents %d 0 R >>"
    data = written(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 99 0 R 4 0 R 5 0 R] /Count 4 >>",
        page % 99,  # nothing is drawn on it
        b"<< /Type /Page /MediaBox 7 /Contents (none) >>",
        page % 6,
        stream(b"1 0 0 rg 0 0 200 200 re f BT /Missing 12 Tf (word) Tj ET q Q Q Q \xff\xfe"),
    )
    found = decode(tmp_path, data)
    assert {1, 4} <= {segment.page for segment, _ in found} <= {1, 3, 4}
    assert found[0][0].metadata.pages == 4
    assert found[-1][1].images[0][9, 9].tolist() == [255, 0, 0]


def test_a_truncated_file_gives_the_pages_that_are_there(tmp_path):
    data = drawn(report, pages=9, pageCompression=0)
    data = data.replace(b"xref\n0 ", b"xref\n9 ")
    assert len(decode(tmp_path, data)) == 9  # PDFium finds the objects without their table
    assert reason(tmp_path, data[: len(data) // 2]) == "not a PDF, or a damaged one"


def test_pages_of_a_long_document_are_spread_evenly():
    assert chosen_pages(3) == (1, 2, 3)
    for count in (DOCUMENT_PAGES, DOCUMENT_PAGES + 1, 777, 2000, 10**9):
        chosen = chosen_pages(count)
        gaps = np.diff(chosen)
        assert (len(chosen), chosen[0], chosen[-1]) == (DOCUMENT_PAGES, 1, count)
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1
    assert chosen_pages(0) == ()


def test_two_thousand_pages_come_in_parts_that_fit_into_memory(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(drawn(lines("number {}"), pages=2000))
    options = DecodeOptions(4 * 32 * 32, page_pixels=PART_PIXELS // 100)
    with Decoders(1) as decoders:
        item = item_of(path, Kind.DOCUMENT)
        parts = list(decoders.decode([(item, "")], options, in_parts=True))
        [first] = decoders.decode([(item, "")], options)
    assert len(parts) > 1
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    segments = [segment for part in parts for segment, _ in part.segments]
    assert tuple(segment.page for segment in segments) == chosen_pages(2000)
    texts = [each for segment in segments for each in page_texts(segment.words, segment.page)]
    assert texts == [(number, f"number {number}") for number in range(1, 2001)]
    with path.open("rb") as file:
        again = list(document.page_words(file, item))
    assert again == [(segment.page, segment.words) for segment in segments]
    assert segments[0].metadata.pages == 2000
    for part in parts:
        assert sum(source.images[0].size // 3 for _, source in part.segments) <= PART_PIXELS
    assert [segment for segment, _ in first.segments] == segments[: len(first.segments)]


def test_a_poster_of_ten_metres_is_drawn_small(tmp_path):
    ten_metres = 28_346
    content = shown(b"GRAND OPENING", size=2000, x=1000, y=14_000)
    [(segment, source)] = decode(
        tmp_path, one_page(content, box=b"0 0 %d %d" % (ten_metres, ten_metres))
    )
    assert (segment.width, segment.height) == (ten_metres, ten_metres)
    assert source.images[0].shape == (256, 256, 3)
    assert segment.words == "GRAND OPENING"
    assert source.images[0].min() < 100


def test_a_label_is_not_enlarged(tmp_path):
    [(_, source)] = decode(tmp_path, one_page(shown(b"x"), box=b"0 0 50 36"), DecodeOptions(MEDIUM))
    assert source.images[0].shape == (96, 128, 3)


def test_a_page_too_long_is_left_out(tmp_path):
    assert "too long a strip" in reason(tmp_path, one_page(box=b"0 0 14400 3"))


def test_given_pages_are_decoded_alone(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(drawn(lines("number {}"), pages=300))
    all_pages = decode(tmp_path, path.read_bytes())
    item = item_of(path, Kind.DOCUMENT)
    with media.open_unchanged(item, "") as file:
        found = document.decode_pages(file, item, "", SMALL, [299, 1])
        assert [segment.words for segment, _ in found] == ["number 299", "number 1"]
        assert np.array_equal(found[1][1].images[0], all_pages[0][1].images[0])
        with pytest.raises(MediaError, match="it has 300 pages, and no page 301"):
            document.decode_pages(file, item, "", SMALL, [301])


def tiff(*pictures, **options):
    file = io.BytesIO()
    first, *others = pictures
    first.save(file, "TIFF", save_all=True, append_images=others, **options)
    return file.getvalue()


def sheet(number, size=(300, 400), mode="1"):
    picture = Image.new(mode, size, "white")
    ImageDraw.Draw(picture).rectangle((20, 20 * number, 200, 20 * number + 9), fill="black")
    return picture


def test_pages_of_a_tiff_are_those_of_pillow(tmp_path):
    sheets = [sheet(1), sheet(2, (400, 300)), sheet(3)]
    found = decode(tmp_path, tiff(*sheets, compression="group4"), DecodeOptions(MEDIUM), "fax.tif")
    assert [segment.page for segment, _ in found] == [1, 2, 3]
    for (segment, source), picture in zip(found, sheets, strict=True):
        assert (segment.width, segment.height) == picture.size
        expected = picture.convert("RGB").resize(source.images[0].shape[1::-1], Image.BICUBIC)
        assert np.array_equal(source.images[0], np.asarray(expected))
        assert segment.metadata.pages == 3
        assert segment.metadata.page is True
        assert segment.words is None


def test_a_damaged_page_of_a_tiff_is_left_out(tmp_path):
    data = bytearray(tiff(sheet(1, mode="RGB"), sheet(2, mode="RGB"), compression="tiff_lzw"))
    place = data.rindex(b"\x80\x3f\xe0")  # where the second page's pixels begin
    data[place : place + 40] = bytes(40)
    found = decode(tmp_path, data, name="a.tif")
    assert [segment.page for segment, _ in found] == [1]
    item = item_of(tmp_path / "a.tif", Kind.DOCUMENT)
    assert len(spread.decode(item, "", SMALL, most=2).segments) == 1
    with media.open_unchanged(item, "") as file:
        assert len(document.decode_pages(file, item, "", SMALL, [2, 1])) == 1
        file.seek(0)
        with pytest.raises(MediaError, match="damaged image"):
            document.decode_pages(file, item, "", SMALL, [2])


def test_page_pixels_are_for_documents_alone(tmp_path):
    options = replace(SMALL, page_pixels=MEDIUM)
    [(_, source)] = decode(tmp_path, drawn(report), options)
    assert source.images[0].shape[0] * source.images[0].shape[1] > SMALL.max_pixels
