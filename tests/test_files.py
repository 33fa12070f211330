"""Promises of files that a user names: devices are written to, links are followed, and every refusal is one line."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from emotune.errors import SettingsError
from emotune.files import check_output, new_folder, restore_replaced, write_output


def test_a_regular_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_bytes(b"old")
    file.chmod(0o640)
    assert write_output(file, b"new")
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert not write_output(pipe, b"content" * 100_000)
    reader.join(10)
    assert received == [b"content" * 100_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to_and_stays_a_device(tmp_path: Path) -> None:
    device, link = tmp_path / "device", tmp_path / "link"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
        device.open("wb").close()
    except PermissionError:
        pytest.skip("a device needs root and a file system with devices")
    link.symlink_to(device)
    for path in (device, link):
        assert not write_output(path, b"content")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert link.is_symlink()


def test_a_disk_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    try:
        os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(7, 250))
    except PermissionError:
        pytest.skip("a device needs root")
    with pytest.raises(SettingsError, match=r"--out .*disk: this is a disk, which is not written to"):
        write_output(disk, b"content")
    assert stat.S_ISBLK(disk.stat().st_mode)


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.yaml", tmp_path / "there" / "target.yaml"
    link.symlink_to(target)
    for content in (b"first", b"second"):
        assert write_output(link, content)
        assert target.read_bytes() == content
        assert link.is_symlink()


WRITE = "import sys; from pathlib import Path; from emotune.files import write_output; \
print('before'); write_output(Path(sys.argv[1]), b'content\\n'); print('after')"


@pytest.mark.parametrize("mode", ["w", "a"])
def test_standard_output_is_written_to_where_it_is(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "out.txt"
    file.write_text("earlier\n")
    for path in ("/dev/stdout", str(file)):
        with file.open(mode) as out:
            subprocess.run([sys.executable, "-c", WRITE, path], stdout=out, check=True)
    expected = "before\ncontent\nafter\n"
    assert file.read_text() == (expected if mode == "w" else "earlier\n" + 2 * expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("folder", "--csv .*folder: this is a folder; give the path of a file in it"),
        ("missing/file.csv", "--csv .*file.csv: the folder .*missing does not exist; create it first"),
        ("dangling", "--csv .*dangling: the folder .*nowhere does not exist; create it first"),
        ("x" * 300, "--csv .*xxx: cannot be written: File name too long; give another file"),
        ("loop", "--csv .*loop: cannot be written: Too many levels of symbolic links; give another file"),
        ("file/below.csv", "--csv .*below.csv: cannot be written: Not a directory; give another file"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "file.csv")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.iterdir())
    for call in (check_output, lambda path, option: write_output(path, b"content", option=option)):
        with pytest.raises(SettingsError, match=message) as raised:
            call(tmp_path / path, option="--csv")
        assert "\n" not in str(raised.value)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127])
def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path, name: str) -> None:
    assert write_output(tmp_path / name, b"content")
    assert (tmp_path / name).read_bytes() == b"content"


def write_folder(path: Path, content: str, *, replace: bool) -> None:
    restore_replaced(path)
    with new_folder(path, replace=replace) as draft:
        (draft / "file").write_text(content)


@pytest.mark.parametrize("renamed", ["none", "old", "both"])
def test_a_kill_at_any_moment_of_a_replacement_does_not_block_the_next_one(tmp_path: Path, renamed: str) -> None:
    path, aside = tmp_path / "store", tmp_path / ".store.replaced"
    write_folder(path, "old", replace=False)
    if renamed == "old":
        path.rename(aside)
    if renamed == "both":
        path.rename(aside)
        write_folder(tmp_path / "new", "new", replace=False)
        (tmp_path / "new").rename(path)
    write_folder(path, "newest", replace=True)
    assert (path / "file").read_text() == "newest"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys
from pathlib import Path
from emotune.files import new_folder, write_atomically
import emotune.files, os
if sys.argv[1] == "folder":
    with new_folder(Path(sys.argv[2])) as draft:
        (draft / "file").write_text("half")
        print("writing", flush=True)
        sys.stdin.read()
else:
    emotune.files.os.fsync = lambda handle: (print("writing", flush=True), sys.stdin.read())
    write_atomically(Path(sys.argv[2]), b"half")
"""
"""A process that writes a draft, prints a line and waits."""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_draft_of_a_killed_process_is_removed_by_the_next_write_and_that_of_a_living_one_kept(
    tmp_path: Path, kind: str
) -> None:
    path, other = tmp_path / "a[b].csv", tmp_path / "a[b].csv.old"
    (tmp_path / f".{other.name}.0123456789ab-1-01234567.draft").write_bytes(b"of another machine")
    command = [sys.executable, "-c", WRITER, kind, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        write_output(path, b"first") if kind == "file" else write_folder(path, "first", replace=False)
        assert len(list(tmp_path.glob(".*.draft"))) == 2, "that of the living process, and that of another machine"
        writer.send_signal(signal.SIGKILL)
    write_output(path, b"second") if kind == "file" else write_folder(path, "second", replace=True)
    assert [file.name for file in tmp_path.glob(".*.draft")] == [".a[b].csv.old.0123456789ab-1-01234567.draft"]
    assert (path if kind == "file" else path / "file").read_text() == "second"
