"""The page of segments: drawn from everywhere, always alike, and never half written."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.inspection import amplitudes, choose_evenly, describe_segment, draw_picture, write_picture
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError

SIZES = st.dictionaries(
    st.sampled_from(["amigos", "dreamer", "folder"]), st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1
)
"""Segments of each subject, by corpus."""


def index_of(sizes: dict[str, list[int]]) -> pd.DataFrame:
    rows = [
        (corpus, f"s{n}") for corpus, counts in sizes.items() for n, count in enumerate(counts) for _ in range(count)
    ]
    return pd.DataFrame(rows, columns=["corpus", "subject"])


@given(sizes=SIZES, count=st.integers(1, 40))
def test_segments_are_taken_evenly(sizes: dict[str, list[int]], count: int) -> None:
    index = index_of(sizes)
    chosen = choose_evenly(index, count=count)
    assert chosen == choose_evenly(index, count=count)
    assert len(set(chosen)) == len(chosen) <= count
    taken = index.iloc[chosen]
    for corpus, counts in sizes.items():
        subjects = taken.loc[taken["corpus"] == corpus, "subject"].value_counts()
        share = count // len(sizes)
        assert len(subjects) >= min(share, len(counts))
        assert subjects.max() <= math.ceil((share + 1) / len(counts)) if len(subjects) else not share


def test_a_wave_has_its_amplitude_at_its_frequency() -> None:
    time = np.arange(1280) / 128
    waves = np.stack([3 * np.sin(2 * np.pi * 10 * time), 0.5 * np.cos(2 * np.pi * 50 * time)])
    frequency, spectra = amplitudes(waves[:, None], rate=128)
    assert [frequency[np.argmax(spectrum)] for spectrum in spectra] == [10, 50]
    assert spectra.max(axis=1) == pytest.approx([3, 0.5], rel=1e-3)


@pytest.fixture(scope="module")
def eeg(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    path = tmp_path_factory.mktemp("stores") / "eeg"
    settings = PrepareSettings(modality="eeg", seconds=2.5)
    prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=Synthetic(seconds_per_state=5))
    return SegmentStore.open(path)


def test_pages_are_pictures_and_equal_for_equal_stores(store: SegmentStore, eeg: SegmentStore, tmp_path: Path) -> None:
    for number, store_to_draw in enumerate((store, eeg)):
        file = tmp_path / f"{number}.png"
        write_picture(store_to_draw, file=file)
        assert file.read_bytes() == draw_picture(store_to_draw)
        picture = matplotlib.image.imread(file)
        height, width = picture.shape[:2]
        assert (width, height > 1000) == (1400, True)
        assert picture[:, :, :3].min() < 0.3
    assert list(tmp_path.glob(".*")) == []


def test_a_store_of_many_corpora_and_odd_names_is_drawn(store: SegmentStore) -> None:
    index = store.index.copy()
    index["corpus"] = [f"corpus {number % 20}" for number in range(len(index))]
    index["subject"] = "$\\frac{1$ \u4e2d\u6587 " + "x" * 300
    assert len(draw_picture(dataclasses.replace(store, index=index))) > 10_000


def test_a_title_names_the_source_of_a_segment() -> None:
    row = {"corpus": "amigos", "subject": "P01", "session": "N1", "channel": "ECG Right", "start": 20.0}
    row |= {"condition": "", "rating_arousal": 5.25, "rating_valence": float("nan")}
    title = describe_segment(row)
    assert title == "amigos  ·  subject P01  ·  session N1  ·  lead ECG Right  ·  from 20 s  ·  arousal 5.25"


def a_folder(place: Path) -> Path:
    (place / "page.png").mkdir()
    return place / "page.png"


def below_a_file(place: Path) -> Path:
    (place / "file").touch()
    return place / "file" / "page.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: place / "page.jpg", "page.jpg: the name must end in .png"),
        (lambda place: place / "nowhere" / "page.png", "does not exist; create it first"),
        (below_a_file, "cannot be written: Not a directory"),
        (a_folder, "this is a folder"),
        (lambda place: Path("/proc/page.png"), "cannot be written"),
    ],
)
def test_a_page_that_cannot_be_written_is_a_mistake_in_one_line(
    store: SegmentStore, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        write_picture(store, file=make(tmp_path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.glob(".*")) == []


def test_an_older_page_is_replaced(store: SegmentStore, tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    file.write_bytes(b"old")
    write_picture(store, file=file)
    assert file.read_bytes()[:4] == b"\x89PNG"
