"""Screenshots by the names that systems give them: their pixels may look like those of photos."""

from __future__ import annotations

import os
import re
import unicodedata

from qvsearch.types import Item, Kind

# of Windows, macOS, GNOME, KDE and Android, in the languages that OCR reads
_NAMES = (
    "screenshot|screen shot|bildschirmfoto|schermata|schermafbeelding|schermafdruk|zrzut ekranu"
    "|capture d['\u2019]écran|captura de (?:pantalla|tela|ecrã)|captură de ecran|snímek obrazovky"
    "|skärmavbild|skärmbild|skjermbilde|skærmbillede|näyttökuva|kuvakaappaus|képernyőfotó"
    "|képernyőkép|ekran görüntüsü|ekran resmi|スクリーンショット|屏幕截图|屏幕快照|截屏|截图"
    "|螢幕截圖|螢幕快照|截圖"
)
_IPHONE = r"img_e?[0-9]{4}\.png$"  # its camera writes HEIC or JPEG
_LETTER = r"[^\W\d_]"
_SCREENSHOT = re.compile(f"(?:{_NAMES})(?!{_LETTER})|{_IPHONE}")


def is_screenshot(item: Item) -> bool:
    """Return whether a file is a picture that a system has named as a screenshot."""
    if item.kind is not Kind.IMAGE:
        return False
    name = os.fsdecode(os.path.basename(item.path or item.root))
    return _SCREENSHOT.match(unicodedata.normalize("NFC", name).lower()) is not None
