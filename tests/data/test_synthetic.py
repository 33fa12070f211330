import numpy as np
import pytest
from scipy import signal as dsp
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotune.data.corpora.synthetic import FS, READER, Synthetic
from emotune.data.modality import Modality
from emotune.data.recording import Recording

Features = tuple[np.ndarray, np.ndarray, np.ndarray]


def features_of(recording: Recording, start: int) -> list[float]:
    part = recording.signal[:, start : start + 10 * FS]
    if recording.modality == "eeg":
        frequency, power = dsp.welch(part, FS, nperseg=2 * FS, axis=1)
        return np.log(power[:, (frequency > 8) & (frequency < 12)].mean(axis=1)).tolist()
    wave = part[0] - np.median(part[0])
    peaks, _ = dsp.find_peaks(wave, height=0.5 * wave.max(), distance=FS // 3)
    whole = [peak for peak in peaks if peak + FS // 2 < len(wave)]
    t_wave = np.mean([wave[peak + FS // 8 : peak + FS // 2].max() / wave[peak] for peak in whole])
    intervals = np.diff(peaks) / FS
    return [60 / intervals.mean(), np.log(intervals.std() + 1e-3), np.log(t_wave)]


def table(modality: Modality, target: str, **effects: float) -> Features:
    settings = Synthetic.model_validate({"subjects": 12, "seconds_per_state": 60, **effects})
    recordings = [
        item for item in READER.items(None, modality=modality, settings=settings) if isinstance(item, Recording)
    ]
    rows = [(recording, start) for recording in recordings for start in range(0, recording.signal.shape[1], 10 * FS)]
    values = np.array([features_of(recording, start) for recording, start in rows])
    high = np.array([recording.ratings[target] > 5 for recording, _ in rows]).astype(int)
    return values, high, np.array([recording.subject for recording, _ in rows])


def score(values: np.ndarray, high: np.ndarray, **how: object) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return float(cross_val_score(model, values, high, **how).mean())


@pytest.mark.parametrize("target", ["arousal", "valence"])
@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_ten_seconds_predict_the_state_of_a_known_person_better_than_of_an_unknown(
    modality: Modality, target: str
) -> None:
    values, high, people = table(modality, target)
    unknown = score(values, high, groups=people, cv=GroupKFold(6))
    mine = values.copy()
    for person in set(people):
        mine[people == person] -= values[people == person].mean(axis=0)
    known = score(mine, high, cv=KFold(6, shuffle=True, random_state=0))
    assert known > 0.9
    assert 0.55 < unknown < known


@pytest.mark.parametrize(
    ("modality", "target", "effects"),
    [
        ("ecg", "arousal", {"arousal_heart_rate": 0, "arousal_variability": 1}),
        ("ecg", "valence", {"valence_t_wave": 1}),
        ("eeg", "arousal", {"arousal_alpha": 1}),
        ("eeg", "valence", {"valence_asymmetry": 1}),
    ],
)
def test_without_the_stated_effect_the_state_cannot_be_predicted(
    modality: Modality, target: str, effects: dict
) -> None:
    values, high, people = table(modality, target, **effects)
    assert 0.3 < score(values, high, groups=people, cv=GroupKFold(6)) < 0.65


def test_the_heart_beats_as_much_faster_as_stated() -> None:
    values, high, _ = table("ecg", "arousal", arousal_heart_rate=15.0)
    assert values[high == 1, 0].mean() - values[high == 0, 0].mean() == pytest.approx(15, abs=1.5)
