import re

import pytest
from test_output import in_terminal, is_harmless, without_escapes

from qvsearch.report import Speed, show_summary
from qvsearch.run import Summary


def test_time_left_follows_the_work_left_not_the_files():
    speed = Speed()
    speed.plan(work=110)
    for second in range(1, 11):
        speed.done(1, now=float(second))
    # 100 segments are left, of whatever number of files, at one a second
    assert speed.seconds_left(now=10.0) == pytest.approx(100)
    assert speed.files_per_second() == pytest.approx(1)
    speed.done(50, now=60.0)
    assert speed.seconds_left(now=60.0) == pytest.approx(50)


def test_time_left_runs_down_between_files_and_not_out():
    speed = Speed()
    speed.plan(work=3)
    speed.done(1, now=100.0)
    speed.done(1, now=110.0)
    assert speed.seconds_left(now=114.0) == pytest.approx(6, abs=4.1)
    assert speed.seconds_left(now=500.0) == pytest.approx(10)


def test_the_time_that_the_model_loads_is_no_measure():
    speed = Speed()
    speed.plan(work=12)
    speed.done(2, now=1000.0)
    assert (speed.seconds_left(now=1000.0), speed.files_per_second()) == (None, None)
    speed.done(2, now=1001.0)
    assert speed.seconds_left(now=1001.0) == pytest.approx(4)


def test_an_old_speed_is_forgotten():
    speed = Speed()
    speed.plan(work=100_000)
    for second in range(100):
        speed.done(10, now=float(second))
    for second in range(100, 300):
        speed.done(1, now=float(second))
    assert speed.files_per_second() == pytest.approx(1)
    assert speed.seconds_left(now=299.0) == pytest.approx(100_000 - 1000 - 200, rel=0.01)


def test_files_that_were_guessed_too_small_leave_no_time_below_zero():
    speed = Speed()
    speed.plan(work=2)
    for second in range(4):
        speed.done(1, now=float(second))
    assert speed.seconds_left(now=3.0) == 0


SHOW = """
from qvsearch.report import Progress
from qvsearch.types import Event
with Progress(quiet={quiet}, json=False) as report:
    report(Event("unchanged", b"/a.jpg"))
    report(Event("planned", files=3, estimate=66))
    report(Event("indexed", b"/b.jpg", segments=1, estimate=1))
    report(Event("skipped", b"/c.jpg", reason="empty file", estimate=1))
"""


def test_a_terminal_shows_how_far_it_is():
    shown = in_terminal(SHOW.format(quiet=False))
    lines = [without_escapes(each) for each in re.split(r"[\r\n]", shown)]
    assert any("indexing" in line and "2 of 3 files" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_a_quiet_run_shows_nothing():
    assert in_terminal(SHOW.format(quiet=True)) == ""


def test_hints_are_shown_on_a_terminal_and_harmless():
    code = "from qvsearch.output import hint; hint('one\\x1b[2J'); hint('two', quiet=True)"
    shown = in_terminal(code)
    assert shown.strip() == "one\\x1b[2J"
    assert is_harmless(shown.strip())


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (2, "interrupted, 2 files left; run it again to go on from here\n"),
        (0, "interrupted, at the end\n"),
    ],
)
def test_who_interrupts_is_told_what_is_left(left, said, capfd):
    done = Summary(5 + left, 5, 5, 0, 0, 0, 0, 5, 1.0, True, left, (), (), ())
    show_summary(done, quiet=True, json=False)
    assert capfd.readouterr().out == said
