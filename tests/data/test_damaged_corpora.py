"""A reader of MAT files with damaged headers returns recordings, or a reason of one line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from emotune.data.corpora.table import CORPORA
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.emotion import FOURTEEN, LONG_VIDEOS, SHORT_VIDEOS
from tests.data.examples.mat import cells

WAVES = np.random.default_rng(0).normal(size=(642, 17))


def amigos() -> dict[str, Any]:
    answers = [np.full((1, 12), 5.0)] * 20
    videos = cells(SHORT_VIDEOS + LONG_VIDEOS)
    return {"joined_data": cells([WAVES] * 20), "labels_selfassessment": cells(answers), "VideoIDs": videos}


def dreamer() -> dict[str, Any]:
    def block(columns: int) -> dict[str, Any]:
        trials = cells([WAVES[:5, :columns]] * 18, column=True)
        return {"baseline": trials, "stimuli": trials}

    scores = np.full((18, 1), 3.0)
    person = {"ECG": block(2), "EEG": block(14), "ScoreArousal": scores, "ScoreValence": scores}
    facts = {"EEG_SamplingRate": 128.0, "ECG_SamplingRate": 256.0, "noOfSubjects": 2.0, "noOfVideoSequences": 18.0}
    return {"DREAMER": {"Data": cells([person] * 2), "EEG_Electrodes": cells(FOURTEEN), **facts}}


def ascertain() -> dict[str, Any]:
    stamps = 1000 / 256 * np.arange(len(WAVES))[:, None]
    return {"Data_ECG": np.hstack([stamps, WAVES[:, :2]]), "timeECG": np.ones((1, 6))}


FILES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "amigos": ("Data_Preprocessed_P01.mat", amigos),
    "dreamer": ("DREAMER.mat", dreamer),
    "ascertain": ("Movie_P01/ECG_Clip1.mat", ascertain),
}


@pytest.fixture(params=[(name, modality) for name in FILES for modality in CORPORA[name].modalities], ids="-".join)
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], list[Any]]:
    name, modality = request.param
    reader = CORPORA[name]
    return lambda: list(reader.items(tmp_path, modality=modality, settings=reader.settings()))


@pytest.fixture
def clean(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bytes, list[int]]:
    """A file, what is in it, and where its headers are."""
    name, make = FILES[request.node.callspec.params["read"][0]]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    savemat(path, make())
    content = path.read_bytes()
    return path, content, [match.start() for match in re.finditer(b"\x0e\x00\x00\x00", content)]


def test_the_clean_file_is_read(read: Callable[[], list[Any]], clean: tuple[Path, bytes, list[int]]) -> None:
    del clean
    assert any(isinstance(item, Recording) for item in read())


@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 79), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_changed_headers_give_recordings_or_one_line(
    read: Callable[[], list[Any]], clean: tuple[Path, bytes, list[int]], changes: list[tuple[float, int, int]]
) -> None:
    path, content, headers = clean
    damaged = bytearray(content)
    for share, offset, byte in changes:
        place = headers[int(share * len(headers))] + offset
        damaged[min(place, len(damaged) - 1)] = byte
    path.write_bytes(damaged)
    try:
        items = read()
    except DataError as error:
        items = [error]
    for item in items:
        assert isinstance(item, Recording | UnreadableRecording | ExcludedData | DataError)
        assert "\n" not in str(item)
