"""Promises of docs/security.md: what comes from elsewhere is read, never run, and names lead nowhere else."""

import ast
import hashlib
import http.server
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

import emotune
from emotune.cli import emotune as program
from emotune.cli.output import print_error
from emotune.data.formats.file import read_file
from emotune.data.store import ABOUT_FILE, SIGNAL_FILE, SegmentStore
from emotune.errors import DamageError, DataError, SettingsError
from emotune.evaluation.encoders import PretrainedEncoder
from emotune.files import safe_name
from emotune.runtime.worker import describe
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.tracking.encoders import download_encoder, find_encoder
from emotune.training.checkpoints import newest_checkpoint, restore, save_checkpoint
from emotune.training.loop import TrainState
from tests.support.properties import examples
from tests.training.conftest import store, tiny_experiment

__all__ = ["store"]

PACKAGE = Path(emotune.__file__).parent
UNSAFE_MODULES = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
UNSAFE_CALLS = {
    "eval", "exec", "compile", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "torch.export.load", "torch.jit.load", "mlflow.pytorch.load_model",
    "mlflow.pyfunc.load_model",
}  # fmt: skip
SAFE_ONLY_WITH = {
    "np.load": "allow_pickle=False",
    "numpy.load": "allow_pickle=False",
    "torch.load": "weights_only=True",
}


