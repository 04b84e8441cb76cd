"""What a log may do to a terminal: colour it, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.cli.escapes import neutralise, plain

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
PIECES = st.sampled_from(
    [
        "\x1b",
        "[",
        "]",
        "\x9b",
        "\x9d",
        "\x9c",
        "\x07",
        "\\",
        "m",
        "J",
        "31",
        ";",
        ":",
        "?",
        ">",
        "0;title",
        "P",
        "_",
        "^",
        "X",
        "c",
        "(",
        "0",
        "\r",
        "\n",
        "\t",
        "\x08",
        "\x7f",
        "8",
        "38;5;",
        "48;2;1;2;3",
        " ",
        "text",
        "é",
        "\u202e",
        "\ud800",
        "\x00",
        "52;c;aGk=",
    ]
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcödé 漢字", "plain text, ünïcödé 漢字"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
        ("\x1b[1;38;5;208mbold orange\x1b[m", "\x1b[1;38;5;208mbold orange\x1b[0m"),
        ("\x9b32mgreen", "\x1b[32mgreen\x1b[0m"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]52;c;cm0gLXJmIC8=\x1b\\clipboard", "clipboard"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;an 8-bit title\x9ctext", "text"),
        ("\x1bP1$r0m\x1b\\device control", "device control"),
        ("\x1b_application\x1b\\command", "command"),
        ("\x1bcreset", "reset"),
        ("\x1b(0line drawing", "line drawing"),
        ("\x1b[?1049h\x1b[?25lother screen", "other screen"),
        ("\x1b[>4;1mkeyboard", "keyboard"),
        ("\x1b[8mhidden\x1b[5mblinking", "hiddenblinking"),
        ("\x1b[38;5;999mno colour", "no colour"),
        ("\x1b[38mhalf a colour", "half a colour"),
        ("\x1b[6nreport", "report"),
        ("\x1b]0;a title without an end", "␛]0;a title without an end"),
        ("\x1b\x1b[31m[2J", "␛\x1b[31m[2J\x1b[0m"),
        ("\x1b[3\x1b[2J1m", "␛[31m"),
        ("bell\x07 back\x08 delete\x7f nul\x00", "bell␇ back␈ delete␡ nul␀"),
        ("user\u202egnp.exe", "user�gnp.exe"),
        ("\udcff lone", "� lone"),
        ("tab\tand\nnewline", "tab\tand\nnewline"),
        ("\x1b[" + "1;" * 100 + "1mlong", "long"),
        ("100%|███| 5/5\r", "100%|███| 5/5␍"),
    ],
)
def test_a_sequence_is_kept_removed_or_made_visible(text: str, shown: str) -> None:
    assert neutralise(text) == shown


@given(st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=30).map("".join))
def test_nothing_but_colour_reaches_the_terminal(text: str) -> None:
    shown = neutralise(text)
    colours = COLOUR.findall(shown)
    assert CONTROL.search(COLOUR.sub("", shown)) is None
    assert not colours or colours[-1] == "\x1b[0m", "a colour is left on"
    shown.encode()
    assert neutralise(shown) == shown
    cell = plain(text)
    assert CONTROL.search(cell) is None
    assert "\n" not in cell


def test_text_without_controls_is_not_touched() -> None:
    text = "x" * 1_000_000
    assert neutralise(text) is text
