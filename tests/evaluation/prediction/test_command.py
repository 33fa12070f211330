"""``emotune predict``: a printed table, JSON, CSV and a plot; mistakes are reported in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from emotune.data.modality import TEN_CHANNELS
from emotune.evaluation.prediction import find_predictor, label_of, predict
from emotune.evaluation.prediction_plot import thin, write_plot
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.tracking.encoders import find_encoder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(write: Callable[..., Path], ecg: np.ndarray) -> Path:
    return write("recording.npz", signal=ecg, names=("I", "II"), kind="ecg")


@pytest.fixture
def models(train: Callable[..., SearchFolder]) -> str:
    for target in ("arousal", "valence"):
        train(f"ours-{target}", task={"kind": "classify", "target": target, "hidden": (4,)})
    return "ours-arousal,ours-valence"


def test_the_output_has_every_segment_and_the_mean(run: Run, models: str, file: Path) -> None:
    code, out, err = run(models, "recording.npz")
    assert (code, err) == (0, "")
    assert "8 segments of 5 s ECG (I, II)" in out
    assert "over this file alone" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("I ", "II ", "mean"))]
    assert [row[:3] for row in rows[:2]] == [["I", "0", "5"], ["I", "5", "10"]]
    assert len(rows) == 9
    expected = predict(
        file,
        predictors=[
            find_predictor(name, storage=LocalStorage(Path("results")), find_checkpoint=find_encoder)
            for name in models.split(",")
        ],
    )
    mean = expected.means("valence")["high"]
    assert rows[-1][-2:] == [f"{mean:.3f}", label_of([mean])]
    assert out.count("I, II") == 1
    assert "calibrated on 8 validation segments" in " ".join(out.split()) or "not calibrated" in out


def test_json_and_csv_hold_the_same_segments(run: Run, models: str, file: Path) -> None:
    code, out, _ = run(models, file.name, "--json", "--csv", "out.csv")
    assert code == 0
    document = json.loads(out)
    assert document["models"] == {"arousal": "ours-arousal", "valence": "ours-valence"}
    assert document["standardised_over"] == "this file"
    table = pd.read_csv("out.csv")
    pd.testing.assert_frame_equal(table, pd.DataFrame(document["segments"]), check_exact=False)
    assert document["mean"]["arousal_probability"] == pytest.approx(table["arousal_probability"].mean())
    assert document["mean"]["arousal"] in {"high", "low", "undecided"}
    assert document["probability_of"] == {"arousal": "high", "valence": "high"}


def test_a_long_recording_is_shown_in_part(run: Run, models: str, write: Callable[..., Path], ecg: np.ndarray) -> None:
    write("long.npz", signal=np.tile(ecg, (1, 8)), names=("I", "II"), kind="ecg")
    code, out, _ = run("ours-arousal", "long.npz")
    assert code == 0
    assert "10 more (all with --csv or --json)" in out


@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_the_plot_shows_signal_and_probabilities(
    run: Run, train: Callable[..., SearchFolder], write: Callable[..., Path], ecg: np.ndarray, eeg: np.ndarray,
    modality: str,
) -> None:  # fmt: skip
    train("m", modality=modality)
    signal, names = (ecg, ("I", "II")) if modality == "ecg" else (eeg, TEN_CHANNELS)
    signal = np.where(np.abs(np.arange(signal.shape[1]) - 1800) < 200, np.nan, signal)
    write("a.npz", signal=signal, names=names, kind=modality)
    code, _, err = run("m", "a.npz", "--plot", "page.png")
    assert (code, "gaps of missing samples" in err) == (0, True)
    picture = imread("page.png")
    assert picture.shape[1] == 1400
    height = picture.shape[0]
    for part in (picture[: height // 2], picture[height // 2 :]):
        assert (part[..., :3].min(axis=2) < 0.6).mean() > 0.005


def test_a_long_signal_is_drawn_by_its_extremes() -> None:
    samples = np.random.default_rng(0).normal(size=1_000_003)
    samples[777_777] = 99.0
    seconds, values = thin(samples, start=10.0, rate=100)
    assert len(values) < 4000
    assert values.max() == 99.0
    assert seconds[values.argmax()] == pytest.approx(10 + 7777.77, abs=10)
    short = samples[:100]
    assert thin(short, start=0.0, rate=100)[1] is short


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("missing", "recording.npz"), "'missing'"),
        (("ours-arousal,", "recording.npz"), "contains an empty name"),
        (("ours-arousal", "nowhere.edf"), "nowhere.edf is not a file"),
        (
            ("ours-arousal", "results/ours-arousal/journal.jsonl"),
            "the ending of the file is '.jsonl', expected one of .npz",
        ),
        (("ours-arousal", "recording.npz", "--plot", "x.pdf"), "--plot x.pdf: the name must end in .png"),
        (("ours-arousal", "recording.npz", "--plot", "no/x.png"), "--plot no/x.png: the folder"),
        (("ours-arousal", "recording.npz", "--csv", "no/x.csv"), "--csv no/x.csv: the folder"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    run: Run, models: str, file: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.startswith("emotune: ")
    assert err.count("\n") == 1


def test_a_plot_replaces_an_older_one(models: str, file: Path, tmp_path: Path) -> None:
    prediction = predict(
        file,
        predictors=[
            find_predictor("ours-arousal", storage=LocalStorage(tmp_path / "results"), find_checkpoint=find_encoder)
        ],
    )
    page = tmp_path / "page.PNG"
    page.write_bytes(b"old")
    write_plot(prediction, file=page)
    assert imread(page, format="png").ndim == 3
