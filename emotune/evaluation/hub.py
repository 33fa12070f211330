"""Model folders on the Hugging Face Hub, through the optional package huggingface_hub."""

import importlib
from pathlib import Path
from typing import Any

from emotune.errors import SettingsError, StorageError

FILES = ("*.safetensors", "*.json", "README.md")
"""Files of a repository that are downloaded."""


def upload_folder(folder: Path, *, repository: str, private: bool, token: str | None) -> str:
    """Upload a model folder into a repository, which is created if it does not exist.

    Returns:
        The URL of the commit.

    Raises:
        SettingsError: huggingface_hub is not installed.
        StorageError: The Hub cannot be reached, or refuses the upload.
    """
    hub = _hub()
    try:
        api = hub.HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message="Upload an encoder")
    except (OSError, ValueError) as error:  # errors of HTTP and of names are subclasses
        raise StorageError(f"{repository} was not uploaded: {' '.join(str(error).split())}") from error
    return str(commit)


def download_folder(repository: str, *, token: str | None) -> Path:
    """Download a model folder from a repository into the cache of huggingface_hub.

    Raises:
        SettingsError: huggingface_hub is not installed.
        StorageError: There is no such repository, or the Hub cannot be reached.
    """
    hub = _hub()
    try:
        return Path(hub.snapshot_download(repository, allow_patterns=list(FILES), token=token))
    except (OSError, ValueError) as error:
        raise StorageError(f"{repository} was not downloaded: {' '.join(str(error).split())}") from error


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise SettingsError(f"the Hugging Face Hub needs {error.name}; type pip install 'emotune[hub]'") from error
