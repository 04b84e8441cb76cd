"""YAML text to nodes with positions. Reads PyYAML's events, not its nodes, so that depth, aliases and repeated keys are
judged before anything is built, and nothing recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from launcher.config.nodes import EXPANDED, Node
from launcher.config.problems import Problems
from launcher.config.scalars import resolve
from launcher.errors import Problem

LONGEST_FILE = 8 << 20  # bytes: an array of 100,000 entries fits
DEEPEST = 40  # levels; a phase has six

_CORE = "tag:yaml.org,2002:"
_TAGS: dict[str, tuple[type, ...]] = {
    f"{_CORE}int": (int,),
    f"{_CORE}float": (int, float),
    f"{_CORE}bool": (bool,),
    f"{_CORE}null": (type(None),),
}
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


def read_file(path: Path, shown: str, problems: Problems) -> Optional[Node]:
    """The mapping that a file holds; None, and problems, where it holds none. Raises FileNotFoundError only."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems.add(Problem(shown, None, "", f"cannot be read: {reason}"))
        return None
    return read_bytes(content, shown, problems)


def read_bytes(content: bytes, shown: str, problems: Problems) -> Optional[Node]:
    """As `read_file`, of bytes."""
    if len(content) > LONGEST_FILE:
        problems.add(Problem(shown, None, "", f"is larger than {LONGEST_FILE >> 20} MiB"))
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = f"byte 0x{content[error.start]:02x}"
        problems.add(Problem(shown, line, "", "is not UTF-8 text", bad))
        return None
    root = read_text(text, shown, problems)
    if root is None:
        return None
    if root.value is None:
        problems.add(Problem(shown, None, "", "is empty; a mapping of keys to values is expected"))
        return None
    if not isinstance(root.value, dict):
        kind = "a list" if isinstance(root.value, list) else "one value"
        problems.add(Problem(shown, root.line, "", "a mapping of keys to values is expected", kind))
        return None
    return root


def read_text(text: str, shown: str, problems: Problems) -> Optional[Node]:
    """Any one YAML document, empty ones being null; None where it does not parse."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(shown, problems)
    try:
        builder.build(yaml.parse(text, Loader=loader))
    except yaml.YAMLError as error:
        problems.add(_syntax(error, text, shown))
        return None
    except _GivenUp:
        return None
    return builder.root or Node(None, shown, 1, "")


class _GivenUp(Exception):
    """The rest of the file is not worth reading; the problem is noted."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read."""

    node: Node
    anchor: Optional[str]
    key: Optional[str] = None
    waits_for_key: bool = True
    merging: bool = False
    merges: list[Node] = field(default_factory=list)


