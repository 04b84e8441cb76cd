"""Profiles and settings: folders, options, and where each value came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import pytest

from launcher.config import phases, profiles, project, resolve, shipped
from launcher.config.profiles import LoadedProfile
from launcher.errors import ConfigError, NotFound
from launcher.executors.local import Options
from launcher.executors.registry import OptionTypes
from launcher.model.job import Code
from launcher.operations import profiles as verb
from tests.test_config_phases import misfits


@dataclass(frozen=True)
class Cloud:
    """Options of an executor of another kind: keys it does not know are refused though it does not say so itself."""

    region: str = "eu"
    spot: bool = False


KINDS: Mapping[str, type] = {"local": Options, "cloud": Cloud}


def write(folder: Path, **files: str) -> None:
    names = {"launch": "launch.yaml", "lab": "cluster_profiles/lab.yaml", "one": "jobs/one.yaml"}
    for name, text in files.items():
        path = folder / names[name]
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def load(
    folder: Path,
    name: Optional[str] = "lab",
    *,
    flags: Optional[Mapping[str, Optional[str]]] = None,
    environ: Optional[Mapping[str, str]] = None,
) -> LoadedProfile:
    environ = {"HOME": os.environ["HOME"], **(environ or {})}
    found = project.find(folder, flags=flags, environ=environ)
    return profiles.load(found, name, KINDS, environ=environ)


def test_local_needs_no_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, None)
    assert (loaded.name, loaded.profile.executor, loaded.file) == ("local", "local", None)
    assert (loaded.store, loaded.workspace) == (tmp_path / ".launch/store", tmp_path)
    assert loaded.options.python == sys.executable
    assert loaded.origins["executor"] == "built in"
    assert not (tmp_path / ".launch").exists()


def test_a_profile_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load(tmp_path, "workstaton")
    assert "did you mean workstation?" in (caught.value.hint or "")


def test_folders_are_relative_to_the_project(odd_path: Path) -> None:
    write(odd_path, one="command: x\n", lab="executor: local\nstore: ./records\nworkspace: $DATA/w\n")
    (odd_path / "deep/er").mkdir(parents=True)
    loaded = load(odd_path / "deep/er", environ={"DATA": "/big disk"})
    assert (loaded.store, loaded.workspace) == (odd_path / "records", Path("/big disk/w"))
    write(odd_path, lab="executor: local\nstore: ~/records\n")
    assert load(odd_path).store == Path(os.environ["HOME"], "records")


def test_which_layer_wins(tmp_path: Path) -> None:
    """Flag, variable, the profile's own, the project's launch.yaml, the user's config.yaml, the default."""
    home = tmp_path / "home"
    environ = {"XDG_CONFIG_HOME": str(home)}
    (tmp_path / "p/jobs").mkdir(parents=True)
    (tmp_path / "p/sub").mkdir()
    here = tmp_path / "p/sub"

    def store(**layers: str) -> tuple[Path, str]:
        loaded = load(here, flags={"store": layers.get("flag")}, environ={**environ, **layers_env})
        return loaded.store, loaded.origins["store"]

    layers_env: dict[str, str] = {}
    write(tmp_path / "p", lab="executor: local\n")
    assert store() == (tmp_path / "p/.launch/store", "default")
    (home / "launch").mkdir(parents=True)
    (home / "launch/config.yaml").write_text("# mine\nstore: user\n")
    assert store() == (home / "launch/user", f"{home}/launch/config.yaml:2")
    write(tmp_path / "p", launch="store: projects\n")
    assert store() == (tmp_path / "p/projects", "launch.yaml:1")
    write(tmp_path / "p", lab="executor: local\nstore: labs\n")
    assert store() == (tmp_path / "p/labs", "cluster_profiles/lab.yaml:2")
    layers_env["LAUNCH_STORE"] = "variables"
    assert store() == (here / "variables", "LAUNCH_STORE")
    assert store(flag="flags") == (here / "flags", "--store")


def test_the_chosen_profile(tmp_path: Path) -> None:
    write(tmp_path, launch="profile: lab\n", lab="executor: local\n")
    assert load(tmp_path, None).name == "lab"
    assert load(tmp_path, None, environ={"LAUNCH_PROFILE": "local"}).name == "local"
    assert load(tmp_path, "local", environ={"LAUNCH_PROFILE": "lab"}).name == "local"
    assert load(tmp_path, None, environ={"LAUNCH_PROFILE": ""}).name == "lab"


