"""Counts the modules of qvsearch that one query and one photo enter.

A module is entered if one of its functions is called. Both commands run in this process, with the
demo model, in a library of their own.

cd tests && python -m support.entered
"""

import contextlib
import io
import os
import sys
import tempfile
import threading
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "qvsearch"


def entered(arguments):
    """The exit code of a command line and the modules that it enters, sorted."""
    from qvsearch.cli.app import main

    files = set()

    def note(frame, event, _):
        if event == "call":
            file = frame.f_code.co_filename
            if file not in files and file.startswith(str(PACKAGE)) and not _is_import(frame):
                files.add(file)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        with (
            io.TextIOWrapper(io.BytesIO()) as out,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            code = main(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return code, sorted(_name(Path(file)) for file in files)


def _is_import(frame):
    """Whether a call belongs to an import: the body of a module, or a function that it calls."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            return True
        frame = frame.f_back
    return False


def _name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def photo_and_query(folder):
    """Yield a title and the modules entered, for one photo and for one query, asked twice."""
    from PIL import Image

    photos, library = Path(folder) / "photos", str(Path(folder) / "library")
    photos.mkdir()
    Image.new("RGB", (64, 64), "red").save(photos / "red.jpg")
    demo = ["--model", "demo", "--device", "cpu"]
    commands = {
        "index of one photo": ["index", str(photos), "--library", library, *demo],
        "search, model loaded": ["search", "a red circle", "--all", "--library", library],
        "search, vector cached": ["search", "a red circle", "--all", "--library", library],
    }
    for title, arguments in commands.items():
        code, modules = entered(arguments)
        if code:
            raise SystemExit(f"{title}: qvsearch {' '.join(arguments)} exits with {code}")
        yield title, modules


def main():
    """Print the number of modules for each command, then their names."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = os.environ["XDG_RUNTIME_DIR"] = folder
        for title, modules in photo_and_query(folder):
            sys.stdout.write(f"{title}: {len(modules)} modules\n")
            sys.stdout.writelines(f"  {name.removeprefix('qvsearch.')}\n" for name in modules)


if __name__ == "__main__":
    main()
