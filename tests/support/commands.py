"""Commands of ``emotune`` in this process."""

from click.testing import CliRunner, Result

from emotune.cli import emotune
from emotune.study.folder import SearchFolder


def call(*words: str, folder: SearchFolder) -> Result:
    """Run a command with the storage of a folder, and return its output; its errors are raised."""
    result = CliRunner().invoke(emotune, [*words, "--storage", str(folder.path.parent)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
