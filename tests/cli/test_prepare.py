"""``emotune data prepare``: its summary, and its errors."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emotune.cli import emotune
from emotune.cli.actions.prepare import TimeLeft
from emotune.data.prepare.prepare import PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import DataError, SettingsError
from tests.data.examples.brain import write_eegmmidb
from tests.data.examples.emotion import write_amigos

EEG = ("--modality", "eeg", "--workers", "1")


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(emotune, ["data", "prepare", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_eegmmidb(tmp_path_factory.mktemp("eegmmidb"))


@pytest.fixture
def torn(runs: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(runs, tmp_path / "torn"))
    file = min(folder.rglob("*.edf"))
    file.write_bytes(file.read_bytes()[:-1000])
    return folder


def test_a_band_can_be_set(tmp_path: Path) -> None:
    small = ("--set", "subjects=1", "--set", "seconds_per_state=20", "--workers", "1", "--set", "band=[1, 40]")
    run("synthetic", "--store", str(tmp_path / "store"), *small)
    assert SegmentStore.open(tmp_path / "store").about.settings["band"] == [1, 40]


def test_the_summary_lists_what_was_left_out_and_the_reason(torn: Path, tmp_path: Path) -> None:
    text = run("eegmmidb", str(torn), "--store", str(tmp_path / "store"), *EEG).stdout
    assert "left out" in text
    assert "as in its EDF header" in " ".join(text.split())
    assert text.splitlines()[-1].endswith(f"written to {tmp_path / 'store'}")


def test_strict_stops_at_a_truncated_file_and_writes_no_store(torn: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"S001R\d\d.edf.*Is it truncated") as caught:
        run("eegmmidb", str(torn), "--store", str(tmp_path / "store"), *EEG, "--strict")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["torn"]


def test_corpora_are_added_to_a_pool(runs: Path, tmp_path: Path) -> None:
    pool = ("--store", str(tmp_path / "pool"), *EEG, "--append")
    first = run("eegmmidb", str(runs), *pool).stdout.splitlines()[-1]
    (tmp_path / "amigos").mkdir()
    second = run("amigos", str(write_amigos(tmp_path / "amigos")), *pool).stdout.splitlines()[-1]
    assert "in the pool" not in first
    assert "in the pool" in second
    assert run("eegmmidb", str(runs), *pool).stdout.splitlines()[-1].endswith(f"already there: {tmp_path / 'pool'}")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [("ordr=4", r"neither .* nor synthetic has such a setting\. Did you mean 'order'\?"), ("order=x", "order")],
)
def test_an_unknown_setting_is_an_error(tmp_path: Path, assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        run("synthetic", "--store", str(tmp_path / "s"), "--set", assignment)
    assert list(tmp_path.iterdir()) == []


def test_the_time_left_is_estimated_from_bytes_and_anew_for_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("emotune.cli.actions.prepare.time.monotonic", lambda: now)
    left = TimeLeft()
    assert left.update(0.0) is None
    now = 100.0
    assert left.update(0.5) == pytest.approx(100.0)
    assert left.update(1.0) is None
    assert left.update(0.0) is None, "the second phase begins"
    now = 110.0
    assert left.update(0.1) == pytest.approx(90.0), "the first phase does not count"


def test_the_share_that_is_done_is_one_of_bytes_and_resumed_parts_are_no_work(runs: Path, tmp_path: Path) -> None:
    reported: list[tuple[float, str]] = []
    settings = PrepareSettings(modality="eeg")
    options = PrepareOptions(progress=lambda share, step: reported.append((share, step)))
    prepare("eegmmidb", folder=runs, store=tmp_path / "store", settings=settings, options=options)
    files = sorted(runs.rglob("*.edf"))
    sizes = [file.stat().st_size for file in files]
    hashed = [share for share, step in reported if step.startswith("hashed file")]
    assert hashed[0] == pytest.approx(sizes[0] / sum(sizes), rel=0.2)
    assert hashed[-1] == 1.0
    parts = [(share, step) for share, step in reported if step.startswith("part ")]
    assert [step.split(":")[0] for _, step in parts] == [f"part {n + 1} of {len(parts)}" for n in range(len(parts))]
    assert parts[-1][0] == 1.0
    assert [share for share, step in reported if step.startswith(("hashing", "preparing", "writing"))] == [0.0] * 3
