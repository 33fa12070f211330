"""Promises of the post: jobs are given out once, letters arrive once, and nobody gets work after the end."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from emotune.runtime.mailbox import Letter, Mail, Post, Word


def letter(number: int) -> Letter:
    return {"reports": [number], "saved": None, "finished": False, "diverged": None}


ACTIONS = st.lists(st.sampled_from(["hand in", "ask", "deliver", "collect"]))


@given(actions=ACTIONS)
def test_jobs_and_letters_arrive_once_and_in_order(actions: list[str]) -> None:
    post = Post()
    given_in, delivered = [0, 0]
    jobs: list[str] = []
    letters: list[Any] = []
    for action in actions:
        if action == "hand in":
            post.hand_in(f"job {given_in}")
            given_in += 1
        elif action == "deliver":
            assert not post.deliver(letter(delivered))
            delivered += 1
        elif action == "ask":
            jobs += [job for job in [post.ask(2).job] if job is not None]
        else:
            letters += post.collect().letters
    letters += post.collect().letters
    while (job := post.ask(2).job) is not None:
        jobs.append(job)
    assert jobs == [f"job {number}" for number in range(given_in)]
    assert [one["reports"] for one in letters] == [[number] for number in range(delivered)]


def test_a_group_that_shall_end_is_told_so_wherever_it_asks_and_gets_no_more_jobs() -> None:
    post = Post()
    post.hand_in("job")
    post.stop()
    assert post.deliver(letter(0))
    assert post.ask(1) == Word(None, stop=True)


def test_a_group_has_begun_with_its_first_question() -> None:
    post = Post()
    assert post.collect() == Mail(0, [])
    assert post.ask(3) == Word(None, stop=False)
    assert post.collect() == Mail(3, [])
