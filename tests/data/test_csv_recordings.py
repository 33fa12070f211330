"""CSV recordings: a column is never shifted, re-interpreted, or taken for a lead in silence."""

import datetime
import warnings
from pathlib import Path

import numpy as np
import pytest

from emotune.data.corpora.folder import READER, Folder
from emotune.data.corpora.reader import Item
from emotune.data.formats.csv_signals import read_csv
from emotune.data.modality import Modality
from emotune.data.prepare.single import read_single
from emotune.data.recording import Recording
from emotune.errors import DataError
from tests.data.examples.signals import TEN, brain, heart, write_csv, write_manifest

FS = 250.0
SECONDS = 20
LEAD = heart(SECONDS, fs=FS)
COUNT = len(LEAD)
TIME = np.arange(COUNT) / FS
LINES = [f"{value:.4f}" for value in LEAD]


def item_of(
    folder: Path, *, modality: Modality = "ecg", line: str = "a.csv,s1", header: str = "", **given: object
) -> Item:
    columns = "file,subject,fs" + (f",{header}" if header else "")
    first, _, others = line.partition(";")
    write_manifest(folder, columns, f"{first},{FS}" + (f",{others}" if header else ""))
    (item,) = READER.items(folder, modality=modality, settings=Folder.model_validate(given))
    return item


def recording_in(folder: Path, **options: object) -> Recording:
    item = item_of(folder, **options)  # pyright: ignore[reportArgumentType]
    assert isinstance(item, Recording), item
    return item


def reason(folder: Path, **options: object) -> str:
    item = item_of(folder, **options)  # pyright: ignore[reportArgumentType]
    assert not isinstance(item, Recording), item.channels
    assert "\n" not in item.reason
    return item.reason


def write(folder: Path, text: str, *, encoding: str = "utf-8") -> None:
    (folder / "a.csv").write_bytes(text.encode(encoding))


def lines(*columns: list[str], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in zip(*columns, strict=True))


OTHER = [f"{value:.3f}" for value in np.sin(TIME)]
COMMAS = [line.replace(".", ",") for line in LINES]

READABLE = {
    "trailing delimiter in all lines": "ECG,RESP,\n" + lines(LINES, OTHER, [""] * COUNT),
    "trailing delimiter in data lines": "ECG,RESP\n" + lines(LINES, OTHER, [""] * COUNT),
    "trailing delimiter in the names": "ECG,RESP,\n" + lines(LINES, OTHER),
    "decimal comma in the only column": "ECG\n" + lines(COMMAS),
    "decimal comma, semicolons": "RESP;ECG\n" + lines(OTHER, COMMAS, delimiter=";"),
    "decimal comma in quotes": "RESP,ECG\n" + lines(OTHER, [f'"{text}"' for text in COMMAS]),
    "semicolons": "ECG;RESP\n" + lines(LINES, OTHER, delimiter=";"),
    "tabs": "ECG\tRESP\n" + lines(LINES, OTHER, delimiter="\t"),
    "vertical bars": "ECG|RESP\n" + lines(LINES, OTHER, delimiter="|"),
    "blanks": "ECG RESP\n" + lines(LINES, OTHER, delimiter="  "),
    "blanks after commas": "ECG, RESP\n" + lines(LINES, OTHER, delimiter=", "),
    "quoted names and numbers": '"RESP","ECG"\n'
    + lines([f'"{text}"' for text in OTHER], [f'"{text}"' for text in LINES]),
    "a delimiter in a quoted name": '"RESP, chest",ECG\n' + lines(OTHER, LINES),
    "byte order mark": "\ufeffECG,RESP\n" + lines(LINES, OTHER),
    "Windows line ends": "ECG,RESP\r\n" + lines(LINES, OTHER, end="\r\n"),
    "line ends written twice": "ECG,RESP\r\r\n" + lines(LINES, OTHER, end="\r\r\n"),
    "old Macintosh line ends": "ECG,RESP\r" + lines(LINES, OTHER, end="\r"),
    "empty lines at the end": "ECG,RESP\n" + lines(LINES, OTHER) + "\n\n",
    "comments before the names": "%OpenBCI Raw EXG Data\n%Sample Rate = 250 Hz\nECG,RESP\n" + lines(LINES, OTHER),
    "names in a comment": "# ECG,RESP\n" + lines(LINES, OTHER),
    "Excel's line of the separator": "sep=;\nECG;RESP\n" + lines(LINES, OTHER, delimiter=";"),
    "unit after the name": "RESP,ECG (mV)\n" + lines(OTHER, LINES),
}


