"""What is to be done to prepare a corpus, known before a recording is read."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from emotune.base import Settings
from emotune.data.corpora.reader import AnyReader, CorpusPart
from emotune.data.prepare.parts import PreparationJob
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import ExcludedData, Exclusion
from emotune.errors import DataError
from emotune.files import sha256_of


@dataclass(frozen=True)
class PrepareOptions:
    """How the work is done; the store does not depend on it, except that it may not come into being."""

    workers: int = 1
    """Processes that prepare corpus_parts side by side."""
    strict: bool = False
    """Stop at a damaged file or an implausible signal, rather than leave it out."""
    append: bool = False
    """Add to the store, if there is one, rather than refuse."""
    progress: Callable[[float, str], None] = lambda share, doing: None
    """Told the share that is done, and what is done."""


@dataclass(frozen=True)
class PreparationPlan:
    """The corpus_parts of a corpus, and what is known of them before they are read."""

    jobs: tuple[PreparationJob, ...]
    weights: tuple[int, ...]
    left_out: tuple[Exclusion, ...]
    fingerprint: str


def plan_preparation(
    reader: AnyReader,
    *,
    folder: Path | None,
    settings: PrepareSettings,
    corpus_settings: Settings,
    scratch: Path,
    options: PrepareOptions,
) -> PreparationPlan:
    """Find the corpus_parts of a corpus and hash their files.

    ``scratch`` is where finished parts go. A part is known by everything that it depends on: settings,
    version, contents of files.

    Raises:
        DataError: Nothing of the corpus is in the folder, or a file cannot be read.
    """
    listed = list(reader.list_parts(folder, corpus_settings))
    corpus_parts = [one for one in listed if isinstance(one, CorpusPart)]
    hashes = hash_files(
        {file for corpus_part in corpus_parts for file in corpus_part.files},
        workers=options.workers,
        progress=options.progress,
    )
    known = {
        "corpus": reader.name,
        "settings": settings.model_dump(mode="json"),
        "corpus_settings": corpus_settings.model_dump(mode="json"),
        "emotune": importlib.metadata.version("emotune"),
        "strict": options.strict,
    }
    digests = [
        _digest([corpus_part.name, *(_named(file, folder=folder, hashes=hashes) for file in corpus_part.files)])
        for corpus_part in corpus_parts
    ]
    jobs = [
        PreparationJob(
            reader=reader,
            corpus_part=corpus_part,
            settings=settings,
            corpus_settings=corpus_settings,
            output=scratch / _digest([known, digest])[:24],
            strict=options.strict,
        )
        for corpus_part, digest in zip(corpus_parts, digests, strict=True)
    ]
    return PreparationPlan(
        jobs=tuple(jobs),
        weights=tuple(sum(_size(file) for file in corpus_part.files) or 1 for corpus_part in corpus_parts),
        left_out=tuple(Exclusion.of(one) for one in listed if isinstance(one, ExcludedData)),
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
