"""From what a language model wrote to one tool call, or the reason why there is none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from store_world import GOODS, HIGHEST_PRICE, LARGEST_ORDER, TOOLS, Action

_BRACES_TRIED = 50
_LONGEST = 20_000  # characters looked at; a tool call is far shorter
_CALL = re.compile(r"\b(?:tool_)?([a-z_]+)\s*\(([^()]*)\)")
_ARGUMENT = re.compile(r"(\w+)\s*[=:]\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s,]+))")
_NUMBER = re.compile(r"\$?\s*(\d{1,9}(?:\.\d{1,6})?)")


@dataclass(frozen=True)
class Parsed:
    """Exactly one of the two is given. `problem` is one of few short phrases, so that they can be counted."""

    action: Optional[Action] = None
    problem: Optional[str] = None


def parse(text: str) -> Parsed:
    """The first tool call in an answer: a JSON object, fenced or between other words, or `order(good="milk", …)`.

    What stands before the end of a thought (`</think>`, the channels of gpt-oss) is not an answer.
    """
    for mark in ("</think>", "<|channel|>final<|message|>"):
        text = text.rpartition(mark)[2]
    text = text[:_LONGEST]
    if not text.strip():
        return Parsed(problem="empty answer")
    first: Optional[Parsed] = None
    for call in _calls(text):
        found = _read(call)
        if found.action is not None:
            return found
        first = first or found
    return first or Parsed(problem="no tool call")


def _calls(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    at = -1
    for _ in range(_BRACES_TRIED):
        at = text.find("{", at + 1)
        if at < 0:
            break
        try:
            found, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and ("tool" in found or "name" in found):
            yield found
    for match in _CALL.finditer(text):
        arguments = {
            m.group(1): m.group(2) or m.group(3) or m.group(4) or "" for m in _ARGUMENT.finditer(match.group(2))
        }
        yield {**arguments, "tool": match.group(1)}


def _read(call: dict[str, Any]) -> Parsed:
    tool = call.get("tool", call.get("name"))
    inner = call.get("arguments", call.get("args"))
    arguments = inner if isinstance(inner, dict) else call
    name = tool.removeprefix("tool_").strip().lower() if isinstance(tool, str) else None
    if name not in TOOLS:
        return Parsed(problem="unknown tool")
    if name in ("check_storage", "wait"):
        return Parsed(Action(name))
    good = arguments.get("good")
    good = good.strip().lower() if isinstance(good, str) else None
    if good not in GOODS:
        return Parsed(problem="unknown good")
    if name == "order":
        quantity = _number(arguments.get("quantity"))
        if quantity is None or not quantity.is_integer() or not 1 <= quantity <= LARGEST_ORDER:
            return Parsed(problem="quantity out of range")
        return Parsed(Action(name, good=good, quantity=int(quantity)))
    price = _number(arguments.get("price"))
    cents = None if price is None else round(price * 100)
    if cents is None or not 1 <= cents <= HIGHEST_PRICE:
        return Parsed(problem="price out of range")
    return Parsed(Action(name, good=good, price=cents))


def _number(value: Any) -> Optional[float]:
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value.strip())
        return float(match.group(1)) if match else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
