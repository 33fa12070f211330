import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from emotune.data.corpora.reader import AnyReader, CorpusPart, Item, Reader
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.description import describe
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import PreparationSummary, PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.data.signals import band_pass, resample
from emotune.data.store import SegmentStore
from emotune.errors import DataError, SettingsError

SMALL = Synthetic(subjects=3, seconds_per_state=35)
Make = Callable[..., Recording]


def prepare_small(store: Path, *, made_up: Synthetic = SMALL, **settings: object) -> PreparationSummary:
    given = PrepareSettings.model_validate(settings)
    return prepare("synthetic", folder=None, store=store, settings=given, corpus_settings=made_up)


def reader_of(*items: Item) -> AnyReader:
    """A corpus that consists of just these."""

    def list_parts(folder: Path | None, settings: Synthetic) -> Iterator[CorpusPart]:
        yield CorpusPart(name="these", folder=None)

    def read(part: CorpusPart, modality: Modality, settings: Synthetic) -> Iterator[Item]:
        yield from items

    return Reader(
        name="these",
        modalities=("ecg", "eeg"),
        licence="none",
        where="here",
        description="a few recordings",
        hours="",
        settings=Synthetic,
        list_parts=list_parts,
        read=read,
        needs_folder=False,
    )


def prepare_these(store: Path, *items: Item, strict: bool = False, **settings: object) -> PreparationSummary:
    given = PrepareSettings.model_validate(settings)
    return prepare(reader_of(*items), folder=None, store=store, settings=given, options=PrepareOptions(strict=strict))


@pytest.mark.parametrize(("modality", "channels"), [("ecg", 1), ("eeg", 10)])
def test_segments_follow_each_other_and_the_remainder_is_dropped(tmp_path: Path, modality: str, channels: int) -> None:
    summary = prepare_small(tmp_path / "store", modality=modality)
    store = SegmentStore.open(tmp_path / "store")
    assert store.signal.shape == (3 * 4 * 3, channels, 1280)
    assert store.signal.dtype == np.float32
    source = summary.source
    assert (source.subjects, source.recordings, source.segments, source.left_out) == (3, 12, 36, ())
    assert source.hours == pytest.approx(12 * 35 / 3600, abs=1e-4)
    for _, rows in store.index.groupby(["subject", "session"]):
        assert rows["start"].tolist() == [0.0, 10.0, 20.0]
    assert store.index["rating_arousal"].between(1, 9).all()


@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_a_subject_has_zero_mean_and_unit_variance_in_every_channel(tmp_path: Path, modality: str) -> None:
    prepare_small(tmp_path / "store", modality=modality, made_up=Synthetic(subjects=3, seconds_per_state=40))
    store = SegmentStore.open(tmp_path / "store")
    for _, rows in store.index.groupby("subject"):
        mine = store.signal[rows.index.to_numpy()].astype(np.float64)
        assert mine.mean(axis=(0, 2)) == pytest.approx(0, abs=1e-3)
        assert mine.std(axis=(0, 2)) == pytest.approx(1, abs=1e-3)


def test_a_segment_is_the_filtered_resampled_standardised_signal(tmp_path: Path, make_recording: Make) -> None:
    two = [
        make_recording(session=session, ratings={"arousal": 3.0}, scales={"arousal": (1.0, 9.0)})
        for session in ("a", "b")
    ]
    two[1] = make_recording(session="b", signal=two[1].signal * 3)
    prepare_these(tmp_path / "store", *two)
    store = SegmentStore.open(tmp_path / "store")
    clean = [resample(band_pass(recording.signal, fs=256.0), fs=256.0, rate=128) for recording in two]
    joined = np.concatenate(clean, axis=1)
    expected = np.concatenate([(signal[0] - joined.mean()) / joined.std() for signal in clean]).reshape(6, 1, 1280)
    assert store.signal[:] == pytest.approx(expected, abs=1e-5)
    assert store.index["rating_arousal"].isna().tolist() == [False] * 3 + [True] * 3
    assert store.index["lowest_arousal"].isna().tolist() == [False] * 3 + [True] * 3


