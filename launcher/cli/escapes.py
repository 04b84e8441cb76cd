"""What comes from a log or a child, made safe for a terminal: every escape sequence is neutralised but colour.

A terminal obeys what it is shown: an escape in a log could move the cursor, set the title, write the clipboard or hide
text. Sequences are recognised as in ECMA-48: CSI, the string controls (OSC, DCS, SOS, PM, APC) and the short ones, each
in its 7-bit and its 8-bit form.
"""

from __future__ import annotations

import re

_STRINGS = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
_CSI = r"(?:\x1b\[|\x9b)([0-?]*)([ -/]*)([@-~])"
_SHORT = r"\x1b[ -/]*[0-Z\\`-~]"
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]"
_SUSPECT = re.compile(_CONTROL)
_ANY = re.compile(f"{_STRINGS}|{_CSI}|{_SHORT}|{_CONTROL}")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_COLOUR_CODES = frozenset(
    (0, 1, 2, 3, 4, 7, 22, 23, 24, 27, *range(30, 38), 39, *range(40, 48), 49, *range(90, 98), *range(100, 108))
)
_LONGEST = 32
RESET = "\x1b[0m"


def neutralise(text: str) -> str:
    """`text` with colours kept and everything else that a terminal would obey removed or made visible.

    Newlines and tabs stay. A control character outside a whole sequence becomes its picture (`␛`), what has none (8-bit
    controls, changes of the writing direction, lone surrogates) becomes `�`. A colour that is left on is ended.
    """
    if _SUSPECT.search(text) is None:
        return text
    shown = _ANY.sub(_kept, text)
    colours = _COLOUR.findall(shown)
    return shown if not colours or colours[-1] == RESET else shown + RESET


def plain(text: str) -> str:
    """As `neutralise`, without colours too, on one line: for a table's cell."""
    if _SUSPECT.search(text) is not None:
        text = _COLOUR.sub("", _ANY.sub(_kept, text))
    return " ".join(text.split())


def _kept(match: re.Match[str]) -> str:
    found = match.group()
    if len(found) == 1:
        code = ord(found)
        if code < 0x20:
            return chr(0x2400 + code)
        return "␡" if code == 0x7F else "�"
    parameters, between, final = match.group(1, 2, 3)
    if final == "m" and not between and _is_colour(parameters):
        return f"\x1b[{parameters or '0'}m"
    return ""


def _is_colour(parameters: str) -> bool:
    """Colours, bold, faint, italic, underline and inverse; neither blinking nor hidden text, nor a private code such as
    `>4;1`, which changes what the keyboard sends."""
    if len(parameters) > _LONGEST or re.fullmatch(r"[0-9;:]*", parameters) is None:
        return False
    codes = [int(code or 0) for code in re.split("[;:]", parameters)]
    at = 0
    while at < len(codes):
        if codes[at] in (38, 48) and len(codes) > at + 1:
            length = {5: 3, 2: 5}.get(codes[at + 1])
            if length is None or len(codes) < at + length or any(c > 255 for c in codes[at : at + length]):
                return False
            at += length
        elif codes[at] in _COLOUR_CODES:
            at += 1
        else:
            return False
    return True
