"""Models in MLflow's registry: one version per model, and the aliases ``champion`` and ``challenger``."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases: the best version on its data, and the newest version that is not better."""

DIGEST_TAG = "emotune.encoder_sha256"
"""Tag of run, model and version with the hash of the encoder's files: the same encoder is logged once."""

_METRIC, _MODE, _VALUE, _DATA = "emotune.metric", "emotune.mode", "emotune.value", "emotune.data"


@dataclass(frozen=True)
class Result:
    """The result by which versions of a registered model are compared."""

    metric: str
    mode: str
    """``min`` or ``max``."""
    value: float
    data: str
    """Hash of the segment store and its division; results on other data are not compared."""

    def tags(self) -> dict[str, str]:
        """Return the result as tags of a version."""
        return {_METRIC: self.metric, _MODE: self.mode, _VALUE: repr(self.value), _DATA: self.data}

    def is_better_than(self, tags: Mapping[str, str]) -> bool:
        """Return whether it is better than the result in the tags of a version; False if they cannot be compared."""
        own = self.tags()
        if any(tags.get(key) != own[key] for key in (_METRIC, _MODE, _DATA)):
            return False
        other = float(tags[_VALUE])
        return self.value < other if self.mode == "min" else self.value > other


def register(model: LoggedModel, *, name: str, result: Result, digest: str, client: MlflowClient) -> str:
    """Register a logged model, unless a version of it exists, and set its alias.

    The first version is the champion. A later one is the champion if its result on the same data is better, and
    otherwise the challenger.

    Returns:
        A line for the user.

    Raises:
        MlflowException: MLflow cannot be reached, or refuses the name.
    """
    if not _exists(name, client=client):
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((version for version in versions if version.tags.get(DIGEST_TAG) == digest), None)
    if version is None:
        version = client.create_model_version(
            name,
            source=model.artifact_location,
            run_id=model.source_run_id,
            tags={DIGEST_TAG: digest, **result.tags()},
            model_id=model.model_id,
        )
    champion = _champion(name, client=client)
    is_champion = champion is None or champion.version == version.version or result.is_better_than(champion.tags)
    alias = CHAMPION if is_champion else CHALLENGER
    client.set_registered_model_alias(name, alias, version.version)
    return f"registered as version {version.version} of {name}, {alias}: models:/{name}@{alias}"


def _exists(name: str, *, client: MlflowClient) -> bool:
    return bool(client.search_registered_models(f"name = '{name}'"))


def _champion(name: str, *, client: MlflowClient) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return None  # there is no such alias
        raise
