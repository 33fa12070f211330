"""WFDB records: several samples per frame, segments, and all files that a record names."""

import re
from pathlib import Path

import numpy as np
import pytest

from emotune.data.corpora.folder import READER, Folder
from emotune.data.corpora.reader import Item
from emotune.data.formats.file import files_of, read_file
from emotune.data.prepare.prepare import PrepareOptions, plan_preparation
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import Recording, UnreadableRecording
from tests.data.examples.signals import heart, write_manifest


def write_record(folder: Path, *, frames: float, per_frame: int) -> np.ndarray:
    """Write ECG with several samples per frame beside a pressure with one; return the ECG in mV."""
    lead = heart(20, fs=frames * per_frame)
    count = len(lead) // per_frame
    lead = lead[: count * per_frame]
    pressure = 80 + 20 * np.sin(np.arange(count))
    digital = np.round(1000 * lead).reshape(count, per_frame)
    rows = np.concatenate([digital, np.round(10 * pressure)[:, None]], axis=1).astype("<i2")
    (folder / "a.dat").write_bytes(rows.tobytes())
    (folder / "a.hea").write_text(
        f"a 2 {frames:g} {count}\na.dat 16x{per_frame} 1000(0)/mV 16 0 0 0 0 II\na.dat 16 10(0)/mmHg 16 0 0 0 0 ABP\n"
    )
    return lead


def write_segments(folder: Path, *, layout: bool = True) -> np.ndarray:
    """Write a record of two segments with 20 s between them; return the ECG in mV with NaN between."""
    first, second = heart(30, fs=250, seed=1), heart(25, fs=250, seed=2)
    for name, lead in (("one", first), ("two", second)):
        (folder / f"{name}_signals.dat").write_bytes(np.round(200 * lead).astype("<i2").tobytes())
        (folder / f"{name}.hea").write_text(
            f"{name} 1 250 {len(lead)}\n{name}_signals.dat 16 200(0)/mV 16 0 0 0 0 MLII\n"
        )
    (folder / "m_layout.hea").write_text("m_layout 1 250 0\n~ 0 200(0)/mV 16 0 0 0 0 MLII\n")
    gap = 5000 if layout else 0
    segments = (["m_layout 0"] if layout else []) + ["one 7500", *([f"~ {gap}"] if gap else []), "two 6250"]
    (folder / "m.hea").write_text(f"m/{len(segments)} 1 250 {13750 + gap}\n" + "\n".join(segments) + "\n")
    return np.concatenate([first, np.full(gap, np.nan), second])


def write_variable(folder: Path, *, second: str = "two 1 250 6250", gain: str = "400/mV") -> np.ndarray:
    """Write a record with variable layout: two leads, then 20 s of nothing, then one lead with another gain.

    Returns:
        Lead II in mV.
    """
    first, last = heart(30, fs=250, seed=1), heart(25, fs=250, seed=2)
    resp = np.cos(np.arange(len(first)) / 50)
    (folder / "one.dat").write_bytes(np.stack([100 * resp, np.round(200 * first)], axis=1).astype("<i2").tobytes())
    (folder / "one.hea").write_text(
        "one 2 250 7500\none.dat 16 100/NU 16 0 0 0 0 RESP\none.dat 16 200/mV 16 0 0 0 0 II\n"
    )
    (folder / "two.dat").write_bytes(np.round(400 * last).astype("<i2").tobytes())
    (folder / "two.hea").write_text(f"{second}\ntwo.dat 16 {gain} 16 0 0 0 0 II\n")
    (folder / "layout.hea").write_text("layout 2 250 0\n~ 0 1/NU 16 0 0 0 0 II\n~ 0 1/NU 16 0 0 0 0 RESP\n")
    (folder / "a.hea").write_text("a/4 2 250 18750\nlayout 0\none 7500\n~ 5000\ntwo 6250\n")
    return np.concatenate([first, np.full(5000, np.nan), last])


def item_of(folder: Path, *, name: str = "a.hea") -> Item:
    write_manifest(folder, "file,subject", f"{name},s1")
    (item,) = READER.items(folder, modality="ecg", settings=Folder())
    return item


@pytest.mark.parametrize(("frames", "per_frame"), [(125, 4), (62.5, 4), (62.4725, 4), (360, 1), (100, 5)])
def test_each_signal_is_read_at_its_own_rate(tmp_path: Path, frames: float, per_frame: int) -> None:
    lead = write_record(tmp_path, frames=frames, per_frame=per_frame)
    recording = item_of(tmp_path)
    assert isinstance(recording, Recording)
    assert recording.fs == pytest.approx(frames * per_frame)
    assert recording.signal[0] == pytest.approx(lead, abs=1e-3)
    pressure = read_file(tmp_path / "a.hea").channels[1]
    assert (pressure.fs, len(pressure.samples)) == (frames, len(lead) // per_frame)


@pytest.mark.parametrize("layout", [True, False])
def test_segments_are_joined_with_what_is_missing_between_them(tmp_path: Path, layout: bool) -> None:
    lead = write_segments(tmp_path, layout=layout)
    recording = item_of(tmp_path, name="m.hea")
    assert isinstance(recording, Recording)
    assert recording.signal[0] == pytest.approx(lead, abs=5e-3, nan_ok=True)
    assert recording.gaps == (((30.0, 50.0),) if layout else ())


def test_all_files_that_a_record_names_are_part_of_its_fingerprint(tmp_path: Path) -> None:
    write_segments(tmp_path)
    write_manifest(tmp_path, "file,subject", "m.hea,s1")
    names = {path.name for path in files_of(tmp_path / "m.hea")}
    assert names == {"m.hea", "m_layout.hea", "one.hea", "two.hea", "one_signals.dat", "two_signals.dat"}

    def fingerprint() -> str:
        plan = plan_preparation(
            READER,
            folder=tmp_path,
            settings=PrepareSettings(),
            corpus_settings=Folder(),
            scratch=tmp_path,
            options=PrepareOptions(),
        )
        return plan.fingerprint

    before = fingerprint()
    for name in sorted(names):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-1] + b"7")
        assert fingerprint() != before, name
        (tmp_path / name).write_bytes(content)
    assert fingerprint() == before


