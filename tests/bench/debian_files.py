"""Documents that Debian's packages ship, sorted by suffix."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SUFFIXES = (".pdf", ".epub", ".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".html")
# of moderate size, so that all of them are indexed in some minutes of one core
PACKAGES = (
    "bash-doc",
    "calligrawords-data",
    "debian-faq",
    "debian-policy",
    "developers-reference",
    "graphviz-doc",
    "libopenoffice-oodoc-perl",
    "live-manual-epub",
    "packaging-tutorial",
    "python-odf-doc",
    "python3-docx",
    "r-cran-officer",
    "r-cran-openxlsx",
    "r-cran-readxl",
    "ubuntu-packaging-guide-epub",
)
# hardly any package ships Word documents with a text
CHAPTERS = (
    "best-pkging-practices beyond-pkging developer-duties l10n new-maintainer pkgs resources tools"
)
WRITTEN = [f"developers-reference/{name}.html" for name in CHAPTERS.split()]  # by LibreOffice


def fetch(packages: list[str], folder: Path) -> list[Path]:
    """Return a folder for each suffix below `folder`, with the files of the packages.

    The packages are unpacked, and not installed. LibreOffice, if it is installed, writes WRITTEN as
    Word documents. Raises CalledProcessError if a package cannot be had.
    """
    packed, unpacked = folder / "packed", folder / "unpacked"
    packed.mkdir(parents=True)
    subprocess.run(["apt-get", "download", "-qq", *packages], cwd=packed, check=True)
    for package in sorted(packed.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
    files = [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    if gzipped := [path for path in files if path.suffix == ".gz"]:
        subprocess.run(["gunzip", "-f", *gzipped], check=True)
    write_word(unpacked / "usr/share")
    return [found for suffix in SUFFIXES if (found := _moved(suffix, unpacked, folder)).exists()]


def write_word(folder: Path) -> None:
    """Write documents as Word documents into a folder `docx`."""
    pages = [path for name in WRITTEN if (path := folder / name).exists()]
    if pages and shutil.which("soffice"):
        convert(pages, "docx:MS Word 2007 XML", folder / "docx")


def convert(paths: list[Path], form: str, folder: Path) -> None:
    """Have LibreOffice convert documents; pages of HTML are opened as documents with pages."""
    opened = ["--infilter=HTML (StarWriter)"] * any(path.suffix == ".html" for path in paths)
    profile = f"-env:UserInstallation={folder.parent.as_uri()}/profile"
    command = ["soffice", profile, "--headless", *opened, "--convert-to", form]
    subprocess.run([*command, "--outdir", folder, *paths], check=True, capture_output=True)


def _moved(suffix: str, unpacked: Path, folder: Path) -> Path:
    """Move the files of a suffix to a folder of its name, with their folders; links are left."""
    root = folder / "documents" / suffix[1:]
    for path in unpacked.rglob(f"*{suffix}"):
        if path.is_file() and not path.is_symlink():
            target = root / path.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    return root
