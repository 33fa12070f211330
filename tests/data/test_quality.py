from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.modality import Modality
from emotune.data.prepare.quality import clean_parts
from emotune.data.prepare.segments import PrepareSettings, cut, filter_and_resample
from emotune.data.recording import Exclusion, Interval, Recording

Make = Callable[..., Recording]


def parts_of(recording: Recording, *, seconds: float = 2.0) -> tuple[list[Recording], list[str]]:
    items = list(clean_parts(recording, seconds=seconds))
    left_out = [str(item) for item in items if isinstance(item, Exclusion)]
    return [item for item in items if isinstance(item, Recording)], left_out


def test_a_valid_recording_is_not_changed(make_recording: Make) -> None:
    recording = make_recording()
    assert parts_of(recording) == ([recording], [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "the lead is mostly missing"), (0.0, "the lead is constant"), (2048.0, "is constant")],
)
def test_a_dead_lead_is_left_out_and_the_other_arm_stays(make_recording: Make, value: float, reason: str) -> None:
    lead = make_recording().signal
    both = make_recording(signal=np.concatenate([np.full_like(lead, value), lead]), channels=("right", "left"))
    (only,), (left_out,) = parts_of(both)
    assert only.channels == ("left",)
    assert np.array_equal(only.signal, lead)
    assert "lead right" in left_out
    assert left_out.endswith(reason)


def test_an_eeg_recording_needs_all_its_channels(make_recording: Make) -> None:
    signal = make_recording("eeg").signal.copy()
    signal[3] = np.nan
    parts, left_out = parts_of(make_recording("eeg", signal=signal))
    assert parts == []
    assert left_out[0].endswith("channel P7: a channel is constant or mostly missing")


@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_a_gap_divides_a_recording_and_both_parts_keep_their_time(make_recording: Make, modality: Modality) -> None:
    signal = make_recording(modality).signal.copy()
    signal[0, 2560:2816] = np.nan
    whole = make_recording(modality, signal=signal, intervals=(Interval(12.0, 20.0, "task"),))
    (before, after), left_out = parts_of(whole)
    assert (before.start, before.seconds, after.start, after.seconds) == (0, 10, 11, 19)
    assert np.isfinite(before.signal).all()
    assert np.isfinite(after.signal).all()
    assert after.intervals == (Interval(1.0, 9.0, "task"),)
    assert len(left_out) == 1
    assert left_out[0].endswith("1.00 s: gaps of missing samples, cut out")


def test_segments_keep_the_time_stamps_of_the_session_with_any_gaps(make_recording: Make) -> None:
    settings = PrepareSettings(seconds=2.5)
    late = make_recording(start=3.0)
    made = filter_and_resample(late, settings=settings)
    segments = cut(made, samples=settings.samples)
    assert len(segments) == 11
    assert np.array_equal(segments[0], made.signal[:, 256:576].astype(np.float32))


@given(missing=st.lists(st.booleans(), min_size=1, max_size=60), dead=st.booleans())
def test_every_sample_of_a_long_enough_stretch_is_kept_and_no_other(missing: list[bool], dead: bool) -> None:
    signal = np.random.default_rng(0).normal(size=(2, 10 * len(missing)))
    signal[0, np.repeat(missing, 10)] = np.nan
    signal[1] = np.nan if dead else signal[1]
    recording = Recording(
        signal=signal, fs=10.0, modality="ecg", subject="s", session="v", channels=("a", "b"), source=""
    )
    parts, _ = parts_of(recording)
    first_lives = sum(missing) <= len(missing) / 2
    runs = "".join("." if first_lives and gone else "x" for gone in missing)
    expected = [
        letter == "x" and (runs == "x" or "xx" in runs[max(0, at - 1) : at + 2]) for at, letter in enumerate(runs)
    ]
    kept = np.zeros(10 * len(missing), dtype=int)
    for part in parts:
        first = round(10 * part.start)
        kept[first : first + part.signal.shape[1]] += 1
    assert np.array_equal(kept, np.repeat(expected, 10) * (first_lives or not dead))
