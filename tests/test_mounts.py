"""A library on a network is noticed, and who changes it is warned of what locks do not do there."""

import os
from pathlib import Path

import cheap_model
import pytest

from qvsearch.cli import app as cli
from qvsearch.cli import output
from qvsearch.indexing import mounts
from qvsearch.library.library import Library
from qvsearch.machine.doctor import _place

LIST = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:50 / {0}/nas rw,relatime shared:5 - nfs4 server:/export rw,vers=4.2
41 40 8:2 / {0}/nas/disk rw - ext4 /dev/sdb1 rw
42 22 0:51 / {0}/two\040words rw master:3 - cifs //server/share rw
43 22 0:52 / {0}/hidden rw - fuse.sshfs me@server: rw
44 22 8:3 / {0}/hidden rw - xfs /dev/sdc1 rw
45 22 0:53 / {0}/cluster rw - beegfs beegfs_nodev rw
46 22 8:4 / {0}/disks rw - ocfs2 /dev/sdd1 rw
47 22 0:54 / {0}/bucket rw - fuse.s3fs s3fs rw
48 22 0:55 / {0}/nextcloud rw - fuse https://cloud.example/remote.php/dav/files/me rw
49 22 0:56 / {0}/moose rw - fuse mfs\043mfsmaster:9421 rw
50 22 0:57 / {0}/secret rw - fuse.encfs encfs rw
51 22 0:58 / {0}/archive rw - fuse archivemount rw
52 22 0:59 / {0}/windows rw - 9p C:\\134 rw
53 22 0:60 / {0}/nameless rw - fuse
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "list").write_text(LIST.format(tmp_path))
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "list")
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
    monkeypatch.setattr(mounts, "MOUNTS", Path("/nowhere"))
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
