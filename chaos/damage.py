"""Faults of disks and files: no room, cut and changed bytes, another study, what somebody has planted."""

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
from emotune.training.checkpoints import generations


class Payload:
    """Leaves a mark if it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return __import__("os").system, (f"touch {self.mark}",)


@contextlib.contextmanager
def small_disk(bench: Bench, *, megabytes: int) -> Iterator[Path]:
    """Give the results a file system of their own (needs the right to mount)."""
    bench.storage.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(bench.storage)], check=True)
    try:
        yield bench.storage
    finally:
        subprocess.run(["umount", "-l", str(bench.storage)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Take all room but so many bytes, and return the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # the search may be quicker
        file.write(bytes(max(0, shutil.disk_usage(disk).free - leave)))
    return ballast


def disk_full_for_checkpoints(bench: Bench, total: int) -> None:
    """No room for a checkpoint, while the journal would still take a record."""
    _no_room(bench, total, leave=16 * 1024)


def disk_full_for_the_journal(bench: Bench, total: int) -> None:
    """No room for anything."""
    _no_room(bench, total, leave=0)


def _no_room(bench: Bench, total: int, *, leave: int) -> None:
    bench.tracking = f"sqlite:///{bench.root / 'mlflow.db'}"
    with small_disk(bench, megabytes=16) as disk:
        driver = bench.search()
        bench.wait_for_records(bench.some_record(total), driver=driver)
        ballast = fill(disk, leave=leave)
        code = driver.wait()
        require(code == 1, f"exit code {code}: {driver.errors[-600:]}")
        require("Traceback" not in driver.errors, f"a traceback: {driver.errors[-600:]}")
        require("free disk space and start the same search again" in driver.errors, f"said: {driver.errors[-600:]}")
        ballast.unlink()
        bench.search().finish()
        shutil.copytree(bench.folder, bench.root / "kept")
    shutil.copytree(bench.root / "kept", bench.folder)


def _stopped(bench: Bench, total: int) -> None:
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    driver.process.kill()
    driver.wait()


def checkpoint_cut(bench: Bench, total: int) -> None:
    """The newest checkpoint of every configuration is cut somewhere."""
    _spoil_checkpoints(bench, total, lambda content, place: content[:place])


def checkpoint_flipped(bench: Bench, total: int) -> None:
    """A bit of the newest checkpoint of every configuration is another."""
    _spoil_checkpoints(bench, total, flipped)


def flipped(content: bytes, place: int) -> bytes:
    """Return the content with one bit changed."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _spoil_checkpoints(bench: Bench, total: int, spoil: Callable[[bytes, int], bytes]) -> None:
    _stopped(bench, total)
    spoilt = 0
    for configuration in sorted(bench.folder.glob("configurations/*")):
        for newest in [configuration / name for name in generations(LocalStorage(configuration))[:1]]:
            file = newest / bench.chance.choice(["weights.safetensors", "optimiser.safetensors", "state.json"])
            content = file.read_bytes()
            file.write_bytes(spoil(content, bench.chance.randrange(len(content))))
            spoilt += 1
    require(spoilt, "there was no checkpoint yet")
    bench.search().finish()


def checkpoint_planted(bench: Bench, total: int) -> None:
    """Somebody puts pickles in the place of all checkpoints' weights, with the right checksums."""
    _stopped(bench, total)
    mark = bench.root / "unpickled"
    for checkpoint in bench.folder.glob("configurations/*/epoch-*"):
        plant(checkpoint, Payload(mark))
    bench.search().finish()
    require(not mark.exists(), "the payload ran")


def plant(checkpoint: Path, payload: Payload) -> None:
    """Put a pickle in the place of a checkpoint's weights, and into its manifest."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name in manifest:
        if name.endswith(".safetensors"):
            (checkpoint / name).write_bytes(pickle.dumps(payload))
            content = (checkpoint / name).read_bytes()
            manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def journal_torn(bench: Bench, total: int) -> None:
    """The last record is cut in the middle, as by a power cut."""
    _stopped(bench, total)
    content = bench.journal.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    bench.journal.write_bytes(content[: len(content) - bench.chance.randint(1, last - 1)])
    require("the last record is incomplete" in bench.search().finish(), "nobody noticed")


def journal_flipped(bench: Bench, total: int) -> None:
    """A bit in the middle of the journal is another: refused with its place; the backup goes on."""
    _stopped(bench, total)
    content = bench.journal.read_bytes()
    bench.journal.write_bytes(flipped(content, bench.chance.randrange(len(content) * 3 // 4)))
    _refused_until_restored(bench, content)


def journal_cut(bench: Bench, total: int) -> None:
    """Whole records are gone from the journal's end: refused, as going on would do again what was done."""
    _stopped(bench, total)
    content = bench.journal.read_bytes()
    bench.journal.write_bytes(b"".join(content.splitlines(keepends=True)[:1]))
    _refused_until_restored(bench, content)


def _refused_until_restored(bench: Bench, content: bytes) -> None:
    damaged = bench.journal.read_bytes()
    bench.search().refuse(code=2, saying=", byte ")
    require(bench.journal.read_bytes() == damaged, "the journal was touched")
    bench.journal.write_bytes(content)
    bench.search().finish()


def study_changed(bench: Bench, total: int) -> None:
    """The study has another seed, then another range, when the search goes on: refused."""
    _stopped(bench, total)
    content = bench.journal.read_bytes()
    for change in ("seed=8", "base.batch_size=8"):
        bench.search("--set", change).refuse(code=2, saying=change.split("=")[0])
    require(bench.journal.read_bytes() == content, "the journal was touched")
    bench.search().finish()
