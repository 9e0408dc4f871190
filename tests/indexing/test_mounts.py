"""Commands that change a library on a network warn that locks may not work there."""

import os
from pathlib import Path

import psutil
import pytest
from support import cheap_model

from qvsearch.cli import app as cli
from qvsearch.cli import output
from qvsearch.indexing import mounts
from qvsearch.library.library import Library
from qvsearch.machine.doctor import _place

# as in /proc/self/mounts
LIST = r"""/dev/sda1 / ext4 rw,relatime 0 0
server:/export {0}/nas nfs4 rw,relatime,vers=4.2 0 0
/dev/sdb1 {0}/nas/disk ext4 rw 0 0
//server/share {0}/two\040words cifs rw 0 0
me@server: {0}/hidden fuse.sshfs rw 0 0
/dev/sdc1 {0}/hidden xfs rw 0 0
beegfs_nodev {0}/cluster beegfs rw 0 0
/dev/sdd1 {0}/disks ocfs2 rw 0 0
s3fs {0}/bucket fuse.s3fs rw 0 0
https://cloud.example/remote.php/dav/files/me {0}/nextcloud fuse rw 0 0
mfs\043mfsmaster:9421 {0}/moose fuse rw 0 0
encfs {0}/secret fuse.encfs rw 0 0
archivemount {0}/archive fuse rw 0 0
C:\134 {0}/windows 9p rw 0 0
none {0}/nameless fuse rw 0 0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mounts").write_text(LIST.format(tmp_path))
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    return tmp_path


def test_the_innermost_and_latest_mount_decides(folder):
    (folder / "link").symlink_to(folder / "nas")
    for place, expected in [
        ("nas", "nfs4"),
        ("nas/library/not/made/yet", "nfs4"),
        ("nas/disk/library", None),
        ("nasty", None),
        ("two words/library", "cifs"),
        ("hidden/library", None),
        ("cluster/library", "beegfs"),
        ("link/library", "nfs4"),
        ("disks/library", "ocfs2"),
        ("bucket/library", "fuse.s3fs"),
        ("nextcloud/library", "fuse.https"),
        ("moose/library", "fuse.mfs"),
        ("secret/library", None),
        ("archive/library", None),
        ("windows/library", None),
        ("nameless/library", None),
    ]:
        assert mounts.shared_type(folder / place) == expected, place


@pytest.mark.parametrize(
    ("place", "target", "lasts"), [("nas", "hidden", True), ("hidden", "nas", False)]
)
def test_a_link_is_known_by_the_file_system_of_its_file(folder, place, target, lasts):
    for name in (place, target):
        (folder / name).mkdir()
    (folder / target / "a.txt").touch()
    link = folder / place / "link.txt"
    link.symlink_to(folder / target / "a.txt")
    _, inode = mounts.Identities().of(os.fsencode(link), link.stat())
    assert (inode is not None) == lasts


def test_where_the_system_says_nothing_there_is_no_warning(monkeypatch):
    monkeypatch.setattr(psutil, "PROCFS_PATH", "/nowhere")
    assert mounts.warning(Path("/")) is None


def test_who_indexes_into_it_is_warned(folder, disk, monkeypatch, capfd):
    monkeypatch.setattr(output, "is_watched", lambda quiet: not quiet)
    cheap_model.write_notes(folder / "notes", 1)
    for name, warned in (("nas", True), ("local", False)):
        library = folder / name / "library"
        Library.create(library, cheap_model.FINGERPRINT)
        with cheap_model.instead():
            assert cli.main(["index", str(folder / "notes"), "-l", str(library)]) == 0
        said = f"{library} is on a network (nfs4), where a lock may not keep two machines apart"
        assert (said in capfd.readouterr().err) == warned
        traps = [fact.trap for fact in _place(library) if fact.name == "library"]
        assert (said in str(traps)) == warned