@pytest.mark.parametrize(
    ("phase", "launch", "variable", "beat"),
    [
        ("", "", "", 10.0),
        ("", "beat: 5s\n", "", 5.0),
        ("beat: 3s\n", "beat: 5s\n", "", 3.0),
        ("beat: 3s\n", "", "1s", 1.0),
    ],
)
def test_the_beat(tmp_path: Path, phase: str, launch: str, variable: str, beat: float) -> None:
    write(tmp_path, one=f"command: x\n{phase}", launch=f"# settings\n{launch}")
    found = project.find(tmp_path, environ={"LAUNCH_BEAT": variable})
    place = profiles.load(found, "local", KINDS)
    identity = resolve.Identity("one-2345", "one", 0.0, "me@here", "0")
    for sets, expected in (((), beat), (("beat=0.5",), 0.5)):
        loaded = phases.load(found, "one")
        spec = resolve.job(loaded, place, identity=identity, code=Code("snapshot", ""), kit="", sets=sets)
        assert spec.beat == expected


def test_a_user_may_have_profiles_for_all_projects(tmp_path: Path) -> None:
    home = tmp_path / "home/launch/cluster_profiles"
    home.mkdir(parents=True)
    (home / "mine.yaml").write_text("executor: local\nstore: records\n")
    (tmp_path / "p/.git").mkdir(parents=True)
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert load(tmp_path / "p", "mine", environ=environ).store == tmp_path / "p/records"
    write(tmp_path / "p", lab="executor: local\n")
    (tmp_path / "p/cluster_profiles/mine.yaml").write_text("executor: local\nstore: own\n")
    assert load(tmp_path / "p", "mine", environ=environ).store == tmp_path / "p/own"


