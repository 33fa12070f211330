"""Recordings become a segment store: the only writer of stores."""

import errno
import hashlib
import importlib.metadata
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotune.base import Settings
from emotune.data.corpora import CORPORA
from emotune.data.reader import AnyReader, Piece
from emotune.data.segments import PrepareSettings, standardise_subject, usable
from emotune.data.store import ABOUT_FILE, About, SegmentStore
from emotune.data.writer import StoreWriter, fingerprint_store
from emotune.errors import DataError, SettingsError
from emotune.files import new_folder, sha256_of

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Summary:
    """What came of preparing a store."""

    store: Path
    written: bool
    """False if the same store was there already."""
    corpus: str
    recordings: int
    segments: int
    hours: float
    """Length of the recordings that were used."""
    skipped: tuple[str, ...]
    """Recordings that were left out, and why."""
    fingerprint: str


def prepare(
    corpus: str | AnyReader,
    *,
    folder: Path | None,
    store: Path,
    settings: PrepareSettings,
    corpus_settings: Settings | None = None,
) -> Summary:
    """Filter, resample, standardise and cut a corpus into a segment store.

    Each recording is filtered at its own rate and resampled; each channel of a subject is
    standardised over all of the subject's recordings; then segments are cut one after the other,
    and what remains at the end is dropped. Subjects are treated one at a time, so memory holds one.
    The same input gives the same bytes. Until everything is on the disk, ``store`` does not exist;
    if the process is killed outright, a hidden draft beside it may remain, which nothing reads.

    Args:
        corpus: Name of a corpus in `CORPORA`, or a reader.
        folder: The corpus's folder; None for one that is made up.
        store: The folder to write. If the same store is there already, nothing is done.
        settings: How to prepare it.
        corpus_settings: How to read it; the reader's defaults if not given.

    Raises:
        SettingsError: There is no such corpus or folder, the corpus has no such modality, or
            ``store`` holds something else.
        DataError: A recording cannot be used, nothing can, or the disk is full.

    Source:
        Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-B, in the same order.
    """
    reader = find_reader(corpus)
    chosen = reader.settings() if corpus_settings is None else corpus_settings
    assert isinstance(chosen, reader.settings), f"{reader.name} does not know {type(chosen).__name__}"
    _check_input(reader, folder=folder, settings=settings)
    origin: dict[str, Any] = {
        "corpus": reader.name,
        "settings": settings.model_dump(mode="json"),
        "corpus_settings": chosen.model_dump(mode="json"),
        "corpus_fingerprint": fingerprint_of(reader, folder=folder, settings=chosen),
    }
    if store.exists() and not (store.is_dir() and not any(store.iterdir())):
        return _already_there(store, origin=origin)
    with _disk_errors(store), new_folder(store) as draft:
        skipped: list[str] = []
        recordings = usable(
            reader.items(folder, modality=settings.modality, settings=chosen), settings=settings, skipped=skipped
        )
        with StoreWriter(draft, corpus=reader.name, samples=settings.samples, rate=settings.rate) as writer:
            for _, group in itertools.groupby(recordings, key=lambda recording: recording.subject):
                writer.append(standardise_subject(list(group)))
            about = _about(writer, origin=origin, settings=settings, skipped=skipped)
        (draft / ABOUT_FILE).write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return _summary(store, about=about, written=True)


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


def fingerprint_of(reader: AnyReader, *, folder: Path | None, settings: Settings) -> str:
    """Hash the names and contents of all files that a reader reads.

    Raises:
        DataError: A file cannot be read.
    """
    digest = hashlib.sha256(reader.name.encode())
    if folder is None:
        return digest.hexdigest()
    pieces = [piece for piece in reader.pieces(folder, settings) if isinstance(piece, Piece)]
    for file in sorted({file for piece in pieces for file in piece.files}):
        try:
            content = sha256_of(file)
        except FileNotFoundError:
            content = "missing"  # left to the reader, which knows whose it is
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from error
        digest.update(f"\n{file.relative_to(folder).as_posix()} {content}".encode())
    return digest.hexdigest()


def _already_there(store: Path, *, origin: Mapping[str, Any]) -> Summary:
    if not (store / ABOUT_FILE).is_file():
        raise SettingsError(f"{store} is there already and is no segment store. Give another folder.")
    about = SegmentStore.open(store).about
    different = [key for key, value in origin.items() if getattr(about, key) != value]
    if different:
        raise SettingsError(
            f"{store} holds a store with other {' and '.join(different).replace('_', ' ')}. "
            "Give another folder, or remove that one."
        )
    return _summary(store, about=about, written=False)


def _about(writer: StoreWriter, *, origin: Mapping[str, Any], settings: PrepareSettings, skipped: list[str]) -> About:
    files = writer.finish()
    return About(
        **origin,
        modality=settings.modality,
        rate=settings.rate,
        seconds=settings.seconds,
        channels=writer.channels,
        recordings=writer.recordings,
        segments=writer.segments,
        hours=round(writer.seconds / 3600, 4),
        skipped=tuple(skipped),
        software={name: importlib.metadata.version(name) for name in ("numpy", "scipy", "pyarrow")},
        files=files,
        fingerprint=fingerprint_store(files, settings=origin["settings"]),
    )


def _summary(store: Path, *, about: About, written: bool) -> Summary:
    return Summary(
        store=store,
        written=written,
        corpus=about.corpus,
        recordings=about.recordings,
        segments=about.segments,
        hours=about.hours,
        skipped=about.skipped,
        fingerprint=about.fingerprint,
    )


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
        if store.exists():
            raise SettingsError(
                f"{store} was made by someone else meanwhile. Try again, or give another folder."
            ) from error
        raise DataError(
            f"{store} cannot be written: {error.strerror} ({error.filename}). Nothing was left behind."
        ) from error
