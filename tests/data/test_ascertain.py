from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from emotune.data.corpora.ascertain import READER, Ascertain, rate_of_stamps
from emotune.data.corpora.reader import Item
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.emotion import clip_of_ascertain, grades, save_clip, write_ascertain
from tests.data.examples.mat import save_73
from tests.data.examples.tables import TABLES, Table, save_csv

CLIP = "ASCERTAIN_Raw/ECGData/Movie_P01/ECG_Clip2.mat"


def read_all(folder: Path, **chosen: object) -> list[Item]:
    return list(READER.items(folder, modality="ecg", settings=Ascertain.model_validate(chosen)))


def recordings(items: list[Item]) -> dict[tuple[str, str], Recording]:
    return {(item.subject, item.session): item for item in items if isinstance(item, Recording)}


def omitted(items: list[Item]) -> list[ExcludedData]:
    return [item for item in items if isinstance(item, ExcludedData)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Subjects 1 (3 columns) and 9 (6 columns) with clips 1 and 2."""
    folder = tmp_path / "ascertain"
    folder.mkdir()
    return write_ascertain(folder)


def rate(corpus: Path, ratings: np.ndarray) -> None:
    savemat(corpus / "ASCERTAIN_Features" / "Dt_SelfReports.mat", {"Ratings": ratings})


def test_each_clip_is_a_recording(corpus: Path) -> None:
    clips = recordings(read_all(corpus))
    assert list(clips) == [("P01", "1"), ("P01", "2"), ("P09", "1"), ("P09", "2")]
    assert clips["P01", "2"].source == CLIP
    assert {(item.fs, item.channels) for item in clips.values()} == {(256, ("ECG 1", "ECG 2"))}


@pytest.mark.parametrize(("columns", "places"), [(3, [1, 2]), (4, [1, 2]), (5, [1, 2]), (6, [4, 5])], ids=str)
def test_the_number_of_columns_decides_which_are_leads(corpus: Path, columns: int, places: list[int]) -> None:
    content = clip_of_ascertain("any", columns=columns)
    save_clip(corpus, 1, 2, content)
    assert np.array_equal(recordings(read_all(corpus))["P01", "2"].signal, content["Data_ECG"][:, places].T)


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_another_number_of_columns_is_reported_and_the_others_are_read(corpus: Path, columns: int) -> None:
    save_clip(corpus, 1, 2, {"Data_ECG": np.ones((3000, columns))})
    items = read_all(corpus)
    (wrong,) = (item for item in items if isinstance(item, UnreadableRecording))
    assert (wrong.subject, wrong.source) == ("P01", CLIP)
    assert wrong.reason == f"Data_ECG is a 3000 x {columns} array of float64, where 3 to 6 columns were expected"
    assert len(recordings(items)) == 3


def test_version_7_3_is_read_alike(corpus: Path) -> None:
    content = clip_of_ascertain("any", columns=6)
    save_73(corpus / CLIP, content)
    assert np.array_equal(recordings(read_all(corpus))["P01", "2"].signal, content["Data_ECG"][:, 4:].T)


def test_nan_is_handed_over(corpus: Path) -> None:
    content = clip_of_ascertain("any", columns=3)
    content["Data_ECG"][100:200] = np.nan
    save_clip(corpus, 1, 2, content)
    assert np.flatnonzero(np.isnan(recordings(read_all(corpus))["P01", "2"].signal[1])).tolist() == [*range(100, 200)]


def test_time_stamps_of_another_rate_are_reported(corpus: Path) -> None:
    content = clip_of_ascertain("any", columns=3)
    content["Data_ECG"][:, 0] *= 2
    save_clip(corpus, 1, 2, content)
    (wrong,) = (item for item in read_all(corpus) if isinstance(item, UnreadableRecording))
    assert wrong.reason == "the rate of its time stamps is 128 Hz, where 256 Hz was expected"


STAMPS = 1000 / 256 * np.arange(2560)


@pytest.mark.parametrize(
    "stamps",
    [
        STAMPS,
        STAMPS + 1.4e12,
        np.floor(STAMPS),
        1.015 * STAMPS,
        np.where(STAMPS > 5000, STAMPS + 60_000, STAMPS),
        np.where(STAMPS > 9000, np.nan, STAMPS),
    ],
    ids=["exact", "since 1970", "whole milliseconds", "1.5 % slow", "a gap of a minute", "some missing"],
)
def test_time_stamps_may_be_rounded_or_have_gaps(stamps: np.ndarray) -> None:
    assert rate_of_stamps(stamps) == pytest.approx(256, rel=0.02)


@pytest.mark.parametrize("stamps", [np.full(100, np.nan), np.zeros(100), np.zeros(1), np.zeros(0)])
def test_time_stamps_that_do_not_rise_show_no_rate(stamps: np.ndarray) -> None:
    assert np.isnan(rate_of_stamps(stamps))


def test_arousal_is_the_first_question_and_valence_the_second(corpus: Path) -> None:
    ratings = np.full((5, 58, 36), 3.0)
    ratings[:, 8, 1] = 5, -2, 6, 6, 6
    rate(corpus, ratings)
    rated = recordings(read_all(corpus))["P09", "2"]
    assert rated.ratings == {"arousal": 5, "valence": -2}
    assert rated.scales == {"arousal": (0, 6), "valence": (-3, 3)}


def test_scales_can_be_set(corpus: Path) -> None:
    rate(corpus, np.full((5, 58, 36), 7.0))
    rated = recordings(read_all(corpus, arousal_scale=(1, 7), valence_scale=(1, 7)))["P09", "2"]
    assert rated.ratings == {"arousal": 7, "valence": 7}
    assert rated.scales == {"arousal": (1, 7), "valence": (1, 7)}


def test_ratings_that_are_missing_or_outside_their_scale_are_left_out(corpus: Path) -> None:
    ratings = np.full((5, 58, 36), 3.0)
    ratings[0, 0, 0], ratings[1, 0, 0] = np.nan, -4
    rate(corpus, ratings)
    items = read_all(corpus)
    assert len(recordings(items)) == 4
    assert recordings(items)["P01", "1"].ratings == {}
    clip = "ASCERTAIN_Raw/ECGData/Movie_P01/ECG_Clip1.mat"
    assert [(item.source, item.reason) for item in omitted(items)] == [
        (f"{clip}, arousal", "a rating is missing; the recording is kept"),
        (f"{clip}, valence -4", "a rating is outside its scale, -3 to 3; the recording is kept"),
    ]


def test_subjects_beyond_the_table_have_no_ratings(corpus: Path) -> None:
    rate(corpus, np.full((5, 8, 36), 3.0))
    items = read_all(corpus)
    assert len(omitted(items)) == 4
    assert not recordings(items)["P09", "1"].ratings


def test_without_a_table_of_ratings_signals_are_read(corpus: Path) -> None:
    (corpus / "ASCERTAIN_Features" / "Dt_SelfReports.mat").unlink()
    first, *others = read_all(corpus)
    assert first == ExcludedData(
        subject="", source="Dt_SelfReports.mat", reason="not found: recordings have no ratings"
    )
    assert len(recordings(others)) == len(others) == 4


@pytest.mark.parametrize("ratings", [np.ones((58, 36)), np.ones((6, 58, 36)), "text"])
def test_a_table_of_ratings_of_another_shape_is_reported(corpus: Path, ratings: np.ndarray) -> None:
    rate(corpus, ratings)
    with pytest.raises(DataError, match=r"Dt_SelfReports\.mat: Ratings is .*, where 5 questions x subjects x clips"):
        read_all(corpus)


@pytest.fixture(params=TABLES)
def save_table(request: pytest.FixtureRequest, corpus: Path) -> Callable[[Path, Table], None]:
    (corpus / "Data_Evaluation.csv").unlink()
    return TABLES[request.param]


def test_clips_of_grade_3_or_worse_are_left_out(corpus: Path, save_table: Callable[[Path, Table], None]) -> None:
    save_table(corpus / "Data_Evaluation", grades({(1, 1): 2, (1, 2): 3, (9, 1): 5}))
    items = read_all(corpus)
    assert list(recordings(items)) == [("P01", "1"), ("P09", "2")]
    assert [(item.subject, item.reason) for item in omitted(items)] == [
        ("P01", "the quality is rated 3 or worse"),
        ("P09", "the quality is rated 3 or worse"),
    ]
    assert omitted(items)[0].source == CLIP


def test_the_poorest_grade_can_be_set(corpus: Path, save_table: Callable[[Path, Table], None]) -> None:
    save_table(corpus / "Data_Evaluation", grades({(1, 1): 2, (1, 2): 3, (9, 1): 5}))
    assert len(recordings(read_all(corpus, poorest=5))) == 3
    assert len(recordings(read_all(corpus, poorest=2))) == 1


def test_another_block_of_the_table_can_be_chosen(corpus: Path, save_table: Callable[[Path, Table], None]) -> None:
    blocks = [*grades({(1, 1): 5}), ["", ""], ["ECG", "grades"], *grades({(1, 2): 5})]
    save_table(corpus / "Data_Evaluation", blocks)
    assert next(iter(recordings(read_all(corpus)))) == ("P01", "2")
    assert list(recordings(read_all(corpus, quality_line=40)))[:2] == [("P01", "1"), ("P09", "1")]


def test_clips_without_a_grade_are_kept(corpus: Path, save_table: Callable[[Path, Table], None]) -> None:
    table = grades({(1, 1): 5})
    table[1][1] = "bad"
    save_table(corpus / "Data_Evaluation", [line[:5] for line in table])
    assert len(recordings(read_all(corpus))) == 4


def test_the_table_can_lie_elsewhere(corpus: Path, save_table: Callable[[Path, Table], None]) -> None:
    (corpus / "notes").mkdir()
    save_table(corpus / "notes" / "mine", grades({(1, 1): 5}))
    (file,) = (corpus / "notes").iterdir()
    assert len(recordings(read_all(corpus, quality_table=f"notes/{file.name}"))) == 3


def test_a_table_that_a_setting_names_must_exist(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"mine\.xls does not exist"):
        read_all(corpus, quality_table="mine.xls")


def test_a_table_of_another_kind_is_reported(corpus: Path) -> None:
    (corpus / "grades.txt").touch()
    with pytest.raises(
        DataError, match=r"grades\.txt: a table of ratings must have the ending \.csv or \.xls or \.xlsx"
    ):
        read_all(corpus, quality_table="grades.txt")


def test_without_a_table_nothing_is_left_out(corpus: Path) -> None:
    (corpus / "Data_Evaluation.csv").unlink()
    first, *others = read_all(corpus)
    assert str(first) == "quality table: not found: no recording is dropped for its quality"
    assert len(recordings(others)) == 4


def test_two_tables_are_not_read_both(corpus: Path) -> None:
    save_csv(corpus / "Data_Quality_Evaluation", grades())
    with pytest.raises(
        DataError, match=r"contains Data_Evaluation\.csv and Data_Quality_Evaluation\.csv, expected one"
    ):
        read_all(corpus)


def test_clips_elsewhere_are_counted(corpus: Path) -> None:
    save_clip(corpus, 1, 7, clip_of_ascertain("any", columns=3)).rename(corpus / "ECG_Clip7.mat")
    first, *others = read_all(corpus)
    assert str(first) == "1 files ECG_Clip*.mat: not in a folder like Movie_P01"
    assert len(recordings(others)) == 4


def test_a_clip_that_is_there_twice_is_reported(corpus: Path) -> None:
    save_clip(corpus / "copy", 1, 2, clip_of_ascertain("any", columns=3))
    with pytest.raises(DataError, match="are both session 2 of subject P01"):
        read_all(corpus)


def test_a_folder_without_ascertain_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"contain no clips of ASCERTAIN \(Movie_P01/ECG_Clip1\.mat"):
        read_all(tmp_path)
