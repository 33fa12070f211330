"""Recordings become a segment store: the only writer of stores."""

import errno
import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emotune.base import Settings
from emotune.data.corpora.reader import AnyReader
from emotune.data.corpora.table import CORPORA
from emotune.data.prepare.parts import PreparedPart
from emotune.data.prepare.plan import PreparationPlan, PrepareOptions, plan_preparation
from emotune.data.prepare.pool import ProcessPool, scratch_folder
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.prepare.writer import StoreWriter, fingerprint_store
from emotune.data.store import ABOUT_FILE, About, SegmentStore, SourceCorpus
from emotune.errors import DataError, SettingsError
from emotune.files import new_folder, restore_replaced

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class PreparationSummary:
    """What came of preparing a store."""

    store: Path
    written: bool
    """False if the same was in the store already."""
    source: SourceCorpus
    """What was taken from the corpus."""
    segments: int
    """In the whole store."""
    fingerprint: str


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

    Each recording is filtered at its own rate and resampled; each channel of a subject is
    standardised over all of the subject's recordings; then segments are cut one after the other.
    A process holds one recording in memory at a time. The same input gives the same bytes, however
    many processes share the work. Until everything is on the disk, ``store`` does not exist, or is
    what it was; if the process is killed, finished corpus_parts wait in a hidden folder beside it, and
    the same call goes on with them.

    Args:
        corpus: Name of a corpus in `CORPORA`, or a reader.
        folder: The corpus's folder; None for one that is made up.
        store: The folder to write. If it holds the same already, nothing is done.
        settings: How to prepare it.
        corpus_settings: How to read it; the reader's defaults if not given.
        options: Processes, strictness, and whether to add to a store.

    Raises:
        SettingsError: There is no such corpus or folder, the corpus has no such modality,
            ``store`` holds something else, or another process is preparing it.
        DataError: Nothing can be used or, in strict mode, a recording cannot; or the disk is full.

    Source:
        Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-B, in the same order.
    """
    reader = find_reader(corpus)
    chosen = reader.settings() if corpus_settings is None else corpus_settings
    how = options or PrepareOptions()
    assert isinstance(chosen, reader.settings), f"{reader.name} does not know {type(chosen).__name__}"
    _check_input(reader, folder=folder, settings=settings)
    restore_replaced(store)
    old = _open_old(store)
    if old is not None and not how.append:
        _check_corpora(old, reader=reader)
    with _disk_errors(store), scratch_folder(store) as scratch:
        plan = plan_preparation(
            reader, folder=folder, settings=settings, corpus_settings=chosen, scratch=scratch, options=how
        )
        there = _already_there(old, reader=reader, settings=settings, corpus_settings=chosen, plan=plan)
        if there is not None:
            return there
        parts = ProcessPool(workers=how.workers, progress=how.progress).run(plan.jobs, weights=plan.weights)
        source = _source(reader, corpus_settings=chosen, plan=plan, parts=parts)
        how.progress(1.0, "writing the store")
        with new_folder(store, replace=old is not None) as draft:
            about = _assemble(draft, old=old, settings=settings, source=source, plan=plan, parts=parts)
    return PreparationSummary(
        store=store, written=True, source=source, segments=about.segments, fingerprint=about.fingerprint
    )


def find_reader(corpus: str | AnyReader) -> AnyReader:
    """Return the reader of a corpus.

    Raises:
        SettingsError: There is none of that name.
    """
    if not isinstance(corpus, str):
        return corpus
    if corpus not in CORPORA:
        raise SettingsError(f"there is no corpus {corpus!r}; there are: {', '.join(CORPORA)}")
    return CORPORA[corpus]


def _check_input(reader: AnyReader, *, folder: Path | None, settings: PrepareSettings) -> None:
    if settings.modality not in reader.modalities:
        raise SettingsError(
            f"{reader.name} has no {settings.modality}; modality can be {' or '.join(reader.modalities)}"
        )
    if not reader.needs_folder:
        if folder is not None:
            raise SettingsError(f"{reader.name} is made up and reads no folder, but {folder} was given. Leave it out.")
    elif folder is None:
        raise SettingsError(f"{reader.name} needs the folder of its files. Where to get it: {reader.where}")
    elif not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder; give the one that holds the files of {reader.name}")


def _open_old(store: Path) -> SegmentStore | None:
    if not store.exists() or (store.is_dir() and not any(store.iterdir())):
        return None
    if not (store / ABOUT_FILE).is_file():
        raise SettingsError(f"{store} is there already and is no segment store. Give another folder.")
    return SegmentStore.open(store)


def _check_corpora(old: SegmentStore, *, reader: AnyReader) -> None:
    """Refuse early what would be refused after all files were looked at."""
    names = [source.corpus for source in old.about.sources]
    if reader.name not in names:
        raise SettingsError(
            f"{old.path} holds a store of {', '.join(names)}. Give another folder, or --append to add {reader.name}."
        )


def _already_there(
    old: SegmentStore | None,
    *,
    reader: AnyReader,
    settings: PrepareSettings,
    corpus_settings: Settings,
    plan: PreparationPlan,
) -> PreparationSummary | None:
    """Tell that there is nothing to do, or refuse to mix what does not belong together."""
    if old is None:
        return None
    about = old.about
    remedy = "Give another folder, or remove that one."
    if about.settings != settings.model_dump(mode="json"):
        raise SettingsError(f"{old.path} holds a store with other settings. {remedy}")
    for source in about.sources:
        if source.corpus != reader.name:
            continue
        different = [
            name
            for name, same in (
                ("corpus settings", source.settings == corpus_settings.model_dump(mode="json")),
                (f"files of {reader.name}", source.fingerprint == plan.fingerprint),
            )
            if not same
        ]
        if different:
            raise SettingsError(f"{old.path} holds a store with other {' and '.join(different)}. {remedy}")
        return PreparationSummary(
            store=old.path, written=False, source=source, segments=len(old), fingerprint=old.fingerprint
        )
    return None


def _source(
    reader: AnyReader, *, corpus_settings: Settings, plan: PreparationPlan, parts: Sequence[PreparedPart]
) -> SourceCorpus:
    subjects = [subject for part in parts for subject in part.subjects]
    twice = {subject for subject in subjects if subjects.count(subject) > 1}
    if twice:
        raise DataError(f"{reader.name}: subject {', '.join(sorted(twice))} is in several corpus_parts of the corpus")
    left_out = (*plan.left_out, *(one for part in parts for one in part.left_out))
    segments = sum(part.segments for part in parts)
    if not segments:
        why = f" First reason: {left_out[0]}" if left_out else ""
        raise DataError(f"there is no usable recording of at least one segment's length in this corpus.{why}")
    return SourceCorpus(
        corpus=reader.name,
        settings=corpus_settings.model_dump(mode="json"),
        fingerprint=plan.fingerprint,
        subjects=len(subjects),
        recordings=sum(part.recordings for part in parts),
        segments=segments,
        hours=round(sum(part.seconds for part in parts) / 3600, 4),
        left_out=left_out,
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
    """Say in a line what the disk refused; the draft has been removed by then."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DataError(
                f"{store}: the disk is full ({error.strerror}). Nothing was left behind; make room "
                "or give another folder."
            ) from error
        raise DataError(
            f"{store} cannot be written: {error.strerror} ({error.filename}). Nothing was left behind."
        ) from error