def test_each_lead_is_a_segment_of_its_own(tmp_path: Path, make_recording: Make) -> None:
    lead = make_recording().signal
    prepare_these(tmp_path / "store", make_recording(signal=np.concatenate([lead, -2 * lead]), channels=("I", "II")))
    store = SegmentStore.open(tmp_path / "store")
    assert store.index["channel"].tolist() == ["I"] * 3 + ["II"] * 3
    assert store.index["start"].tolist() == [0.0, 10.0, 20.0] * 2
    assert store.signal[3:] == pytest.approx(-store.signal[:3], abs=1e-4)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (prepare_small(tmp_path / name) for name in ("one", "two"))
    assert first.fingerprint == second.fingerprint
    for name in ("signal.npy", "index.parquet", "about.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert prepare_small(tmp_path / "three", band=(1.0, 40.0)).fingerprint != first.fingerprint


def test_a_subject_does_not_depend_on_the_others(tmp_path: Path) -> None:
    prepare_small(tmp_path / "few", made_up=Synthetic(subjects=2, seconds_per_state=35))
    prepare_small(tmp_path / "many")
    few, many = (SegmentStore.open(tmp_path / name) for name in ("few", "many"))
    assert np.array_equal(few.signal, many.signal[: len(few)])
    pd.testing.assert_frame_equal(few.index, many.index.iloc[: len(few)])


def test_an_existing_store_is_kept_and_another_is_refused(tmp_path: Path) -> None:
    first = prepare_small(tmp_path / "store")
    before = (tmp_path / "store/signal.npy").stat().st_mtime_ns
    again = prepare_small(tmp_path / "store")
    assert (first.written, again.written, again.fingerprint) == (True, False, first.fingerprint)
    assert (tmp_path / "store/signal.npy").stat().st_mtime_ns == before
    with pytest.raises(SettingsError, match="holds a store with other settings"):
        prepare_small(tmp_path / "store", seconds=5)
    with pytest.raises(SettingsError, match="holds a store with other corpus settings"):
        prepare_small(tmp_path / "store", made_up=Synthetic(subjects=2))


def test_damaged_recordings_are_listed_or_stop_the_preparation(tmp_path: Path, make_recording: Make) -> None:
    volts = make_recording(session="volts", signal=make_recording().signal / 1e4)
    torn = UnreadableRecording(subject="s03", source="s03/v13.edf", reason="is it truncated?")
    good = make_recording(session="good")
    for bad, message in (
        (volts, "session volts .*standard deviation is"),
        (torn, r"subject s03 \(s03/v13.edf\): is it truncated"),
    ):
        with pytest.raises(DataError, match=message):
            prepare_these(tmp_path / "store", good, bad, strict=True)
        assert list(tmp_path.iterdir()) == []
    source = prepare_these(tmp_path / "store", volts, good, torn).source
    assert (source.recordings, len(source.left_out)) == (1, 2)
    assert source.left_out[0].reason.startswith("the signal's standard deviation")
    assert str(source.left_out[1]) == "subject s03 (s03/v13.edf): is it truncated?"
    assert describe(SegmentStore.open(tmp_path / "store")).skipped == tuple(map(str, source.left_out))


def test_exclusions_of_a_reader_are_listed_and_never_an_error(tmp_path: Path, make_recording: Make) -> None:
    gap = ExcludedData(subject="s03", source="s03.mat, video 17", reason="the subject did not see it")
    source = prepare_these(tmp_path / "store", make_recording(), gap, strict=True).source
    assert [str(item) for item in source.left_out] == ["subject s03 (s03.mat, video 17): the subject did not see it"]


def test_a_short_recording_is_listed_and_the_others_are_used(tmp_path: Path, make_recording: Make) -> None:
    short = make_recording(session="short", signal=make_recording().signal[:, :2000])
    summary = prepare_these(tmp_path / "store", short, make_recording(session="long"))
    assert summary.segments == 3
    assert str(summary.source.left_out[0]).endswith("7.8 s: shorter than a segment of 10 s")


def test_nothing_usable_is_an_error(tmp_path: Path, make_recording: Make) -> None:
    with pytest.raises(DataError, match="no usable recording"):
        prepare_these(tmp_path / "store", make_recording(signal=make_recording().signal[:, :2000]))
    assert list(tmp_path.iterdir()) == []


def test_a_reader_must_keep_a_subject_together(tmp_path: Path, make_recording: Make) -> None:
    order = [make_recording(subject=name, session=str(number)) for number, name in enumerate(("s1", "s2", "s1"))]
    with pytest.raises(DataError, match=r"subject s1.*one after the other"):
        prepare_these(tmp_path / "store", *order)


def test_several_processes_make_the_same_bytes(tmp_path: Path) -> None:
    prepare_small(tmp_path / "one")
    options = PrepareOptions(workers=2)
    two = tmp_path / "two"
    prepare("synthetic", folder=None, store=two, settings=PrepareSettings(), corpus_settings=SMALL, options=options)
    for name in ("signal.npy", "index.parquet", "about.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_second_process_is_refused_while_the_first_prepares(tmp_path: Path) -> None:
    def try_too(share: float, doing: str) -> None:
        with pytest.raises(SettingsError, match="is being prepared by another process"):
            prepare_small(tmp_path / "store")
        tried.append(share)

    tried: list[float] = []
    options = PrepareOptions(progress=try_too)
    store = tmp_path / "store"
    prepare("synthetic", folder=None, store=store, settings=PrepareSettings(), corpus_settings=SMALL, options=options)
    assert tried
    assert SegmentStore.open(store).about.segments == 36


def add(store: Path, *items: Item, name: str, **settings: object) -> PreparationSummary:
    reader = dataclasses.replace(reader_of(*items), name=name)
    given = PrepareSettings.model_validate(settings)
    return prepare(reader, folder=None, store=store, settings=given, options=PrepareOptions(append=True))


def test_a_pool_contains_each_corpus_once(tmp_path: Path, make_recording: Make) -> None:
    store = tmp_path / "pool"
    first = add(store, make_recording(subject="s1"), name="these")
    old = SegmentStore.open(store)
    second = add(store, make_recording(subject="s1"), make_recording(subject="s2"), name="those")
    assert (first.segments, second.source.segments, second.segments) == (3, 6, 9)
    pool = SegmentStore.open(store)
    pool.verify()
    assert pool.index["corpus"].tolist() == ["these"] * 3 + ["those"] * 6
    assert [source.corpus for source in pool.about.sources] == ["these", "those"]
    assert np.array_equal(pool.signal[:3], old.signal)
    assert pool.fingerprint != old.fingerprint
    again = add(store, make_recording(subject="s1"), name="these")
    assert (again.written, again.fingerprint) == (False, pool.fingerprint)
    with pytest.raises(SettingsError, match="holds a store with other settings"):
        add(store, make_recording(), name="others", seconds=5)
    with pytest.raises(SettingsError, match=r"holds a store of these, those\. .*--append"):
        prepare_small(store)
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_a_pool_is_what_it_was_if_adding_to_it_fails(tmp_path: Path, make_recording: Make) -> None:
    add(tmp_path / "pool", make_recording(), name="these")
    before = SegmentStore.open(tmp_path / "pool").fingerprint
    with pytest.raises(DataError, match="no usable recording"):
        add(tmp_path / "pool", make_recording(signal=np.zeros((1, 7680))), name="those")
    other = make_recording("eeg")
    with pytest.raises(DataError, match="channels are"):
        add(tmp_path / "pool", dataclasses.replace(other, modality="eeg"), name="those")
    pool = SegmentStore.open(tmp_path / "pool")
    pool.verify()
    assert pool.fingerprint == before
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_a_power_cut_between_two_names_is_mended(tmp_path: Path, make_recording: Make) -> None:
    add(tmp_path / "pool", make_recording(), name="these")
    (tmp_path / "pool").rename(tmp_path / ".pool.replaced")
    assert add(tmp_path / "pool", make_recording(), name="those").segments == 6
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_a_channel_that_the_filter_empties_is_refused(tmp_path: Path, make_recording: Make) -> None:
    slow = np.sin(2 * np.pi * 0.05 * np.arange(7680) / 256)[None]
    eeg = make_recording("eeg", signal=np.repeat(30 * slow, 10, axis=0))
    with pytest.raises(DataError, match=r"channel F7, F3.* has no signal between 0\.8 and 50 Hz"):
        prepare_these(tmp_path / "store", eeg, modality="eeg", strict=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"band": (0.5, 80.0)}, "reaches 80 Hz, but 128 samples per second hold nothing from 64 Hz"),
        ({"band": (40.0, 2.0)}, "expected 0 < lower edge < upper edge"),
        ({"seconds": 10.001}, "not a whole number of samples"),
    ],
)
def test_an_impossible_setting_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PrepareSettings.model_validate(values)


