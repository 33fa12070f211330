"""The corpora of the papers: which of them a store needs, and where they are in a folder of raw corpora.

Sources: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), sections IV-A and IV-C; Vazquez-Rodriguez et al. 2022
(hal-03897400), section 4.1.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotune.data.corpora.listing import find_files, relative_path
from emotune.data.corpora.reader import CorpusPart
from emotune.data.corpora.table import CORPORA
from emotune.data.modality import Modality
from emotune.errors import DataError, SettingsError


@dataclass(frozen=True)
class PaperCorpus:
    """A corpus of the papers."""

    name: str
    """Its name in `CORPORA`."""
    people: int | None
    """People in the release; None: not confirmed."""
    folders: tuple[str, ...]
    """Names of its folder, in small letters and digits alone."""
    files: str
    """Regular expression for the names of its files, by which a folder of another name is recognised."""
    one_part: bool = False
    """All people are in one file, so that their number is known after the preparation only."""


PAPER_CORPORA = {
    corpus.name: corpus
    for corpus in (
        PaperCorpus("ascertain", 58, ("ascertain",), r"ECG_Clip\d+\.mat"),
        PaperCorpus("dreamer", 23, ("dreamer",), r"DREAMER\.mat", one_part=True),
        PaperCorpus("pspm-fr", None, ("pspmfr", "fr"), r"(PsPM[-_ ]?)?FR[-_ ].*\.mat"),
        PaperCorpus("pspm-hrm5", None, ("pspmhrm5", "hrm5"), r"(PsPM[-_ ]?)?HRM[-_ ]?5[-_ ].*\.mat"),
        PaperCorpus(
            "pspm-rrm1-2",
            None,
            ("pspmrrm12", "pspmrrm1", "rrm12", "rrm1"),
            r"(PsPM[-_ ]?)?RRM[-_ ]?[12]([-_ ]?2)?[-_ ].*\.mat",
        ),
        PaperCorpus("pspm-vis", None, ("pspmvis", "vis"), r"(PsPM[-_ ]?)?VIS[-_ ].*\.mat"),
        PaperCorpus("amigos", 40, ("amigos",), r"Data_Preprocessed_P\d+\.mat"),
        PaperCorpus("way-eeg-gal", 12, ("wayeeggal",), r"HS_P\d+_S\d+\.mat"),
        PaperCorpus("eegmmidb", 109, ("eegmmidb", "bci2000"), r"S\d{3}R\d{2}\.edf"),
        PaperCorpus("large-eeg-bci", 13, ("largeeegbci",), r"\w+?[-_ ]*Subject[-_ ]?[A-M][-_ ]*(\d{6})?.*\.mat"),
    )
}

POOLS: dict[Modality, tuple[str, ...]] = {
    "ecg": ("ascertain", "dreamer", "pspm-fr", "pspm-hrm5", "pspm-rrm1-2", "pspm-vis", "amigos"),
    "eeg": ("way-eeg-gal", "eegmmidb", "large-eeg-bci", "amigos"),
}
"""Corpora of pre-training, in the order in which they are added to the store."""

LABELLED = ("amigos",)
"""Corpora of fine-tuning."""

OPTIONAL = "pspm-hrm5"
"""Corpus that section IV-A of the ECG paper lists among those of pre-training, and section IV-C does not."""


@dataclass(frozen=True)
class FoundCorpus:
    """A corpus in a folder of raw corpora."""

    name: str
    folder: Path
    people: int | None
    """People with files; None: known after the preparation only."""
    size: int
    """Size of its files in bytes."""


@dataclass(frozen=True)
class RawCorpora:
    """Result of `find_corpora`."""

    found: dict[str, FoundCorpus]
    """By name."""
    missing: dict[str, str]
    """The reason by name."""


def find_corpora(folder: Path, *, names: Iterable[str]) -> RawCorpora:
    """Find corpora in a folder, each in its own sub-folder.

    A sub-folder is recognised by its name, without regard to case and punctuation, otherwise by the names of its files.
    The four PsPM sets may lie together in a sub-folder whose name begins with ``pspm``.

    Args:
        folder: Folder of the raw corpora.
        names: Corpora to find, names of `PAPER_CORPORA`.

    Raises:
        SettingsError: ``folder`` is not a folder, or a corpus has several sub-folders.
    """
    if not folder.is_dir():
        raise SettingsError(f"--raw {folder} is not a folder; give the folder whose sub-folders are the raw corpora")
    candidates = list(_candidates(folder))
    found: dict[str, FoundCorpus] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            place = _folder_of(PAPER_CORPORA[name], candidates=candidates, folder=folder)
            if place is None:
                missing[name] = f"{folder} has no sub-folder of that name, and none with its files"
            else:
                found[name] = _list(name, place=place)
        except DataError as error:
            missing[name] = str(error)
    return RawCorpora(found, missing)


def _candidates(folder: Path) -> Iterator[Path]:
    """Yield the visible sub-folders, and those of a folder of PsPM sets."""
    for path in _subfolders(folder):
        yield path
        if _plain(path.name).startswith("pspm"):
            yield from _subfolders(path)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    except OSError as error:
        raise SettingsError(f"--raw: {folder} cannot be read: {error.strerror}") from error


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _folder_of(corpus: PaperCorpus, *, candidates: Sequence[Path], folder: Path) -> Path | None:
    named = [path for path in candidates if _plain(path.name) in corpus.folders]
    others = {name for other in PAPER_CORPORA.values() for name in other.folders}
    unnamed = [path for path in candidates if _plain(path.name) not in others]
    matches = named or [path for path in unnamed if find_files(path, name=corpus.files)]
    # a folder of PsPM sets has the files of its sub-folders too; the reader chooses the files of the set
    matches = [path for path in matches if not any(other in path.parents for other in matches)]
    if len(matches) > 1:
        paths = " and ".join(relative_path(path, folder=folder) for path in matches)
        raise SettingsError(
            f"--raw {folder}: {paths} both hold {corpus.name}, expected one sub-folder of it; move the other away"
        )
    return matches[0] if matches else None


def _list(name: str, *, place: Path) -> FoundCorpus:
    reader = CORPORA[name]
    parts = [part for part in reader.list_parts(place, reader.settings()) if isinstance(part, CorpusPart)]
    files = {file for part in parts for file in part.files}
    people = None if PAPER_CORPORA[name].one_part else len(parts)
    return FoundCorpus(
        name, folder=place, people=people, size=sum(file.stat().st_size for file in files if file.is_file())
    )
