"""From a phase and a choice of tasks to the JobSpec: arrays, --set, smoke, limits, filled paths."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher.config import phases, profiles, project, resolve
from launcher.errors import ConfigError, UsageError
from launcher.executors.registry import OptionTypes
from launcher.model import codec
from launcher.model.job import Code, JobSpec, pack
from launcher.model.template import command_of, env_of, paths_of

IDENTITY = resolve.Identity("one-k3f9", "one", 1.7e9, "me@here", "0.1.0")
CODE = Code("snapshot", "abc")

ARRAY = """\
command: python x.py --model={model} --days={days}
params: {days: 30, model: none}
array:
  - {model: a, resources: {gpus: 1, gpu_memory: 20GB}}
  - {model: b, resources: {gpus: 2, gpu_memory: 40GB}}
  - {model: c, days: 7}
resources: {cpus: 4, time: 2h}
env: {WHICH: "{model}-{task.index}"}
outputs: {answers: "out/{model}/answers.jsonl"}
checkpoints: "ck/{model}"
smoke: {params: {days: 1}, resources: {cpus: 1, memory: 1GB, time: 5m}, without_gpus: true}
"""


def spec_of(
    folder: Path, text: str, *, profile: str = "executor: local\n", sets: Sequence[str] = (), **choice: Any
) -> JobSpec:
    for name, content in (("jobs/one.yaml", text), ("cluster_profiles/here.yaml", profile)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    found = project.find(folder)
    place = profiles.load(found, "here", OptionTypes())
    loaded = phases.load(found, "one")
    return resolve.job(loaded, place, identity=IDENTITY, code=CODE, kit="k1", sets=sets, **choice)


def refused(folder: Path, text: str, **choice: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        spec_of(folder, text, **choice)
    return str(caught.value)


def test_an_array(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ARRAY)
    assert [task.index for task in spec.tasks] == [0, 1, 2]
    assert [spec.params_of(task) for task in spec.tasks] == [
        {"days": 30, "model": "a"},
        {"days": 30, "model": "b"},
        {"days": 7, "model": "c"},
    ]
    assert [spec.resources_of(task).gpus for task in spec.tasks] == [1, 2, 0]
    assert [spec.resources_of(task).gpu_memory for task in spec.tasks] == [20 * 10**9, 40 * 10**9, None]
    assert {spec.resources_of(task).time for task in spec.tasks} == {7200.0}
    assert command_of(spec, spec.tasks[1]) == ("python", "x.py", "--model=b", "--days=30")
    assert env_of(spec, spec.tasks[2]) == {"WHICH": "c-2"}
    assert paths_of(spec, spec.tasks[0]) == {"answers": "out/a/answers.jsonl"}
    assert codec.load(JobSpec, codec.dump(spec), "spec") == spec
    assert len(pack(spec).shares) == 3


def test_some_indices_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ARRAY, array="2,0%1")
    assert ([task.index for task in spec.tasks], spec.limit) == ([2, 0], 1)
    assert spec.params_of(spec.tasks[0])["model"] == "c"
    assert spec_of(tmp_path, ARRAY, array="2,0%1", limit=2).limit == 2


def test_an_index_beyond_the_array(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        spec_of(tmp_path, ARRAY, array="1-4,9")
    assert "indices 3-4,9" in str(caught.value)
    assert "its array has 3 entries, 0-2" in str(caught.value)
    with pytest.raises(UsageError, match="runs backwards"):
        spec_of(tmp_path, ARRAY, array="5-2")


def test_plain_indices_of_a_phase_without_an_array(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "command: x {task.index}\noutputs: {a: 'o/{task.index}'}\n", array="0-5")
    assert [command_of(spec, task)[1] for task in spec.tasks] == ["0", "1", "2", "3", "4", "5"]
    assert len(spec.resources) == 1
    assert [task.index for task in spec_of(tmp_path, "command: x\n").tasks] == [0]


def test_a_matrix(tmp_path: Path) -> None:
    text = "command: x {a} {b}\nmatrix: {a: [1, 2], b: [x, y, true], exclude: [{a: 2, b: y}, {b: true, a: 1}]}\n"
    spec = spec_of(tmp_path, text)
    assert [command_of(spec, task)[1:] for task in spec.tasks] == [("1", "x"), ("1", "y"), ("2", "x"), ("2", "true")]
    assert [spec.params_of(t)["a"] for t in spec_of(tmp_path, text, array="3").tasks] == [2]
    with pytest.raises(UsageError, match="its matrix has 4 entries"):
        spec_of(tmp_path, text, array="4")
    assert "no task" in refused(tmp_path, "command: x\nmatrix: {a: [1], exclude: [{a: 1}]}\n")


def test_set_wins_over_everything(tmp_path: Path) -> None:
    sets = [
        "days=3",
        "resources.time=90m",
        "watch.stall=off",
        "params.model=it's, a: test",
        "env.NEW={days}",
        "beat=1s",
    ]
    spec = spec_of(tmp_path, ARRAY, sets=sets, smoke=[2], array="2")
    task = spec.tasks[0]
    assert spec.params_of(task) == {"days": 3, "model": "it's, a: test"}
    assert command_of(spec, task)[2] == "--model=it's, a: test"
    assert spec.resources_of(task).time == 5400.0
    assert spec.watch.stall.value == "off"
    assert env_of(spec, task)["NEW"] == "3"
    assert spec.beat == 1.0


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("days=3", 3),
        ("days=3.0", 3.0),
        ("days=1e-3", 0.001),
        ("days='3'", "3"),
        ("days=true", True),
        ("days=off", "off"),
        ("days=", None),
        ("days= null ", None),
        ("days=a=b", "a=b"),
        ('days="a\\tb"', "a\tb"),
        ("days='", "'"),
        ("days={x", "{x"),
    ],
)
def test_a_value_is_typed_as_in_yaml(tmp_path: Path, word: str, value: object) -> None:
    spec = spec_of(tmp_path, "command: x\nparams: {days: 1}\n", sets=[word])
    assert spec.params["days"] == value
    assert type(spec.params["days"]) is type(value)


def test_set_reaches_into_short_forms_and_sections_that_are_not_there(tmp_path: Path) -> None:
    text = "command: x\ncheckpoints: ck\n"
    spec = spec_of(tmp_path, text, sets=["checkpoints.keep_last=5", "retry.failed=2", "watch.rules=[a < 1]"])
    assert spec.checkpoints is not None
    assert (spec.checkpoints.path, spec.checkpoints.keep_last) == ("ck", 5)
    assert (spec.retry.failed, spec.watch.rules) == (2, ("a < 1",))
    unset = spec_of(tmp_path, ARRAY, sets=["resources.time=null", "resources.gpu_memory=null"], array="0")
    assert (unset.resources[0].time, unset.resources[0].gpu_memory) == (None, None)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("dys=3", ["--set dys=3: dys: is no parameter", "did you mean days?"]),
        ("wtch.stall=off", ["--set wtch.stall=off: wtch", "did you mean watch?"]),
        ("watch.stal=off", ["--set watch.stal=off: watch.stal", "did you mean stall?"]),
        ("watch.stall=of", ["--set watch.stall=of: watch.stall", "found 'of'", "off, warn, stop", "did you mean off?"]),
        ("resources.time=soon", ["--set resources.time=soon: resources.time", "6h"]),
        ("array=3", ["array: cannot be set", "--array"]),
        ("days=[1]", ["days: a parameter is one value"]),
        ('days="\\x"', ["is no YAML"]),
        ("command.x=3", ["command"]),
        ("params=3", ["params"]),
        ("days=" + "9" * 400, ["400 digits"]),
    ],
)
def test_a_set_that_is_wrong(tmp_path: Path, word: str, words: list[str]) -> None:
    said = refused(tmp_path, "command: x\nparams: {days: 1}\n", sets=[word])
    assert all(one in said for one in words), said


def test_a_set_without_a_value(tmp_path: Path) -> None:
    for word in ("days", "=3", ""):
        with pytest.raises(UsageError, match="KEY=VALUE"):
            spec_of(tmp_path, ARRAY, sets=[word])


def test_all_mistakes_of_sets_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "command: x\nparams: {days: 1}\n", sets=["dys=1", "hours=2"])
    assert said.count("--set") == 2


def test_smoke(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ARRAY, smoke="all")
    assert spec.smoke == (0, 1, 2)
    assert {spec.params_of(task)["days"] for task in spec.tasks} == {1}
    assert len(spec.resources) == 1
    only = spec.resources[0]
    assert (only.gpus, only.gpu_memory, only.cpus, only.memory, only.time) == (0, None, 1, 10**9, 300.0)
    some = spec_of(tmp_path, ARRAY, smoke={1})
    assert some.smoke == (1,)
    assert [some.params_of(task)["days"] for task in some.tasks] == [30, 1, 7]


def test_gpu_memory_needs_gpus(tmp_path: Path) -> None:
    said = refused(tmp_path, "command: x\nresources:\n  gpu_memory: 8GB\n")
    assert "jobs/one.yaml:3: resources.gpu_memory: asks for memory of GPUs" in said


def test_limits_of_the_profile(tmp_path: Path) -> None:
    profile = "executor: local\nlimits:\n  gpus: 1\n  time: 1h\n  tasks: 2\n  budget: 5\nprice: 1/h\n"
    said = refused(tmp_path, ARRAY, profile=profile, budget=6.0)
    assert "--budget: budget: is over the limit" in said
    assert "cluster_profiles/here.yaml:5: limits.tasks: allows 2 tasks" in said
    assert (
        "jobs/one.yaml:5: array[1].resources.gpus: tasks 1 ask for 2, over the limit of cluster_profiles/here.yaml:3"
        in said
    )
    assert "jobs/one.yaml:7: resources.time" in said
    spec = spec_of(tmp_path, "command: x\n", profile=profile)
    assert (spec.resources[0].time, spec.budget) == (3600.0, 5.0)


def test_a_budget_that_is_asked_for_needs_a_price(tmp_path: Path) -> None:
    """Without one nobody could say when it is reached: the job would go on for ever, with a cap on its label."""
    said = refused(tmp_path, "command: x\n", profile="executor: local\n", budget=6.0)
    assert "--budget: needs a price, and the profile here has none" in said


def test_defaults_of_the_profile(tmp_path: Path) -> None:
    profile = (
        "executor: local\nprice: $2/h\ndefaults:\n  resources: {cpus: 3, memory: 8GB}\n  env: {A: 1, WHICH: none}\n"
    )
    spec = spec_of(tmp_path, ARRAY, profile=profile)
    assert (spec.resources[2].cpus, spec.resources[2].memory) == (4, 8 * 10**9)
    assert spec.env == {"A": "1", "WHICH": "{model}-{task.index}"}
    assert (spec.place.price, spec.place.profile, spec.place.executor) == (2.0, "here", "local")
    said = refused(tmp_path, "command: x\nsecrets: A\n", profile=profile)
    assert "is a secret, and profile here gives it in the open" in said
    braces = "executor: local\ndefaults:\n  env: {A: '{b}'}\n"
    assert "cluster_profiles/here.yaml:3: defaults.env" in refused(tmp_path, "command: x\n", profile=braces)


def test_paths_are_tidied(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "command: x\noutputs: {a: .//o/./a/}\ninputs: {b: /data//b/}\ncheckpoints: ./c/\n")
    assert (spec.outputs["a"].path, spec.inputs["b"].path) == ("o/a", "/data/b")
    assert spec.checkpoints is not None
    assert spec.checkpoints.path == "c"


@pytest.mark.parametrize("value", ["../x", "a/../../x", "", "/etc", "..", ".", "a//b", "~/a", "x" * 300])
def test_a_value_cannot_lead_a_path_out(tmp_path: Path, value: str) -> None:
    text = "command: x\nparams: {p: a}\noutputs:\n  o: '{p}'\n"
    said = refused(tmp_path, text, sets=[f"p='{value}'"])
    assert "jobs/one.yaml:4: outputs.o: for task 0 is" in said


def test_two_tasks_that_would_commit_one_path(tmp_path: Path) -> None:
    said = refused(tmp_path, "command: x\noutputs: {a: out/a}\n", array="0-5")
    assert "outputs.a: tasks 0 and 1 would commit one path, out/a" in said
    inside = "command: x\noutputs: {a: 'out/{p}'}\narray: [{p: b}, {p: b/c}, {p: b2}]\n"
    assert "would lie inside what task 0 commits" in refused(tmp_path, inside)
    apart = "command: x\noutputs: {a: 'out/{p}'}\narray: [{p: b}, {p: b2}, {p: b-c}]\n"
    assert len(spec_of(tmp_path, apart).tasks) == 3


def test_checkpoints_that_meet_an_output_once_filled(tmp_path: Path) -> None:
    text = "command: x\nparams: {p: out, q: out}\noutputs: {a: '{p}/a'}\ncheckpoints: '{q}'\n"
    assert "checkpoints: for task 0 meets the path of outputs.a" in refused(tmp_path, text)


def test_ten_thousand_entries(tmp_path: Path) -> None:
    """Time is for benchmarks/; this is only far from quadratic: 40,000 comparisons of all pairs would take minutes."""
    entries = "".join(f"  - {{model: m{n}, size: {n}, resources: {{memory: {1 + n % 7}GB}}}}\n" for n in range(10_000))
    text = f"command: x {{model}} {{size}}\noutputs: {{a: 'r/{{model}}/{{size}}'}}\narray:\n{entries}"
    begun = time.monotonic()
    spec = spec_of(tmp_path, text)
    assert (len(spec.tasks), len(spec.resources)) == (10_000, 7)
    assert time.monotonic() - begun < 20
