"""Commands receive the values of their options as one request."""

import dataclasses

import click
import pytest
from click.testing import CliRunner

from emotune.cli import COMMANDS, emotune
from emotune.cli.crossval import CrossValidationRequest
from emotune.cli.data import PrepareRequest, data
from emotune.cli.export import ExportRequest
from emotune.cli.finetune import FinetuneRequest
from emotune.cli.options import RunRequest, json_option, run_options, storage_option
from emotune.cli.predict import PredictRequest
from emotune.cli.pretrain import PretrainRequest
from emotune.cli.reproduce import ReproduceRequest
from emotune.cli.resume import ResumeRequest
from emotune.cli.search import SearchRequest
from emotune.cli.verify import VerifyRequest

REQUESTS = {
    "search": SearchRequest,
    "resume": ResumeRequest,
    "pretrain": PretrainRequest,
    "finetune": FinetuneRequest,
    "crossval": CrossValidationRequest,
    "predict": PredictRequest,
    "export": ExportRequest,
    "reproduce": ReproduceRequest,
    "verify": VerifyRequest,
}


def command(name: str) -> click.Command:
    loaded = emotune.get_command(click.Context(emotune), name)
    assert loaded is not None
    return loaded


def test_a_command_receives_its_options_and_the_defaults_of_those_it_does_not_have() -> None:
    received: list[RunRequest] = []

    @click.command()
    @run_options(RunRequest, storage_option, json_option)
    def example(request: RunRequest) -> int:
        received.append(request)
        return 0

    result = CliRunner().invoke(example, ["--json"], standalone_mode=False)
    assert result.return_value == 0
    assert received == [RunRequest(storage="results", as_json=True)]


@pytest.mark.parametrize("name", REQUESTS)
def test_every_parameter_of_a_command_is_a_field_of_its_request(name: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(REQUESTS[name])}
    given = {parameter.name for parameter in command(name).params}
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    assert required <= given <= set(fields)


def test_every_parameter_of_the_preparation_is_a_field_of_its_request() -> None:
    given = {parameter.name for parameter in data.commands["prepare"].params}
    assert given == {field.name for field in dataclasses.fields(PrepareRequest)}


def test_options_of_the_same_name_have_the_same_form_in_all_commands() -> None:
    shared = {"storage", "tracking_uri", "precision", "assignments", "as_json", "fresh", "scratch"}
    forms: dict[str, set[tuple]] = {}
    for name in COMMANDS:
        for parameter in command(name).params:
            if parameter.name in shared:
                assert isinstance(parameter, click.Option)
                form = (*parameter.opts, parameter.default, str(parameter.envvar), parameter.help)
                forms.setdefault(parameter.name, set()).add(form)
    assert set(forms) == shared
    assert all(len(alternatives) == 1 for alternatives in forms.values())
