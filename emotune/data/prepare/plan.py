"""What is to be done to prepare a corpus, known before a recording is read."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from emotune.base import Settings
from emotune.data.corpora.reader import AnyReader, Piece
from emotune.data.prepare.pieces import Job
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import LeftOut, Omitted
from emotune.errors import DataError
from emotune.files import sha256_of


@dataclass(frozen=True)
class Options:
    """How the work is done; the store does not depend on it, except that it may not come into being."""

    workers: int = 1
    """Processes that prepare pieces side by side."""
    strict: bool = False
    """Stop at a damaged file or an implausible signal, rather than leave it out."""
    append: bool = False
    """Add to the store, if there is one, rather than refuse."""
    progress: Callable[[float, str], None] = lambda share, doing: None
    """Told the share that is done, and what is done."""


@dataclass(frozen=True)
class Plan:
    """The pieces of a corpus, and what is known of them before they are read."""

    jobs: tuple[Job, ...]
    weights: tuple[int, ...]
    left_out: tuple[LeftOut, ...]
    fingerprint: str


def make_plan(
    reader: AnyReader,
    *,
    folder: Path | None,
    settings: PrepareSettings,
    corpus_settings: Settings,
    scratch: Path,
    options: Options,
) -> Plan:
    """Find the pieces of a corpus and hash their files.

    ``scratch`` is where finished parts go. A part is known by everything that it depends on: settings,
    version, contents of files.

    Raises:
        DataError: Nothing of the corpus is in the folder, or a file cannot be read.
    """
    listed = list(reader.pieces(folder, corpus_settings))
    pieces = [one for one in listed if isinstance(one, Piece)]
    hashes = hash_files(
        {file for piece in pieces for file in piece.files}, workers=options.workers, progress=options.progress
    )
    known = {
        "corpus": reader.name,
        "settings": settings.model_dump(mode="json"),
        "corpus_settings": corpus_settings.model_dump(mode="json"),
        "emotune": importlib.metadata.version("emotune"),
        "strict": options.strict,
    }
    digests = [
        _digest([piece.name, *(_named(file, folder=folder, hashes=hashes) for file in piece.files)]) for piece in pieces
    ]
    jobs = [
        Job(
            reader=reader,
            piece=piece,
            settings=settings,
            corpus_settings=corpus_settings,
            part=scratch / _digest([known, digest])[:24],
            strict=options.strict,
        )
        for piece, digest in zip(pieces, digests, strict=True)
    ]
    return Plan(
        jobs=tuple(jobs),
        weights=tuple(sum(_size(file) for file in piece.files) or 1 for piece in pieces),
        left_out=tuple(LeftOut.of(one) for one in listed if isinstance(one, Omitted)),
        fingerprint=_digest([reader.name, *digests]),
    )


def hash_files(files: set[Path], *, workers: int, progress: Callable[[float, str], None]) -> dict[Path, str]:
    """Hash the contents of files; missing ones are left to the reader, which knows whose they are.

    Raises:
        DataError: A file cannot be read.
    """

    def hash_one(file: Path) -> str:
        try:
            return sha256_of(file)
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from error

    ordered = sorted(files)
    with ThreadPoolExecutor(workers) as pool:
        hashes: dict[Path, str] = {}
        for number, (file, found) in enumerate(zip(ordered, pool.map(hash_one, ordered), strict=True)):
            progress(0.0, f"looking at {number + 1} of {len(ordered)} files")
            hashes[file] = found
        return hashes


def _named(file: Path, *, folder: Path | None, hashes: dict[Path, str]) -> str:
    assert folder is not None
    return f"{file.relative_to(folder).as_posix()} {hashes[file]}"


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _digest(content: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
