"""Documents in the formats of Office, e-books, mail and the web, written by their bytes."""

import io
import json
import zipfile

REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
S = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{REL}"'
P = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="{REL}"'
)
ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{uri}:1.0"'
    for name, uri in {
        **{"office": "office", "text": "text", "table": "table", "draw": "drawing"},
        **{"presentation": "presentation", "meta": "meta"},
    }.items()
) + (' xmlns:dc="http://purl.org/dc/elements/1.1/"')
CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/'
    'core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:dcterms="http://purl.org/dc/terms/"><dc:title>Annual report</dc:title>'
    "<dc:creator>Zoë Grün</dc:creator><cp:keywords>rent, tax; rent</cp:keywords>"
    "<dcterms:created>2024-03-05T10:20:30Z</dcterms:created></cp:coreProperties>"
)


def zipped(parts):
    """Return a ZIP file of parts, by their names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, compresslevel=1)
    return file.getvalue()


def added(file, more):
    """Return a ZIP file with more parts, which take the place of those of the same names."""
    with zipfile.ZipFile(io.BytesIO(file)) as packed:
        return zipped({name: packed.read(name) for name in packed.namelist()} | more)


def relationships(**targets):
    """Return a part of relationships: each id with its type and target."""
    links = "".join(
        f'<Relationship Id="{id_}" Type="{REL}/{type_}" Target="{target}"/>'
        for id_, (type_, target) in targets.items()
    )
    uri = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{uri}">{links}</Relationships>'


def root(target):
    return {"_rels/.rels": relationships(r1=("officeDocument", target)), "docProps/core.xml": CORE}


def paragraph(text, style=None):
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def word_table(*rows):
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return "<w:tbl>" + "".join(f"<w:tr>{each}</w:tr>" for each in cells) + "</w:tbl>"


def docx(body, more=None):
    """Return a Word document with a footnote, a comment, a picture and a translated style."""
    return zipped(
        root("word/document.xml")
        | {
            "word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": relationships(
                f=("footnotes", "footnotes.xml"),
                c=("comments", "comments.xml"),
                s=("styles", "styles.xml"),
            ),
            "word/styles.xml": f'<w:styles {W}><w:style w:styleId="berschrift1">'
            '<w:name w:val="heading 1"/></w:style></w:styles>',
            "word/footnotes.xml": f"<w:footnotes {W}><w:footnote>{paragraph('See the annex.')}"
            "</w:footnote></w:footnotes>",
            "word/comments.xml": f"<w:comments {W}><w:comment>{paragraph('Is it so?')}"
            "</w:comment></w:comments>",
            "word/media/image1.png": b"\x89PNG",
        }
        | (more or {})
    )


def slide(*texts, hidden=False):
    shapes = "".join(
        f"<p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
        for text in texts
    )
    show = ' show="0"' if hidden else ""
    return f"<p:sld {P}{show}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"


def pptx(slides, notes):
    """Return a presentation of slides, whose files are numbered against their order."""
    count = len(slides)
    files = {f"s{number}": f"slides/slide{count - number}.xml" for number in range(count)}
    ids = "".join(f'<p:sldId id="{256 + n}" r:id="s{n}"/>' for n in range(count))
    parts = root("ppt/presentation.xml") | {
        "ppt/presentation.xml": f"<p:presentation {P}><p:sldIdLst>{ids}</p:sldIdLst>"
        "</p:presentation>",
        "ppt/_rels/presentation.xml.rels": relationships(
            **{id_: ("slide", target) for id_, target in files.items()}
        ),
    }
    for number, content in enumerate(slides):
        parts["ppt/" + files[f"s{number}"]] = content
    name = files["s0"].removeprefix("slides/")
    parts[f"ppt/slides/_rels/{name}.rels"] = relationships(
        n=("notesSlide", "../notesSlides/notesSlide1.xml")
    )
    parts["ppt/notesSlides/notesSlide1.xml"] = slide(notes, "1")
    return zipped(parts)


def chart(title, series, *categories):
    """Return the part of a chart, with the numbers that it shows."""

    def cache(kind, *values):
        points = "".join(
            f'<c:pt idx="{n}"><c:v>{each}</c:v></c:pt>' for n, each in enumerate(values)
        )
        inside = f"<c:{kind}Cache>{points}</c:{kind}Cache>"
        return f"<c:{kind}Ref><c:f>Sheet1!$A$2</c:f>{inside}</c:{kind}Ref>"

    return (
        '<c:chartSpace xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"'
        ' xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><c:chart><c:title><c:tx>'
        f"<c:rich><a:p><a:r><a:t>{title}</a:t></a:r></a:p></c:rich></c:tx></c:title><c:ser>"
        f"<c:tx>{cache('str', series)}</c:tx><c:cat>{cache('str', *categories)}</c:cat>"
        f"<c:val>{cache('num', 4711, 4712)}</c:val></c:ser></c:chart></c:chartSpace>"
    )


def row(*cells):
    return f"<row>{''.join(cells)}</row>"


def text_cell(text):
    return f'<c t="inlineStr"><is><t>{text}</t></is></c>'


def xlsx(sheets, strings=(), styles=None):
    """Return a workbook of the rows of each sheet; the state is the first word of the name."""
    parts = root("xl/workbook.xml")
    links = {f"s{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in range(len(sheets))}
    if strings:
        links["strings"] = ("sharedStrings", "sharedStrings.xml")
        items = "".join(f"<si><t>{each}</t></si>" for each in strings)
        parts["xl/sharedStrings.xml"] = f"<sst {S}>{items}</sst>"
    if styles:
        links["styles"] = ("styles", "styles.xml")
        parts["xl/styles.xml"] = f"<styleSheet {S}>{styles}</styleSheet>"
    entries = "".join(
        f'<sheet name="{name}" r:id="s{number}" state="{name.split()[0]}"/>'
        for number, name in enumerate(sheets)
    )
    parts["xl/workbook.xml"] = f"<workbook {S}><sheets>{entries}</sheets></workbook>"
    parts["xl/_rels/workbook.xml.rels"] = relationships(**links)
    for number, rows in enumerate(sheets.values()):
        content = f"<worksheet {S}><sheetData>{''.join(rows)}</sheetData></worksheet>"
        parts[f"xl/worksheets/sheet{number}.xml"] = content
    return zipped(parts)


def odf(body):
    meta = (
        f"<office:document-meta {ODF}><office:meta><dc:title>Annual report</dc:title>"
        "<meta:initial-creator>Zoë Grün</meta:initial-creator>"
        "<meta:creation-date>2024-03-05T10:20:30</meta:creation-date></office:meta>"
        "</office:document-meta>"
    )
    content = f"<office:document-content {ODF}><office:body>{body}</office:body>"
    return zipped({"content.xml": content + "</office:document-content>", "meta.xml": meta})


def epub(chapters, encryption="", anchors=()):
    """An e-book whose list of contents also names these places within its chapters."""
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    places = [f"{n}.xhtml{anchor}" for n in range(len(chapters)) for anchor in ("", *anchors)]
    items = "".join(
        f'<item id="c{place}" href="text/chapter%20{place}" media-type="application/xhtml+xml"/>'
        for place in places
    )
    spine = "".join(f'<itemref idref="c{place}"/>' for place in places)
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<metadata><dc:title>Walden</dc:title><dc:creator>H. D. Thoreau</dc:creator>"
        f"<dc:date>1985</dc:date></metadata><manifest>{items}</manifest>"
        f"<spine>{spine}</spine></package>"
    )
    parts = {"META-INF/container.xml": container, "OEBPS/book.opf": opf}
    if encryption:
        parts["META-INF/encryption.xml"] = encryption
    for number, content in enumerate(chapters):
        parts[f"OEBPS/text/chapter {number}.xhtml"] = content
    return zipped(parts)


def notebook(*cells):
    return json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "source": [f"{line}\n" for line in source.split("\n")],
                    "outputs": [
                        {"data": {"text/plain": [output], "image/png": "iVBORw0KGgo" * 99}}
                    ],
                }
                for source, output in cells
            ],
            "nbformat": 4,
        }
    ).encode()


PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>The sea</title>
<meta name="author" content="Zoë Grün"><style>p { color: red }</style></head><body>
<nav><a href="/">Home and menu</a></nav><script>alert("script")</script>
<h1>Tides</h1><p>The <b>moon</b>light pulls.<p>Twice a day.
<h2>Ports</h2><table><tr><th>Port</th><th>Height</th></tr>
<tr><td>Brest</td><td>7 m</td></tr></table>
<ul><li>one</li><li>two</li></ul><pre>a
  b</pre><img src="http://127.0.0.1:9/x.png"></body></html>""".encode()
