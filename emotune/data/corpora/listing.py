"""Finding a corpus's files below the folder that a user gives, and sorting them by subject."""

import filecmp
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotune.data.corpora.reader import CorpusPart, Item
from emotune.data.recording import UnreadableRecording
from emotune.errors import DataError

SAMPLE = 4096
"""Bytes that are compared before whole files are."""


@dataclass(frozen=True)
class SourceFile:
    """A file that holds one session of one subject."""

    path: Path
    subject: str
    session: str


def find_files(folder: Path, *, name: str) -> list[tuple[Path, re.Match[str]]]:
    """Return all files below a folder whose whole name matches a pattern, whatever the case of letters.

    Hidden files and folders and what macOS leaves in archives (``__MACOSX``) are passed over, links
    are followed. Numbers in names count as numbers in the order: ``S2`` goes before ``S10``.

    Raises:
        DataError: There is no such folder, or a file is in it twice by way of links.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the one that the corpus was unpacked to")
    pattern = re.compile(name, re.IGNORECASE)
    matches = ((path, pattern.fullmatch(path.name)) for path in _files_below(folder))
    found = [(path, match) for path, match in matches if match]
    originals: dict[Path, Path] = {}
    for path, _ in found:
        other = originals.setdefault(path.resolve(), path)
        if other != path:
            raise DataError(f"{folder}: {_below(folder, other)} and {_below(folder, path)} are the same file by a link")
    return found


def relative_path(path: Path, *, folder: Path | None) -> str:
    """Return the path below the corpus's folder, as messages name a file."""
    assert folder is not None
    return _below(folder, path)


def number_of_files(count: int, names: str) -> str:
    """Return for example ``9 files WS_*.mat``."""
    return f"{count} file{'' if count == 1 else 's'} {names}"


def group_by_subject(sources: Iterable[SourceFile], *, folder: Path) -> Iterator[CorpusPart]:
    """Make a part of each subject's files; its entries are the sources in the order of the files.

    Raises:
        DataError: Two files hold the same session of a subject, or the same bytes.
    """
    ordered = sorted(sources, key=lambda source: (natural_order(source.subject), natural_order(source.session)))
    for one, other in itertools.pairwise(ordered):
        if (one.subject, one.session) == (other.subject, other.session):
            raise DataError(
                f"{folder}: {_below(folder, one.path)} and {_below(folder, other.path)} are both session "
                f"{one.session} of subject {one.subject}; take one of them away"
            )
    _refuse_copies([source.path for source in ordered], folder=folder)
    for subject, group in itertools.groupby(ordered, key=lambda source: source.subject):
        entries = tuple(group)
        yield CorpusPart(name=subject, folder=folder, files=tuple(entry.path for entry in entries), entries=entries)


def read_each_file(part: CorpusPart, read: Callable[[SourceFile, str], Iterable[Item]]) -> Iterator[Item]:
    """Read a part's files one after the other; a damaged one is named and does not stop the others.

    Args:
        part: Whose entries are sources.
        read: Reads one, given how messages name its file; what it has yielded before a `DataError` counts.
    """
    for entry in part.entries:
        source = relative_path(entry.path, folder=part.folder)
        try:
            yield from read(entry, source)
        except DataError as error:
            yield UnreadableRecording(subject=entry.subject, source=source, reason=str(error))


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts ``S2`` before ``S10``."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def _refuse_copies(paths: Sequence[Path], *, folder: Path) -> None:
    """Compare files of the same size, first by a few bytes out of the middle, which hardly costs time."""
    by_size: dict[int, list[Path]] = {}
    for path in filter(Path.is_file, paths):
        by_size.setdefault(path.stat().st_size, []).append(path)
    seen: dict[tuple[int, bytes], Path] = {}
    for size, alike in by_size.items():
        for path in alike if len(alike) > 1 else ():
            other = seen.setdefault((size, _middle(path, size=size)), path)
            if other != path and filecmp.cmp(other, path, shallow=False):
                raise DataError(
                    f"{folder}: {_below(folder, other)} and {_below(folder, path)} are the same, byte by byte; "
                    "take one of them away"
                )


def _middle(path: Path, *, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(size // 2)
        return file.read(SAMPLE)


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = Path(parent)
        around = {here.resolve(), *here.resolve().parents}
        seen = (name for name in folders if _is_visible(name) and (here / name).resolve() not in around)
        folders[:] = sorted(seen, key=natural_order)
        yield from (here / name for name in sorted(files, key=natural_order) if _is_visible(name))


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
