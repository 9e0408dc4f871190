"""Draws PDF and TIFF files of many sorts, damages them by a seed, and builds bombs.

Nothing is copied. A damaged file is known by its number alone, as a damaged picture is.
"""

import functools
import io
import random

from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader

from support.damage import mutated
from support.pdf_files import drawn, lines, one_page, shown, stream, written

SMALL = (200, 150)
WORDS = lines("some words", "and others", size=9)


def pictured(form, mode="RGB"):
    """Return what draws a picture that is compressed in this form."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).convert(mode).save(file, form)

    def draw(paper, number):
        paper.drawImage(ImageReader(io.BytesIO(file.getvalue())), 10, 10, 80, 60)

    return draw


def form(paper, number):
    paper.acroForm.textfield(name="name", value="a value", x=10, y=10, width=80, height=20)
    paper.acroForm.checkbox(name="box", checked=True, x=120, y=10, size=20)


def shapes(paper, number):
    paper.linearGradient(0, 0, 200, 150, ("red", "blue"))
    paper.setFillAlpha(0.5)
    paper.bezier(0, 0, 50, 140, 150, 140, 200, 0)
    paper.circle(100, 75, 40, fill=1)
    paper.linkURL("http://127.0.0.1:9/", (0, 0, 50, 50))


def outlined(paper, number):
    paper.bookmarkPage(f"p{number}")
    paper.addOutlineEntry(f"chapter {number}", f"p{number}")
    WORDS(paper, number)


def filtered(name, data, extra=b""):
    """Return a file whose page shows an image of a form that ReportLab does not write."""
    image = (
        b" /Type /XObject /Subtype /Image /Width 8 /Height 8 /BitsPerComponent 8"
        b" /ColorSpace /DeviceGray /Filter /" + name + extra
    )
    return one_page(b"q 90 0 0 90 5 5 cm /X Do Q", stream(data, image), box=b"0 0 100 100")


def tiff():
    """Three pages, as a scanner or a fax machine writes them."""
    file = io.BytesIO()
    pages = [
        Image.linear_gradient("L").resize((60, 40)).convert(mode) for mode in ("1", "L", "RGB")
    ]
    for page, compression in zip(pages, ("group4", "tiff_lzw", "jpeg"), strict=True):
        page.encoderinfo = {"compression": compression}
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    return file.getvalue()


def jpeg_2000():
    file = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(file, "JPEG2000")
    return file.getvalue()


@functools.cache
def seeds():
    """One small file of each sort, by name."""
    shading = b"<< /ShadingType 1 /ColorSpace /DeviceRGB /Function 7 0 R >>"
    function = stream(b"{ 2 copy mul }", b"/FunctionType 4 /Domain [0 1 0 1] /Range [0 1 0 1 0 1]")
    return {
        "text": drawn(WORDS, size=SMALL),
        "text as it is": drawn(WORDS, 2, size=SMALL, pageCompression=0),
        "pages": drawn(lines("page {}"), 5, size=SMALL),
        "outline": drawn(outlined, 3, size=SMALL),
        "shapes": drawn(shapes, size=SMALL),
        "shapes as they are": drawn(shapes, size=SMALL, pageCompression=0),
        "form": drawn(form, size=SMALL),
        "jpeg": drawn(pictured("JPEG"), size=SMALL),
        "jpeg cmyk": drawn(pictured("JPEG", "CMYK"), size=SMALL),
        "png": drawn(pictured("PNG"), size=SMALL),
        "png alpha": drawn(pictured("PNG", "RGBA"), size=SMALL),
        "rc4": drawn(WORDS, size=SMALL, encrypt=StandardEncryption("", "o", strength=40)),
        "rc4 of 128 bits": drawn(
            WORDS, size=SMALL, encrypt=StandardEncryption("", "o", strength=128)
        ),
        "bare": one_page(shown(b"bare words"), box=b"0 0 200 800"),
        "deflated": one_page(shown(b"packed words"), box=b"0 0 200 800", packed=True),
        "jpeg 2000": filtered(b"JPXDecode", jpeg_2000()),
        "fax": filtered(b"CCITTFaxDecode", bytes(range(64)), b" /DecodeParms << /K -1 >>"),
        "jbig2": filtered(b"JBIG2Decode", bytes(range(64))),
        "lzw": filtered(b"LZWDecode", bytes.fromhex("800b6050220c0c8501")),
        "runs": filtered(b"RunLengthDecode", b"\xc1\x55\x80"),
        "shading": one_page(b"/X sh", shading, function, box=b"0 0 100 100"),
        "tiff": tiff(),
    }


def damaged(number):
    """Return the name of a seed and its bytes after one to three mutations."""
    rng = random.Random(f"hostile document {number}")
    names = list(seeds())
    name = names[number % len(names)]
    return name, bytes(mutated(seeds()[name], rng, list(seeds().values())))


def catalog(*others, kids=b"[3 0 R]", count=1, extra=b""):
    return written(
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % extra,
        b"<< /Type /Pages /Kids %s /Count %d >>" % (kids, count),
        *others,
    )


PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>"


def looping_forms():
    """A form that draws itself."""
    image = (
        b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >>"
    )
    return one_page(b"/X Do", stream(b"/X Do /X Do", image))


def doubling_forms(depth=40):
    """Forms that each draw the next one twice: 2^40 drawings."""
    forms = [
        stream(
            b"/Y Do /Y Do" if level < depth else b"0 0 9 9 re f",
            b"/Type /XObject /Subtype /Form /BBox [0 0 9 9]"
            b" /Resources << /XObject << /Y %d 0 R >> >>" % (7 + level),
        )
        for level in range(depth + 1)
    ]
    return one_page(b"/X Do", *forms)


def with_script():
    script = b"<< /S /JavaScript /JS (app.launchURL\\('http://127.0.0.1:9/'\\); while\\(1\\){}) >>"
    return one_page(
        shown(b"scripted"), catalog=b"/OpenAction %s" % script, page=b"/AA << /O %s >>" % script
    )


def with_attachment():
    """A file within the file, which would be run when it is opened."""
    return one_page(
        shown(b"attached"),
        b"<< /Type /Filespec /F (run.exe) /EF << /F 7 0 R >> >>",
        stream(b"MZ" + bytes(1000), b"/Type /EmbeddedFile"),
        catalog=b"/Names << /EmbeddedFiles << /Names [(run.exe) 6 0 R] >> >>"
        b" /OpenAction << /S /Launch /F (run.exe) >>",
    )


def deep_arrays():
    return catalog(PAGE, b"[" * 200_000)


def deep_pages(depth=5000):
    nodes = [
        b"<< /Type /Pages /Parent %d 0 R /Kids [%d 0 R] /Count 1 >>" % (2 + level, 4 + level)
        for level in range(depth)
    ]
    return catalog(*nodes, PAGE)


def huge_picture(side=50_000):
    """A picture of 2.5 gigapixels, of zeros that are packed twice."""
    import zlib

    packed = zlib.compress(zlib.compress(bytes(10_000_000), 9), 9)
    image = (
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 8"
        b" /ColorSpace /DeviceGray /Filter [/FlateDecode /FlateDecode]" % (side, side)
    )
    return one_page(b"q 500 0 0 500 9 9 cm /X Do Q", stream(packed, image))


BOMBS = {  # small files that ask for much
    "script": with_script,
    "attachment": with_attachment,
    "page in itself": lambda: catalog(kids=b"[2 0 R]"),
    "pages in a ring": lambda: catalog(b"<< /Type /Pages /Parent 2 0 R /Kids [2 0 R] /Count 9 >>"),
    "page many times": lambda: catalog(PAGE, kids=b"[" + b"3 0 R " * 100_000 + b"]", count=100_000),
    "count of pages": lambda: catalog(PAGE, count=2**31 - 1),
    "less than no pages": lambda: catalog(PAGE, count=-1),
    "deep pages": deep_pages,
    "deep arrays": deep_arrays,
    "huge table": lambda: seeds()["text"].replace(b"xref\n0 ", b"xref\n0 99999999", 1),
    "looping tables": lambda: catalog(PAGE).replace(b"/Size", b"/Prev 15 /Size"),
    "huge box": lambda: one_page(shown(b"x"), box=b"0 0 1e30 1e30"),
    "no box": lambda: one_page(shown(b"words"), box=b"0 0 0 0"),
    "box of words": lambda: one_page(shown(b"words"), box=b"a b"),
    "huge picture": huge_picture,
    "deflated": lambda: one_page(b"0 0 m " * 4_000_000, packed=True),
    "many letters": lambda: one_page(
        b"BT /F 9 Tf 9 9 Td " + b"(words ) Tj " * 50_000 + b"ET", packed=True
    ),
    "states": lambda: one_page(b"q " * 200_000, packed=True),
    "pattern": lambda: one_page(
        b"/Pattern cs /P scn 0 0 595 842 re f", page=b"/Resources << /Pattern << /P 6 0 R >> >>"
    ),
}

ENDLESS = {"looping forms": looping_forms, "doubling forms": doubling_forms}  # for any patience
