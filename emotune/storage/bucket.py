"""An S3-compatible bucket, as far as it is needed. The only module that imports boto3."""

import os
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from boto3.exceptions import S3UploadFailedError
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, ProfileNotFound

from emotune.errors import StorageAwayError, StorageConflictError, StorageRefusedError

Result = TypeVar("Result")

ADVICE = (
    "check the bucket's name, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile), on every "
    "node"
)


class Blob(NamedTuple):
    """An object's content, and the version it is."""

    body: bytes
    etag: str


class Entry(NamedTuple):
    """An object in a listing."""

    key: str
    size: int


class Bucket:
    """A bucket. Server, region and keys come from the usual places: ``AWS_*`` variables, or a profile.

    All methods raise `StorageAwayError` if the server cannot be reached or has trouble, after a few attempts, and
    `StorageRefusedError` if it says no.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._s3 = _client()

    def get(self, key: str) -> Blob | None:
        """Return an object; None: there is none."""

        def act() -> Blob | None:
            try:
                answer = self._s3.get_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if _code(error) in {"NoSuchKey", "404"}:
                    return None
                raise
            return Blob(answer["Body"].read(), answer["ETag"])

        return self._try(act)

    def age(self, key: str) -> float | None:
        """Return how many seconds ago an object was written, by the server's clock alone; None: there is none."""

        def act() -> float | None:
            try:
                answer = self._s3.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if _code(error) in {"NoSuchKey", "404"}:
                    return None
                raise
            now = _parse_date(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            return max(0.0, now - answer["LastModified"].timestamp())

        return self._try(act)

    def put(self, key: str, body: bytes, *, replaces: str | None) -> str:
        """Write a small object if it still is what it was.

        Args:
            key: Which one.
            body: Its new content; no other driver may write the same.
            replaces: The version that is to be replaced; None: there must be none.

        Returns:
            The new version.

        Raises:
            StorageConflictError: Somebody else has written it.
        """
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}

        def act() -> str:
            return self._s3.put_object(Bucket=self.name, Key=key, Body=body, **condition)["ETag"]

        try:
            return self._try(act)
        except StorageConflictError:
            # an answer may have been lost on the way, and the attempt after it refused
            found = self.get(key)
            if found is not None and found.body == body:
                return found.etag
            raise

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file of any size."""
        self._try(lambda: self._s3.upload_file(str(path), self.name, key))

    def download(self, key: str, path: Path) -> None:
        """Read an object of any size into a file."""
        self._try(lambda: self._s3.download_file(self.name, key, str(path)))

    def entries(self, prefix: str) -> list[Entry]:
        """Return the objects whose keys begin so, by key."""

        def act() -> list[Entry]:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            return [Entry(one["Key"], one["Size"]) for page in pages for one in page.get("Contents", ())]

        return sorted(self._try(act))

    def folders(self, prefix: str) -> list[str]:
        """Return the next parts of the keys that begin so and go on after a slash."""

        def act() -> list[str]:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix, Delimiter="/")
            return [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]

        return sorted(found.removeprefix(prefix).strip("/") for found in self._try(act))

    def copy(self, key: str, *, to: str) -> None:
        """Copy an object within the bucket, of any size."""
        self._try(lambda: self._s3.copy({"Bucket": self.name, "Key": key}, self.name, to))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, one after the other."""
        for key in keys:
            self._try(lambda key=key: self._s3.delete_object(Bucket=self.name, Key=key))

    def _try(self, act: Callable[[], Result]) -> Result:
        try:
            return act()
        except ClientError as error:
            raise self._judged(error) from error
        except (NoCredentialsError, ProfileNotFound) as error:
            raise StorageRefusedError(f"s3://{self.name}: {_line(error)}; {ADVICE}") from error
        except (HTTPClientError, S3UploadFailedError, BotoCoreError) as error:
            raise StorageAwayError(f"s3://{self.name}: {_line(error)}") from error

    def _judged(self, error: ClientError) -> Exception:
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        if status in (409, 412):
            return StorageConflictError(f"s3://{self.name}: {_line(error)}")
        if status >= 500 or status == 429 or _code(error) in {"RequestTimeTooSkewed", "SlowDown"}:
            return StorageAwayError(f"s3://{self.name}: {_line(error)}")
        return StorageRefusedError(f"s3://{self.name}: {_line(error)}; {ADVICE}")


def _client() -> Any:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    settings = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        # servers other than Amazon's seldom have a host name for each bucket, and do not know its newer checksums
        s3={"addressing_style": "path" if endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = Session()
    return session.client("s3", config=settings, region_name=session.region_name or "us-east-1")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _parse_date(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()
