"""The documents say what the code does: every YAML block is accepted, every table of keys is the model's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.main import VERBS
from launcher.config import phases, profiles, project, settings
from launcher.errors import ConfigError
from launcher.executors import registry
from launcher.executors.local import Options
from launcher.model import phase, profile
from launcher.model.units import parse_time
from launcher.store import keys

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

TABLES: dict[tuple[str, str], type] = {
    ("phases.md", "All keys"): phase.Phase,
    ("phases.md", "resources"): phase.ResourceRequest,
    ("phases.md", "setup"): phase.Setup,
    ("phases.md", "inputs"): phase.Input,
    ("phases.md", "outputs"): phase.Output,
    ("phases.md", "checkpoints"): phase.Checkpoints,
    ("phases.md", "watch"): phase.Watches,
    ("phases.md", "retry"): phase.Retry,
    ("phases.md", "smoke"): phase.Smoke,
    ("profiles.md", "All keys"): profile.Profile,
    ("profiles.md", "options of local"): Options,
    ("profiles.md", "limits"): profile.Limits,
    ("profiles.md", "defaults"): profile.Defaults,
    ("profiles.md", "Settings"): settings.Written,
}


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    """Where each fenced block stands, and its text."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for found in re.finditer(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield f"{document.name}:{text[: found.start(1)].count(chr(10)) + 1}", found.group(1)


def as_file(text: str) -> tuple[str, str]:
    """The file that a block shows, by its first line, and its content; a part of a phase is made a whole one."""
    first = text.splitlines()[0].removeprefix("# ")
    if first == "part of a phase" and not re.search(r"^command:", text, re.MULTILINE):
        return "jobs/shown.yaml", f"command: python train.py\n{text}"
    if first == "part of a phase" or first.startswith("yaml-language-server"):
        return "jobs/shown.yaml", text
    assert first.endswith(".yaml"), (
        f"the first line of a YAML block says which file it is, or `# part of a phase`: {first}"
    )
    return first, text


@pytest.mark.parametrize(("where", "text"), [pytest.param(*one, id=one[0]) for one in blocks("yaml")])
def test_every_yaml_block_is_accepted_as_it_stands(where: str, text: str, tmp_path: Path) -> None:
    name, content = as_file(text)
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    python = tmp_path / "venvs/study/bin/python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    home = {"HOME": str(tmp_path)}
    if name == "launch.yaml":
        assert project.find(tmp_path, environ=home).settings
        return
    found = project.find(tmp_path, environ=home)
    if name.startswith("cluster_profiles/"):
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("HOME", str(tmp_path))
            profiles.load(found, file.stem, registry.OptionTypes(), environ=home)
    else:
        assert name.startswith("jobs/"), name
        phases.load(found, file.stem)


def test_a_yaml_block_that_is_wrong_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        test_every_yaml_block_is_accepted_as_it_stands("here", "# part of a phase\nresources: {gpu: 1}\n", tmp_path)


def table(document: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading whose first column is `Key`, by key."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    section = re.split(rf"^## {re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    assert rows[0][:3] == ["Key", "Form", "Default"], heading
    return {row[0].strip("`"): row for row in rows[2:]}


def default_of(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


@pytest.mark.parametrize(("document", "heading"), TABLES)
def test_a_table_of_keys_is_that_of_the_model(document: str, heading: str) -> None:
    rows = table(document, heading)
    known = {field.name: field for field in fields(TABLES[document, heading])}
    assert list(rows) == list(known), "the keys, in the order of the model"
    for name, field in known.items():
        value, said = default_of(field), rows[name][2]
        if value is MISSING:
            assert said == "required", name
        elif value is None or value in ("", (), {}) or is_dataclass(value):
            assert said == "—", name
        elif isinstance(value, bool):
            assert said == str(value).lower(), name
        elif isinstance(value, Enum):
            assert said == value.value, name
        elif isinstance(value, float):
            assert parse_time(said) == value, name
        else:
            assert said == str(value), name


def test_the_index_names_every_document() -> None:
    text = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for document in sorted((ROOT / "docs").glob("*.md")):
        assert document.name == "README.md" or f"]({document.name})" in text, document.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link, part in re.findall(r"\]\(([^)#:\s]*)(#[^)\s]*)?\)", text):
        target = (document.parent / link) if link else document
        assert target.exists(), link
        if part and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
            assert part[1:] in anchors, part


def test_the_architecture_names_every_key_of_a_store_and_every_verb() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    state = text.split("## Where state lives", 1)[1].split("**Code and data.**", 1)[0]
    names = {value for name, value in vars(keys).items() if name.isupper()}
    made = [keys.spec("J"), keys.submission("J"), keys.event("J", 0, "i"), keys.stop("J", 0, "i"), keys.order("J", "A")]
    made += [keys.ended_segment("J", "A"), keys.agent_log("J", "A"), keys.released("J", "A"), keys.snapshot_index("h")]
    places = {"J": "<job>", "A.": "<allocation>.", "000000000000000-i": "<time>-<id>", "h.json": "<hash>.json"}
    for key in made:
        *folders, last = key.split("/")
        for short, long in places.items():
            last = last.replace(short, long)
        names.add(last if folders[-1] in ("J", "snapshots") else f"{folders[-1]}/{last}")
    absent = {name for name in names if name not in state and name.replace("agents/<allocation>", "") not in state}
    assert not absent
    line = text.split("Verbs: `", 1)[1].split("`", 1)[0]
    told = re.sub(r"\((\w+)\)", "", line).split()
    assert sorted(told) == sorted(verb.name for verb in VERBS)
    for alias in (alias for verb in VERBS for alias in verb.aliases):
        assert f"({alias})" in line
