"""What a sampler knows does not depend on the order in which it was told."""

from ConfigSpace import ConfigurationSpace

from emotune.search.history import History
from emotune.search.records import Evaluation


def evaluation(number: int, *, rung: int) -> Evaluation:
    return Evaluation(
        id=number,
        config_id=0,
        bracket=0,
        rung=rung,
        from_epoch=rung,
        to_epoch=rung + 1,
        values={"lr": 0.1},
        origin="promotion" if rung else "random",
    )


def test_a_promoted_configuration_runs_in_either_order_of_its_records() -> None:
    first, promoted = evaluation(0, rung=0), evaluation(1, rung=1)
    as_it_went, rebuilt = (History(ConfigurationSpace({"lr": (0.0, 1.0)})) for _ in range(2))
    as_it_went.started(first)
    as_it_went.ended(first, loss=0.5)
    as_it_went.started(promoted)
    rebuilt.started(first)
    rebuilt.started(promoted)
    rebuilt.ended(first, loss=0.5)
    assert as_it_went.running == rebuilt.running == [0]
    for history in (as_it_went, rebuilt):
        history.ended(promoted, loss=0.4)
        assert history.running == []
