"""``emotune doctor``: checks of the installation, the services and the settings."""

import click

from emotune.cli.options import json_option, storage_option, tracking_option


@click.command()
@storage_option
@tracking_option
@click.option("--store", envvar="EMOTUNE_STORE", help="Segment store to check.  [default: EMOTUNE_STORE]")
@click.option(
    "--study",
    help="Check the training of this study too, in about a minute: the loss of one batch must fall, and random labels "
    "must give scores at chance on held-out people.",
)
@json_option
def doctor(*, storage: str, tracking_uri: str | None, store: str | None, study: str | None, as_json: bool) -> int:
    """Check installation, services and settings: one line per check, with a remedy.

    Checks this host and, if a Ray cluster runs, each of its hosts. Exits with 1 if a check fails.

    \b
    Example:
      emotune doctor
      emotune doctor --study laptop_pretrain --store stores/ours
      emotune doctor --storage /shared/results --store /shared/stores/ecg --tracking-uri http://mlflow:5000
    """
    from emotune.cli.actions.doctor import check_and_print

    return check_and_print(storage, tracking_uri=tracking_uri, store=store, study=study, as_json=as_json)
