"""The mailbox: jobs and reports arrive once and in order, and no job is handed out after a stop."""

from hypothesis import given
from hypothesis import strategies as st

from emotune.runtime.mailbox import Instruction, Mailbox, MailboxContents
from emotune.runtime.step_report import StepReport
from emotune.search.records import Failure


def report(number: int) -> StepReport:
    return StepReport(saved=(number, 0))


ACTIONS = st.lists(st.sampled_from(["submit", "request", "deliver", "collect"]))


@given(actions=ACTIONS)
def test_jobs_and_reports_arrive_once_and_in_order(actions: list[str]) -> None:
    mailbox = Mailbox()
    submitted, delivered = 0, 0
    jobs: list[str] = []
    reports: list[StepReport] = []
    for action in actions:
        if action == "submit":
            mailbox.submit(f"job {submitted}")
            submitted += 1
        elif action == "deliver":
            assert not mailbox.deliver(report(delivered))
            delivered += 1
        elif action == "request":
            jobs += [job for job in [mailbox.request(2).job] if job is not None]
        else:
            reports += mailbox.collect().reports
    reports += mailbox.collect().reports
    while (job := mailbox.request(2).job) is not None:
        jobs.append(job)
    assert jobs == [f"job {number}" for number in range(submitted)]
    assert reports == [report(number) for number in range(delivered)]


def test_after_a_stop_the_group_gets_no_job_and_the_instruction_to_end() -> None:
    mailbox = Mailbox()
    mailbox.submit("job")
    mailbox.stop()
    assert mailbox.deliver(report(0))
    assert mailbox.request(1) == Instruction(None, stop=True)


def test_a_group_has_begun_with_its_first_request() -> None:
    mailbox = Mailbox()
    assert mailbox.collect() == MailboxContents(0, [], {})
    assert mailbox.request(3) == Instruction(None, stop=False)
    assert mailbox.collect() == MailboxContents(3, [], {})


def test_last_reports_are_kept_by_rank() -> None:
    mailbox = Mailbox()
    last = StepReport(failure=Failure(kind="program_error", message="boom"), ends_worker=True)
    mailbox.deliver_last(1, last)
    assert mailbox.collect().last_reports == {1: last}
    assert mailbox.collect().last_reports == {1: last}
