"""What a phase may look like, and what becomes of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from launcher.config import phases, project
from launcher.config.phases import LoadedPhase
from launcher.config.shipped import folder
from launcher.errors import NotFound
from launcher.model.phase import ArrayEntry, Checkpoints, Input, Matrix, Output, ResourceRequest, Watch

FULL = """\
# comments stay out
description: 2024
command: python 'a file.py' --x={x} "{name}" {{literal}}
params: &defaults
  x: 1e-3
  when: 2026-11-20
  clock: 6:00:00
  switch: off
  yes_: yes
  count: 0o17
  hex: 0x1F
  name: null
  long: 007
  text: "3"
array:
  - {x: 2, resources: {gpus: 1, gpu_memory: 80GB}}
  - x: 0.5
    resources:
resources:
  cpus: 4
  memory: 200GiB
  time: 1-12:00:00
env:
  THREADS: 4
  RATE: 1e-3
  VERSION: 3.10
  FLAG: true
  INDEX: "{task.index}"
secrets: HF_TOKEN
setup:
  modules: cuda/12.1
  python: 3.10
  requirements: requirements.txt
inputs:
  data: /data/set
  model: {path: models/m, optional: true}
outputs:
  log: out/{x}/log.txt
  best: {path: "out/{x}/best", metric: fidelity, good: 0.85, poor: 0.7}
checkpoints: ckpt/
watch: {disk: off, rules: "loss < 0.1", stall_after: 20m}
after: first
smoke: {params: {x: 1}, without_gpus: true}
retry:
grace: 90
"""


def load(tmp_path: Path, text: str, name: str = "one") -> LoadedPhase:
    (tmp_path / "jobs").mkdir(exist_ok=True)
    (tmp_path / f"jobs/{name}.yaml").write_text(text, encoding="utf-8")
    return phases.load(project.find(tmp_path), name)


def test_every_form_that_people_write(tmp_path: Path) -> None:
    phase = load(tmp_path, FULL).phase
    assert phase.description == "2024"
    assert phase.command == ("python", "a file.py", "--x={x}", "{name}", "{{literal}}")
    assert phase.params == {
        "x": 0.001,
        "when": "2026-11-20",
        "clock": "6:00:00",
        "switch": "off",
        "yes_": "yes",
        "count": 15,
        "hex": 31,
        "name": None,
        "long": 7,
        "text": "3",
    }
    assert phase.array == (
        ArrayEntry({"x": 2}, ResourceRequest(gpus=1, gpu_memory=80 * 10**9)),
        ArrayEntry({"x": 0.5}),
    )
    assert phase.resources == ResourceRequest(cpus=4, memory=200 * 2**30, time=36 * 3600.0)
    assert phase.env == {"THREADS": "4", "RATE": "1e-3", "VERSION": "3.10", "FLAG": "true", "INDEX": "{task.index}"}
    assert (phase.secrets, phase.after) == (("HF_TOKEN",), ("first",))
    assert (phase.setup.python, phase.setup.modules) == ("3.10", ("cuda/12.1",))
    assert phase.inputs == {"data": Input("/data/set"), "model": Input("models/m", optional=True)}
    assert phase.outputs["log"] == Output("out/{x}/log.txt")
    assert phase.outputs["best"] == Output("out/{x}/best", "fidelity", 0.85, 0.7)
    assert phase.checkpoints == Checkpoints("ckpt/")
    assert (phase.watch.disk, phase.watch.rules, phase.watch.stall_after) == (Watch.OFF, ("loss < 0.1",), 1200.0)
    assert phase.smoke.params == {"x": 1}
    assert (phase.grace, phase.beat) == (90.0, 10.0)


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = """\
command: x
resources: &small {cpus: 2, memory: 1GB}
smoke:
  resources: {<<: *small, cpus: 1}
params: &p {a: 1, b: 2}
array:
  - {<<: *p, b: 3}
  - <<: [{a: 7}, *p]