def test_a_missing_segment_is_reported(tmp_path: Path) -> None:
    write_segments(tmp_path)
    (tmp_path / "two_signals.dat").unlink()
    item = item_of(tmp_path, name="m.hea")
    assert isinstance(item, UnreadableRecording)
    assert "cannot be read" in item.reason


@pytest.mark.parametrize("name", ["../outside.dat", "/etc/passwd"])
def test_files_outside_of_the_folder_are_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "outside.dat").write_bytes(bytes(10_000))
    (tmp_path / "corpus/a.hea").write_text(f"a 1 250 5000\n{name} 16 200(0)/mV 16 0 0 0 0 II\n")
    assert files_of(tmp_path / "corpus/a.hea") == [tmp_path / "corpus/a.hea"]
    assert isinstance(item_of(tmp_path / "corpus"), UnreadableRecording)


def test_segments_that_name_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "a.hea").write_text("a/2 1 250 10000\nb 5000\nb 5000\n")
    (tmp_path / "b.hea").write_text("b/2 1 250 10000\na 5000\na 5000\n")
    assert len(files_of(tmp_path / "a.hea")) == 2
    assert isinstance(item_of(tmp_path), UnreadableRecording)


def test_a_variable_layout_puts_each_lead_where_it_was_recorded(tmp_path: Path) -> None:
    lead = write_variable(tmp_path)
    recording = item_of(tmp_path)
    assert isinstance(recording, Recording)
    assert recording.channels == ("II",)
    assert recording.calibrated
    assert recording.signal[0] == pytest.approx(lead, abs=5e-3, nan_ok=True)
    assert recording.gaps == ((30.0, 50.0),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": "two 1 500 6250"}, "its segment two has 500 Hz, the record 250 Hz"),
        ({"gain": "0.4/uV"}, "its signal II is in mV in segment one, in uV in two"),
    ],
)
def test_segments_that_cannot_be_joined_are_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    write_variable(tmp_path, **changes)
    item = item_of(tmp_path)
    assert isinstance(item, UnreadableRecording)
    assert message in item.reason


def test_other_leads_in_a_segment_of_a_fixed_layout_are_refused(tmp_path: Path) -> None:
    write_segments(tmp_path, layout=False)
    (tmp_path / "two.hea").write_text((tmp_path / "two.hea").read_text().replace("MLII", "V1"))
    item = item_of(tmp_path, name="m.hea")
    assert isinstance(item, UnreadableRecording)
    assert "its segments hold other signals: one has MLII, two has V1" in item.reason


@pytest.mark.parametrize("signal", ["a.dat 16 0 16 0 0 0 0 II", "a.dat 16 0/mV 16 0 0 0 0 II", "a.dat 16"])
def test_a_gain_of_zero_or_none_means_200_per_millivolt(tmp_path: Path, signal: str) -> None:
    """WFDB Applications Guide, header(5): the default gain is 200 ADC units per physical unit, and the unit mV."""
    lead = heart(20, fs=250)
    (tmp_path / "a.dat").write_bytes(np.round(200 * lead).astype("<i2").tobytes())
    (tmp_path / "a.hea").write_text(f"a 1 250 {len(lead)}\n{signal}\n")
    write_manifest(tmp_path, "file,subject,modality", "a.hea,s1,ecg")
    (recording,) = READER.items(tmp_path, modality="ecg", settings=Folder())
    assert isinstance(recording, Recording)
    assert recording.calibrated
    assert recording.signal[0] == pytest.approx(lead, abs=5e-3)


def test_signals_without_names_are_listed_with_the_way_to_read_them(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(10_000))
    (tmp_path / "a.hea").write_text("a 1 250 5000\na.dat 16\n")
    item = item_of(tmp_path)
    assert isinstance(item, UnreadableRecording)
    assert item.reason.endswith(
        "(unnamed) (not recognised); state modality ecg for it in manifest.csv, or name its channels there"
    )


@pytest.mark.parametrize("line", ["a.dat 16 0(0)/mV 16 0 0 0 0 II", "a.dat 16 0 16 0 0 0 0 II", "a.dat 16"])
def test_a_gain_that_is_assumed_is_stated(tmp_path: Path, line: str) -> None:
    lead = np.round(1000 * heart(20, fs=250)).astype("<i2")
    (tmp_path / "a.dat").write_bytes(lead.tobytes())
    (tmp_path / "a.hea").write_text(f"# a comment\na 1 250 {len(lead)}\n{line}\n")
    content = read_file(tmp_path / "a.hea")
    name = content.channels[0].name or "1 (unnamed)"
    assert content.notes == (f"signal {name} has no gain in the header: 200 units per mV were assumed",)


@pytest.mark.parametrize("layout", [True, False])
def test_a_gain_that_is_assumed_in_a_segment_is_stated(tmp_path: Path, layout: bool) -> None:
    write_segments(tmp_path, layout=layout)
    header = tmp_path / "two.hea"
    header.write_text(re.sub(r"16 [\d.]+(\(\d+\))?/mV", "16 0/mV", header.read_text(), count=1))
    name = read_file(tmp_path / "m.hea").channels[0].name
    content = read_file(tmp_path / "m.hea")
    assert content.notes == (f"signal {name} has no gain in the header: 200 units per mV were assumed",)
