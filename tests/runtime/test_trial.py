"""The states of a trial: every transition has its rule, and all others are refused."""

from pathlib import Path

import pytest

from emotune.experiment import Experiment
from emotune.runtime.trial import Trial, TrialState, WorkerWait
from emotune.runtime.worker import Job
from emotune.search.records import Failure
from emotune.storage import LocalStorage

HANG = Failure(kind="hung", message="hung: no epoch in 600 s")
TRANSITIONS = {
    "run": lambda trial: trial.run(),
    "finish": lambda trial: trial.finish(),
    "lose_access": lambda trial: trial.lose_access(),
    "regain_access": lambda trial: trial.regain_access(),
    "mark_hung": lambda trial: trial.mark_hung(HANG),
}
ALLOWED = {
    ("starting", "run"): "running",
    ("running", "finish"): "idle",
    ("running", "lose_access"): "inaccessible",
    ("running", "mark_hung"): "hung",
    ("idle", "mark_hung"): "hung",
    ("inaccessible", "regain_access"): "idle",
    ("hung", "finish"): "hung",
    ("hung", "lose_access"): "hung",
}
JOB = Job(
    evaluation_id=7,
    config_id=0,
    from_epoch=0,
    to_epoch=1,
    experiment=Experiment(),
    checkpoints=LocalStorage(Path("checkpoints")),
)


@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("state", TrialState)
def test_a_transition_is_allowed_from_its_states_only(state: TrialState, transition: str) -> None:
    trial = Trial(JOB, state)
    expected = ALLOWED.get((state, transition))
    if expected is None:
        with pytest.raises(RuntimeError, match=f"the trial of evaluation 7 is {state}"):
            TRANSITIONS[transition](trial)
        assert trial.state is state
    else:
        TRANSITIONS[transition](trial)
        assert trial.state == expected


def test_a_trial_has_its_evaluation_until_that_ends_or_is_taken_back() -> None:
    finished, without_access, hung = Trial(JOB), Trial(JOB), Trial(JOB)
    for trial in (finished, without_access, hung):
        trial.run()
        assert trial.evaluation_id == 7
    finished.finish()
    without_access.lose_access()
    hung.mark_hung(HANG)
    assert (finished.evaluation_id, without_access.evaluation_id, hung.evaluation_id) == (None, None, 7)
    assert hung.hang == HANG
    hung.finish()
    assert hung.evaluation_id is None


def test_a_promised_worker_is_no_longer_promised_when_it_arrives() -> None:
    trial = Trial(JOB)
    trial.worker_promised = True
    trial.run()
    assert not trial.worker_promised


def test_that_no_trial_has_a_worker_is_printed_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr("emotune.runtime.trial.time.monotonic", lambda: clock[0])
    # as in a program that imports emotune; the command line, which other tests call, gives the logger its own handler
    monkeypatch.setattr("emotune.waiting.logger.propagate", True)
    monkeypatch.setattr("emotune.waiting.logger.handlers", [])
    caplog.set_level("INFO", logger="emotune.waiting")
    wait, trials = WorkerWait("a GPU"), [Trial(JOB, created_at=0.0), Trial(JOB, created_at=5.0)]
    for clock[0] in (0.0, 19.0, 21.0, 90.0):
        wait.check(trials)
    assert caplog.messages == ["waiting for a worker with a GPU: none is free, or its process is starting ..."]
    trials[1].run()
    wait.check(trials)
    wait.check([])
    assert len(caplog.messages) == 1
