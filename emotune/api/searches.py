"""`emotune.search`, `emotune.status` and `emotune.stop`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emotune.api.calls import as_assignments, make_request, own_ray, result_of, storage_or_default

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

    from emotune.cli.search import SearchRequest
    from emotune.result import Result
    from emotune.study.definition import Budget


Mode = Literal["min", "max"]
"""Whether a metric is minimised or maximised."""


def search(  # noqa: PLR0913 (the options of a search, all by name)
    study: str | Path | type | Callable[..., Any],
    *,
    name: str | None = None,
    store: str | Path | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    concurrency: int | None = None,
    share: float | None = None,
    seed: int | None = None,
    brackets: int | str | None = None,
    evaluations: int | str | None = None,
    hours: float | str | None = None,
    keep: str | None = None,
    warm_start: Sequence[str] = (),
    workers_per_trial: int = 1,
    trials_per_gpu: int | Literal["auto"] = 1,
    notify: Sequence[str] = (),
    register: str | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    space: "ConfigurationSpace | None" = None,
    budget: "Budget | None" = None,
    metric: str | Sequence[str] | None = None,
    mode: Mode | Sequence[Mode] = "min",
    constraints: Mapping[str, Mapping[str, float]] | None = None,
    searcher: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    resources: Mapping[str, float] | None = None,
    patience: float | None = None,
) -> "Result":
    """Run a search, or resume it where it stopped: same name, same search, as with ``emotune search``.

    Progress is printed on stderr; in a notebook it is one output that is updated in place. An interrupt (Ctrl-C, the
    stop button) saves and stops the search, and raises `KeyboardInterrupt`; the same call resumes it.

    Args:
        study: A study: a file, or its name in ``search_spaces``. Or a trainable: a subclass of `ray.tune.Trainable`, or
            a function ``train(config, epochs, checkpoint)``, with ``space``, ``budget`` and ``metric``.
        name: Name of the search; by default that of the study or trainable.
        store: Segment store; replaces the store of the study.
        storage: Folder of the searches, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or ``results``.
        tracking_uri: MLflow server or database; by default ``$MLFLOW_TRACKING_URI`` or a database in the storage.
        overrides: Settings of the study to replace, by dotted name, for example ``{"budget.max": 9}``.
        concurrency: Evaluations at a time; by default the number that the cluster has resources for.
        share: Fraction of the cluster that the search uses, in place of ``concurrency``.
        seed: Seed of the search; replaces the seed of the study.
        brackets: Brackets to run; ``"+1"`` extends a finished search by one.
        evaluations: Evaluations to run; ``"+9"`` extends a finished search by nine.
        hours: Running time after which no evaluation is started; ``"+6"`` resumes such a search for six hours more.
        keep: Configurations whose checkpoints stay: ``all`` or ``best:K``; by default ``best:5``.
        warm_start: Names of earlier searches whose best configurations are tried first.
        workers_per_trial: Workers that share an evaluation, as a Ray Train group.
        trials_per_gpu: Evaluations that share a GPU.
        notify: Commands and URLs that receive each new best result, the end and a failure.
        register: Name in MLflow's registry under which the model is registered.
        retry_failed: Run failed evaluations of an existing search again.
        fresh: Start again under the same name; old results are kept under another name.
        space: Search space of a trainable.
        budget: Budget of a trainable: epochs of the first and the last rung, and when the search ends.
        metric: Name of the metric of a trainable that is optimised, or a list of several.
        mode: Whether ``metric`` is minimised or maximised; a list for several.
        constraints: Allowed ranges of metrics of a trainable, for example ``{"size": {"max": 3e6}}``.
        searcher: The searcher of a trainable and its options, as in a study, for example ``{"kind": "bohb"}``.
        constants: Entries of a trainable's configuration that are not searched. They decide the results.
        resources: Ray resources of an evaluation of a trainable, for example ``{"CPU": 1, "GPU": 0.5}``.
        patience: Time (s) that an evaluation of a trainable may be silent in any case; 0: without limit.

    Returns:
        The result: ``best.values``, ``table``, ``report(path)``, ``mlflow_url``.

    Raises:
        EmotuneError: A setting is impossible (`SettingsError`), the name is of another search (`StudyChangedError`),
            another process runs the search (`BusyError`), or its evaluations failed (`SearchFailedError`).
        KeyboardInterrupt: A signal ended the search in order.

    Example:
        >>> result = emotune.search("laptop_pretrain", store="stores/ours", name="first", overrides={"budget.max": 9})
        >>> result.best.values
    """
    return _search(study, options=dict(locals()))


TRAINABLE_OPTIONS = ("space", "budget", "metric", "constraints", "searcher", "constants", "resources", "patience")
"""Arguments of `search` that describe a trainable, beside ``mode``."""


def _search(study: Any, *, options: dict[str, Any]) -> "Result":
    """Run a search; ``options`` are the arguments of `search` by name."""
    from emotune.cli.actions.search import search_or_plan

    given = {name: options[name] for name in TRAINABLE_OPTIONS if options[name] is not None}
    label = str(study) if isinstance(study, str | Path) else getattr(study, "__name__", "trainable")
    request = _request(label, options)
    with own_ray():
        if isinstance(study, str | Path):
            _refuse_settings(given)
            name, code = options["name"] or Path(label).stem, search_or_plan(request)
        else:
            name, code = _search_trainable(study, request, settings=given, mode=options["mode"])
    return result_of(name, code=code, storage=request.storage)


def _request(label: str, options: Mapping[str, Any]) -> "SearchRequest":
    """Return the request of ``emotune search`` that the arguments of `search` mean."""
    from emotune.cli.search import SearchRequest
    from emotune.cli.search import search as command

    values = {name: value for name, value in options.items() if name not in {*TRAINABLE_OPTIONS, "mode", "overrides"}}
    for name in ("brackets", "evaluations", "hours"):
        values[name] = None if values[name] is None else str(values[name])
    values |= {"study": label, "assignments": as_assignments(options["overrides"])}
    return make_request(command, SearchRequest, values=values, resume_hint="the same call")


def _search_trainable(
    trainable: Any, request: "SearchRequest", *, settings: dict[str, Any], mode: str | Sequence[str]
) -> tuple[str, int]:
    """Run the search of a trainable; returns the name of the search and the exit code."""
    from emotune.cli.actions.search import SearchStart
    from emotune.cli.actions.trainable_search import search_trainable_or_plan
    from emotune.study.trainable_study import describe_study

    document = describe_study(trainable, settings=settings, mode=mode)
    start = SearchStart.of(request, default_name=request.study)
    return start.destination.name, search_trainable_or_plan(start, document, target=trainable)


def _refuse_settings(given: Mapping[str, Any]) -> None:
    """Refuse the settings of a trainable beside a study, which has its own.

    Raises:
        SettingsError: There are any.
    """
    from emotune.errors import SettingsError

    if given:
        raise SettingsError(
            f"{', '.join(given)}: given beside a study, which has its own; change the study, or give overrides"
        )


def status(name: str | None = None, *, storage: str | Path | None = None) -> Any:
    """Return the state, the evaluations and the best configuration of a search.

    Args:
        name: Name of the search; None: all searches, without their evaluations.
        storage: Folder of the searches, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or ``results``.

    Returns:
        The document of ``emotune status NAME --json``; without a name, a list of documents.

    Raises:
        SettingsError: There is no such search.
        DamageError: Its journal is damaged.

    Example:
        >>> emotune.status("first")["best"]["values"]
    """
    from emotune.cli.actions.folders import existing_search
    from emotune.cli.actions.status import read_all, read_status

    if name is None:
        return read_all(storage_or_default(storage))
    return read_status(existing_search(name, storage=storage_or_default(storage)))


def stop(name: str, *, now: bool = False, storage: str | Path | None = None) -> None:
    """Request that a running search stops after its running evaluations, as ``emotune stop``.

    The request is a file in the folder of the search, which its driver reads every two seconds. `status` has it as
    ``stop_requested`` until the search has stopped. `search` with the same name resumes the search.

    Args:
        name: Name of the search.
        now: Save checkpoints of the running evaluations and end them.
        storage: Folder of the searches, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or ``results``.

    Raises:
        SettingsError: There is no such search, it is not running, it runs in a ``Tuner`` of your own, or it is a
            single run, which only ``now=True`` ends.

    Example:
        >>> emotune.stop("first")
    """
    from emotune.cli.actions.status import request_stop

    request_stop(name, storage=storage_or_default(storage), now=now)
