"""Tiny corpora of ECG and EEG with ratings, as they lie on disk."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat
from scipy.signal import lfilter

from tests.data.examples.mat import cells

FOURTEEN = ["AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4"]
TEN_COLUMNS = [1, 2, 4, 5, 6, 7, 8, 9, 11, 12]
"""Where F7 F3 T7 P7 O1 O2 P8 T8 F4 F8 are."""


def make_hearts(name: str, *, fs: int, seconds: float, leads: int = 2) -> np.ndarray:
    """Make ECG (time, lead) in mV, always the same for a name: 70 beats a minute, higher in the second lead."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    time = np.arange(round(fs * seconds)) / fs
    phase = (70 / 60 * time + random.uniform()) % 1
    beat = np.exp(-(((phase - 0.5) / 0.02) ** 2)) + 0.2 * np.exp(-(((phase - 0.75) / 0.05) ** 2))
    heights = 1 + 0.5 * np.arange(leads)
    return np.round(beat[:, None] * heights + 0.02 * random.standard_normal((len(time), leads)), 2)


def make_brains(name: str, *, fs: int, seconds: float) -> np.ndarray:
    """Make EEG (time, 14 channels) in uV, always the same for a name."""
    white = np.random.default_rng(zlib.crc32(name.encode())).standard_normal((round(fs * seconds), 14))
    coloured = lfilter([1.0], [1.0, -0.9], white, axis=0)
    return np.round(20 * coloured / coloured.std())


SHORT_VIDEOS = ["10", "13", "138", "18", "19", "20", "23", "30", "31", "34", "36", "4", "5", "58", "80", "9"]
LONG_VIDEOS = ["N1", "P1", "B1", "U1"]


def amigos_subject(number: int, *, seconds: int = 2) -> dict:
    """What a subject's file of AMIGOS holds: 5 s before each video, then some of it, or 12 s of each fourth one.

    The short videos are in another order for each subject, the long ones come last.
    """
    videos = SHORT_VIDEOS[number:] + SHORT_VIDEOS[:number] + LONG_VIDEOS
    signals, answers, others = [], [], []
    for place, video in enumerate(videos):
        name, length = f"amigos {number} {video}", 5 + (seconds if place % 4 else 12)
        hearts = make_hearts(name, fs=128, seconds=length)
        signals.append(np.hstack([make_brains(name, fs=128, seconds=length), hearts, np.full_like(hearts[:, :1], 5)]))
        answers.append(np.array([[1 + 0.4 * place, 9 - 0.3 * place, 5, 5, 5, 0, 0, 1, 0, 0, 0, 0]]))
        others.append(np.array([[1, -0.5, 0.5], [2, -0.4, 0.4]]))
    return {
        "joined_data": cells(signals),
        "labels_selfassessment": cells(answers),
        "labels_ext_annotation": cells(others),
        "VideoIDs": cells(videos),
    }


def save_amigos(folder: Path, number: int, content: dict) -> Path:
    """Write a subject's file into a folder of its name."""
    name = f"Data_Preprocessed_P{number:02d}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    savemat(folder / name / f"{name}.mat", content, do_compression=True)
    return folder / name / f"{name}.mat"


def write_amigos(folder: Path) -> Path:
    """Two subjects who watched all videos."""
    for number in (1, 2):
        save_amigos(folder, number, amigos_subject(number))
    return folder


CLIPS = 18
DREAMER_SECONDS = [12.0, 13.0, *[2.0 + number % 3 for number in range(CLIPS - 2)]]
"""Of each clip; the real ones take a minute or more."""
DREAMER_BASELINES = [11.0, *[2.0] * (CLIPS - 1)]
"""Before each clip; the real ones take 61 s."""