def unsafe(source: str) -> list[str]:
    """Return what in a source could run code that it reads."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [name.name for name in node.names if name.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            names.append(str(node.module))
        elif isinstance(node, ast.Call):
            name, words = ast.unparse(node.func), {ast.unparse(word) for word in node.keywords}
            lacks = name in SAFE_ONLY_WITH and SAFE_ONLY_WITH[name] not in words
            shell = name.startswith("subprocess.") and "shell=True" in words
            if name in UNSAFE_CALLS or lacks or shell:
                names.append(ast.unparse(node))
    return names


def test_nothing_in_the_package_runs_what_it_reads() -> None:
    names = {str(file.relative_to(PACKAGE)): unsafe(file.read_text()) for file in PACKAGE.rglob("*.py")}
    assert {name: calls for name, calls in names.items() if calls} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "torch.load(f)", "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)", "yaml.load(f, Loader=yaml.SafeLoader)", "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)  # fmt: skip
def test_the_scan_sees_what_it_looks_for(line: str) -> None:
    assert unsafe(line)


class Payload:
    """Leaves a mark if it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def plant(checkpoint: Path, payload: Payload, *, names: tuple[str, ...]) -> None:
    """Put pickles in the place of a checkpoint's files, and their checksums into its manifest."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name in names:
        (checkpoint / name).write_bytes(pickle.dumps(payload))
        content = (checkpoint / name).read_bytes()
        manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def state(store: SegmentStore) -> tuple[TrainState, dict]:
    experiment = tiny_experiment(store.path)
    training_data = experiment.training_data(store)
    return experiment.begin(training_data), describe(experiment, training_data)


@pytest.fixture
def checkpoint(tmp_path: Path, state: tuple[TrainState, dict]) -> Path:
    return save_checkpoint(LocalStorage(tmp_path / "run"), state[0], about=state[1])


def test_an_honest_checkpoint_is_loaded(checkpoint: Path) -> None:
    assert not PretrainedEncoder(find_encoder(str(checkpoint), storage=LocalStorage(checkpoint))).training


WEIGHTS = ("weights.safetensors", "optimiser.safetensors")


@pytest.mark.parametrize("names", [WEIGHTS, ("state.json",)], ids=["weights", "state"])
def test_a_pickle_in_a_checkpoint_is_not_run_by_anything_that_reads_one(
    checkpoint: Path, state: tuple[TrainState, dict], tmp_path: Path, names: tuple[str, ...]
) -> None:
    plant(checkpoint, Payload(tmp_path / "ran"), names=names)
    with pytest.raises(DamageError, match="is not an undamaged checkpoint"):
        PretrainedEncoder(find_encoder(str(checkpoint), storage=LocalStorage(tmp_path)))
    with pytest.raises(DamageError):
        emotune.load_encoder(checkpoint, storage=tmp_path)
    with pytest.raises(DamageError):
        restore(checkpoint, state[0])
    assert newest_checkpoint(LocalStorage(checkpoint.parent)) is None
    for name in ("encoder.pkl", "model.pt", "data/pickle.bin"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
        with pytest.raises(SettingsError, match="neither a checkpoint folder"):
            find_encoder(str(file), storage=LocalStorage(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"about": {"modality": "ecg"}}', '{"about": {"modality": []}}'])
def test_a_state_that_says_something_else_is_damage(checkpoint: Path, content: str) -> None:
    (checkpoint / "state.json").write_text(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content.encode()).hexdigest()}
    manifest = json.loads((checkpoint / "manifest.json").read_text()) | {"state.json": entry}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamageError, match="epoch-000000"):
        PretrainedEncoder(checkpoint)


def object_array(mark: Path) -> np.ndarray:
    array = np.empty(1, dtype=object)
    array[0] = Payload(mark)
    return array


def test_a_pickle_in_a_store_is_not_run(store: SegmentStore, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.path, copy)
    np.save(copy / SIGNAL_FILE, object_array(tmp_path / "ran"), allow_pickle=True)
    about = json.loads((copy / ABOUT_FILE).read_text())
    about["files"][SIGNAL_FILE]["size"] = (copy / SIGNAL_FILE).stat().st_size
    (copy / ABOUT_FILE).write_text(json.dumps(about))
    with pytest.raises(DataError, match=SIGNAL_FILE):
        SegmentStore.open(copy)
    assert not (tmp_path / "ran").exists()


def test_a_store_names_no_files_outside_itself(store: SegmentStore, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.path, copy)
    about = json.loads((copy / ABOUT_FILE).read_text())
    about["files"]["../secret"] = {"size": 1, "sha256": "0" * 64}
    (copy / ABOUT_FILE).write_text(json.dumps(about))
    with pytest.raises(DataError, match=ABOUT_FILE):
        SegmentStore.open(copy)


def test_a_pickle_in_a_recording_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "recording.npz"
    np.savez(file, x=object_array(tmp_path / "ran"))
    with pytest.raises(DataError):
        read_file(file)
    assert not (tmp_path / "ran").exists()


@given(name=st.text(max_size=110) | st.text(alphabet="./\\\0~ a-_%\n", max_size=20))
@example(name="..").via("the folder above")
@example(name="../evil").via("beside the results")
@example(name="/evil").via("anywhere")
@example(name="fine\n").via("a line break that a pattern may pass over")
def test_a_name_is_refused_or_is_a_folder_right_in_the_storage(name: str) -> None:
    root = Path("/somewhere/results")
    try:
        path = SearchFolder.of(name, storage=LocalStorage(root)).path
    except SettingsError:
        return
    assert Path(os.path.normpath(path)).parent == root
    assert path.name == name == safe_name(name)


NAMED = [
    ("search", "smoke", "--store", "STORE", "--name", "NAME"),
    ("pretrain", "EXPERIMENT", "--store", "STORE", "--name", "NAME"),
    ("finetune", "EXPERIMENT", "--store", "STORE", "--scratch", "--name", "NAME"),
    ("crossval", "EXPERIMENT", "--protocol", "paper", "--store", "STORE", "--name", "NAME"),
    ("status", "NAME"), ("stop", "NAME"), ("report", "NAME"), ("compare", "NAME"), ("sync", "NAME"),
    ("best", "NAME", "--out", "OUT"), ("scores", "NAME"),
]  # fmt: skip


@pytest.mark.parametrize("command", NAMED, ids=lambda command: command[0])
@examples(0.3)
@given(
    name=st.sampled_from(["..", ".", "../evil", "a/b", "/tmp/evil", "..\\evil", "a\0b", ".hidden", "x" * 101, "%2e%2e"])
)
def test_no_command_writes_anything_under_a_name_that_leads_elsewhere(
    tmp_path: Path, store: SegmentStore, command: tuple[str, ...], name: str
) -> None:
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text("epochs: 1\n")
    given_ = {"STORE": str(store.path), "NAME": name, "EXPERIMENT": str(experiment), "OUT": str(tmp_path / "out.yaml")}
    arguments = [given_.get(word, word) for word in command]
    result = CliRunner().invoke(program, arguments, env={"EMOTUNE_STORAGE": str(tmp_path / "in" / "results")})
    assert isinstance(result.exception, SettingsError), result.exception
    assert [path for path in tmp_path.rglob("*") if path != experiment] == []
    assert not Path("/tmp/evil").exists()


def test_a_name_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("store\x1b[2J\x1b]0;title\x07.npy: no such file, [bold]really[/bold], ärgerlich")
    assert capsys.readouterr().err == "emotune: store?[2J?]0;title?.npy: no such file, [bold]really[/bold], ärgerlich\n"


class HostileMlflow(http.server.BaseHTTPRequestHandler):
    """An MLflow server whose artifacts claim to lie somewhere else."""

    def do_GET(self) -> None:
        info = {"run_id": "a" * 32, "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/1/a/artifacts"}
        files = [{"path": "../../../../evil", "is_dir": False, "file_size": 3}]
        answer = {"run": {"info": info | {"lifecycle_stage": "active"}, "data": {}}, "files": files}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def hostile_mlflow() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), HostileMlflow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_mlflow_names_is_not_written_elsewhere(hostile_mlflow: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="its encoder cannot be downloaded from MLflow"):
        download_encoder("a" * 32, tracking_uri=hostile_mlflow, to=tmp_path / "1" / "2" / ".encoders")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("wanted", "disabled"), [({}, "True"), ({"MLFLOW_DISABLE_TELEMETRY": "false"}, "False")])
def test_no_usage_data_goes_to_mlflow_unless_the_user_enables_it(wanted: dict[str, str], disabled: str) -> None:
    source = "import emotune.tracking, mlflow.telemetry.utils as utils; print(utils.is_telemetry_disabled())"
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-c", source]
    said = subprocess.run(command, env=environment | wanted, capture_output=True, text=True, check=True).stdout
    assert said.strip() == disabled
