"""A storage in the memory of this process, as a third backend for the contract tests."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from emotune.errors import BusyError
from emotune.files import new_folder
from emotune.storage.base import Address, Log, LogWriter, Storage

_FILES: dict[str, bytes] = {}
"""Content of every file by its key."""

_LOGS: dict[str, bytes] = {}
"""Content of every log by its key."""

_LOCKS: dict[str, str] = {}
"""Owner of every held lock by its key."""


@dataclass(frozen=True)
class MemoryStorage(Storage):
    """Files in a dict, with a working copy in a temporary folder."""

    prefix: str
    root: Path
    within: str = ""

    scheme = "memory"
    mounted = False

    @classmethod
    def from_url(cls, url: str) -> "MemoryStorage":
        return cls(url.removeprefix("memory://"), Path(tempfile.mkdtemp()))

    @classmethod
    def from_json(cls, address: Address) -> "MemoryStorage":
        return replace(cls.from_url(address["url"]), within=address["within"])

    def to_json(self) -> Address:
        return {"scheme": self.scheme, "url": f"memory://{self.prefix}", "within": self.within}

    def describe(self) -> str:
        return f"memory://{self._key('')}".rstrip("/")

    def __truediv__(self, name: str) -> "MemoryStorage":
        return replace(self, within=f"{self.within}/{name}".strip("/"))

    def local(self, key: str = "") -> Path:
        return self.root / self.within / key

    def _key(self, key: str) -> str:
        return "/".join(part for part in (self.prefix, self.within) if part) + f"/{key}"

    def read(self, key: str) -> bytes | None:
        return _FILES.get(self._key(key))

    def write(self, key: str, content: bytes, *, patience: float | None = None) -> None:
        _FILES[self._key(key)] = content

    def remove(self, key: str) -> None:
        _FILES.pop(self._key(key), None)

    def folders(self) -> list[str]:
        inside = [key.removeprefix(self._key("")) for key in (*_FILES, *_LOGS) if key.startswith(self._key(""))]
        return sorted({key.split("/")[0] for key in inside if "/" in key})

    def upload(self, *, last: str) -> None:
        for path in sorted(self.local().iterdir(), key=lambda path: path.name == last):
            self.write(path.name, path.read_bytes())

    def download(self, *, last: str) -> bool:
        if self.read(last) is None:
            return False
        shutil.rmtree(self.local(), ignore_errors=True)
        with new_folder(self.local()) as draft:
            for key in [key for key in _FILES if key.startswith(self._key(""))]:
                (draft / key.removeprefix(self._key(""))).write_bytes(_FILES[key])
        return True

    def clear(self, *, last: str) -> None:
        self.remove(last)
        for key in [key for key in _FILES if key.startswith(self._key(""))]:
            del _FILES[key]
        shutil.rmtree(self.local(), ignore_errors=True)

    def size(self) -> int:
        return sum(len(content) for key, content in _FILES.items() if key.startswith(self._key("")))

    def rename(self, name: str, *, log: str) -> None:
        target = replace(self, within="/".join([*self.within.split("/")[:-1], name]))
        for contents in (_FILES, _LOGS):
            for key in [key for key in contents if key.startswith(self._key(""))]:
                contents[target._key(key.removeprefix(self._key("")))] = contents.pop(key)
        if self.local().exists():
            self.local().rename(target.local())

    def check_writable(self) -> None:
        pass

    def log(self, name: str) -> "MemoryLog":
        return MemoryLog(self._key(f"{name}.jsonl"))


@dataclass(frozen=True)
class MemoryLog(Log):
    """A log in a dict."""

    key: str

    def __str__(self) -> str:
        return f"memory://{self.key}"

    def open(self, *, owner: str) -> "MemoryLogWriter":
        with contextlib.ExitStack() as held:
            held.enter_context(self.lock(owner=owner))
            return MemoryLogWriter(self.key, held=held.pop_all())

    @contextlib.contextmanager
    def lock(self, *, owner: str) -> Iterator[None]:
        if self.key in _LOCKS:
            raise BusyError(f"{self}: another driver is running this search ({_LOCKS[self.key]})")
        _LOCKS[self.key] = owner
        try:
            yield
        finally:
            del _LOCKS[self.key]

    def is_locked(self) -> bool:
        return self.key in _LOCKS

    def exists(self) -> bool:
        return self.key in _LOGS

    def read(self) -> bytes:
        return _LOGS.get(self.key, b"")


class MemoryLogWriter(LogWriter):
    """A log in a dict, open for appending."""

    def __init__(self, key: str, *, held: contextlib.ExitStack) -> None:
        self._key = key
        self._held = held
        self.content = _LOGS.setdefault(key, b"")

    def cut(self, length: int) -> None:
        _LOGS[self._key] = self.content[:length]

    def check(self) -> None:
        pass

    def append(self, line: bytes, *, durable: bool) -> None:
        _LOGS[self._key] += line

    def close(self) -> None:
        if not _LOGS[self._key]:
            del _LOGS[self._key]
        self._held.close()
