import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from emotune.data.corpora.large_eeg_bci import NAME, READER, LargeEegBci, session_of
from emotune.data.corpora.reader import Item
from emotune.data.modality import TEN_CHANNELS
from emotune.data.recording import Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.brain import KAYA_COLUMNS, kaya_session, make_eeg, write_large_eeg_bci
from tests.data.examples.mat import cells

DASHED = "CLA-SubjectA-160108-3St-LRHand"


def read_all(folder: Path) -> list[Item]:
    return list(READER.items(folder, modality="eeg", settings=LargeEegBci()))


def write(file: Path, **fields: object) -> None:
    file.parent.mkdir(exist_ok=True)
    savemat(file, {"o": kaya_session(file.stem) | fields})


def test_each_file_is_a_session_at_its_own_rate(tmp_path: Path) -> None:
    items = read_all(write_large_eeg_bci(tmp_path))
    facts = [(item.subject, item.session, item.fs, item.seconds) for item in items if isinstance(item, Recording)]
    assert facts == [
        ("A", "5F-160408-5StSGLHandHFREQ", 1000, 12),
        ("A", "CLA-160108-3StLRHand", 200, 12),
        ("B", "HaLT-160223-6StLRHandLegTongue", 200, 12),
    ]


def test_old_names_of_electrodes_are_understood_and_references_not_taken(tmp_path: Path) -> None:
    write(tmp_path / f"{DASHED}.mat")
    (only,) = read_all(tmp_path)
    assert isinstance(only, Recording)
    assert only.channels == TEN_CHANNELS
    assert np.array_equal(only.signal, make_eeg(DASHED, channels=22, samples=2400)[KAYA_COLUMNS])
    assert only.calibrated is False


@pytest.mark.parametrize(
    ("name", "subject", "session"),
    [
        ("CLA-SubjectA-160108-3St-LRHand.mat", "A", "CLA-160108-3StLRHand"),
        ("CLASubjectA1601083StLRHand.mat", "A", "CLA-160108-3StLRHand"),
        ("CLA-SubjectJ-170504-3St-LRHand-Inter.mat", "J", "CLA-170504-3StLRHandInter"),
        ("5F-SubjectB-151110-5St-SGLHand.mat", "B", "5F-151110-5StSGLHand"),
        ("FREEFORMSubjectC1512102StLRHand.mat", "C", "FREEFORM-151210-2StLRHand"),
        ("NoMT-SubjectM.mat", "M", "NoMT"),
    ],
)
def test_both_ways_to_write_a_name_are_understood(name: str, subject: str, session: str) -> None:
    match = re.fullmatch(NAME, name)
    assert match
    assert (match["subject"], session_of(match)) == (subject, session)


def test_a_session_in_both_ways_to_write_its_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / f"{DASHED}.mat")
    write(tmp_path / "old/CLASubjectA1601083StLRHand.mat")
    with pytest.raises(DataError, match=r"are both session CLA-160108-3StLRHand of subject A; remove one of them"):
        read_all(tmp_path)


def test_a_second_download_is_refused(tmp_path: Path) -> None:
    write(tmp_path / f"{DASHED}.mat")
    shutil.copy(tmp_path / f"{DASHED}.mat", tmp_path / f"{DASHED} (1).mat")
    with pytest.raises(DataError, match=r"LRHand\.mat and .*LRHand \(1\)\.mat have the same content"):
        read_all(tmp_path)


def test_small_unsigned_numbers_do_not_overflow(tmp_path: Path) -> None:
    whole = np.clip(make_eeg("a", channels=22, samples=2400) + 128, 0, 255).astype(np.uint8)
    write(tmp_path / f"{DASHED}.mat", data=whole.T, sampFreq=np.uint8(200))
    (only,) = read_all(tmp_path)
    assert isinstance(only, Recording)
    assert only.signal.dtype == np.float64
    assert np.array_equal(only.signal * 3, whole[KAYA_COLUMNS] * 3.0)
    assert (only.fs * 2, only.seconds) == (400, 12)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": np.zeros((22, 2400))}, "o.data has shape 22 x 2400, where 22 columns were expected"),
        ({"nS": np.int32(2399)}, "o.data has 2400 samples, but its o.nS is 2399"),
        ({"sampFreq": np.uint16(0)}, "o.sampFreq is 0"),
        ({"sampFreq": "fast"}, "o.sampFreq is the text 'fast', where a number was expected"),
        ({"data": cells(["a"])}, "o.data is a cell array of 1"),
        (
            {"chnames": cells(["T\n3", *["A1"] * 21])},
            "it has no channel F7, F3, T7, P7, O1, O2, P8, T8, F4, F8; it has T?3, A1",
        ),
        ({"chnames": cells(["F7"])}, "o.data has shape 2400 x 22, where 1 columns were expected"),
    ],
)
def test_the_reason_says_what_is_wrong_with_a_session(tmp_path: Path, fields: dict[str, object], reason: str) -> None:
    write(tmp_path / f"{DASHED}.mat", **fields)
    (only,) = read_all(tmp_path)
    assert isinstance(only, UnreadableRecording)
    assert (only.subject, only.source) == ("A", f"{DASHED}.mat")
    assert only.reason.startswith(reason)


def test_a_file_that_is_no_struct_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / f"{DASHED}.mat", {"o": 3.0})
    (only,) = read_all(tmp_path)
    assert isinstance(only, UnreadableRecording)
    assert only.reason == "o is a 1 x 1 array of float64, where a struct with data was expected"


def test_a_folder_without_sessions_is_refused_in_a_line(tmp_path: Path) -> None:
    savemat(tmp_path / "other.mat", {"o": 1})
    with pytest.raises(DataError, match=r"contain no sessions of Large-EEG-BCI \(CLA-SubjectA"):
        read_all(tmp_path)