def dreamer_subject(number: int) -> dict:
    """What a cell of DREAMER's Data holds, in something like the units of a converter."""

    def block(make: Callable[[str, float], np.ndarray]) -> dict:
        before = [make(f"dreamer {number} before {clip}", length) for clip, length in enumerate(DREAMER_BASELINES)]
        during = [make(f"dreamer {number} during {clip}", length) for clip, length in enumerate(DREAMER_SECONDS)]
        return {"baseline": cells(before, column=True), "stimuli": cells(during, column=True)}

    clips = np.arange(CLIPS)
    return {
        "Age": "22",
        "Gender": "male",
        "EEG": block(lambda name, length: 4200 + make_brains(name, fs=128, seconds=length)),
        "ECG": block(lambda name, length: 2048 + 300 * make_hearts(name, fs=256, seconds=length)),
        "ScoreValence": (1.0 + (clips + number) % 5)[:, None],
        "ScoreArousal": (5.0 - clips % 5)[:, None],
        "ScoreDominance": np.full((CLIPS, 1), 3.0),
    }


def dreamer(subjects: int = 2) -> dict:
    """What DREAMER.mat holds, but with fewer subjects."""
    return {
        "DREAMER": {
            "Data": cells([dreamer_subject(number + 1) for number in range(subjects)]),
            "EEG_SamplingRate": 128.0,
            "ECG_SamplingRate": 256.0,
            "EEG_Electrodes": cells(FOURTEEN),
            "noOfSubjects": float(subjects),
            "noOfVideoSequences": float(CLIPS),
            "Disclaimer": "for research",
            "Provider": "somebody",
            "Version": "1.0.2",
            "Acknowledgement": "thanks",
        }
    }


def write_dreamer(folder: Path) -> Path:
    """Two subjects."""
    savemat(folder / "DREAMER.mat", dreamer(), do_compression=True)
    return folder


def clip_of_ascertain(name: str, *, columns: int, seconds: float = 12) -> dict:
    """What a file ECG_Clip1.mat of ASCERTAIN holds."""
    leads = make_hearts(name, fs=256, seconds=seconds)
    stamps = 1000 / 256 * np.arange(len(leads))[:, None]
    between = np.full((len(leads), columns - 3), 7.0)
    parts = [stamps, between, leads] if columns == 6 else [stamps, leads, between]
    return {"Data_ECG": np.hstack(parts), "timeECG": np.array([[2014.0, 5, 12, 10, 30, 15.25]])}


def ascertain_ratings() -> np.ndarray:
    """Arousal, valence and three more (question, subject, clip); arousal is the clip's number modulo 7."""
    subjects, clips = np.meshgrid(np.arange(1, 59), np.arange(1, 37), indexing="ij")
    arousal, valence = clips % 7, (subjects + clips) % 7 - 3
    return np.stack([arousal, valence, *[np.full_like(arousal, 3)] * 3]).astype(np.float64)


def save_clip(folder: Path, subject: int, clip: int, content: dict) -> Path:
    """Write a clip where ASCERTAIN has it."""
    place = folder / "ASCERTAIN_Raw" / "ECGData" / f"Movie_P{subject:02d}"
    place.mkdir(parents=True, exist_ok=True)
    savemat(place / f"ECG_Clip{clip}.mat", content)
    return place / f"ECG_Clip{clip}.mat"


def grades(grade_of: dict[tuple[int, int], float] | None = None) -> list[list[float | str]]:
    """Make a table of grades, a line per clip and a column per subject: 1, but for those given."""
    known = grade_of or {}
    rows = [[clip, *(known.get((subject, clip), 1) for subject in range(1, 59))] for clip in range(1, 37)]
    return [["Clip", *range(1, 59)], *rows]


def write_ascertain(folder: Path) -> Path:
    """Two subjects with two clips each; one of the subjects has 3 columns, the other one 6."""
    for subject, columns in ((1, 3), (9, 6)):
        for clip in (1, 2):
            save_clip(folder, subject, clip, clip_of_ascertain(f"ascertain {subject} {clip}", columns=columns))
    features = folder / "ASCERTAIN_Features"
    features.mkdir()
    savemat(features / "Dt_SelfReports.mat", {"Ratings": ascertain_ratings()})
    lines = [",".join(map(str, line)) for line in grades()]
    (folder / "Data_Evaluation.csv").write_text("\n".join(lines))
    return folder