class _Builder:
    def __init__(self, shown: str, problems: Problems) -> None:
        self.shown = shown
        self.problems = problems
        self.root: Optional[Node] = None
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.documents = 0
        self.merged = 0

    def problem(
        self, line: Optional[int], message: str, *, key: Optional[str] = None, found: Optional[str] = None
    ) -> None:
        self.problems.add(Problem(self.shown, line, self._here() if key is None else key, message, found))

    def _here(self) -> str:
        parts = []
        for frame in self.open:
            if isinstance(frame.node.value, list):
                parts.append(f"[{len(frame.node.value)}]")
            elif frame.key is not None:
                parts.append(f".{frame.key}" if parts else frame.key)
        return "".join(parts)

    def build(self, events: Iterable[Any]) -> None:
        import yaml

        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                node, anchor = self._scalar(event), event.anchor
            elif kind is yaml.AliasEvent:
                node, anchor = self._alias(event), None
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._begin(event, {} if kind is yaml.MappingStartEvent else [])
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                frame = self.open.pop()
                self._merge(frame)
                node, anchor = frame.node, frame.anchor
            else:
                if kind is yaml.DocumentStartEvent:
                    self.documents += 1
                    if self.documents > 1:
                        self.problem(event.start_mark.line + 1, "a second document begins; one file is one document")
                        raise _GivenUp
                continue
            if anchor is not None:
                self.anchors[anchor] = node
            self._place(node)

    def _begin(self, event: Any, value: Any) -> None:
        line = event.start_mark.line + 1
        if len(self.open) >= DEEPEST:
            self.problem(line, f"is nested more than {DEEPEST} levels deep", key="")
            raise _GivenUp
        if event.tag is not None and event.tag not in (f"{_CORE}map", f"{_CORE}seq", "!"):
            self.problem(line, "tags are not used here", found=event.tag)
        self.open.append(_Open(Node(value, self.shown, line), event.anchor))

    def _scalar(self, event: Any) -> Node:
        text, line, tag = event.value, event.start_mark.line + 1, event.tag
        value: Any = text
        quoted = event.style is not None and event.style != ""
        if tag is not None and tag not in ("!", f"{_CORE}str") and tag not in _TAGS:
            self.problem(line, "tags are not used here", found=tag)
        elif tag in _TAGS or (tag is None and not quoted):
            try:
                value = resolve(text)
            except ValueError as error:
                self.problem(line, str(error))
            if tag is not None and not isinstance(value, _TAGS[tag]):
                self.problem(line, f"is not of its tag, {tag.removeprefix(_CORE)}", found=repr(text))
        if isinstance(value, str) and _UNUSABLE.search(value):
            self.problem(line, "holds a NUL or half a character, which no argument and no path can have")
            value = text = _UNUSABLE.sub("?", value)
        return Node(value, self.shown, line, text, quoted or tag is not None)

    def _alias(self, event: Any) -> Node:
        found = self.anchors.get(event.anchor)
        line = event.start_mark.line + 1
        if found is not None:
            return found
        if any(frame.anchor == event.anchor for frame in self.open):
            self.problem(line, f"*{event.anchor} stands inside what it stands for")
        else:
            self.problem(line, f"*{event.anchor} stands for nothing: no &{event.anchor} above it")
        return Node(None, self.shown, line, "")

    def _place(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        frame = self.open[-1]
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
        elif frame.waits_for_key:
            self._key(frame, node)
            frame.waits_for_key = False
        else:
            if frame.merging:
                frame.merges.append(node)
            elif frame.key is not None and frame.key not in frame.node.value:
                frame.node.value[frame.key] = node
            frame.key = None
            frame.waits_for_key = True

    def _key(self, frame: _Open, node: Node) -> None:
        frame.key = None
        frame.merging = False
        if isinstance(node.value, (dict, list)):
            self.problem(node.line, "a key is text", found="a mapping" if isinstance(node.value, dict) else "a list")
            return
        text = node.text or ""
        if not text:
            self.problem(node.line, "a key is missing before `:`")
        elif text == "<<" and not node.quoted:
            frame.merging = True
        elif text in frame.node.lines:
            frame.key = text
            here = self._here()
            self.problem(node.line, f"is given twice, first in line {frame.node.lines[text]}", key=here)
        else:
            frame.node.lines[text] = node.line
            frame.key = text

    def _merge(self, frame: _Open) -> None:
        """`<<`: what is written here wins over what is merged, and an earlier mapping over a later one."""
        for node in frame.merges:
            for source in node.value if isinstance(node.value, list) else [node]:
                if not isinstance(source.value, dict):
                    self.problem(node.line, "`<<` takes a mapping or a list of mappings")
                    continue
                self.merged += len(source.value) + 1
                if self.merged > EXPANDED:
                    self.problem(node.line, "merges more than any file means", key="")
                    raise _GivenUp
                for key, child in source.value.items():
                    if key not in frame.node.value:
                        frame.node.value[key] = child
                        frame.node.lines[key] = source.lines.get(key, child.line)


def _syntax(error: Any, text: str, shown: str) -> Problem:
    """What PyYAML says, with its line, and what is usually behind it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", None)
        line = None if position is None else text.encode().count(b"\n", 0, position) + 1
        return Problem(shown, line, "", "is no YAML: a character that YAML does not allow")
    message = getattr(error, "problem", None) or str(error)
    lines = text.splitlines()
    written = lines[mark.line] if mark.line < len(lines) else ""
    context = getattr(error, "context_mark", None)
    if context is not None and context.line != mark.line:
        message += f" ({error.context}, begun in line {context.line + 1})"
    if "\t" in written[: len(written) - len(written.lstrip())]:
        message = "a tab in the indentation; YAML indents with spaces"
    elif "mapping values are not allowed" in message:
        message += "; text that holds `: ` is put in quotes"
    elif re.search(r":\s+\{", written) or re.match(r"\s*-\s+\{", written):
        message += "; text that begins with { is put in quotes"
    return Problem(shown, mark.line + 1, "", f"is no YAML: {message}", written.strip()[:60] or None)
