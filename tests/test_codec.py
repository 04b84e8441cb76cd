"""Records survive the way to JSON and back; anything else is BadRecord, never another exception."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import BadRecord
from launcher.model import codec
from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.outcome import Outcome, State
from launcher.model.phase import Checkpoints, Input, Output, Resources, Retry, Setup, Smoke, Watches
from launcher.model.records import (
    AgentView,
    Claim,
    Declared,
    DiskReading,
    EndedTask,
    Event,
    ExitRecord,
    Finding,
    GpuReading,
    Heartbeat,
    HostReading,
    LogReading,
    Manifest,
    ManifestList,
    Order,
    ProcessId,
    Progress,
    Released,
    RunningTask,
    StopRequest,
    TreeReading,
)

ALL: tuple[type, ...] = (
    AgentView, Claim, EndedTask, Event, ExitRecord, Heartbeat, JobSpec, Manifest, ManifestList, Order, Released, StopRequest,
)  # fmt: skip

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
WHOLE = st.integers(-(2**62), 2**62)
REAL = st.floats(allow_nan=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
SCALAR = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT
PARAMS = st.dictionaries(TEXT, SCALAR, max_size=3)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=2).map(tuple)


PROCESS = st.builds(ProcessId, WHOLE, WHOLE, TEXT, TEXT)
FINDING = st.builds(Finding, TEXT, TEXT, TEXT, TEXT, REAL, maybe(TEXT))
GPU = st.builds(
    GpuReading,
    WHOLE,
    maybe(TEXT),
    maybe(TEXT),
    maybe(REAL),
    maybe(WHOLE),
    throttled=maybe(several(TEXT)),
    xid_errors=maybe(several(WHOLE)),
)
METRICS = st.dictionaries(TEXT, REAL, max_size=3)
HEARTBEATS = st.builds(
    Heartbeat,
    schema=st.just(1),
    seq=WHOLE,
    at=REAL,
    job=TEXT,
    task=WHOLE,
    attempt=WHOLE,
    allocation=TEXT,
    state=st.sampled_from(State),
    stage=TEXT,
    started_at=REAL,
    host=TEXT,
    beat=REAL,
    child=maybe(PROCESS),
    log=maybe(st.builds(LogReading, WHOLE, maybe(TEXT), maybe(REAL))),
    progress=maybe(st.builds(Progress, maybe(REAL), maybe(REAL), maybe(TEXT))),
    tree=maybe(st.builds(TreeReading, WHOLE, maybe(REAL), maybe(WHOLE))),
    gpus=maybe(several(GPU)),
    disks=maybe(several(st.builds(DiskReading, TEXT, maybe(WHOLE)))),
    host_reading=maybe(st.builds(HostReading, maybe(WHOLE))),
    metrics=METRICS,
    findings=several(FINDING),
    cost=maybe(REAL),
)
EXITS = st.builds(
    ExitRecord,
    schema=st.just(1),
    job=TEXT,
    task=WHOLE,
    attempt=WHOLE,
    allocation=TEXT,
    outcome=st.sampled_from(Outcome),
    reason=TEXT,
    started_at=REAL,
    ended_at=REAL,
    host=TEXT,
    exit_code=maybe(WHOLE),
    declared=maybe(st.builds(Declared, st.sampled_from(Outcome), TEXT)),
    metrics=METRICS,
    hardware=st.dictionaries(TEXT, TEXT, max_size=2),
    findings=several(FINDING),
    kept=several(TEXT),
)
SPECS = st.builds(
    JobSpec,
    schema=st.just(1),
    job=TEXT,
    phase=TEXT,
    name=TEXT,
    submitted_at=REAL,
    submitted_by=TEXT,
    version=TEXT,
    place=st.builds(Place, TEXT, TEXT, st.just({"cpus": 3}), TEXT, TEXT, maybe(REAL)),
    code=st.builds(Code, st.sampled_from(["snapshot", "here"]), TEXT),
    kit=TEXT,
    command=several(TEXT),
    shell=st.booleans(),
    params=PARAMS,
    tasks=several(st.builds(TaskSpec, WHOLE, PARAMS, WHOLE)),
    resources=several(st.builds(Resources, WHOLE, maybe(WHOLE))),
    setup=st.builds(Setup, several(TEXT), maybe(TEXT)),
    inputs=st.dictionaries(TEXT, st.builds(Input, TEXT), max_size=2),
    outputs=st.dictionaries(TEXT, st.builds(Output, TEXT, maybe(TEXT), maybe(REAL)), max_size=2),
    checkpoints=maybe(st.builds(Checkpoints, TEXT)),
    watch=st.builds(Watches),
    retry=st.builds(Retry),
)


@settings(max_examples=60, deadline=None)
@given(HEARTBEATS | EXITS | SPECS)
def test_there_and_back(record: Any) -> None:
    line = codec.dump(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert codec.load(type(record), line, "there") == record


@settings(max_examples=60, deadline=None)
@given(st.data(), HEARTBEATS | EXITS | SPECS)
def test_a_record_in_which_something_has_changed(data: st.DataObject, record: Any) -> None:
    """One value, somewhere, is another: a record of that kind or BadRecord, and no third thing."""
    root = json.loads(codec.dump(record))
    node, path = root, []
    while isinstance(node, (dict, list)) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        path.append((node, key))
        node = node[key]
        if data.draw(st.booleans()):
            break
    holder, key = path[-1]
    if data.draw(st.booleans()) and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = data.draw(JSON)
    attempt(type(record), json.dumps(root).encode())


@settings(max_examples=60, deadline=None)
@given(st.data(), HEARTBEATS | EXITS, st.sampled_from(ALL))
def test_torn_and_spoiled_bytes(data: st.DataObject, record: Any, kind: type) -> None:
    line = bytearray(codec.dump(record))
    cut = data.draw(st.integers(0, len(line)))
    attempt(kind, bytes(line[:cut]))
    line[cut - 1] = data.draw(st.integers(0, 255))
    attempt(kind, bytes(line))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda data: json.dumps(data).encode()), st.sampled_from(ALL))
def test_anything(content: bytes, kind: type) -> None:
    attempt(kind, content)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"{}", b'{"schema":1e999}', b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"NaN", b"1" * 5000,
        b'{"schema":' + b"9" * 5000 + b"}", b'"\\ud800"', b'{"schema":1,"seq":1,"at":' + b"9" * 400 + b"}",
    ],
)  # fmt: skip
def test_garbage(content: bytes) -> None:
    for kind in ALL:
        attempt(kind, content)
        with pytest.raises(BadRecord):
            codec.load(kind, content, "somewhere")


def attempt(kind: type, content: bytes) -> None:
    try:
        found: object = codec.load(kind, content, "store/jobs/x.json")
    except BadRecord as error:
        assert "store/jobs/x.json" in str(error)
    else:
        assert isinstance(found, kind)


def test_a_reader_ignores_what_a_later_version_wrote() -> None:
    data = {**codec.encode(Released(1, "a0", 3.0, "me")), "weather": "fine", "schema": 2}
    assert codec.decode(Released, data, "x") == Released(2, "a0", 3.0, "me")


def test_numbers_that_are_not_finite_travel() -> None:
    line = codec.dump(Progress(step=math.inf, total=-math.inf, rate=math.nan))
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": "Infinity",
        "total": "-Infinity",
        "rate": "NaN",
    }
    found = codec.load(Progress, line, "x")
    assert (found.step, found.total) == (math.inf, -math.inf)
    assert found.rate is not None
    assert math.isnan(found.rate)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "true", "1", "", None, True, 1, 1.0])
def test_a_parameter_stays_what_it_is(value: Any) -> None:
    found = codec.load(TaskSpec, codec.dump(TaskSpec(0, {"p": value})), "x").params["p"]
    outside = codec.load(Smoke, codec.dump(Smoke({"p": value})), "x").params["p"]
    assert (found, outside) == (value, value)
    assert type(found) is type(outside) is type(value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"schema": 1}, "allocation: expected a value"),
        ({"schema": True, "allocation": "a", "at": 1, "by": "b"}, "schema: expected int, found bool"),
        ({"schema": 1, "allocation": "a", "at": "soon", "by": "b"}, "at: expected float, found str 'soon'"),
        ({"schema": 1, "allocation": 3, "at": 1, "by": "b"}, "allocation: expected str, found int '3'"),
        ([], "expected an object (Released), found list"),
    ],
)
def test_what_is_said_of_a_misfit(data: Any, words: str) -> None:
    with pytest.raises(BadRecord) as caught:
        codec.decode(Released, data, "released.json")
    assert str(caught.value).startswith("released.json is not a Released")
    assert words in str(caught.value)


def test_the_dense_forms() -> None:
    view = AgentView(
        1, 1, 1.0, "j", "a", ProcessId(1, 2, "b", "h"), State.RUNNING, "", (RunningTask(0, 1, State.RUNNING),)
    )
    assert codec.load(AgentView, codec.dump(view), "x") == view
    ended = EndedTask(3, 1, Outcome.SUCCEEDED, "", None, 2.0)
    assert json.loads(codec.dump(ended)) == [3, 1, "succeeded", "", None, 2.0, None]
    assert codec.load(EndedTask, codec.dump(ended), "x") == ended