def test_input_that_cannot_be_is_refused(tmp_path: Path) -> None:
    settings = PrepareSettings()
    with pytest.raises(SettingsError, match=r"there is no corpus 'amigo'; there are: .*folder, synthetic"):
        prepare("amigo", folder=None, store=tmp_path / "s", settings=settings)
    with pytest.raises(SettingsError, match="folder needs the folder of its files"):
        prepare("folder", folder=None, store=tmp_path / "s", settings=settings)
    with pytest.raises(SettingsError, match="is not a folder"):
        prepare("folder", folder=tmp_path / "none", store=tmp_path / "s", settings=settings)
    with pytest.raises(SettingsError, match="reads no folder"):
        prepare("synthetic", folder=tmp_path, store=tmp_path / "s", settings=settings)


RUN = """
import sys
from pathlib import Path
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.errors import DataError

try:
    prepare("synthetic", folder=None, store=Path(sys.argv[1]), settings=PrepareSettings(),
            corpus_settings=Synthetic(subjects=int(sys.argv[2]), seconds_per_state=120))
except DataError as error:
    sys.exit(f"refused: {error}")
"""


def test_a_killed_preparation_leaves_no_store_and_the_next_one_resumes(tmp_path: Path) -> None:
    store, made_up = tmp_path / "store", Synthetic(subjects=16, seconds_per_state=120)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(store), "16"], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".store.parts/*.json"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not store.exists()
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob(".store.parts/*.json")}
    assert 3 <= len(kept) < 16

    def look(share: float, doing: str) -> None:
        if doing == "writing the store":
            assert {file: file.stat().st_mtime_ns for file in kept} == kept
            shares.append(share)

    shares: list[float] = []
    given = PrepareOptions(progress=look)
    settings = PrepareSettings()
    again = prepare("synthetic", folder=None, store=store, settings=settings, corpus_settings=made_up, options=given)
    assert shares == [0.0]
    SegmentStore.open(store).verify()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert again.fingerprint == prepare_small(tmp_path / "undisturbed", made_up=made_up).fingerprint


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    def allow_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "store"), "10"],
        cwd=Path(__file__).parents[2],
        preexec_fn=allow_small_files_only,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("refused: ")
    assert "the disk is full" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=f"cannot be written: .*{os.sep}file"):
        prepare_small(tmp_path / "file" / "store")


def test_other_files_are_never_overwritten_and_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose")
    with pytest.raises(SettingsError, match=r"is not a segment store\. Give another folder"):
        prepare_small(tmp_path)
    (tmp_path / "empty").mkdir()
    assert prepare_small(tmp_path / "empty").written


@pytest.mark.parametrize(("modality", "segments", "subjects"), [("ecg", 4208, 184), ("eeg", 661, 25)])
def test_real_recordings_become_a_store(
    real_data: Path, tmp_path: Path, modality: Modality, segments: int, subjects: int
) -> None:
    summary = prepare("folder", folder=real_data, store=tmp_path / "store", settings=PrepareSettings(modality=modality))
    store = SegmentStore.open(tmp_path / "store")
    assert (len(store), describe(store).subjects) == (segments, subjects)
    source = summary.source
    assert source.recordings + len(source.left_out) == 217
    assert source.unused == len(source.left_out)
    assert np.isfinite(store.signal).all()
    assert {"rest", "arithmetic"} <= set(describe(store).conditions)
    assert [source.corpus for source in store.about.sources] == ["folder"]
