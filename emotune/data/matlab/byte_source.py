"""The bytes of a file, front to back: as they stand there, or unpacked as they are asked for."""

import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from emotune.errors import DataError

CHUNK = 1 << 18
"""Bytes that are unpacked at a time."""

Bytes = UInt8[np.ndarray, "_"]


@runtime_checkable
class Source(Protocol):
    """Bytes, front to back."""

    def take(self, size: int) -> Bytes:
        """Return the next bytes, and fail if there are fewer."""
        ...

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        ...

    def finish(self) -> None:
        """Check what can only be checked at the end."""
        ...


class Plain:
    """Bytes as they stand in the file."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file

    def take(self, size: int) -> Bytes:
        """Return the next bytes."""
        taken = np.empty(size, dtype=np.uint8)
        if self._file.readinto(taken.data) != size:
            raise DataError("the MAT file is truncated")
        return taken

    def skip(self, size: int) -> None:
        """Move on in the file."""
        self._file.seek(size, 1)

    def finish(self) -> None:
        """There is no checksum."""


class Packed:
    """Bytes that are unpacked as they are asked for."""

    def __init__(self, file: BufferedReader, *, size: int) -> None:
        self._file = file
        self._left = size
        self._decoder = zlib.decompressobj()

    def take(self, size: int) -> Bytes:
        """Unpack the next bytes."""
        taken = np.empty(size, dtype=np.uint8)
        filled = 0
        for part in self._parts(size):
            taken[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)
            filled += len(part)
        return taken

    def skip(self, size: int) -> None:
        """Unpack the next bytes, too, as there is no other way, but do not keep them."""
        for _ in self._parts(size):
            pass

    def finish(self) -> None:
        """Unpack the rest, after which the decoder compares the checksum."""
        while not self._decoder.eof:
            self._unpack(CHUNK)

    def _parts(self, size: int) -> Iterator[bytes]:
        while size:
            if self._decoder.eof:
                raise DataError("the MAT file is damaged: a variable ends too early")
            part = self._unpack(min(size, CHUNK))
            size -= len(part)
            yield part

    def _unpack(self, most: int) -> bytes:
        packed = self._decoder.unconsumed_tail
        if not packed:
            packed = self._file.read(min(self._left, CHUNK))
            self._left -= len(packed)
        part = self._decoder.decompress(packed, most)
        if not packed and not part and not self._decoder.eof:
            raise DataError("the MAT file is truncated")
        return part