MAIL = b"""From: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>\r
To: ann@example.org\r
Subject: =?utf-8?b?TWlldGUgZsO8ciBNw6Ryeg==?=\r
Date: Tue, 05 Mar 2024 10:20:30 +0100\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="cut"\r
\r
--cut\r
Content-Type: multipart/alternative; boundary="or"\r
\r
--or\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
The rent is 1,234=E2=82=AC.\r
--or\r
Content-Type: text/html; charset=utf-8\r
\r
<p>The same in HTML</p>\r
--or--\r
--cut\r
Content-Type: application/pdf; name="bill.pdf"\r
Content-Disposition: attachment; filename="bill.pdf"\r
Content-Transfer-Encoding: base64\r
\r
U2VjcmV0\r
--cut--\r
"""
SAVED_PAGE = (
    b"From: <Saved by Blink>\r\nSubject: The sea\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/related; type="text/html"; boundary="cut"\r\n\r\n--cut\r\n'
    b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<h1>Tides</h1><p>High=\r\n water</p>\r\n--cut\r\nContent-Type: image/png\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--cut--\r\n"
)
RTF = (
    rb"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0 Times;}}{\info{\title Notes}{\author Ann}}"
    rb"{\*\generator Word;}\pard Hello {\b bold} \'cf\'f0\'e8 \u8364?\u-10179?\u-8704?\par"
    rb"{\pict\pngblip 89504e47}Second\tab line\bin4 {}}{\\ \{end\}\par}"
)
ODT_BODY = (
    "<office:text><text:h>Plan</text:h><text:p>First<text:s text:c='3'/>line"
    "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>A note.</text:p>"
    "</text:note-body></text:note></text:p><table:table table:name='T'>"
    "<table:table-row><table:table-cell><text:p>Name</text:p></table:table-cell>"
    "<table:table-cell><text:p>Age</text:p></table:table-cell></table:table-row>"
    "<table:table-row><table:table-cell><text:p>Ann</text:p></table:table-cell>"
    "<table:table-cell><text:p>41</text:p></table:table-cell></table:table-row></table:table>"
    "</office:text>"
)
ODS_BODY = (
    "<office:spreadsheet><table:table table:name='Budget'><table:table-row>"
    "<table:table-cell><text:p>Item</text:p></table:table-cell>"
    "<table:table-cell table:number-columns-repeated='16000'/></table:table-row>"
    "<table:table-row table:number-rows-repeated='1048000'><table:table-cell>"
    "<text:p>Rent</text:p></table:table-cell></table:table-row></table:table>"
    "<table:table table:name='Other'><table:table-row><table:table-cell><text:p>X</text:p>"
    "</table:table-cell></table:table-row></table:table></office:spreadsheet>"
)
ODP_BODY = (
    "<office:presentation><draw:page draw:name='p1'><text:p>Welcome</text:p><presentation:notes>"
    "<text:p>Smile.</text:p></presentation:notes></draw:page><draw:page><text:p>Thanks</text:p>"
    "</draw:page></office:presentation>"
)


