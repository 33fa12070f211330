"""The studies and examples that emotune contains, found by name from any folder."""

from collections.abc import Sequence
from pathlib import Path

from emotune.errors import SettingsError, suggestion

_PACKAGE = Path(__file__).parents[1]


def bundled_folder(name: str) -> Path:
    """Return the folder ``search_spaces`` or ``examples`` of emotune: in the installed package, or in the repository.

    A wheel contains both folders inside the package. In the repository they are beside it.
    """
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


STUDIES = bundled_folder("search_spaces")
"""Folder of the studies."""

EXAMPLES = bundled_folder("examples")
"""Folder of the examples of experiments."""


def find_study(name: str) -> Path:
    """Return the file of a study.

    A path comes first, then ``search_spaces/NAME.yaml`` in the present folder, then the study of emotune.

    Args:
        name: Path of a file, or name of a study.

    Raises:
        SettingsError: There is no such file.
    """
    if Path(name).is_file():
        return Path(name)
    folders = (Path("search_spaces"), STUDIES)
    found = _first(f"{name}.yaml", folders=folders)
    if found is not None:
        return found
    known = _names(folders)
    near = suggestion(Path(name).stem, among=known)
    raise SettingsError(
        f"there is no study {name!r}{near}"
        if near
        else f"there is no study {name!r}: give a file, or one of {', '.join(known) or 'search_spaces'}"
    )


def find_experiment(path: Path) -> Path:
    """Return the file of an experiment.

    A path comes first. ``examples/NAME.yaml`` and ``NAME`` that do not exist are those of emotune.

    Raises:
        SettingsError: There is no such file, neither at the path nor among the examples.
    """
    is_given = path.exists() and not path.is_dir()
    if is_given or path.is_absolute() or path.parent not in {Path(), Path("examples")}:
        return path
    name = path.name if path.suffix == ".yaml" else f"{path.name}.yaml"
    found = _first(name, folders=(Path("examples"), EXAMPLES))
    if found is not None:
        return found
    known = _names([EXAMPLES])
    hint = suggestion(Path(name).stem, among=known) or f"; give a file, or one of the examples: {', '.join(known)}"
    raise SettingsError(f"{path}: cannot be read: No such file or directory{hint}")


def describe_choice(name: str, *, file: Path) -> str | None:
    """Return a line that says which file a name was, and whether it replaces one of emotune; None for a path.

    Args:
        name: The path or name that was given.
        file: The file that was found.
    """
    if Path(name) == file:
        return None
    folder = STUDIES if file.parent.name == STUDIES.name else EXAMPLES
    own = folder / file.name
    if own.is_file() and not own.samefile(file):
        return f"{name}: {file} of this folder is used, not the file of that name in {folder}"
    return f"{name}: {file}"


def _first(name: str, *, folders: Sequence[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _names(folders: Sequence[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
