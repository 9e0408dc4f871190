"""Names that files may have and that programs trip over, one for each way."""

NAMES = {
    "composed": "Zo\u00eb".encode(),
    "decomposed": "Zoe\u0308".encode(),
    "right to left": "gpj.\u202egnp".encode(),
    "newline": b"two\nlines",
    "tab": b"a\ttab",
    "escape": b"\x1b]0;owned\x07\x1b[31m",
    "dash": b"-rf",
    "markup": b"[red]x[bold]",
    "longest": b"x" * 251,
    "not utf-8": b"\xff\xfe",
    "quotes": b"'\"`$(id)\\",
    "spaces": b"   ",
    "joined": "\U0001f469\u200d\U0001f469\u200d\U0001f467".encode(),
    "c1": "\u009b31m\u009d0;x\u009c".encode(),
    "delete": b"\x7f\x08\x0c",
}


def named(suffix: bytes) -> list[bytes]:
    """Each name with a suffix."""
    return [name + suffix for name in NAMES.values()]
