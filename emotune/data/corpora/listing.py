"""Listing of a corpus's files below the folder that the user gives, grouped by subject."""

import filecmp
import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotune.data.corpora.reader import CorpusPart, Item
from emotune.data.formats.file import special_kind
from emotune.data.recording import ExcludedData, UnreadableRecording
from emotune.errors import DataError

SAMPLE_BYTES = 4096
"""Bytes that are compared before whole files are compared."""


@dataclass(frozen=True)
class SourceFile:
    """A file of one session of one subject."""

    path: Path
    subject: str
    session: str


def find_files(folder: Path, *, name: str) -> list[tuple[Path, re.Match[str]]]:
    """Return all files below a folder whose name matches a pattern, ignoring the case of letters.

    Hidden files and folders and the folder ``__MACOSX`` of archives are skipped. Links are followed.
    The order is that of `natural_order`: ``S2`` comes before ``S10``.

    Args:
        folder: Folder of the corpus.
        name: Regular expression for the whole name of a file.

    Raises:
        DataError: There is no such folder, links lead to the same file twice, or a file is a link to itself, a pipe
            or a device.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder of the unpacked corpus")
    pattern = re.compile(name, re.IGNORECASE)
    matches = ((path, pattern.fullmatch(path.name)) for path in _files_below(folder))
    files = [(path, match) for path, match in matches if match]
    originals: dict[Path, Path] = {}
    for path, _ in files:
        kind = special_kind(path)
        if kind:
            raise DataError(f"{path} is {kind}, expected a file; remove it")
        other = originals.setdefault(_target(path), path)
        if other != path:
            raise DataError(
                f"{folder}: {_below(folder, other)} and {_below(folder, path)} link to the same file; remove one"
            )
    return files


def relative_path(path: Path, *, folder: Path | None) -> str:
    """Return the path of a file below the folder of its corpus, for messages."""
    assert folder is not None
    return _below(folder, path)


def number_of_files(count: int, names: str) -> str:
    """Return a count of files with their pattern, for example ``9 files WS_*.mat``."""
    return f"{count} file{'' if count == 1 else 's'} {names}"


def list_other_files(
    folder: Path, *, taken: Collection[Path], reasons: Mapping[str, str], otherwise: str
) -> Iterator[ExcludedData]:
    """Yield the visible files of a corpus that its reader does not read, counted by name and reason.

    Args:
        folder: Folder of the corpus.
        taken: The files that are read.
        reasons: Reason by regular expression for a path below the folder; the first one that matches counts.
        otherwise: Reason for files that match none.
    """
    read = set(taken)
    counts: Counter[tuple[str, str]] = Counter()
    for path, _ in find_files(folder, name=r".*"):
        if path in read:
            continue
        location = relative_path(path, folder=folder)
        reason = next(
            (text for name, text in reasons.items() if re.fullmatch(name, location, re.IGNORECASE)), otherwise
        )
        counts[re.sub(r"\d+", "*", path.name), reason] += 1
    for (names, reason), count in counts.items():
        yield ExcludedData(subject="", source=number_of_files(count, names), reason=reason)


def group_by_subject(sources: Iterable[SourceFile], *, folder: Path) -> Iterator[CorpusPart]:
    """Yield a part for each subject. Its entries are the subject's files, ordered by session.

    Raises:
        DataError: Two files hold the same session of a subject, or the same bytes.
    """
    ordered = sorted(sources, key=lambda source: (natural_order(source.subject), natural_order(source.session)))
    for file, following in itertools.pairwise(ordered):
        if (file.subject, file.session) == (following.subject, following.session):
            raise DataError(
                f"{folder}: {_below(folder, file.path)} and {_below(folder, following.path)} are both session "
                f"{file.session} of subject {file.subject}; remove one of them"
            )
    _refuse_copies([source.path for source in ordered], folder=folder)
    for subject, group in itertools.groupby(ordered, key=lambda source: source.subject):
        entries = tuple(group)
        yield CorpusPart(name=subject, folder=folder, files=tuple(entry.path for entry in entries), entries=entries)


def read_each_file(part: CorpusPart, read: Callable[[SourceFile, str], Iterable[Item]]) -> Iterator[Item]:
    """Yield the items of a part's files in order; a damaged file gives an `UnreadableRecording`.

    Args:
        part: A part whose entries are `SourceFile`.
        read: Reads a file, given its path for messages. Items that it yields before a `DataError` are kept.
    """
    for entry in part.entries:
        source = relative_path(entry.path, folder=part.folder)
        try:
            yield from read(entry, source)
        except DataError as error:
            yield UnreadableRecording(subject=entry.subject, source=source, reason=str(error))


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that compares numbers within names as numbers: ``S2`` comes before ``S10``."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def _refuse_copies(paths: Sequence[Path], *, folder: Path) -> None:
    """Raise if two files have the same bytes.

    Only files of the same size are compared, first by `SAMPLE_BYTES` from their middle.
    """
    by_size: dict[int, list[Path]] = {}
    for path in filter(Path.is_file, paths):
        by_size.setdefault(path.stat().st_size, []).append(path)
    seen: dict[tuple[int, bytes], Path] = {}
    for size, alike in by_size.items():
        for path in alike if len(alike) > 1 else ():
            other = seen.setdefault((size, _middle(path, size=size)), path)
            if other != path and filecmp.cmp(other, path, shallow=False):
                raise DataError(
                    f"{folder}: {_below(folder, other)} and {_below(folder, path)} have the same content; "
                    "remove one of them"
                )


def _middle(path: Path, *, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(size // 2)
        return file.read(SAMPLE_BYTES)


def _target(path: Path) -> Path:
    """Return where a path leads.

    Raises:
        DataError: It is a link that leads to itself.
    """
    try:
        return path.resolve()
    except (RuntimeError, OSError) as error:
        raise DataError(f"{path} is a link that leads to itself; remove it") from error


def _files_below(folder: Path, *, around: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the visible files of a folder, then those of its folders; a folder is not entered from within itself."""
    inside = around | {folder.resolve()}
    try:
        names = sorted((path.name for path in folder.iterdir() if _is_visible(path.name)), key=natural_order)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    folders = [name for name in names if (folder / name).is_dir()]
    yield from (folder / name for name in names if name not in folders)
    for name in folders:
        if (folder / name).resolve() not in inside:
            yield from _files_below(folder / name, around=inside)


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
