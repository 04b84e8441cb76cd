"""Every mistake in a file is one problem that says where it is and what is wrong, and all of them come at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.config import phases, profiles, project
from launcher.errors import EXIT_CONFIG, ConfigError
from launcher.executors.registry import OptionTypes
from tests.malformed.case import Case
from tests.malformed.phases import PHASES
from tests.malformed.profiles import PROFILES, SETTINGS
from tests.malformed.texts import LAUGHS, TEXTS

FOR_ALL = tuple(one for one in TEXTS if not any(wanted.key for wanted in one.wanted))
"""The mistakes that have a key have it in a phase."""


def named(cases: tuple[Case, ...]) -> list[object]:
    return [pytest.param(one, id=one.name.replace(" ", "-")) for one in cases]


def check(error: ConfigError, wanted: Case, file: str) -> None:
    problems = {(problem.line, problem.key): str(problem) for problem in error.problems}
    exact = wanted.name != "merges without end"
    assert len(problems) == len(error.problems) == len(wanted.wanted), str(error)
    for one in wanted.wanted:
        found = problems.get((one.line, one.key)) if exact else next(iter(problems.values()))
        assert found is not None, str(error)
        assert all(word in found for word in one.words), found
        where = f"{file}:{one.line}: " if one.line is not None else f"{file}:"
        assert found.startswith(where if exact else f"{file}:"), found
    lines = [problem.line or 0 for problem in error.problems]
    assert lines == sorted(lines)
    assert error.exit_code == EXIT_CONFIG
    assert len(error.as_json()["problems"]) == len(problems)  # type: ignore[arg-type]


def test_there_are_enough_of_them() -> None:
    assert len(PHASES) + len(PROFILES) + len(SETTINGS) + len(TEXTS) > 120
    names = [one.name for one in (*PHASES, *TEXTS)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("malformed", named((*TEXTS, *PHASES)))
def test_a_malformed_phase(malformed: Case, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/broken.yaml").write_bytes(malformed.text)
    with pytest.raises(ConfigError) as caught:
        phases.load(project.find(tmp_path), "broken")
    check(caught.value, malformed, "jobs/broken.yaml")


@pytest.mark.parametrize("malformed", named((*FOR_ALL, *PROFILES)))
def test_a_malformed_profile(malformed: Case, tmp_path: Path) -> None:
    (tmp_path / "cluster_profiles").mkdir()
    (tmp_path / "jobs").mkdir()
    (tmp_path / "cluster_profiles/broken.yml").write_bytes(malformed.text)
    with pytest.raises(ConfigError) as caught:
        profiles.load(project.find(tmp_path), "broken", OptionTypes())
    check(caught.value, malformed, "cluster_profiles/broken.yml")


@pytest.mark.parametrize("malformed", named(SETTINGS))
@pytest.mark.parametrize("file", ["launch.yaml", "config.yaml"])
def test_malformed_settings(malformed: Case, file: str, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "home/launch").mkdir(parents=True)
    path = tmp_path / file if file == "launch.yaml" else tmp_path / "home/launch" / file
    path.write_bytes(malformed.text)
    with pytest.raises(ConfigError) as caught:
        project.find(tmp_path, environ={"XDG_CONFIG_HOME": str(tmp_path / "home")})
    check(caught.value, malformed, file if file == "launch.yaml" else str(path))


def test_a_few_lines_that_stand_for_more_than_any_memory(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/laughs.yaml").write_text(f"command: x\nparams:\n  laugh: &i 1\n{LAUGHS}")
    with pytest.raises(ConfigError) as caught:
        phases.load(project.find(tmp_path), "laughs")
    assert "more than any file means" in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/1st.yaml").write_text("command: x\n")
    (tmp_path / "jobs/folder.yaml").mkdir()
    found = project.find(tmp_path)
    with pytest.raises(ConfigError, match="named with letters"):
        phases.load(found, "1st")
    with pytest.raises(Exception, match="folder"):
        phases.load(found, "folder")


def test_a_phase_that_is_described_twice(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    for ending in ("yaml", "yml"):
        (tmp_path / f"jobs/twice.{ending}").write_text("command: x\n")
    with pytest.raises(ConfigError, match="described twice"):
        phases.load(project.find(tmp_path), "twice")