def test_the_python_of_a_command(tmp_path: Path) -> None:
    write(tmp_path, lab="executor: local\n")
    for name in ("venv", "conda"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/python").symlink_to(sys.executable)
    both = {"VIRTUAL_ENV": str(tmp_path / "venv"), "CONDA_PREFIX": str(tmp_path / "conda")}
    found = load(tmp_path, environ=both)
    assert (found.options.python, found.origins["options.python"]) == (f"{tmp_path}/venv/bin/python", "$VIRTUAL_ENV")
    gone = {**both, "VIRTUAL_ENV": str(tmp_path / "gone")}
    assert load(tmp_path, environ=gone).origins["options.python"] == "$CONDA_PREFIX"
    write(tmp_path, lab="executor: local\noptions: {python: conda/bin/python, gpus: [0, 2], memory: 4GB}\n")
    options = load(tmp_path, environ=both).options
    assert options == Options(python=f"{tmp_path}/conda/bin/python", gpus=(0, 2), memory=4 * 10**9)


def test_another_executors_options_and_folders(tmp_path: Path) -> None:
    write(tmp_path, lab="executor: cloud\noptions: {region: us, spot: true}\nstore: ~/s\nworkspace: $HOME/w\n")
    loaded = load(tmp_path)
    assert loaded.options == Cloud("us", spot=True)
    assert (str(loaded.store), str(loaded.workspace)) == ("~/s", "$HOME/w"), "another machine's home is not this one's"
    write(tmp_path, lab="executor: cloud\noptions:\n  regoin: us\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert "options.regoin: is no option of executor cloud; valid: region, spot; did you mean region?" in str(
        caught.value
    )
    write(tmp_path, lab="executor: cloud\n")
    with pytest.raises(ConfigError, match=r"store: is missing: executor cloud needs"):
        load(tmp_path)


def test_a_setting_on_the_command_line_that_is_wrong(tmp_path: Path) -> None:
    for flags, environ, words in (
        ({"beat": "soon"}, {}, "--beat: beat: a time is expected"),
        ({}, {"LAUNCH_BEAT": "soon"}, "LAUNCH_BEAT: beat: a time is expected"),
        ({}, {"LAUNCH_BUDGET": "-1"}, "LAUNCH_BUDGET: budget: must be more than nothing"),
        ({}, {"LAUNCH_STORE": "$NOT_SET/x"}, "LAUNCH_STORE: store: $NOT_SET is not set here"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, None, flags=flags, environ=environ)
        assert words in str(caught.value)


def test_the_shipped_profiles_load_and_fit_the_schema(tmp_path: Path) -> None:
    lying = shipped.folder("cluster_profiles")
    assert lying is not None
    files = sorted(lying.glob("*.yaml"))
    assert [file.stem for file in files] == ["workstation"]
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith("# yaml-language-server: $schema=../docs/schema/profile.json\n")
        assert not misfits("profile", text)
        assert profiles.load(project.find(tmp_path), file.stem, OptionTypes()).profile.executor == "local"


def test_every_option_that_workstation_comments_on_is_valid(tmp_path: Path) -> None:
    """With all comment signs before keys taken away it is a profile still."""
    lying = shipped.folder("cluster_profiles")
    assert lying is not None
    lines = (lying / "workstation.yaml").read_text(encoding="utf-8").splitlines()
    text = "\n".join(
        line.replace("#", "", 1) if line.lstrip().startswith("#") and "# " not in line.lstrip()[:2] else line
        for line in lines
    )
    write(tmp_path, lab=text.replace(".venv/bin/python", sys.executable))
    loaded = load(tmp_path)
    assert loaded.options.gpus == (0, 1)
    assert (loaded.profile.limits.budget, loaded.profile.limits.gpus) == (20, 2)
    assert loaded.profile.defaults.env == {"HF_HOME": "/data/huggingface"}
    assert not misfits("profile", text)


@pytest.mark.parametrize(
    "text",
    ["executor: slurmm", "executor: local\noptions: {cpu: 1}", "executor: local\nlimits: {x: 1}", "store: x"],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    assert misfits("profile", text)


def test_the_committed_schemas_are_current() -> None:
    """If not: `for k in phase profile; do launch profiles schema $k > docs/schema/$k.json; done`."""
    for kind in ("phase", "profile"):
        committed = json.loads((Path(__file__).parent.parent / f"docs/schema/{kind}.json").read_text())
        assert committed == verb.schema_of("phase" if kind == "phase" else "profile"), kind


def launch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launcher.cli.main", *words]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)


def test_profiles_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, lab="executor: local\nprice: 2\nlimits: {time: 2h}\n", launch="profile: lab\nbeat: 5s\n")
    monkeypatch.setenv("LAUNCH_WORKSPACE", "/data")
    shown = launch(tmp_path, "profiles", "show", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    values = json.loads(shown.stdout)["values"]
    assert values["profile"] == {"value": "lab", "origin": "launch.yaml:1"}
    assert values["workspace"] == {"value": "/data", "origin": "LAUNCH_WORKSPACE"}
    assert values["limits.time"] == {"value": 7200.0, "origin": "cluster_profiles/lab.yaml:3"}
    assert values["beat"] == {"value": 5.0, "origin": "launch.yaml:2"}
    assert values["store"] == {"value": str(tmp_path / ".launch/store"), "origin": "default"}
    lines = launch(tmp_path, "profiles", "show").stdout.splitlines()
    assert lines[0].split() == ["KEY", "VALUE", "FROM"]
    assert ["price", "$2/h", "cluster_profiles/lab.yaml:2"] in [line.split() for line in lines]


def test_profiles_list_names_a_broken_one(tmp_path: Path) -> None:
    write(tmp_path, lab="executor: lokal\n")
    listed = launch(tmp_path, "profiles", "list", "--json")
    found = {one["name"]: one for one in json.loads(listed.stdout)}
    assert set(found) == {"local", "lab", "workstation"}
    assert "did you mean local?" in found["lab"]["problem"]
    assert found["local"]["chosen"]
    assert "cannot be used" in launch(tmp_path, "profiles", "list").stdout


def test_profiles_errors_are_json_too(tmp_path: Path) -> None:
    write(tmp_path, lab="executor: lokal\nstor: 1\n")
    said = launch(tmp_path, "profiles", "show", "lab", "--json")
    assert said.returncode == 3
    error = json.loads(said.stdout)["error"]
    assert [(one["line"], one["key"]) for one in error["problems"]] == [(1, "executor"), (2, "stor")]
    assert launch(tmp_path, "profiles", "show", "nobody").returncode == 102
    schema = launch(tmp_path, "profiles", "schema", "phase")
    assert json.loads(schema.stdout)["title"] == "A phase of launch: what to run"


def test_a_profile_that_is_not_there_names_local_too(tmp_path: Path) -> None:
    """`local` has no file, and is what a person on a workstation mostly wants."""
    with pytest.raises(NotFound) as error:
        project.look_up(project.find(tmp_path), project.PROFILES, "lcal", "profile")
    assert "did you mean local?" in str(error.value.hint)
