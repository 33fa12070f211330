"""Preparation of a corpus: recordings become a segment store. No other module writes a store of signals.

`prepare` lists the parts of the corpus and hashes their files (`plan_preparation`), prepares the parts in
several processes (`emotune.data.prepare.pool`) and assembles the store (`emotune.data.prepare.writer`).
"""

import errno
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotune.base import Settings
from emotune.data.corpora.reader import AnyReader, CorpusPart
from emotune.data.corpora.table import CORPORA
from emotune.data.formats.file import special_kind
from emotune.data.prepare.parts import PreparationJob, PreparedPart
from emotune.data.prepare.pool import ProcessPool, scratch_folder
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.prepare.writer import StoreWriter, fingerprint_store
from emotune.data.recording import ExcludedData, Exclusion
from emotune.data.store import ABOUT_FILE, About, SegmentStore, SourceCorpus
from emotune.errors import DataError, SettingsError, suggestion
from emotune.files import new_folder, restore_replaced, sha256_of

NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""Error numbers of the operating system for a path that leads to no file."""

REMEDY = "Give another folder, or remove that one."

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of the operating system for a full disk, a quota and a file size limit."""


@dataclass(frozen=True)
class PrepareOptions:
    """How the preparation runs. Of these only ``collection`` is in the store."""

    workers: int = 1
    """Number of processes that prepare parts in parallel."""
    strict: bool = False
    """True: stop at a damaged file or an implausible signal. False: exclude it."""
    append: bool = False
    """True: add the corpus to an existing store. False: refuse a store of another corpus."""
    collection: str = ""
    """Name of the collection of people, which replaces the corpus's name in the store; empty: that of the corpus.
    It is part of the content of the store."""
    progress: Callable[[float, str], None] = lambda share, doing: None
    """Called with the completed share of a phase, 0 to 1, by bytes, and a text that says what is being done.

    The phases are hashing, preparing and writing. Each begins with the share 0.
    """


@dataclass(frozen=True)
class PreparationPlan:
    """The work of a preparation, known before any recording is read."""

    jobs: tuple[PreparationJob, ...]
    """One job per part of the corpus, in the order of the store."""
    weights: tuple[int, ...]
    """Size of each job's files in bytes, at least 1, for the progress."""
    left_out: tuple[Exclusion, ...]
    """Files that the reader excludes by their name."""
    fingerprint: str
    """Hash of the names and contents of all files."""


@dataclass(frozen=True)
class PreparationSummary:
    """Result of a preparation."""

    store: Path
    written: bool
    """False if the store already held the same corpus."""
    source: SourceCorpus
    """The corpus as the store describes it."""
    segments: int
    """Segments in the whole store."""
    fingerprint: str
    """Fingerprint of the whole store."""


