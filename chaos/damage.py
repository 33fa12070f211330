"""Faults of disks and files: full disks, cut and changed bytes, another study, planted pickles."""

import contextlib
import hashlib
import json
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from chaos.bench import Bench, require
from emotune.storage import LocalStorage
from emotune.storage.generations import generations


class Payload:
    """An object that creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return __import__("os").system, (f"touch {self.mark}",)


@contextlib.contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount a small file system on a folder of the try (needs the right to mount)."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Fill a disk except for ``leave`` bytes, and return the file that fills it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # the search may write at the same time
        file.write(bytes(max(0, shutil.disk_usage(disk).free - leave)))
    return ballast


def disk_full_for_checkpoints(bench: Bench, total: int) -> None:
    """Leave no room for a checkpoint, but for records of the journal."""
    _no_room(bench, total, leave=16 * 1024)


def disk_full_for_the_journal(bench: Bench, total: int) -> None:
    """Leave no room at all."""
    _no_room(bench, total, leave=0)


def _no_room(bench: Bench, total: int, *, leave: int) -> None:
    bench.tracking = f"sqlite:///{bench.root / 'mlflow.db'}"
    with small_disk(bench.storage, megabytes=16) as disk:
        driver = bench.search()
        bench.wait_for_records(bench.some_record(total), driver=driver)
        ballast = fill(disk, leave=leave)
        code = driver.wait()
        require(code == 1, f"exit code {code}: {driver.errors[-600:]}")
        require("free disk space and start the same search again" in driver.errors, f"messages: {driver.message}")
        ballast.unlink()
        bench.search().finish()
        shutil.copytree(bench.folder, bench.root / "kept")
    shutil.copytree(bench.root / "kept", bench.folder)


def kill_in_the_middle(bench: Bench, total: int) -> None:
    """Run the search to a record in its middle, and kill the driver."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    driver.process.kill()
    driver.wait()


def checkpoint_cut(bench: Bench, total: int) -> None:
    """Cut a file of the newest checkpoint of every configuration."""
    _damage_checkpoints(bench, total, lambda content, position: content[:position])


def checkpoint_flipped(bench: Bench, total: int) -> None:
    """Flip a bit of the newest checkpoint of every configuration."""
    _damage_checkpoints(bench, total, flipped)


def flipped(content: bytes, position: int) -> bytes:
    """Return a content with one bit changed."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def _damage_checkpoints(bench: Bench, total: int, damage: Callable[[bytes, int], bytes]) -> None:
    kill_in_the_middle(bench, total)
    damaged = 0
    for configuration in sorted(bench.folder.glob("configurations/*")):
        for newest in [configuration / name for name in generations(LocalStorage(configuration))[:1]]:
            file = newest / bench.chance.choice(["weights.safetensors", "optimiser.safetensors", "state.json"])
            content = file.read_bytes()
            file.write_bytes(damage(content, bench.chance.randrange(len(content))))
            damaged += 1
    require(damaged, "there was no checkpoint")
    bench.search().finish()


def checkpoint_planted(bench: Bench, total: int) -> None:
    """Replace the weights of all checkpoints by pickles, with the right checksums."""
    kill_in_the_middle(bench, total)
    mark = bench.root / "unpickled"
    for checkpoint in bench.folder.glob("configurations/*/epoch-*"):
        plant(checkpoint, Payload(mark))
    bench.search().finish()
    require(not mark.exists(), "the payload ran")


def plant(checkpoint: Path, payload: Payload) -> None:
    """Replace the weights of a checkpoint by a pickle, and update its manifest."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name in manifest:
        if name.endswith(".safetensors"):
            (checkpoint / name).write_bytes(pickle.dumps(payload))
            content = (checkpoint / name).read_bytes()
            manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def journal_torn(bench: Bench, total: int) -> None:
    """Cut the last record in the middle, as a power cut does."""
    kill_in_the_middle(bench, total)
    content = bench.journal.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    bench.journal.write_bytes(content[: len(content) - bench.chance.randint(1, last - 1)])
    bench.search().finish(saying="the last record is incomplete")


def journal_flipped(bench: Bench, total: int) -> None:
    """Flip a bit in the middle of the journal: refused with the position; the backup resumes."""
    kill_in_the_middle(bench, total)
    content = bench.journal.read_bytes()
    bench.journal.write_bytes(flipped(content, bench.chance.randrange(len(content) * 3 // 4)))
    _refused_until_restored(bench, content)


def journal_cut(bench: Bench, total: int) -> None:
    """Remove whole records from the journal's end: refused, because recorded work would be repeated."""
    kill_in_the_middle(bench, total)
    content = bench.journal.read_bytes()
    bench.journal.write_bytes(b"".join(content.splitlines(keepends=True)[:1]))
    _refused_until_restored(bench, content)


def _refused_until_restored(bench: Bench, content: bytes) -> None:
    damaged = bench.journal.read_bytes()
    bench.search().refuse(code=2, saying=", byte ")
    require(bench.journal.read_bytes() == damaged, "the journal was changed")
    bench.journal.write_bytes(content)
    bench.search().finish()


def study_changed(bench: Bench, total: int) -> None:
    """Resume with another seed, then with another batch size: refused."""
    kill_in_the_middle(bench, total)
    content = bench.journal.read_bytes()
    for change in ("seed=8", "base.batch_size=8"):
        bench.search("--set", change).refuse(code=2, saying=change.split("=")[0])
    require(bench.journal.read_bytes() == content, "the journal was changed")
    bench.search().finish()
