"""Promises of the YAML reader: every mistake has one line with a place, and nothing is guessed."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, model_validator

from emotune.base import Settings
from emotune.documents import Document, encode_document, load_document, override, parse
from emotune.errors import SettingsError


class Masking(Settings):
    kind: Literal["masking"] = "masking"
    span: int = Field(default=32, ge=1)


class Classify(Settings):
    kind: Literal["classify"] = "classify"
    threshold: float | None = None
    labels: tuple[str, ...] = ()


class Optim(Settings):
    lr: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=0, ge=0)


class Experiment(Settings):
    task: Annotated[Masking | Classify, Field(discriminator="kind")] = Masking()
    optim: Optim = Optim()
    mode: Literal["min", "max"] = "min"
    epochs: int = Field(ge=1)
    space: dict[str, int | Optim] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "Experiment":
        if self.optim.warmup > self.epochs:
            raise ValueError("the warm-up is longer than the training")
        return self


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def _write(text: str | bytes) -> Path:
        path = Path("study.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("-.5E+3", -500.0), ("3.", 3.0), ("12", 12), ("-0", 0),
        ("true", True), ("False", False), ("null", None), ("", None),
        ("no", "no"), ("on", "on"), ("12:30:45", "12:30:45"), ("1_000", "1_000"),
        ("2024-01-02", "2024-01-02"),
        ("0x1F", "0x1F"), (".nan", ".nan"), (".inf", ".inf"), ("nan", "nan"), ("'1e-4'", "1e-4"),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_look_like(write: Any, text: str, value: Any) -> None:
    value_read = load_document(write(f"key: {text}\n")).content["key"]
    assert value_read == value
    assert type(value_read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "study.yaml:1:1: nothing was found, expected lines such as 'key: value'"),
        ("- 1\n", "study.yaml:1:1: a list was found, expected lines such as 'key: value'"),
        ("a: 1\nb: 2\na: 3\n", "study.yaml:3:1: 'a' is given twice, first in line 1"),
        ("a: {b: 1,\n    b: 2}\n", "study.yaml:2:5: 'b' is given twice, first in line 1"),
        ("a: &x [1]\nb: *x\n", "study.yaml:1:4: anchors and aliases (& and *) are not allowed"),
        ("a: !!python/name:os.system x\n", "study.yaml:1:4: tags (!) are not allowed"),
        ("a: 1\nb: 010\n", "study.yaml:2:4: '010' has a leading zero: remove the zero, or put the text in quotes"),
        ("a: 1e999\n", "study.yaml:1:4: the number '1e999' is too large"),
        (
            "a: [1, 2\nb: 3\n",
            "study.yaml:2:2: this is not valid YAML, expected ',' or ']', but got ':': 'b: 3'",
        ),
        (
            "a:\n\t- 1\n",
            "study.yaml:2:1: this is not valid YAML, found character '\\t' that cannot start any token",
        ),
        ("a: 1\n---\nb: 2\n", "study.yaml:2:1: a second YAML document begins here"),
        ("? [a]\n: 1\n", "study.yaml:1:3: a key must be a plain text"),
        ("a: " + "[" * 100, "study.yaml:1:36: more than 32 levels are nested"),
        ("a: \x00", "study.yaml:1:1: the character '\\x00' is not allowed"),
        ('a: "\\ud800"', "study.yaml:1:4: an incomplete character"),
        (b"ok: 1\nbad: \xff\n", "study.yaml:2:1: the file is not UTF-8 text"),
        ("a: " + "x" * 1_000_000, "study.yaml: the file is larger than 1 MB"),
    ],
)
def test_what_is_refused_has_one_line_with_its_place(write: Any, text: str | bytes, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_document(write(text))
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder_are_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_document(tmp_path / "absent.yaml")
    with pytest.raises(SettingsError, match="directory"):
        load_document(tmp_path)


def test_places_are_found_and_missing_ones_point_to_their_parent(write: Any) -> None:
    document = load_document(write("base:\n  optim: {lr: 1, steps: [5, 6]}\nname: x\n"))
    assert document.where(("base", "optim", "lr")) == "study.yaml:2:11"
    assert document.where(("base", "optim", "steps", 1)) == "study.yaml:2:29"
    assert document.where(("base", "optim", "absent", "more")) == "study.yaml:2:3"
    assert document.where(("absent",)) == "study.yaml:1:1"


_anything = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet=" \n\t-:?[]{},&*!|>'\"%#@`ab01.~\\Uu", max_size=60).map(str.encode),
)


def _complaints(action: Callable[[], Any]) -> list[str]:
    """Return the lines of a settings error; none if there was none, and no other error may escape."""
    try:
        action()
    except SettingsError as error:
        return str(error).split("\n")
    return []


@given(raw=_anything)
def test_only_a_settings_error_escapes_from_any_file(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(raw)
    for line in _complaints(lambda: parse(load_document(path), Experiment)):
        assert line.startswith(str(path))
        assert len(line.splitlines()) == 1


_scalar = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
_text = st.text(max_size=12) | st.sampled_from(
    ["1e-4", "no", "010", "1_0", "~", "null", "=", "<<", "*a", "1:30", "0x1"]
)
_content = st.recursive(
    _scalar | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text.filter(bool), inner, max_size=3),
)


@given(content=st.dictionaries(_text.filter(bool), _content, min_size=1, max_size=4), header=st.text(max_size=40))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], header: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_bytes(encode_document(content, header=header))
    assert load_document(path).content == content


def test_shared_parts_are_written_out(tmp_path: Path) -> None:
    shared = [1, 2]
    content = {"a": shared, "b": shared, "lr": 1e-5}
    (tmp_path / "best.yaml").write_bytes(encode_document(content, header="The best\nof all"))
    assert (tmp_path / "best.yaml").read_text().startswith("# The best\n# of all\na:\n- 1\n")
    assert load_document(tmp_path / "best.yaml").content == {"a": [1, 2], "b": [1, 2], "lr": 1e-5}


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("{}", ["1:1: 'epochs' is missing"]),
        ("epochs: 0", ["1:1: epochs: 0 was given, expected a number of at least 1"]),
        ("epochs: '3'", ["1:1: epochs: '3' was given, expected a whole number"]),
        ("epochs: 3.0", ["1:1: epochs: 3.0 was given, expected a whole number"]),
        ("epochs: 1\noptim:\n  lr: yes", ["3:3: optim.lr: 'yes' was given, expected a number"]),
        ("epochs: 1\noptim:\n  lr: nan", ["3:3: optim.lr: 'nan' was given, expected a number"]),
        (
            "epochs: 1\noptim:\n  learning_rate: 1",
            ["3:3: 'optim.learning_rate' is not a setting of optim. Did you mean 'lr'?"],
        ),
        (
            "epochs: 1\noptim:\n  wamrup: 1",
            ["3:3: 'optim.wamrup' is not a setting of optim. Did you mean 'warmup'?"],
        ),
        (
            "epochs: 1\ntask: {kind: classify, span: 3}",
            ["2:24: 'task.span' is not a setting of task. Its settings are kind, threshold, labels"],
        ),
        (
            "epochs: 1\ntask: {kind: mask}",
            ["2:1: task.kind: 'mask' was given, expected 'classify' or 'masking'"],
        ),
        ("epochs: 1\ntask: {span: 3}", ["2:1: 'task.kind' is missing, expected 'classify' or 'masking'"]),
        (
            "epochs: 1\ntask: {kind: classify, labels: [a, 2]}",
            ["2:36: task.labels.1: 2 was given, expected text"],
        ),
        (
            "epochs: 1\nspace: {a: text}",
            ["2:9: space.a: 'text' was given, expected a whole number or a mapping"],
        ),
        (
            "epochs: 1\nspace: {optim.lr: {lr: 0}}",
            ["2:20: space.optim.lr.lr: 0 was given, expected a number above 0"],
        ),
        ("epochs: 1\noptim: {warmup: 3}", ["1:1: the warm-up is longer than the training"]),
        (
            "epochs: true\nmode: mx\nepoch: 3",
            [
                "2:1: mode: 'mx' was given, expected 'min' or 'max'",
                "1:1: epochs: true was given, expected a whole number",
                "3:1: 'epoch' is not a setting of this document. Did you mean 'epochs'?",
            ],
        ),
    ],
)
def test_every_mistake_has_its_line(write: Any, text: str, messages: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(load_document(write(text)), Experiment)
    assert str(caught.value).split("\n") == [f"study.yaml:{message}" for message in messages]


def test_parts_are_parsed_and_missing_ones_named(write: Any) -> None:
    document = load_document(write("base:\n  epochs: 3\n  optim: {lr: 1e-2}\ntask: {kind: clasify}\n"))
    assert parse(document, Experiment, at=("base",)).optim.lr == 1e-2
    adapter: TypeAdapter[Masking | Classify] = TypeAdapter(Annotated[Masking | Classify, Field(discriminator="kind")])
    with pytest.raises(SettingsError, match=r"study.yaml:4:1: task.kind: 'clasify' was given"):
        parse(document, adapter, at=("task",))
    with pytest.raises(SettingsError, match=r"study.yaml:1:1: 'base.model' is missing"):
        parse(document, Experiment, at=("base", "model"))


def test_assignments_find_nested_dotted_and_new_keys() -> None:
    content = {"optim": {"lr": 1}, "space": {"optim.lr": {"low": 1}}, "list": [1, 2]}
    changed = override(content, ["optim.lr=1e-3", "space.optim.lr.low=2", "list.1=[a, no]", "new.part=x=y", "none="])
    assert changed["none"] == ""
    assert changed["optim"] == {"lr": 1e-3}
    assert changed["space"] == {"optim.lr": {"low": 2}}
    assert changed["list"] == [1, ["a", "no"]]
    assert changed["new"] == {"part": "x=y"}
    assert content == {"optim": {"lr": 1}, "space": {"optim.lr": {"low": 1}}, "list": [1, 2]}


@pytest.mark.parametrize("assignment", ["lr", "=3", "=", "optim..lr=1", "lr.deeper=1", "a=010", "a=[1", "list.7=1"])
def test_malformed_assignments_are_the_users_mistake(assignment: str) -> None:
    with pytest.raises(SettingsError, match=r"^--set .*: .+"):
        override({"lr": 1, "list": [1]}, [assignment])


@given(assignment=st.text(max_size=30))
def test_only_a_settings_error_escapes_from_any_assignment(assignment: str) -> None:
    lines = _complaints(lambda: override({"a": {"b": 1}, "c": [1]}, [assignment]))
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert len(lines) <= 1


def test_a_mistake_in_an_assignment_names_the_option() -> None:
    document = Document(name="s.yaml", content={"epochs": 1}, positions={("epochs",): "s.yaml:1:1"})
    with pytest.raises(SettingsError, match=r"^--set optim.lr=-1: optim.lr: -1 was given"):
        parse(document.overridden(["optim.lr=-1"]), Experiment)
    assert math.isclose(parse(document.overridden(["optim.lr=0.5"]), Experiment).optim.lr, 0.5)
