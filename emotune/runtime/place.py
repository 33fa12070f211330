"""A folder in what a driver sends to its workers."""

from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from emotune.storage.remote import address_of, folder_at

Place = Annotated[Path, PlainValidator(folder_at), PlainSerializer(address_of)]
"""A folder, which another machine may have elsewhere if it stands for a place in a bucket."""
