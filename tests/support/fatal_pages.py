"""Decodes documents as the product does, but some pages end the process; the file's name chooses.

`3-4.pdf` has two such pages, and `opening.pdf` ends it before any page.
"""

import os
import re
import signal

from qvsearch import media
from qvsearch.media import pdf


class FatalPdf(pdf.Pdf):
    fatal = frozenset()

    def page(self, number, max_pixels):
        if number in self.fatal:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().page(number, max_pixels)


def decode(item, content_hash, options):
    name = os.fsdecode(os.path.basename(item.location))
    if name == "opening.pdf":
        os.kill(os.getpid(), signal.SIGSEGV)
    FatalPdf.fatal = frozenset(map(int, re.findall(r"\d+", name)))
    pdf.Pdf = FatalPdf
    return media.decode(item, content_hash, options)
