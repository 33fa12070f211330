"""Writing pickle files as Python 2 writes them: byte strings for texts and for the content of arrays."""

import struct
from typing import Any

import numpy as np


def python_2(value: Any, *, protocol: int) -> bytes:
    """Return a pickle of dictionaries, lists, texts, whole numbers and arrays, as Python 2 with NumPy 1 writes it.

    Args:
        value: The content.
        protocol: 0 (text) or 2 (binary).
    """
    return (b"\x80\x02" if protocol else b"") + _value(value, binary=bool(protocol)) + b"."


def _value(value: Any, *, binary: bool) -> bytes:
    match value:
        case dict():
            pairs = b"".join(_value(key, binary=binary) + _value(item, binary=binary) for key, item in value.items())
            content = b"}(" + pairs + b"u" if binary else b"(" + pairs + b"d"
        case list():
            content = b"](" + b"".join(_value(item, binary=binary) for item in value) + b"e"
        case np.ndarray():
            content = _array(value, binary=binary)
        case str():
            content = _text(value.encode("latin-1"), binary=binary)
        case _:
            content = f"I{value:d}\n".encode()
    return content


def _text(content: bytes, *, binary: bool) -> bytes:
    if not binary:
        return b"S" + repr(content)[1:].encode() + b"\n"
    short = len(content) < 256
    return (b"U" + bytes([len(content)]) if short else b"T" + struct.pack("<I", len(content))) + content


def _array(array: np.ndarray, *, binary: bool) -> bytes:
    kind = f"{array.dtype.kind}{array.dtype.itemsize}".encode()
    shape = b"(" + b"".join(f"I{length}\n".encode() for length in array.shape) + b"t"
    element = b"cnumpy\ndtype\n(" + _text(kind, binary=binary) + b"I0\nI1\ntR"
    element += b"(I3\n" + _text(b"<", binary=binary) + b"NNNI-1\nI-1\nI0\ntb"
    content = _text(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes(), binary=binary)
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + _text(b"b", binary=binary) + b"tR"
    return start + b"(I1\n" + shape + element + b"I00\n" + content + b"tb"