def prepare(
    corpus: str | AnyReader,
    *,
    folder: Path | None,
    store: Path,
    settings: PrepareSettings,
    corpus_settings: Settings | None = None,
    options: PrepareOptions | None = None,
) -> PreparationSummary:
    """Filter, resample, standardise and cut a corpus into a segment store.

    Each recording is filtered at its own rate and resampled. Each channel of a subject is standardised
    over all recordings of the subject. Then the recordings are cut into consecutive segments. A process
    holds one recording in memory at a time.

    The same input gives the same bytes for any number of processes. ``store`` is replaced in one step at
    the end; until then it does not exist, or keeps its old content. If the process is killed, the finished
    parts stay in a hidden folder beside ``store``, and the same call resumes from them.

    Args:
        corpus: Name of a corpus in `CORPORA`, or a reader.
        folder: Folder of the corpus; None for a generated corpus.
        store: Folder to write. If it already holds the same corpus and settings, nothing is done.
        settings: Settings of the preparation.
        corpus_settings: Settings of the reader; its defaults if None.
        options: Number of processes, strictness, and whether to add to an existing store.

    Raises:
        SettingsError: There is no such corpus or folder, the corpus has no such modality,
            ``store`` holds something else, or another process is preparing it.
        DataError: No recording is usable, or in strict mode one is not; or the disk is full.

    Source:
        Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-B, in the same order.
    """
    reader = find_reader(corpus)
    chosen = reader.settings() if corpus_settings is None else corpus_settings
    how = options or PrepareOptions()
    assert isinstance(chosen, reader.settings), f"{type(chosen).__name__} are not settings of {reader.name}"
    _check_input(reader, folder=folder, settings=settings)
    name = _collection_name(reader, collection=how.collection)
    restore_replaced(store)
    old = _open_old(store)
    if old is not None:
        _check_old(old, name=name, settings=settings, append=how.append)
    with _disk_errors(store), scratch_folder(store) as scratch:
        plan = plan_preparation(
            reader, folder=folder, settings=settings, corpus_settings=chosen, scratch=scratch, options=how
        )
        existing = _existing_summary(old, name=name, corpus_settings=chosen, plan=plan)
        if existing is not None:
            return existing
        parts = ProcessPool(workers=how.workers, progress=how.progress).run(plan.jobs, weights=plan.weights)
        source = _source(name, corpus_settings=chosen, plan=plan, parts=parts)
        how.progress(0.0, "writing the store")
        with new_folder(store, replace=old is not None) as draft:
            about = _assemble(draft, old=old, settings=settings, source=source, plan=plan, parts=parts)
    return PreparationSummary(
        store=store, written=True, source=source, segments=about.segments, fingerprint=about.fingerprint
    )


def find_reader(corpus: str | AnyReader) -> AnyReader:
    """Return the reader of a corpus.

    Raises:
        SettingsError: `CORPORA` has no corpus of that name.
    """
    if not isinstance(corpus, str):
        return corpus
    if corpus not in CORPORA:
        near = suggestion(corpus, among=CORPORA)
        raise SettingsError(f"there is no corpus {corpus!r}; there are: {', '.join(CORPORA)}{near}")
    return CORPORA[corpus]


def plan_preparation(
    reader: AnyReader,
    *,
    folder: Path | None,
    settings: PrepareSettings,
    corpus_settings: Settings,
    scratch: Path,
    options: PrepareOptions,
) -> PreparationPlan:
    """List the parts of a corpus and hash their files.

    Finished parts are stored in ``scratch``. The name of a part is a hash of everything it depends on:
    settings, version of emotune, names and contents of the files.

    Raises:
        DataError: The folder holds nothing of the corpus, or a file cannot be read.
    """
    items = list(reader.list_parts(folder, corpus_settings))
    parts = [item for item in items if isinstance(item, CorpusPart)]
    files = {file for part in parts for file in part.files}
    hashes = hash_files(files, workers=options.workers, progress=options.progress)
    name = options.collection or reader.name
    inputs = {
        "corpus": name,
        "settings": settings.model_dump(mode="json"),
        "corpus_settings": corpus_settings.model_dump(mode="json"),
        "emotune": importlib.metadata.version("emotune"),
        "strict": options.strict,
    }
    digests = [
        _digest([part.name, *(_name_and_hash(file, folder=folder, hashes=hashes) for file in part.files)])
        for part in parts
    ]
    jobs = [
        PreparationJob(
            reader=reader,
            corpus_part=part,
            settings=settings,
            corpus_settings=corpus_settings,
            output=scratch / _digest([inputs, digest])[:24],
            strict=options.strict,
            collection=name,
        )
        for part, digest in zip(parts, digests, strict=True)
    ]
    return PreparationPlan(
        jobs=tuple(jobs),
        weights=tuple(sum(_size(file) for file in part.files) or 1 for part in parts),
        left_out=tuple(Exclusion.of(item) for item in items if isinstance(item, ExcludedData)),
        fingerprint=_digest([reader.name, *digests]),
    )