def examples():
    """Return a document of each format, by the name of its file."""
    return {
        "a.docx": docx(
            paragraph("Rent", "berschrift1")
            + paragraph("It is due.")
            + word_table(("Name", "Age"), ("Ann", "41"))
        ),
        "a.pptx": pptx([slide("Welcome", "one"), slide("Thanks", hidden=True)], "Smile."),
        "a.xlsx": xlsx(
            {
                "Budget": [
                    row(text_cell("Item"), text_cell("Cost")),
                    row(
                        '<c r="A2" t="s"><v>1</v></c><c r="B2"><f>SUM(1,2)</f>'
                        '<v>0.30000000000000004</v></c><c r="D2" s="1"><v>45356.5</v></c>'
                    ),
                ],
                "hidden one": [row(text_cell("secret"))],
            },
            strings=("unused", "Rent &amp; gas"),
            styles='<cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>',
        ),
        "a.odt": odf(ODT_BODY),
        "a.ods": odf(ODS_BODY),
        "a.odp": odf(ODP_BODY),
        "a.epub": epub([b"<html><body><h1>Economy</h1><p>Words &nbsp;here</p></body></html>"] * 2),
        "a.html": PAGE,
        "a.eml": MAIL,
        "a.mhtml": SAVED_PAGE,
        "a.rtf": RTF,
        "a.ipynb": notebook(("# A title\nimport x", "42"), ("print(1)", "1")),
    }
