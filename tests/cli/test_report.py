import re

import pytest
from support.terminal import in_terminal, is_harmless, without_escapes

from qvsearch.cli.progress import Progress, Speed, show_summary
from qvsearch.indexing.counts import Event, Summary
from qvsearch.machine.estimate import about
from qvsearch.types import Kind


def embedded(speed, kind, segments, now, guess=1):
    """A file whose segments were one batch."""
    speed.batch(segments, now)
    speed.file(kind, guess, segments)


def test_time_left_follows_the_segments_left_not_the_files():
    speed = Speed()
    speed.plan({Kind.IMAGE: 10, Kind.TEXT: 100})
    for second in range(1, 11):
        embedded(speed, Kind.IMAGE, 1, float(second))
    # 100 segments are left, of whatever number of files, at one a second
    assert speed.seconds_left(now=10.0) == pytest.approx(100)
    assert speed.files_per_second() == pytest.approx(1)
    embedded(speed, Kind.TEXT, 50, 60.0, guess=50)
    assert speed.seconds_left(now=60.0) == pytest.approx(50)


def test_guesses_at_films_are_corrected_by_the_films_that_are_done():
    speed = Speed()
    speed.plan({Kind.IMAGE: 20, Kind.VIDEO: 15})
    for second in range(20):
        embedded(speed, Kind.IMAGE, 1, float(second))
    for second in range(20, 25):
        embedded(speed, Kind.VIDEO, 6, float(second))
    assert speed.work_left() == pytest.approx(60)  # not 10
    speed.batch(2, 26.0)  # of a film that goes on
    assert speed.work_left() == pytest.approx(58)


def test_films_that_end_in_the_same_instant_give_no_speed():
    speed = Speed()
    speed.plan({Kind.VIDEO: 15})
    speed.batch(30, 100.0)
    for _ in range(5):
        speed.file(Kind.VIDEO, 1, 6)
    assert (speed.seconds_left(now=100.0), speed.files_per_second()) == (None, None)
    speed.batch(2, 100.01)
    assert (speed.seconds_left(now=100.01), speed.files_per_second()) == (None, None)
    speed.batch(30, 110.0)
    assert speed.seconds_left(now=110.0) == pytest.approx(28 / 3.2)


def test_time_left_runs_down_between_batches_and_not_out():
    speed = Speed()
    speed.plan({Kind.IMAGE: 3})
    embedded(speed, Kind.IMAGE, 1, 100.0)
    embedded(speed, Kind.IMAGE, 1, 110.0)
    assert speed.seconds_left(now=114.0) == pytest.approx(6, abs=4.1)
    assert speed.seconds_left(now=500.0) == pytest.approx(10)


def test_the_time_that_the_model_loads_is_no_measure():
    speed = Speed()
    speed.plan({Kind.IMAGE: 12})
    embedded(speed, Kind.IMAGE, 2, 1000.0, guess=2)
    assert (speed.seconds_left(now=1000.0), speed.files_per_second()) == (None, None)
    embedded(speed, Kind.IMAGE, 2, 1001.0, guess=2)
    assert speed.seconds_left(now=1001.0) == pytest.approx(4)


def test_an_old_speed_is_forgotten():
    speed = Speed()
    speed.plan({Kind.TEXT: 100_000})
    for second in range(100):
        embedded(speed, Kind.TEXT, 10, float(second), guess=10)
    for second in range(100, 300):
        embedded(speed, Kind.TEXT, 1, float(second))
    assert speed.files_per_second() == pytest.approx(1)
    assert speed.seconds_left(now=299.0) == pytest.approx(100_000 - 1000 - 200, rel=0.01)


def test_files_that_were_guessed_too_small_leave_no_time_below_zero():
    speed = Speed()
    speed.plan({Kind.TEXT: 2})
    for second in range(4):
        embedded(speed, Kind.TEXT, 1, float(second))
    assert speed.seconds_left(now=3.0) == 0


def test_skipped_and_copied_files_leave_the_work_to_the_others():
    speed = Speed()
    speed.plan({Kind.IMAGE: 10})
    embedded(speed, Kind.IMAGE, 1, 0.0)
    embedded(speed, Kind.IMAGE, 1, 2.0)
    for _ in range(6):
        speed.file(Kind.IMAGE, 1, 0)
    assert speed.work_left() == 2


