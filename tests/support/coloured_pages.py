"""PDF files of our own bytes, each page of one colour below a line of text."""

import numpy as np

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 160, 40),
    "blue": (30, 60, 220),
    "grey": (90, 90, 90),
}
WIDTH, HEIGHT = 300, 400


def write_pdf(path, *pages):
    """Write a document of (colour, text) pages; the colour fills the lower nine tenths of each."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b""]
    objects[2] = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    numbers = []
    for colour, text in pages:
        red, green, blue = (value / 255 for value in COLOURS[colour])
        content = (
            f"{red:.4f} {green:.4f} {blue:.4f} rg 0 0 {WIDTH} {HEIGHT * 0.9} re f"
            f" 0 g BT /F1 12 Tf 10 {HEIGHT - 25} Td ({text}) Tj ET"
        ).encode()
        objects.append(b"<< /Length %d >> stream\n%s\nendstream" % (len(content), content))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (WIDTH, HEIGHT, len(objects))
        )
        numbers.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(numbers), len(numbers))
    data, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Root 1 0 R /Size %d >>\n" % (
        *(count, table, count),
    ) + b"startxref\n%d\n%%%%EOF\n" % (len(data))
    path.write_bytes(data)
    return path


def colour_of(pixels):
    """The name of the colour of a page's middle, from its pixels (h, w, 3)."""
    pixels = np.asarray(pixels).astype(int)
    middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, :3]
    [name] = [name for name, rgb in COLOURS.items() if np.abs(middle - rgb).max() < 12]
    return name
