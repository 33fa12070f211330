"""NumPy archives: what stands in them is read as it is, or refused; nothing is dropped in silence."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotune.data.corpora.folder import READER, Folder
from emotune.data.corpora.reader import Item
from emotune.data.recording import Recording
from emotune.errors import DataError
from tests.data.examples.signals import heart, write_manifest

LEAD = np.round(1000 * heart(20, fs=250)).astype(np.int16)


def item_of(folder: Path, *, header: str = "file,subject", line: str = "a.npz,s1", **changes: Any) -> Item:
    arrays = {
        "x": np.stack([LEAD]),
        "scale": [1e-3],
        "offset": [0.0],
        "channels": ["II"],
        "kinds": ["ecg"],
        "units": ["mV"],
        "fs": 250.0,
        "seg_start": [0.0],
        "seg_end": [10.0],
        "seg_label": ["rest"],
    }
    content: dict[str, Any] = {name: np.array(value) for name, value in (arrays | changes).items()}
    np.savez(folder / "a.npz", **content)
    write_manifest(folder, header, line)
    (item,) = READER.items(folder, modality="ecg", settings=Folder())
    return item


@pytest.mark.parametrize("kind", ["ecg", "ECG"])
def test_an_archive_is_read(tmp_path: Path, kind: str) -> None:
    recording = item_of(tmp_path, kinds=[kind])
    assert isinstance(recording, Recording)
    assert recording.signal[0] == pytest.approx(LEAD / 1000)
    assert (recording.condition_of(0.0, end=10.0), recording.condition_of(10.0, end=20.0)) == ("rest", "")
    assert recording.notes == ()


TWO: dict[str, Any] = {"scale": [1e-3] * 2, "offset": [0.0] * 2, "kinds": ["ecg"] * 2, "units": ["mV"] * 2}
"""Arrays that are right for two channels."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seg_start": [10.0], "seg_end": [0.0]}, "its part with the label 'rest' lasts from 10 to 0 s"),
        ({"seg_start": [np.nan]}, "its part with the label 'rest' lasts from nan to 10 s"),
        ({"seg_start": [0.0, 1.0]}, "its array seg_end has the shape (1,), expected (part 2)"),
        ({"seg_label": [1.5]}, "its array seg_label has the type float64, expected text"),
        ({"seg_label": [b"\xff"]}, "its array seg_label is no text in UTF-8"),
        ({"x": np.stack([LEAD]).astype(complex)}, "its array x has the type complex128, expected numbers"),
        ({"x": np.stack([LEAD > 0])}, "its array x has the type bool, expected numbers"),
        ({"x": LEAD}, f"its array x has the shape ({len(LEAD)},), expected (channel {len(LEAD)}, time)"),
        (
            {"x": np.stack([LEAD, LEAD]), "channels": ["I", "II"]},
            "array scale has the shape (1,), expected (channel 2)",
        ),
        ({"scale": [1.0, 2.0]}, "its array scale has the shape (2,), expected (channel 1)"),
        ({"offset": [1j]}, "its array offset has the type complex128, expected numbers"),
        ({"fs": [250.0, 500.0]}, "its array fs has the shape (2,), expected ()"),
        ({"fs": "250"}, "its array fs has the type <U3, expected numbers"),
        ({"x": np.array([["a"]])}, "its array x has the type <U1, expected numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    reason = str(item_of(tmp_path, **changes))
    assert message in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("x.npy", b"a second x", "the archive contains more than one array x"),
        ("x", b"a second x", "the archive contains more than one array x"),
        ("meta.npy", b"\x93NUMPY of no known version", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_is_there_once_and_other_members_are_not_read(
    tmp_path: Path, member: str, content: bytes, message: str | None
) -> None:
    item_of(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr(member, content)
    (item,) = READER.items(tmp_path, modality="ecg", settings=Folder())
    assert isinstance(item, Recording) if message is None else message in str(item)


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    item_of(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, content in (members | {"x.npy": b"no array"}).items():
            archive.writestr(name, content)
    (item,) = READER.items(tmp_path, modality="ecg", settings=Folder())
    assert "the archive is damaged: its member x is no array" in str(item)


def test_integers_do_not_wrap_around_and_bytes_are_text(tmp_path: Path) -> None:
    recording = item_of(
        tmp_path, scale=np.array([100], np.int16), channels=[b"II"], kinds=[b"ecg"], units=[b"uV"], seg_label=[b"rest"]
    )
    assert isinstance(recording, Recording)
    assert recording.signal[0] == pytest.approx(LEAD * 0.1)
    assert (recording.channels, recording.condition_of(0.0, end=10.0)) == (("II",), "rest")


def test_a_counter_is_no_lead_whatever_its_kind(tmp_path: Path) -> None:
    recording = item_of(tmp_path, x=np.stack([LEAD, np.arange(len(LEAD))]), channels=["II", "Sample Index"], **TWO)
    assert isinstance(recording, Recording)
    assert recording.channels == ("II",)
    assert recording.notes == ("column Sample Index was passed over: an index or counter",)
    recording = item_of(tmp_path, channels=["1"])
    assert isinstance(recording, Recording)
    assert recording.channels == ("1",), "the number of a channel"


def test_the_condition_of_the_manifest_replaces_the_labels_of_the_file_and_that_is_stated(tmp_path: Path) -> None:
    recording = item_of(tmp_path, header="file,subject,condition", line="a.npz,s1,stress")
    assert isinstance(recording, Recording)
    assert recording.condition_of(0.0, end=20.0) == "stress"
    assert recording.notes == ("manifest.csv states the condition stress: the labels rest in the file were not used",)
    recording = item_of(tmp_path, header="file,subject,condition", line="a.npz,s1,rest")
    assert isinstance(recording, Recording)
    assert (recording.condition_of(0.0, end=20.0), recording.notes) == ("rest", ())


@pytest.mark.parametrize(
    ("stated", "parts", "note"),
    [
        ("", [(0, 10, "rest"), (9.5, 20, "stress")], None),
        ("rest|stress", [(0, 10, "rest"), (10, 20, "stress")], None),
        (
            "rest|stress",
            [(0, 10, "rest")],
            "manifest.csv states the conditions rest, stress; the file has no part with the label stress",
        ),
        (
            "",
            [(0, 20, "film"), (8, 12, "scene")],
            "its parts with the labels film, scene overlap: segments in both have the first label of the file",
        ),
        ("", [(0, 10, "rest"), (20, 30, "late")], "its parts with the labels late lie outside its 20 s"),
    ],
)
def test_labels_of_parts_are_used_and_what_is_odd_is_stated(
    tmp_path: Path, stated: str, parts: list[tuple[float, float, str]], note: str | None
) -> None:
    starts, ends, labels = zip(*parts, strict=True)
    recording = item_of(
        tmp_path,
        header="file,subject,condition",
        line=f"a.npz,s1,{stated}",
        seg_start=starts,
        seg_end=ends,
        seg_label=labels,
    )
    assert isinstance(recording, Recording)
    assert recording.condition_of(0.0, end=5.0) == labels[0]
    assert recording.notes == ((note,) if note else ())


def test_two_columns_for_one_condition_must_agree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: condition is 'rest', but labels is 'stress'; state one"):
        item_of(tmp_path, header="file,subject,condition,labels", line="a.npz,s1,rest,stress")


def test_a_unit_of_the_manifest_that_is_not_known_is_stated(tmp_path: Path) -> None:
    recording = item_of(tmp_path, header="file,subject,units", line="a.npz,s1,mmHg", units=[""])
    assert isinstance(recording, Recording)
    assert not recording.calibrated
    assert recording.notes == (
        "manifest.csv states the unit mmHg, which is not known: the standard deviation was not checked",
    )