def test_a_log_gets_a_line_every_half_minute(capfd):
    now = 0.0
    with Progress(quiet=False, json=False, clock=lambda: now) as report:
        report(Event("planned", files=60, estimate=60, by_kind={Kind.IMAGE: 60}))
        for second in range(0, 100, 2):
            now = float(second)
            report(Event("embedded", segments=1))
            report(Event("indexed", b"/a.jpg", Kind.IMAGE, segments=1, estimate=1))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "indexing: 15 of 60 files, 0.50 files/s, 88 seconds left"
    for quiet, json in [(True, False), (False, True)]:
        times = iter(range(0, 1000, 100))
        with Progress(quiet=quiet, json=json, clock=times.__next__) as report:
            report(Event("planned", files=60, estimate=60, by_kind={Kind.IMAGE: 60}))
            report(Event("embedded", segments=1))
        captured = capfd.readouterr()
        assert captured.err == ""
        assert "embedded" not in captured.out


def notes(events, capfd):
    """Return the line of a log after each event, each half a minute later than the one before."""
    times = iter(range(0, 3000, 30))
    with Progress(quiet=False, json=False, clock=times.__next__) as report:
        report(Event("planned", files=40, estimate=40, by_kind={Kind.IMAGE: 40}))
        capfd.readouterr()
        lines = []
        for event in events:
            report(event)
            lines.append(capfd.readouterr().err.strip())
    return lines


def test_no_speed_is_shown_before_a_file_is_finished(capfd):
    lines = notes([Event("embedded", segments=5)] * 3, capfd)
    assert lines[-1] == "indexing: 0 of 40 files, 2.5 minutes left"


def test_reading_words_has_a_time_left_and_no_speed_of_before(capfd):
    file = Event("indexed", b"/a.jpg", Kind.IMAGE, segments=1, estimate=1)
    files = [Event("embedded", segments=1), file] * 3
    lines = notes([*files, Event("reading", segments=5), *[Event("read", segments=1)] * 5], capfd)
    assert lines[-5:] == [
        "indexing: 4 pictures left",
        "indexing: 3 pictures, 1.5 minutes left",
        "indexing: 2 pictures, 60 seconds left",
        "indexing: 1 picture, 30 seconds left",
        "",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 second"),
        (59, "59 seconds"),
        (130, "2 minutes"),
        (150, "2.5 minutes"),
        (47 * 60, "45 minutes"),
        (89 * 60, "90 minutes"),
        (9.76 * 3600, "10 hours"),
        (35 * 3600, "35 hours"),
        (60 * 3600, "2.5 days"),
        (40 * 86400, "40 days"),
    ],
)
def test_times_are_rounded_to_what_is_known(seconds, said):
    assert about(seconds) == said


SHOW = """
from qvsearch.cli.progress import Progress
from qvsearch.types import Kind
from qvsearch.indexing.counts import Event
with Progress(quiet={quiet}, json=False) as report:
    report(Event("unchanged", b"/a.jpg"))
    report(Event("planned", files=3, estimate=66, by_kind={{Kind.IMAGE: 66}}))
    report(Event("embedded", segments=1))
    report(Event("indexed", b"/b.jpg", Kind.IMAGE, segments=1, estimate=1))
    report(Event("skipped", b"/c.jpg", reason="empty file", estimate=1))
"""


def test_a_terminal_shows_how_far_it_is():
    shown = in_terminal(SHOW.format(quiet=False))
    lines = [without_escapes(each) for each in re.split(r"[\r\n]", shown)]
    assert any("indexing" in line and "2 of 3 files" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


LONG = """
from qvsearch.cli.progress import _bar
with _bar(lambda: "1,057,000 of 2,120,000 files, 0.37 files/s, 90 minutes left") as bar:
    bar.add_task("reading words in pictures", total=1)
"""


def test_a_bar_that_is_too_long_stays_one_line():
    lines = [without_escapes(each) for each in re.split(r"[\r\n]", in_terminal(LONG))]
    assert all("reading" in line for line in lines if line.strip())
    assert all(len(line) <= 80 for line in lines)


def test_a_quiet_run_shows_nothing():
    assert in_terminal(SHOW.format(quiet=True)) == ""


def test_hints_are_shown_on_a_terminal_and_harmless():
    code = "from qvsearch.cli.output import hint; hint('one\\x1b[2J'); hint('two', quiet=True)"
    shown = in_terminal(code)
    assert shown.strip() == "one\\x1b[2J"
    assert is_harmless(shown.strip())


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (2, "interrupted, 2 files left; run it again to go on from here\n"),
        (0, "interrupted; run it again to go on from here\n"),
    ],
)
def test_who_interrupts_is_told_what_is_left(left, said, capfd):
    done = Summary(5 + left, 5, 5, 0, 0, 0, 0, 5, 1.0, True, left, (), (), ())
    show_summary(done, quiet=True, json=False)
    assert capfd.readouterr().out == said
