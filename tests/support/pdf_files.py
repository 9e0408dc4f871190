"""PDF files: drawn by ReportLab, or written object by object (ISO 32000-1)."""

import io
import zlib

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen import canvas

LINES = 40


def drawn(draw, pages=1, size=A4, **options):
    """Return a file of pages; `draw` is called with the canvas and the number of each, from 1."""
    file = io.BytesIO()
    paper = canvas.Canvas(file, pagesize=size, invariant=1, **options)
    for number in range(1, pages + 1):
        draw(paper, number)
        paper.showPage()
    paper.save()
    return file.getvalue()


def lines(*texts, size=12):
    """Return what draws texts from the top of a page, with the page's number for {}."""

    def draw(paper, number):
        paper.setFont("Times-Roman", size)
        for place, text in enumerate(texts):
            paper.drawString(60, 780 - 1.5 * size * place, text.replace("{}", str(number)))

    return draw


def written(*objects, trailer=b"", version=b"1.7"):
    """Return a file of these objects, numbered from 1; the first is the catalog."""
    data = bytearray(b"%PDF-" + version + b"\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, each in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n" % number + each + b"\nendobj\n"
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (len(objects) + 1, trailer)
    return bytes(data + b"startxref\n%d\n%%%%EOF\n" % start)


def stream(content, extra=b"", packed=False):
    if packed:
        content, extra = zlib.compress(content, 9), extra + b" /Filter /FlateDecode"
    return b"<< /Length %d %s >>\nstream\n" % (len(content), extra) + content + b"\nendstream"


def one_page(content=b"", *more, page=b"", catalog=b"", box=b"0 0 595 842", packed=False):
    """Return a file of one page; objects from 6 on are `more`, and /F is Helvetica."""
    return written(
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents 4 0 R"
        b" /Resources << /Font << /F 5 0 R >> /XObject << /X 6 0 R >> >> %s >>" % (box, page),
        stream(content, packed=packed),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *more,
    )


def shown(text, size=24, x=60, y=700):
    """Return the operators that show a text."""
    return b"BT /F %d Tf %d %d Td (%s) Tj ET\n" % (size, x, y, text)
