"""``emotune verify``: train a configuration again, and print the comparison."""

import click

from emotune.cli.actions.folders import existing_records, store_path
from emotune.cli.output import print_json, print_message
from emotune.cli.verify import VerifyRequest
from emotune.durations import duration
from emotune.errors import SettingsError
from emotune.runtime.verification import Verification, choose_configuration, repeat
from emotune.study.recorded import KINDS, kind_of
from emotune.study.results import evaluation_results, opened
from emotune.study.study import Study


def verify_and_print(request: VerifyRequest) -> int:
    """Carry out ``emotune verify``; returns the exit code.

    Raises:
        SettingsError: There is no such search or configuration, or it trains no experiment.
        DataError: The store has other segments than the recorded one.
    """
    folder, records = existing_records(request.name, storage=request.storage)
    kind = kind_of(opened(records).study)
    if kind != "experiment":
        raise SettingsError(f"the search {request.name!r} {KINDS[kind]}; expected one that {KINDS['experiment']}")
    config_id, recorded = choose_configuration(records, request.configuration)
    epochs = request.epochs or recorded
    if epochs > recorded:
        raise SettingsError(f"--epochs {epochs}: configuration {config_id} was trained for {recorded} epochs")
    study = Study.recorded(opened(records).study)
    if request.store is not None:
        base = study.base.model_copy(update={"store": str(store_path(request.store))})
        study = study.model_copy(update={"base": base})
    done = [result for result in evaluation_results(records) if result.evaluation.config_id == config_id]
    seconds = sum((result.seconds or 0.0 for result in done), start=0.0) * epochs / recorded
    print_message(f"training configuration {config_id} again, {epochs} epochs; the search took {duration(seconds)}")
    result = repeat(study, records, folder, config_id=config_id, epochs=epochs)
    reproduced = result.equal or (request.tolerance > 0 and result.difference <= request.tolerance)
    if request.as_json:
        print_json(
            result.model_dump(mode="json")
            | {"equal": result.equal, "reproduced": reproduced, "difference": _json_number(result.difference)}
        )
    else:
        click.echo("\n".join(describe(result)))
    return 0 if reproduced else 1


def describe(result: Verification) -> list[str]:
    """Return a comparison in lines."""
    values = " and ".join(
        "not finite" if value is None else f"{value:.9g}" for value in (result.recorded, result.repeated)
    )
    if result.equal:
        verdict = f"equal: every metric of epochs 1 to {result.epochs}, to the last digit"
    else:
        where = f"the first difference is in epoch {result.first_difference}"
        verdict = f"differs: by {result.difference:.2g} of the objective; {where}"
    return [
        f"data: equal, {result.fingerprint[:12]}",
        f"software: {result.software or 'equal'}",
        f"{result.metric} after {result.epochs} epochs, recorded and now: {values}",
        verdict,
    ]


def _json_number(value: float) -> float | None:
    """Return a number; None for infinity, which JSON does not have."""
    return value if value != float("inf") else None
