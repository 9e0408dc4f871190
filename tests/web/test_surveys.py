"""Slow questions, which are answered in the background."""

import threading

from qvsearch.errors import QvsearchError
from qvsearch.web import surveys
from qvsearch.web.surveys import Surveys

LONG = 60


class Question:
    """A question whose answer a test gives, and that counts how often it was asked."""

    def __init__(self):
        self.asked, self.given = 0, threading.Semaphore(0)

    def answer(self):
        self.asked += 1
        assert self.given.acquire(timeout=LONG)
        return self.asked

    def let_go(self, all_, state="now", **options):
        """Give an answer, and wait until it is the outcome."""
        before = all_.outcome("question", state, self.answer, **options)
        self.given.release()
        while (outcome := all_.outcome("question", state, self.answer, **options)) is before:
            threading.Event().wait(0.001)
        return outcome


def test_nobody_waits_for_an_answer():
    question, all_ = Question(), Surveys()
    assert all_.outcome("question", "now", question.answer) is None
    assert all_.outcome("question", "now", question.answer) is None
    assert question.let_go(all_).result == 1
    assert all_.outcome("question", "now", question.answer).result == 1
    assert question.asked == 1, "it is worked out once"


def test_an_older_answer_is_shown_until_there_is_a_newer():
    question, all_ = Question(), Surveys()
    question.let_go(all_)
    assert all_.outcome("question", "later", question.answer).result == 1
    assert question.let_go(all_, "later").result == 2


def test_an_answer_grows_old(monkeypatch):
    question, all_ = Question(), Surveys()
    monkeypatch.setattr(surveys, "REST", 0)
    question.let_go(all_, seconds=LONG)
    assert all_.outcome("question", "now", question.answer, LONG).result == 1
    assert question.asked == 1
    assert question.let_go(all_, seconds=0.0).result == 2


def test_an_error_is_an_answer_and_a_defect_stops_no_other(capsys):
    all_ = Surveys()

    def fail():
        raise QvsearchError("the library is empty")

    def defect():
        raise RuntimeError("a defect")

    all_.outcome("defect", "now", defect)
    while (outcome := all_.outcome("question", "now", fail)) is None:
        threading.Event().wait(0.001)
    assert str(outcome.error) == "the library is empty"
    assert "a defect" in capsys.readouterr().err
