from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from emotune.data.corpora.reader import Item
from emotune.data.corpora.way_eeg_gal import READER, WayEegGal
from emotune.data.modality import TEN_CHANNELS
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.brain import WAY_COLUMNS, WAY_NAMES, make_eeg, way_series, write_way_eeg_gal
from tests.data.examples.mat import cells, save_73


def read_all(folder: Path, **given: float) -> list[Item]:
    return list(READER.items(folder, modality="eeg", settings=WayEegGal.model_validate(given)))


def test_each_series_is_a_session_in_the_order_of_numbers(tmp_path: Path) -> None:
    items = read_all(write_way_eeg_gal(tmp_path))
    facts = [(item.subject, item.session, item.fs, item.source) for item in items if isinstance(item, Recording)]
    assert facts == [
        ("P1", "S1", 500, "P1/HS_P1_S1.mat"),
        ("P1", "S2", 500, "P1/HS_P1_S2.mat"),
        ("P10", "S1", 500, "P10/HS_P10_S1.mat"),
    ]


def test_version_7_3_gives_the_same(tmp_path: Path) -> None:
    savemat(tmp_path / "HS_P1_S1.mat", {"hs": way_series("P1_S1")})
    save_73(tmp_path / "HS_P1_S2.mat", {"hs": way_series("P1_S1")})
    older, newer = read_all(tmp_path)
    assert isinstance(older, Recording)
    assert isinstance(newer, Recording)
    assert np.array_equal(newer.signal, older.signal)
    assert newer.fs == older.fs


@pytest.mark.parametrize(("settings", "factor"), [({}, 0.1), ({"microvolts_per_unit": 1.0}, 1.0)])
def test_a_unit_is_a_tenth_of_a_microvolt(tmp_path: Path, settings: dict[str, float], factor: float) -> None:
    first = read_all(write_way_eeg_gal(tmp_path), **settings)[0]
    written = make_eeg("P1_S1", channels=32, samples=6000, spread=200)
    assert isinstance(first, Recording)
    assert first.channels == TEN_CHANNELS
    assert first.calibrated
    assert np.array_equal(first.signal, written[WAY_COLUMNS] * factor)


def test_series_cut_into_lifts_and_tables_are_passed_over_and_counted(tmp_path: Path) -> None:
    write_way_eeg_gal(tmp_path)
    for name in ("WS_P1_S1", "WS_P1_S2", "HS_P1_ST", "P1_AllLifts"):
        savemat(tmp_path / "P1" / f"{name}.mat", {"hs": way_series("P1_S1")})
    items = read_all(tmp_path)
    assert [str(item) for item in items if isinstance(item, ExcludedData)] == [
        "2 files WS_*.mat: the series of HS_*.mat again, cut into lifts",
        "1 file HS_*_ST.mat: the EEG of HS_*_S*.mat again",
        "1 file *_AllLifts.mat: times of lifts, no signals",
    ]
    assert sum(isinstance(item, Recording) for item in items) == 3


def test_channels_are_found_by_name_wherever_they_are(tmp_path: Path) -> None:
    series = way_series("P1_S1")
    order = np.random.default_rng(0).permutation(32)
    series["eeg"] |= {
        "names": cells([WAY_NAMES.split()[place] for place in order], column=True),
        "sig": series["eeg"]["sig"][:, order],
    }
    savemat(tmp_path / "HS_P1_S1.mat", {"hs": series})
    (only,) = read_all(tmp_path)
    assert isinstance(only, Recording)
    assert np.array_equal(only.signal, make_eeg("P1_S1", channels=32, samples=6000, spread=200)[WAY_COLUMNS] * 0.1)


def without(place: str) -> Callable[[dict], None]:
    def take_away(series: dict) -> None:
        del series[place]

    return take_away


def with_eeg(**fields: object) -> Callable[[dict], None]:
    return lambda series: series["eeg"].update(fields)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("eeg"), "there is no eeg in hs; there is name, participant, series"),
        (with_eeg(sig=np.zeros((32, 6000))), "hs.eeg.sig has shape 32 x 6000, where 32 columns were expected"),
        (with_eeg(sig="none"), "hs.eeg.sig is the text 'none', where a matrix of numbers was expected"),
        (with_eeg(sig=np.zeros((0, 0))), "hs.eeg.sig has shape 0 x 0"),
        (with_eeg(names=cells(["F7"] * 32)), "it has no channel F3, T7, P7"),
        (with_eeg(names=np.zeros((1, 32))), "hs.eeg.names is a 1 x 32 array of float64, where a cell array of names"),
        (with_eeg(samplingrate=0.0), "hs.eeg.samplingrate is 0, where a sampling rate above 0 Hz"),
        (with_eeg(samplingrate=np.zeros((0, 0))), "hs.eeg.samplingrate is a 0 x 0 array of float64"),
        (with_eeg(samplingrate=np.nan), "hs.eeg.samplingrate is nan"),
    ],
)
def test_what_is_wrong_with_a_series_is_reported_and_the_next_one_read(
    tmp_path: Path, change: Callable[[dict], None], reason: str
) -> None:
    write_way_eeg_gal(tmp_path)
    series = way_series("P1_S1")
    change(series)
    savemat(tmp_path / "P1/HS_P1_S1.mat", {"hs": series})
    bad, *good = read_all(tmp_path)
    assert isinstance(bad, UnreadableRecording)
    assert (bad.subject, bad.source) == ("P1", "P1/HS_P1_S1.mat")
    assert bad.reason.startswith(reason)
    assert all(isinstance(item, Recording) for item in good)
    assert len(good) == 2


def test_a_file_without_the_series_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "HS_P1_S1.mat", {"ws": way_series("P1_S1")})
    (only,) = read_all(tmp_path)
    assert isinstance(only, UnreadableRecording)
    assert "no variable hs" in only.reason


def test_a_folder_with_nothing_but_lifts_is_refused_in_a_line(tmp_path: Path) -> None:
    savemat(tmp_path / "WS_P1_S1.mat", {"ws": 1})
    with pytest.raises(DataError, match=r"contain no series of WAY-EEG-GAL \(HS_P1_S1\.mat .*unpack P1\.zip"):
        read_all(tmp_path)
