"""The rules of the house: sizes, names, what travels to a node, what an `__init__` is. See docs/architecture.md."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "launcher"

MODULE_LINES = 300
LONGEST_MODULE_LINES = 500
FUNCTION_LINES = 60

AVOIDED = re.compile(
    r"(?:^|_)(?:utils?|helpers?|common|core|managers?|handlers?|handles?|workers?|instances?|misc)(?:_|$)|(?:^|_)runs$"
)
"""Names that say nothing, and words that mean something else here; in snake case, one component at a time."""
AVOIDED_CLASS = re.compile(r"(?:Util|Helper|Common|Core|Manager|Handler?|Worker|Instance)s?(?![a-z])|Run$")

UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|NotImplemented" r"Error)\b")

NODE_ROOMS = ("errors.py", "model", "store", "agent", "supervisor", "task.py", "memory")
"""The node kit: standard library only, Python 3.9. A room that does not exist yet has no modules."""
NVML = "pynvml"

NEWER_THAN_39 = {"tomllib", "compression", "annotationlib"}
GONE_SINCE_39 = {
    *("aifc", "asynchat", "asyncore", "audioop", "binhex", "cgi", "cgitb", "chunk", "crypt", "distutils", "formatter"),
    *("imghdr", "imp", "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "parser", "pipes", "smtpd"),
    *("sndhdr", "spwd", "sunau", "symbol", "telnetlib", "uu", "xdrlib"),
}
"""Modules that Python 3.10 to 3.13 have removed: a node may be newer than the client, too."""

LAZY = ("torch", "boto3", "paramiko", "pydantic", "rich", "httpx", "submitit", "transformers", "tenacity", "yaml")


def modules(*folders: Path) -> list[Path]:
    """All Python files under `folders`, sorted."""
    return sorted(path for folder in folders for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def node_modules() -> list[Path]:
    """All Python files that travel to a node."""
    rooms = [PACKAGE / room for room in NODE_ROOMS]
    return [PACKAGE / "__init__.py", *(room for room in rooms if room.is_file()), *modules(*rooms)]


def ours() -> list[Path]:
    """All Python files of the project but its tests."""
    return modules(PACKAGE, REPOSITORY / "jobs", REPOSITORY / "slurm", REPOSITORY / "benchmarks")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(REPOSITORY)}:{line}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_the_node_rooms_are_there() -> None:
    """Else the tests below would hold of nothing."""
    names = {path.relative_to(PACKAGE).parts[0] for path in node_modules()}
    assert {"errors.py", "model", "store", "task.py"} <= names


def test_a_module_has_one_subject_and_under_300_lines() -> None:
    """None has over 500, and at most one in ten over 300: such a one has two subjects, and its time will come."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in ours()}
    lines |= {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(REPOSITORY / "tests")}
    long = {at(path, count): count for path, count in lines.items() if count > MODULE_LINES}
    assert len(long) <= len(lines) / 10, long
    assert max(lines.values()) <= LONGEST_MODULE_LINES, long


