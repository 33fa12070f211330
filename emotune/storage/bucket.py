"""The requests to an S3-compatible bucket that emotune makes. The only module that imports boto3."""

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
    """An object's content and its version."""

    body: bytes
    etag: str


class Entry(NamedTuple):
    """An object in a listing."""

    key: str
    size: int


class Bucket:
    """A bucket. Server, region and keys are read from ``AWS_*`` variables or a profile.

    All methods raise `StorageAwayError` if the server cannot be reached or has an error, after three attempts, and
    `StorageRefusedError` if it refuses the request.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._s3 = _client()

    def url(self, key: str) -> str:
        """Return the URL of a key, for messages."""
        return f"s3://{self.name}/{key}"

    def get(self, key: str) -> Blob | None:
        """Return an object; None: there is none."""

        def request() -> Blob | None:
            try:
                response = self._s3.get_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if _code(error) in {"NoSuchKey", "404"}:
                    return None
                raise
            return Blob(response["Body"].read(), response["ETag"])

        return self._try(request)

    def age(self, key: str) -> float | None:
        """Return the seconds since an object was written, by the server's clock alone; None: there is none."""

        def request() -> float | None:
            try:
                response = self._s3.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if _code(error) in {"NoSuchKey", "404"}:
                    return None
                raise
            now = _parse_date(response["ResponseMetadata"]["HTTPHeaders"]["date"])
            return max(0.0, now - response["LastModified"].timestamp())

        return self._try(request)

    def put(self, key: str, body: bytes, *, replaces: str | None) -> str:
        """Write a small object if its version is the given one.

        Args:
            key: The object.
            body: Its new content, which differs from whatever another driver writes.
            replaces: The version that is replaced; None: the object must not exist.

        Returns:
            The new version.

        Raises:
            StorageConflictError: The version is another: another driver has written the object.
        """
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}

        def request() -> str:
            return self._s3.put_object(Bucket=self.name, Key=key, Body=body, **condition)["ETag"]

        try:
            return self._try(request)
        except StorageConflictError:
            # the response to a first attempt may have been lost, and the second attempt refused because of the first
            present = self.get(key)
            if present is not None and present.body == body:
                return present.etag
            raise

    def write(self, key: str, body: bytes) -> None:
        """Write a small object, whatever its version."""
        self._try(lambda: self._s3.put_object(Bucket=self.name, Key=key, Body=body))

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file of any size."""
        self._try(lambda: self._s3.upload_file(str(path), self.name, key))

    def download(self, key: str, path: Path) -> None:
        """Read an object of any size into a file."""
        self._try(lambda: self._s3.download_file(self.name, key, str(path)))

    def entries(self, prefix: str) -> list[Entry]:
        """Return the objects whose keys begin with a prefix, sorted by key."""

        def request() -> list[Entry]:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            return [Entry(entry["Key"], entry["Size"]) for page in pages for entry in page.get("Contents", ())]

        return sorted(self._try(request))

    def folders(self, prefix: str) -> list[str]:
        """Return the next component of all keys that begin with a prefix and contain a slash after it, sorted."""

        def request() -> list[str]:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix, Delimiter="/")
            return [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]

        return sorted(key.removeprefix(prefix).strip("/") for key in self._try(request))

    def copy(self, key: str, *, to: str) -> None:
        """Copy an object within the bucket, of any size."""
        self._try(lambda: self._s3.copy({"Bucket": self.name, "Key": key}, self.name, to))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, one after the other."""
        for key in keys:
            self._try(lambda key=key: self._s3.delete_object(Bucket=self.name, Key=key))

    def _try(self, request: Callable[[], Result]) -> Result:
        try:
            return request()
        except ClientError as error:
            raise self._translated(error) from error
        except (NoCredentialsError, ProfileNotFound) as error:
            raise StorageRefusedError(f"s3://{self.name}: {_line(error)}; {ADVICE}") from error
        except (HTTPClientError, S3UploadFailedError, BotoCoreError) as error:
            raise StorageAwayError(f"s3://{self.name}: {_line(error)}") from error

    def _translated(self, error: ClientError) -> Exception:
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
        # servers other than Amazon's seldom have a host name per bucket, and do not support its newer checksums
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