@pytest.mark.parametrize("kind", READABLE)
def test_a_table_that_can_be_read_in_one_way_gives_the_numbers_in_it(tmp_path: Path, kind: str) -> None:
    write(tmp_path, READABLE[kind])
    recording = recording_in(tmp_path)
    assert recording.channels[0].startswith("ECG")
    assert recording.signal[0] == pytest.approx(np.round(LEAD, 4))
    assert ("decimal commas were read in column ECG" in recording.notes) == kind.startswith("decimal comma")
    assert recording.calibrated == (kind == "unit after the name")


def test_utf_16_and_latin_1_are_read(tmp_path: Path) -> None:
    for encoding, name in (("utf-16", "ECG (µV)"), ("latin-1", "ECG (µV)"), ("utf-8", "ECG (µV)")):
        write(tmp_path, f"{name},RESP\n" + lines([f"{1000 * value:.1f}" for value in LEAD], OTHER), encoding=encoding)
        recording = recording_in(tmp_path)
        assert recording.calibrated
        assert recording.signal[0] == pytest.approx(LEAD, abs=1e-4)


REFUSED = {
    "a name is missing at the end": (
        "RESP,ECG\n" + lines(OTHER, LINES, OTHER),
        "line 2 has 3 fields, but the first line has 2 names",
    ),
    "a name is missing at the start": (
        "ECG\n" + lines(OTHER, LINES),
        "line 2 has 2 fields, but the first line has 1 name;",
    ),
    "a name is empty": ("RESP,,ECG\n" + lines(OTHER, OTHER, LINES), "column 2 of 3 has no name"),
    "the last name is empty": ("ECG,RESP,\n" + lines(LINES, OTHER, OTHER), "column 3 of 3 has no name"),
    "a decimal comma between commas": ("RESP,ECG\n" + lines(OTHER, COMMAS), "line 2 has 3 fields"),
    "a line is longer": (
        "ECG,RESP\n" + lines(LINES[:99], OTHER[:99]) + "1,2,3\n" + lines(LINES, OTHER),
        "line 101 has 3 fields",
    ),
    "a line is shorter": (
        "ECG,RESP\n" + lines(LINES[:99], OTHER[:99]) + "1\n" + lines(LINES, OTHER),
        "line 101 has 1 fields",
    ),
    "a line is empty": ("ECG,RESP\n" + lines(LINES[:99], OTHER[:99]) + "\n" + lines(LINES, OTHER), "line 101 is empty"),
    "no names": (lines(LINES, OTHER), "it has no names in the first line, but "),
    "no names, with dates": ("2024-03-01 10:00:00,0.1\n" * 20, "it has no names in the first line"),
    "no names, with decimal commas": (lines(COMMAS, COMMAS, delimiter=";"), "it has no names in the first line"),
    "thousands or decimals": (
        "ECG;RESP\n" + "1,234;2\n-3,456;3\n" * 200,
        "column ECG holds '1,234': thousands or decimals",
    ),
    "points and commas": ("ECG;RESP\n" + "1.234;0,12\n2.345;0,25\n" * 200, "thousands or decimals"),
    "two whole numbers or decimals": (
        "ECG\n" + "12,34\n15,67\n" * 200,
        "line 2 has 2 fields, but the first line has 1 name",
    ),
    "a word": (
        "ECG,RESP\n" + lines(LINES, OTHER) + "off,1\n",
        "column ECG contains values that are not numbers: 'off' in line 5002",
    ),
    "an unclosed quote": ('ECG,RESP\n"' + lines(LINES, OTHER), "it is not a table of numbers"),
    "NUL characters": ("ECG,RESP\n\0\0\n", "it holds NUL characters"),
    "names only": ("ECG,RESP\n", "it has no other line"),
    "nothing": ("", "it is empty"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_table_that_could_be_read_wrongly_is_refused_with_its_line(tmp_path: Path, kind: str) -> None:
    text, message = REFUSED[kind]
    write(tmp_path, text)
    assert message in reason(tmp_path)


def test_the_last_line_may_be_incomplete_and_is_named(tmp_path: Path) -> None:
    write(tmp_path, "RESP,ECG\n" + lines(OTHER, LINES) + "0.12")
    recording = recording_in(tmp_path)
    assert recording.signal.shape == (1, COUNT)
    assert recording.notes == (f"its last line, {COUNT + 2}, is incomplete and was dropped",)


def test_missing_values_are_gaps_and_not_shifts(tmp_path: Path) -> None:
    texts = LINES.copy()
    for position, missing in enumerate(("", "NaN", "NA", "null", "#N/A"), start=1000):
        texts[position] = missing
    write(tmp_path, "ECG,RESP\n" + lines(texts, OTHER))
    assert np.flatnonzero(np.isnan(recording_in(tmp_path).signal[0])).tolist() == list(range(1000, 1005))
    write(tmp_path, "ECG\n" + lines(texts))
    assert np.isnan(recording_in(tmp_path).signal[0, 1000:1005]).all()


INDEXES = {
    "Unnamed: 0": np.arange(COUNT),
    "": np.arange(COUNT),
    "Sample Index": np.arange(COUNT) % 256,
    "sample": np.arange(COUNT),
    "n": np.arange(COUNT),
    "#": np.arange(COUNT),
    "PacketCounter": np.arange(COUNT) // 8 % 100,
    "timestamp": 1709287200 + TIME,
    "Time (s)": TIME,
    "time_ms": 1000 * TIME,
    "elapsed": TIME,
    "lsl_timestamps": 83000 + TIME,
    "Marker": np.zeros(COUNT),
    "Accel X": np.random.default_rng(0).normal(size=COUNT),
    "Temp": 36 + 0.1 * np.sin(TIME),
    "heart_rate": 60 + np.sin(TIME),
    "whatever": 7 + 0.004 * np.arange(COUNT),
    "wraps": np.arange(COUNT) % 200,
    "countdown": 10_000 - np.arange(COUNT),
    "steps": np.arange(COUNT) // 100,
    "trig": np.arange(COUNT) % 1000 < 5,
    "button": (np.arange(COUNT) % 1000 < 5).astype(float),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_counters_and_times_are_no_leads_even_where_the_manifest_states_the_modality(
    tmp_path: Path, name: str
) -> None:
    write_csv(tmp_path / "a.csv", {name: INDEXES[name], "EXG 1": 1000 * LEAD}, timestamp="{:.6f}")
    recording = recording_in(tmp_path, header="modality", line="a.csv,s1;ecg")
    assert recording.channels == ("EXG 1",)
    assert any(f"column {name or '1 (unnamed)'} was passed over: " in note for note in recording.notes)


@pytest.mark.parametrize("kind", ["number", "recorded", "text"])
def test_a_name_that_is_given_is_taken_as_given(tmp_path: Path, kind: str) -> None:
    write_csv(tmp_path / "a.csv", {"Sample Index": np.arange(COUNT) % 256, "EXG 1": LEAD, "EXG 2": -LEAD})
    names = {"number": ["Sample Index"], "recorded": ["EXG 2", "EXG 1"], "text": ["EXG 1"]}[kind]
    recording = recording_in(tmp_path, ecg_channels=names)
    assert recording.channels == tuple(names)


def test_a_column_of_words_beside_the_signal_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "phase,ECG\n" + lines(["rest"] * COUNT, LINES))
    assert recording_in(tmp_path).channels == ("ECG",)


def test_a_time_column_that_contradicts_the_rate_is_refused(tmp_path: Path) -> None:
    for name, stamps, shown in (
        ("time", 2 * TIME, "125 Hz in seconds"),
        ("time_ms", 2000 * TIME, "125 Hz"),
        ("timestamp", 1709287200 + TIME * 250 / 256, "256 Hz"),
        ("t", 0.9 * TIME, "277.778 Hz"),
        ("Index(ms)", 2000 * TIME, "125 Hz"),
        ("Zeit", 2 * TIME, "125 Hz in seconds"),
    ):
        write_csv(tmp_path / "a.csv", {name: stamps, "ECG": LEAD}, **{name: "{:.6f}"})
        message = reason(tmp_path)
        assert message.startswith(f"its column {name} shows a sampling rate of {shown}")
        assert "but 250 Hz was stated" in message


@pytest.mark.parametrize(
    "unit", ["time", "time_ms", "t [us]", "Timestamp (ns)", "datetime", "rounded", "packets", "jitter"]
)
def test_a_time_column_that_agrees_with_the_rate_changes_nothing(tmp_path: Path, unit: str) -> None:
    start = datetime.datetime(2024, 3, 1, 10, tzinfo=datetime.UTC)
    random = np.random.default_rng(0)
    texts = {
        "time": [f"{value:.4f}" for value in TIME],
        "time_ms": [f"{1e3 * value:.1f}" for value in TIME],
        "t [us]": [f"{1e6 * value:.0f}" for value in TIME],
        "Timestamp (ns)": [f"{1e9 * value:.0f}" for value in TIME],
        "datetime": [(start + datetime.timedelta(seconds=value)).isoformat() for value in TIME],
        "rounded": [f"{value:.3f}" for value in TIME * 250 / 250.4],
        "packets": [f"{value:.3f}" for value in TIME[np.arange(COUNT) // 10 * 10]],
        "jitter": [f"{value:.4f}" for value in np.maximum.accumulate(TIME + random.uniform(0, 0.01, COUNT))],
    }[unit]
    name = unit if unit not in {"rounded", "packets", "jitter"} else "timestamp"
    write(tmp_path, f"{name},ECG\n" + lines(texts, LINES))
    recording = recording_in(tmp_path)
    assert recording.signal.shape == (1, COUNT)
    assert recording.gaps == ()


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("packet", [1, 10])
def test_a_hole_in_the_time_column_becomes_a_gap_of_its_length(tmp_path: Path, unit: int, packet: int) -> None:
    kept = np.r_[0:1500, 2500:3000, 3100:COUNT]
    stamps = unit * TIME[kept // packet * packet]
    write_csv(tmp_path / "a.csv", {"time": stamps, "ECG": LEAD[kept]}, ECG="{:.4f}")
    recording = recording_in(tmp_path)
    assert recording.gaps == ((6.0, 10.0), (12.0, 12.4))
    missing = np.isnan(recording.signal[0])
    assert np.flatnonzero(~missing).tolist() == kept.tolist()
    assert recording.signal[0, kept] == pytest.approx(np.round(LEAD[kept], 4))


def test_time_that_goes_back_is_refused(tmp_path: Path) -> None:
    stamps = np.concatenate([TIME[:2500], TIME[1000:3500]])
    write_csv(tmp_path / "a.csv", {"time": stamps, "ECG": LEAD})
    assert "its column time goes back from 9.996 to 4" in reason(tmp_path)


def test_time_that_starts_again_every_second_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {"time": TIME % 1, "ECG": LEAD})
    assert "its column time does not rise" in reason(tmp_path)


def test_a_clock_that_is_set_during_the_recording_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {"time": TIME + 1.7e9 * (TIME > 5), "ECG": LEAD}, time="{:.3f}")
    assert "holes of more than a day" in reason(tmp_path)


def test_the_rate_that_a_time_column_shows_is_proposed_where_none_is_stated(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {"time_ms": 1000 * TIME, "ECG": LEAD})
    write_manifest(tmp_path, "file,subject", "a.csv,s1")
    (item,) = READER.items(tmp_path, modality="ecg", settings=Folder())
    assert str(item).endswith("give it in the column fs of manifest.csv; its column time_ms shows 250 Hz")


def test_the_same_lead_twice_is_refused_with_both_names(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {"ECG II": LEAD, "Lead II": -LEAD})
    assert reason(tmp_path).startswith("its channels ECG II and Lead II are the same ECG channel, II; ")
    write(tmp_path, "ECG,ECG\n" + lines(LINES, OTHER))
    assert reason(tmp_path).startswith("its channels ECG and ECG are the same")
    renamed = recording_in(tmp_path, header="modality,channels", line="a.csv,s1;ecg,left|right")
    assert renamed.channels == ("left", "right")


def test_channel_names_of_the_manifest_may_leave_out_the_index_or_name_it(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {"": np.arange(COUNT), "A": LEAD, "B": -LEAD})
    for names in ("left|right", "index|left|right"):
        recording = recording_in(tmp_path, header="modality,channels", line=f"a.csv,s1;ecg,{names}")
        assert recording.channels == ("left", "right")
        assert recording.signal[0] == pytest.approx(LEAD, abs=1e-5)
    message = reason(tmp_path, header="modality,channels", line="a.csv,s1;ecg,left")
    assert message == "it has 2 channels, A, B (passed over: 1 (unnamed)), but manifest.csv names 1"


def test_channels_of_the_other_modality_are_not_taken_where_the_manifest_states_one(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {"ECG": LEAD} | dict(zip(TEN, brain(SECONDS, fs=FS), strict=True)))
    assert recording_in(tmp_path, header="modality", line="a.csv,s1;ecg").channels == ("ECG",)
    assert "it has" in reason(tmp_path, header="modality", line="a.csv,s1;ecg", modality="eeg")


@pytest.mark.parametrize("kind", ["counter", "decimal comma", "more fields", "hole", "contradiction"])
def test_predict_reads_a_table_as_the_manifest_does(tmp_path: Path, kind: str) -> None:
    texts = {
        "counter": "Sample Index,ECG\n" + lines([str(number % 256) for number in range(COUNT)], LINES),
        "decimal comma": READABLE["decimal comma, semicolons"],
        "more fields": "ECG,RESP\n" + lines(LINES, OTHER, OTHER),
        "hole": "time,ECG\n" + lines([f"{value + 4 * (value > 6):.3f}" for value in TIME], LINES),
        "contradiction": "time,ECG\n" + lines([f"{2 * value:.3f}" for value in TIME], LINES),
    }
    write(tmp_path, texts[kind])
    item = item_of(tmp_path)
    if isinstance(item, Recording):
        recording = read_single(tmp_path / "a.csv", modality="ecg", fs=FS)
        assert np.array_equal(recording.signal, item.signal, equal_nan=True)
        assert (recording.channels, recording.notes, recording.gaps) == (item.channels, item.notes, item.gaps)
    else:
        with pytest.raises(DataError) as caught:
            read_single(tmp_path / "a.csv", modality="ecg", fs=FS)
        assert str(caught.value) == f"{tmp_path / 'a.csv'}: {item.reason}"


def test_no_warning_of_pandas_is_printed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,ECG\ns,mV\n" + "".join(f"{i},{i % 7}\n" for i in range(30)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="column ECG contains values that are not numbers: 'mV' in line 2"):
            read_csv(tmp_path / "a.csv")
