"""Whatever stands in a file, loading it ends in a phase or in a ConfigError, and a loaded phase resolves or says why not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.config import phases, profiles, project, resolve
from launcher.config.nodes import plain
from launcher.config.problems import Problems
from launcher.config.scalars import resolve as resolve_scalar
from launcher.config.source import read_bytes, read_text
from launcher.errors import ConfigError, LaunchError, NotFound, UsageError
from launcher.executors.registry import OptionTypes
from launcher.model.job import Code
from launcher.model.template import command_of, env_of, paths_of

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

VOCABULARY = (
    "command description shell params array matrix resources env secrets setup inputs outputs checkpoints watch retry "
    "smoke after distributed code grace beat exclude gpus gpu_memory cpus memory disk time nodes path metric good poor "
    "optional pattern keep_last best best_is marker size every rules paths stall_after without_gpus python requirements "
    "index modules conda executor options store workspace price limits defaults tasks budget a b x {a} {{ } << python "
    "off stop warn true 3 0 -1 40GB 6h 1e400 .inf .nan torchrun local ../x /x ~ a/b x{a} {task.index} {outputs.a} a<1"
)
WORDS = st.sampled_from(VOCABULARY.split())
SCALARS = st.one_of(
    WORDS,
    st.text(max_size=8),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.integers(10**17, 10**400),
)
STRUCTURES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=25,
)
PIECES = st.sampled_from(
    [
        *"abc:-?[]{},&*!|>'\"%@` \n\t#~<",
        "\n  ",
        "\n- ",
        ": ",
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "---\n",
        "...\n",
        "\\x00",
        "\x00",
        "command: x\n",
    ]
)

RESOLVED: list[str] = []


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "jobs").mkdir()
        (Path(name) / "cluster_profiles").mkdir()
        yield Path(name)


def try_phase(folder: Path, content: bytes, sets: tuple[str, ...] = ()) -> None:
    (folder / "jobs/fuzz.yaml").write_bytes(content)
    found = project.find(folder, environ={})
    try:
        loaded = phases.load(found, "fuzz")
        place = profiles.load(found, "local", OptionTypes())
        identity = resolve.Identity("fuzz-2345", "fuzz", 0.0, "me@here", "0")
        spec = resolve.job(loaded, place, identity=identity, code=Code("snapshot", ""), kit="", sets=sets)
    except (ConfigError, UsageError) as error:
        assert str(error)
        return
    RESOLVED.append(spec.job)
    for task in spec.tasks[:20]:
        assert all(isinstance(word, str) for word in (*command_of(spec, task), *env_of(spec, task).values()))
        for path in paths_of(spec, task).values():
            assert path
            assert not path.startswith(("/", "~"))
            assert not {"", ".", ".."} & set(path.split("/"))


def as_yaml(data: Any) -> bytes:
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


@QUICK
@given(data=STRUCTURES)
def test_any_structure_as_a_phase(folder: Path, data: Any) -> None:
    try_phase(folder, as_yaml(data))


@QUICK
@given(
    data=st.dictionaries(WORDS, STRUCTURES, max_size=6),
    command=st.lists(WORDS, min_size=1, max_size=3),
    sets=st.lists(WORDS, max_size=2),
)
def test_nearly_a_phase(folder: Path, data: dict[str, Any], command: list[str], sets: list[str]) -> None:
    try_phase(folder, as_yaml({**data, "command": command}), tuple(f"{word}={word}" for word in sets))


@QUICK
@given(
    params=st.dictionaries(st.sampled_from("abc"), st.text(max_size=6) | st.integers() | st.booleans(), min_size=1),
    path=st.lists(st.sampled_from(["a", "/", "..", ".", "{a}", "{b}", "{task.index}", "{{", "~", " "]), max_size=6),
)
def test_any_path(folder: Path, params: dict[str, Any], path: list[str]) -> None:
    data = {"command": ["x"], "params": params, "outputs": {"o": "".join(path)}, "checkpoints": "c/" + "".join(path)}
    try_phase(folder, as_yaml(data))


def test_some_were_phases() -> None:
    """Else the tests above would hold of nothing but errors. Only where they have run."""
    if RESOLVED:
        assert len(RESOLVED) > 20


@QUICK
@given(content=st.binary(max_size=200) | st.lists(PIECES, max_size=40).map(lambda parts: "".join(parts).encode()))
def test_any_bytes(folder: Path, content: bytes) -> None:
    try_phase(folder, content)
    (folder / "cluster_profiles/fuzz.yaml").write_bytes(content)
    with pytest.raises(ConfigError):  # no bytes as short as these name an executor
        profiles.load(project.find(folder, environ={}), "fuzz", OptionTypes())


@QUICK
@given(data=st.dictionaries(WORDS, STRUCTURES, max_size=6), executor=st.sampled_from(["local", "", 3]))
def test_nearly_a_profile(folder: Path, data: dict[str, Any], executor: Any) -> None:
    (folder / "cluster_profiles/fuzz.yaml").write_bytes(as_yaml({**data, "executor": executor}))
    try:
        profiles.load(project.find(folder, environ={}), "fuzz", OptionTypes())
    except ConfigError as error:
        assert error.problems


@QUICK
@given(data=st.dictionaries(st.sampled_from(["profile", "store", "workspace", "beat", "budget"]), STRUCTURES))
def test_any_settings(data: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "launch.yaml").write_bytes(as_yaml(data))
        try:
            profiles.load(project.find(Path(name), environ={}), None, OptionTypes())
        except (ConfigError, NotFound) as error:
            assert str(error)


@QUICK
@given(
    words=st.dictionaries(
        st.sampled_from(["LAUNCH_PROFILE", "LAUNCH_STORE", "LAUNCH_BEAT", "LAUNCH_BUDGET"]), st.text(max_size=12)
    )
)
def test_any_environment(folder: Path, words: dict[str, str]) -> None:
    try:
        profiles.load(project.find(folder, environ=words), None, OptionTypes(), environ=words)
    except LaunchError as error:
        assert str(error)


@QUICK
@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=9),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=4), x, max_size=3),
        max_leaves=12,
    )
)
def test_what_is_written_is_what_is_read(data: Any) -> None:
    """Against another writer: PyYAML in quotes, so that the rules for plain scalars do not matter to texts."""
    import json

    problems = Problems()
    node = read_text(json.dumps(data), "text", problems)
    if problems:
        assert "character" in str(problems.all()[0]) or "is nested" in str(problems.all()[0])
        return
    assert node is not None
    assert plain(node) == data


@QUICK
@given(number=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**200), 10**200))
def test_numbers_are_read_as_they_are_written(number: float) -> None:
    found = resolve_scalar(repr(number))
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"), ("on", "on"), ("yes", "yes"), ("n", "n"), ("True", True), ("tRUE", "tRUE"), ("6:00:00", "6:00:00"),
        ("1e-3", 0.001), ("1e3", 1000.0), ("1_000", "1_000"), ("0x1F", 31), ("0b11", "0b11"), ("0o17", 15), ("017", 17),
        ("+3", 3), ("-.5", -0.5), ("5.", 5.0), (".", "."), ("-", "-"), ("+", "+"), ("1.2.3", "1.2.3"), ("~", None),
        ("2026-11-20", "2026-11-20"), ("1-12:00:00", "1-12:00:00"), ("40GB", "40GB"), ("=", "="), ("null", None), ("٣", "٣"),
    ],
)  # fmt: skip
def test_scalars_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value)


def test_without_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML may come without libyaml: the same trees, the same lines, and no recursion either."""
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    problems = Problems()
    node = read_bytes(b"a: &x {b: [1, 'off']}\nc: {<<: *x, d: 2}\na: 3\n", "file", problems)
    assert node is not None
    assert plain(node) == {"a": {"b": [1, "off"]}, "c": {"b": [1, "off"], "d": 2}}
    assert [str(problem) for problem in problems.all()] == ["file:3: a: is given twice, first in line 1"]
    for text in (b"[" * 20000, b"a:\n\tb: 1\n", b"a: \x07"):
        problems = Problems()
        assert read_bytes(text, "file", problems) is None
        assert problems
