"""How a terminal shows pictures is found out by asking it, and it is left as it was."""

import pytest
from support.scripted_terminal import FOOT, ITERM2, KITTY, XTERM, run

ASK = """
from qvsearch.choices import Pictures
from qvsearch.cli.terminal import find_screen
screen = find_screen(Pictures.{})
print("found", *((screen.way, *screen.cell, screen.colours) if screen else ["none"]))
"""
CELL = (10, 20)  # if nothing is known


def asked(answers=b"", way="AUTO", **terminal):
    """What was found, in a terminal that is left as it was."""
    ran = run(ASK.format(way), answers, **terminal)
    assert ran.code == 0, ran.output
    assert ran.is_restored
    assert ran.unread == b""
    return ran.output.decode().rpartition("found ")[2].split()


@pytest.mark.parametrize(
    ("answers", "way", "cell", "colours"),
    [
        (KITTY, "kitty", (10, 20), 256),
        (ITERM2, "iterm2", (16, 34), 256),
        (FOOT, "sixel", (10, 20), 256),
        (XTERM, "blocks", (9, 19), 256),
    ],
)
def test_a_terminal_is_believed_if_its_answers_make_sense(answers, way, cell, colours):
    assert asked(answers) == [way, *map(str, cell), str(colours)]


LIARS = {
    "nothing at all": b"",
    "no picture": b"\x1b_Gi=4207;ENOTSUPPORTED:no\x1b\\\x1b[?62c",
    "another picture": b"\x1b_Gi=1;OK\x1b\\\x1b[?62c",
    "a picture and nothing else": b"\x1b_Gi=4207;OK\x1b\\",
    "a name and nothing else": b"\x1bP>|iTerm2 3.5.4\x1b\\",
    "a name within a name": b"\x1bP>|x iTerm2 3\x1b\\\x1b[?62c",
    "an attribute like that of sixels": b"\x1b[?64;44;14c",
    "endless answers": b"A" * 100_000,
    "endless attributes": b"\x1b[?" + b"4;" * 4000 + b"c",
    "bytes": bytes(range(128, 256)) + b"\x1b[?c",
}


@pytest.mark.parametrize("answers", LIARS.values(), ids=LIARS)
def test_a_terminal_that_lies_or_is_silent_shows_half_blocks(answers):
    assert asked(answers[:4096]) == ["blocks", *map(str, CELL), "256"]


def test_sizes_that_no_character_has_are_not_believed():
    sizes = [b"\x1b[6;0;0t", b"\x1b[6;9999;9999t", b"\x1b[6;-3;-3t", b"\x1b[6;99999999;1t"]
    assert asked(b"".join(sizes[:1]) + b"\x1b[?62;4c")[1:3] == ["10", "20"]
    assert asked(sizes[1] + b"\x1b[?62;4c")[1:3] == ["10", "20"]
    assert asked(sizes[2] + sizes[3] + b"\x1b[?62;4c")[1:3] == ["10", "20"]
    assert asked(FOOT, pixels=(80 * 8, 40 * 16))[1:3] == ["8", "16"]  # the system's come first
    assert asked(FOOT, pixels=(80, 60_000))[1:3] == ["10", "20"]


def test_variables_count_only_for_a_terminal_that_gives_no_name():
    unnamed = b"\x1b[?62c"
    assert asked(unnamed, LC_TERMINAL="iTerm2")[0] == "iterm2"
    assert asked(unnamed, TERM_PROGRAM="WezTerm")[0] == "iterm2"
    assert asked(XTERM, LC_TERMINAL="iTerm2")[0] == "blocks"
    assert asked(b"", LC_TERMINAL="iTerm2")[0] == "blocks"
    assert asked(unnamed, LC_TERMINAL="iTerm2", TMUX="/tmp/tmux-0/default,1,0")[0] == "blocks"
    assert asked(unnamed, LC_TERMINAL="iTerm2", TERM="screen-256color")[0] == "blocks"
    assert asked(unnamed, COLORTERM="truecolor")[3] == str(2**24)


@pytest.mark.parametrize(
    "within", [{"TMUX": "/tmp/t,1,0"}, {"STY": "1.a"}, {"TERM": "tmux-256color"}]
)
def test_a_multiplexer_gets_no_command_that_it_takes_for_a_title(within):
    ran = run(ASK.format("AUTO"), b"\x1bP>|tmux 3.4\x1b\\\x1b[?1;2;4c", **within)
    assert b"\x1b_" not in ran.output
    assert b"found sixel" in ran.output


def test_the_users_choice_needs_no_answer():
    output = run(ASK.format("SIXEL"), pixels=(80 * 8, 40 * 16)).output
    assert b"\x1b" not in output  # it was not asked
    assert output.split()[1:4] == [b"sixel", b"8", b"16"]


def test_without_colours_or_characters_there_are_no_half_blocks():
    assert asked(XTERM, NO_COLOR="1") == ["none"]
    assert asked(KITTY, NO_COLOR="1")[0] == "kitty"
    assert asked(XTERM, PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0") == ["none"]
    assert asked(KITTY, TERM="dumb") == ["none"]


def test_a_terminal_of_another_session_is_not_asked():
    detached = "import os\nif os.fork(): os.wait(); raise SystemExit\nos.setsid()\n"
    output = run(detached + ASK.format("AUTO"), KITTY).output
    assert b"\x1b" not in output
    assert b"found blocks" in output


def test_ctrl_c_while_it_is_asked_leaves_it_as_it_was():
    code = "from qvsearch.cli.interrupt import cancelling\n" + ASK.format("AUTO")
    ran = run(code, typed=b"\x03")
    assert ran.is_restored
    assert b"KeyboardInterrupt" in ran.output
    assert b"found" not in ran.output


def test_a_request_to_end_while_it_is_asked_leaves_it_as_it_was():
    import_first = "import os, signal, threading\n"
    # the terminal is silent: the request comes from a thread once the question is there
    code = (
        import_first
        + """
from qvsearch.cli import terminal
read = terminal._read_answers
def ended(file):
    os.kill(os.getpid(), signal.SIGTERM)
    return read(file)
terminal._read_answers = ended
"""
        + ASK.format("AUTO")
    )
    ran = run(code)
    assert ran.is_restored
    assert b"KeyboardInterrupt" in ran.output