def hash_files(files: set[Path], *, workers: int, progress: Callable[[float, str], None]) -> dict[Path, str]:
    """Return the SHA-256 of each file's content, ``missing`` for a file that does not exist.

    A missing file, and a pipe or a device, is no error here: the reader reports it with the subject it belongs to.

    Raises:
        DataError: A file cannot be read.
    """

    def hash_file(file: Path) -> str:
        if special_kind(file):
            return special_kind(file)  # to open a pipe would wait for its writer
        try:
            return sha256_of(file)
        except OSError as error:
            if error.errno in NO_FILE:
                return "missing"
            raise DataError(f"{file} cannot be read: {error.strerror}") from error

    ordered = sorted(files)
    sizes = [_size(file) for file in ordered]
    total, done = sum(sizes) or 1, 0
    hashes: dict[Path, str] = {}
    progress(0.0, f"hashing {len(ordered)} files")
    with ThreadPoolExecutor(workers) as pool:
        digests = zip(ordered, sizes, pool.map(hash_file, ordered), strict=True)
        for number, (file, size, digest) in enumerate(digests, start=1):
            done += size
            progress(done / total, f"hashed file {number} of {len(ordered)}")
            hashes[file] = digest
    return hashes


def _name_and_hash(file: Path, *, folder: Path | None, hashes: dict[Path, str]) -> str:
    assert folder is not None
    return f"{file.relative_to(folder).as_posix()} {hashes[file]}"


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _digest(content: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_input(reader: AnyReader, *, folder: Path | None, settings: PrepareSettings) -> None:
    if settings.modality not in reader.modalities:
        raise SettingsError(
            f"{reader.name} has no {settings.modality}; modality can be {' or '.join(reader.modalities)}"
        )
    if not reader.needs_folder:
        if folder is not None:
            raise SettingsError(
                f"{reader.name} is generated and reads no folder, but {folder} was given. Leave it out."
            )
    elif folder is None:
        raise SettingsError(f"{reader.name} needs the folder of its files. Where to get it: {reader.where}")
    elif not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder; give the one that holds the files of {reader.name}")


def _open_old(store: Path) -> SegmentStore | None:
    """Open the store that exists already; None if there is none."""
    if not store.exists() or (store.is_dir() and not any(store.iterdir())):
        return None
    if not (store / ABOUT_FILE).is_file():
        raise SettingsError(f"{store} already exists and is not a segment store. Give another folder.")
    return SegmentStore.open(store)


def _collection_name(reader: AnyReader, *, collection: str) -> str:
    """Return the name of the corpus in the store.

    Raises:
        SettingsError: The collection has the name of a corpus, or one that cannot be printed in a line.
    """
    if not collection:
        return reader.name
    if collection in CORPORA or not re.fullmatch(r"[\w][\w .-]*", collection):
        raise SettingsError(
            f"--collection {collection!r} was given; expected letters, digits, '-', '_', '.' and blanks, and not the "
            "name of a corpus"
        )
    return collection


def _check_old(old: SegmentStore, *, name: str, settings: PrepareSettings, append: bool) -> None:
    """Refuse a store of another corpus or with other settings before the files are hashed, which takes minutes."""
    different = _different_settings(old.about.settings, given=settings.model_dump(mode="json"))
    if different:
        raise SettingsError(f"{old.path} holds a store with other settings: {different}. {REMEDY}")
    names = [source.corpus for source in old.about.sources]
    if name not in names and not append:
        raise SettingsError(
            f"{old.path} holds a store of {', '.join(names)}. Give another folder, or --append to add {name}."
        )


def _existing_summary(
    old: SegmentStore | None,
    *,
    name: str,
    corpus_settings: Settings,
    plan: PreparationPlan,
) -> PreparationSummary | None:
    """Return the summary of a store that holds the corpus already; None if the corpus must be prepared.

    Raises:
        SettingsError: The store was prepared with other settings of the corpus, or from other files.
    """
    if old is None:
        return None
    source = next((source for source in old.about.sources if source.corpus == name), None)
    if source is None:
        return None
    different: list[str] = []
    if source.settings != corpus_settings.model_dump(mode="json"):
        settings_differ = _different_settings(source.settings, given=corpus_settings.model_dump(mode="json"))
        different.append(f"corpus settings ({settings_differ})")
    if source.fingerprint != plan.fingerprint:
        different.append(f"files of {name}")
    if different:
        raise SettingsError(f"{old.path} holds a store with other {' and '.join(different)}. {REMEDY}")
    return PreparationSummary(
        store=old.path, written=False, source=source, segments=len(old), fingerprint=old.fingerprint
    )


def _different_settings(existing: dict[str, Any], *, given: dict[str, Any]) -> str:
    """Return which settings of a store differ from the given ones, with both values."""
    missing = "not there"
    return ", ".join(
        f"{name} is {existing.get(name, missing)}, not {given.get(name, missing)}"
        for name in dict.fromkeys((*existing, *given))
        if existing.get(name, missing) != given.get(name, missing)
    )


def _source(
    name: str, *, corpus_settings: Settings, plan: PreparationPlan, parts: Sequence[PreparedPart]
) -> SourceCorpus:
    """Return what the store says about the corpus.

    Raises:
        DataError: A subject is in several parts, or there are no segments.
    """
    subjects = [subject for part in parts for subject in part.subjects]
    repeated = {subject for subject in subjects if subjects.count(subject) > 1}
    if repeated:
        raise DataError(f"{name}: subject {', '.join(sorted(repeated))} is in several parts of the corpus")
    left_out = (*plan.left_out, *(exclusion for part in parts for exclusion in part.left_out))
    segments = sum(part.segments for part in parts)
    if not segments:
        why = f" First reason: {left_out[0]}" if left_out else ""
        raise DataError(f"there is no usable recording of at least one segment's length in this corpus.{why}")
    return SourceCorpus(
        corpus=name,
        settings=corpus_settings.model_dump(mode="json"),
        fingerprint=plan.fingerprint,
        subjects=len(subjects),
        recordings=sum(part.recordings for part in parts),
        segments=segments,
        hours=round(sum(part.seconds for part in parts) / 3600, 4),
        left_out=left_out,
        unused=sum(part.unused for part in parts),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _assemble(
    draft: Path,
    *,
    old: SegmentStore | None,
    settings: PrepareSettings,
    source: SourceCorpus,
    plan: PreparationPlan,
    parts: Sequence[PreparedPart],
) -> About:
    """Write the files of the store into ``draft``: the old segments first, then the parts in their order."""
    with StoreWriter(draft, samples=settings.samples) as writer:
        if old is not None:
            writer.append_store(old)
        for job, part in zip(plan.jobs, parts, strict=True):
            writer.append_part(job.output, part=part)
        files = writer.finish()
    dumped = settings.model_dump(mode="json")
    about = About(
        modality=settings.modality,
        rate=settings.rate,
        seconds=settings.seconds,
        channels=writer.channels,
        settings=dumped,
        segments=writer.segments,
        sources=(*(old.about.sources if old is not None else ()), source),
        software={name: importlib.metadata.version(name) for name in ("numpy", "scipy", "pyarrow")},
        files=files,
        fingerprint=fingerprint_store(files, settings=dumped),
    )
    (draft / ABOUT_FILE).write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return about


@contextmanager
def _disk_errors(store: Path) -> Iterator[None]:
    """Turn an error of the disk into a message of one line. The draft of the store is removed before."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DataError(
                f"{store}: the disk is full ({error.strerror}). Nothing was written; free space or give another folder."
            ) from error
        raise DataError(
            f"{store} cannot be written: {error.strerror} ({error.filename}). Nothing was written."
        ) from error