def test_a_function_has_under_60_lines() -> None:
    long = {
        f"{at(path, node.lineno)} {node.name}": lines
        for path in [*ours(), *modules(REPOSITORY / "tests")]
        for node in functions(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    }
    assert not long


def test_names_say_something() -> None:
    bad = [
        str(path.relative_to(REPOSITORY))
        for path in [*ours(), *modules(REPOSITORY / "tests")]
        for part in path.relative_to(REPOSITORY).with_suffix("").parts
        if AVOIDED.search(part)
    ]
    for path in ours():
        # A name between double underscores is another library's choice.
        named = [node.name for node in functions(path) if not node.name.startswith("__")]
        bad += [f"{path.relative_to(REPOSITORY)} {name}" for name in named if AVOIDED.search(name)]
        classes = [node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
        bad += [f"{path.relative_to(REPOSITORY)} {name}" for name in classes if AVOIDED_CLASS.search(name)]
    assert not bad


@pytest.mark.parametrize("name", ["utils", "task_manager", "worker_pool", "common", "handle", "core", "past_runs"])
def test_an_empty_name_is_recognised(name: str) -> None:
    assert AVOIDED.search(name)


@pytest.mark.parametrize("name", ["isinstance_of", "cores", "score", "run", "run_command", "uncommon"])
def test_a_name_that_only_looks_like_one_is_left_alone(name: str) -> None:
    assert not AVOIDED.search(name)


def test_nothing_is_left_unfinished() -> None:
    files = [*ours(), *modules(REPOSITORY / "tests"), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
    files += [*REPOSITORY.glob("jobs/*.yaml"), *REPOSITORY.glob("cluster_profiles/*.yaml"), REPOSITORY / "Makefile"]
    found = [
        f"{at(path, number)} {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_the_init_of_a_room_is_its_description_and_nothing_else() -> None:
    wrong = []
    for folder in sorted(path for path in PACKAGE.iterdir() if path.is_dir() and modules(path)):
        init = folder / "__init__.py"
        body = tree(init).body if init.exists() else []
        text = ast.get_docstring(ast.Module(body, [])) or ""
        if len(body) != 1 or not text or "\n\n" in text:
            wrong.append(f"{folder.name}: one docstring of one paragraph, found {len(body)} statements")
    assert not wrong


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def may_travel(path: Path, name: str) -> bool:
    """Whether a module that travels to a node may import `name`."""
    first, *rest = name.split(".")
    if first == "launcher":
        return not rest or (PACKAGE / rest[0]) in {PACKAGE / room.removesuffix(".py") for room in NODE_ROOMS}
    if first == NVML:
        return path.is_relative_to(PACKAGE / "supervisor")
    return first in sys.stdlib_module_names - NEWER_THAN_39 - GONE_SINCE_39


def test_what_travels_to_a_node_imports_the_standard_library_and_its_own_kind() -> None:
    wrong = [
        f"{at(path, line)} {name}"
        for path in node_modules()
        for line, name in imported(path)
        if not may_travel(path, name)
    ]
    assert not wrong


def newer_than_39(path: Path) -> Iterator[str]:
    """What Python 3.9 could not parse or evaluate in a module, as far as its text can show it."""
    text = path.read_text(encoding="utf-8")
    try:
        parsed = ast.parse(text, filename=str(path), feature_version=(3, 9))
    except SyntaxError as error:
        yield f"{at(path, error.lineno or 0)} {error.msg}"
        return
    promises = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in parsed.body)
    if not promises and any(isinstance(node, (ast.FunctionDef, ast.AnnAssign)) for node in ast.walk(parsed)):
        yield f"{at(path, 1)} has annotations and no `from __future__ import annotations`"
    for node in ast.walk(parsed):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = {keyword.arg for keyword in node.keywords}
            if (called == "dataclass" and given & {"slots", "kw_only"}) or (called == "zip" and "strict" in given):
                yield f"{at(path, node.lineno)} {called}({', '.join(sorted(filter(None, given)))})"


def test_what_travels_to_a_node_is_python_39() -> None:
    travels = [*node_modules(), *modules(PACKAGE / "runtime")]
    assert [wrong for path in travels for wrong in newer_than_39(path)] == []


@pytest.mark.parametrize(
    "text",
    [
        "match x:\n    case 1: pass",
        "x: int = 0",
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass A: pass",
        "pairs = zip([1], [2], strict=True)",
    ],
)
def test_what_python_39_does_not_know_is_recognised(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "REPOSITORY", tmp_path)
    path = tmp_path / "newer.py"
    path.write_text(text, encoding="utf-8")
    assert list(newer_than_39(path))


def python_39() -> str | None:
    """An interpreter of Python 3.9 that works, or None."""
    candidates = [shutil.which("python3.9"), *sorted(map(str, Path.home().glob(".pyenv/versions/3.9*/bin/python3.9")))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


PYTHON_39 = python_39()


@pytest.mark.skipif(PYTHON_39 is None, reason="there is no Python 3.9 on this machine")
def test_a_real_python_39_imports_what_travels_to_a_node() -> None:
    """Finds what a text cannot show, such as `X | None` evaluated at run time."""
    names = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        for path in node_modules()
        if path.name != "__main__.py"
    ]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    command = [str(PYTHON_39), "-B", "-c", script, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_loads_no_heavy_library_before_a_verb_needs_it() -> None:
    script = f"import launcher.cli.main, sys; print(sorted(set({LAZY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"


def test_each_pin_is_exact_and_names_no_place() -> None:
    """A pin with an address, a hash of one build or a local version would hold on one machine only."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 50
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+( ; [^@]+)?", line)] == []


def test_torch_has_one_pin_for_every_python() -> None:
    """Its builds are told apart by a local version, so that the pin must fit them all; another torch is gigabytes."""
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (pin,) = [line for line in pins if line.startswith("torch==")]
    assert f'"{pin}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_all_that_the_project_asks_for_is_pinned() -> None:
    """Read as text: Python 3.10 has no TOML reader."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    asked = {name.lower() for name in re.findall(r'^    "([A-Za-z0-9-]+)[>=]=', text, flags=re.MULTILINE)} | {
        "hatchling"
    }
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (REPOSITORY / "constraints.txt").read_text(), flags=re.MULTILINE))
    assert len(asked) > 20
    assert asked - pinned == set()