"""
    phase = load(tmp_path, text).phase
    assert phase.smoke.resources == ResourceRequest(cpus=1, memory=10**9)
    assert [entry.params for entry in phase.array] == [{"a": 1, "b": 3}, {"a": 7, "b": 2}]


def test_a_matrix(tmp_path: Path) -> None:
    phase = load(tmp_path, "command: x\nmatrix: {a: [1, two], b: [true], exclude: [{a: 1, b: true}]}\n").phase
    assert phase.matrix == Matrix({"a": (1, "two"), "b": (True,)}, ({"a": 1, "b": True},))


def test_a_shell_command_stays_one_text(tmp_path: Path) -> None:
    phase = load(tmp_path, "command: echo 'a b' | wc -l > \"$HOME/x\"\nshell: true\n").phase
    assert phase.command == ("echo 'a b' | wc -l > \"$HOME/x\"",)


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeffcommand: x\r\nparams:\r\n  a: b\r\n").phase.params == {"a": "b"}


def test_a_project_is_the_nearest_folder_upward(tmp_path: Path) -> None:
    deep = tmp_path / "a/b/c"
    deep.mkdir(parents=True)
    assert project.find(deep).root == deep
    (tmp_path / "a/.git").write_text("gitdir: elsewhere\n")
    assert project.find(deep).root == tmp_path / "a"
    (tmp_path / "a/b/launch.yaml").write_text("# nothing yet\n")
    assert project.find(deep).root == tmp_path / "a/b"


def test_a_projects_own_files_win_over_the_shipped_ones(tmp_path: Path) -> None:
    shipped = phases.load(project.find(tmp_path), "phase1_large")
    assert shipped.shipped
    assert len(shipped.phase.array) == 6
    mine = load(tmp_path, "command: mine\n", "phase1_large")
    assert not mine.shipped
    assert mine.phase.command == ("mine",)
    names = {named.name: named.where for named in phases.available(project.find(tmp_path))}
    assert names["phase1_large"] == "project"


def test_a_phase_by_the_path_of_its_file(odd_path: Path) -> None:
    file = odd_path / "my phase.d" / "train.yml"
    file.parent.mkdir()
    file.write_text("command: x\n")
    loaded = phases.load(project.find(odd_path), str(file))
    assert (loaded.name, loaded.file) == ("train", file)


def test_a_phase_that_does_not_exist(tmp_path: Path) -> None:
    load(tmp_path, "command: x\n", "collect_states")
    found = project.find(tmp_path)
    for word in ("colect_states", "", "a\0b", "../../etc/passwd", "x" * 5000, "~nobody/x.yaml"):
        with pytest.raises(NotFound) as caught:
            phases.load(found, word)
        assert caught.value.exit_code == 102
    with pytest.raises(NotFound) as caught:
        phases.load(found, "colect_states")
    assert "did you mean collect_states?" in (caught.value.hint or "")


def shipped_files(kind: str) -> list[Path]:
    lying = folder(kind)
    assert lying is not None
    return sorted(lying.glob("*.y*ml"))


@pytest.mark.parametrize("file", shipped_files("jobs"), ids=lambda file: file.stem)
def test_a_shipped_phase_loads_and_fits_the_schema(file: Path) -> None:
    assert phases.load(project.find(file.parent.parent), file.stem).name == file.stem
    assert not misfits("phase", file.read_text(encoding="utf-8"))
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=../docs/schema/phase.json\n")


def misfits(kind: str, text: str) -> list[str]:
    """What an editor would underline."""
    from launcher.config.nodes import plain
    from launcher.config.problems import Problems
    from launcher.config.source import read_text

    jsonschema = importlib.import_module("jsonschema")  # it has no types
    schema = json.loads(Path(__file__).parent.parent.joinpath("docs/schema", f"{kind}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    node = read_text(text, "text", Problems())
    assert node is not None
    data: Any = plain(node)
    return [str(error) for error in jsonschema.Draft202012Validator(schema).iter_errors(data)]


def test_the_schema_takes_what_the_loader_takes(tmp_path: Path) -> None:
    assert not misfits("phase", FULL)
    load(
        tmp_path, "command: [a, 3]\ncheckpoints: {path: c}\nafter: [a, b]\nmatrix: {a: [1], exclude: [{a: 1}]}\nenv:\n"
    )
    assert not misfits("phase", (tmp_path / "jobs/one.yaml").read_text())


@pytest.mark.parametrize(
    "text",
    [
        "description: x",
        "command: []",
        "command: x\nresorces: {}",
        "command: x\nresources: {gpus: some}",
        "command: x\nwatch: {disk: false}",
        "command: x\narray: [1]",
        "command: x\nmatrix: {a: 1}",
        "command: x\noutputs: {a: 3}",
        "command: x\ncheckpoints: {keep_last: 2}",
        "command: x\nparams: {a: [1]}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    assert misfits("phase", text)
