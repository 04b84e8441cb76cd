"""Fields fill in after splitting, so no value makes two arguments, and braces have one meaning."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.phase import Checkpoints, Input, Output, Resources, Scalar
from launcher.model.template import UnknownField, as_text, command_of, env_of, fill, paths_of, values_of

VALUES: st.SearchStrategy[Scalar] = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)


def spec(command: tuple[str, ...], *, shell: bool = False, **params: Scalar) -> JobSpec:
    return JobSpec(
        schema=1,
        job="one-2345",
        phase="one",
        name="one",
        submitted_at=0.0,
        submitted_by="me@here",
        version="0",
        place=Place("local", "local", {}, "/s", "/w"),
        code=Code("snapshot", ""),
        kit="",
        command=command,
        shell=shell,
        params=params,
        tasks=(TaskSpec(0), TaskSpec(7, {"x": "mine"})),
        resources=(Resources(),),
        env={"WHERE": "{outputs.o}", "N": "{task.index}"},
        inputs={"i": Input("in/{outputs.o}")},
        outputs={"o": Output("out/{x}"), "p": Output("{outputs.o}/p")},
        checkpoints=Checkpoints("ck/{job}/{task.index}"),
    )


def test_what_fills() -> None:
    job = spec(("run", "{x}", "{ task.index }", "{job}/{phase}", "{{x}}", "{checkpoints}", "{inputs.i}"), x=3)
    assert command_of(job, job.tasks[0]) == ("run", "3", "0", "one-2345/one", "{x}", "ck/one-2345/0", "in/out/3")
    assert command_of(job, job.tasks[1])[1:3] == ("mine", "7")
    assert paths_of(job, job.tasks[1]) == {"o": "out/mine", "p": "out/mine/p"}
    assert env_of(job, job.tasks[1]) == {"WHERE": "out/mine", "N": "7"}
    assert values_of(job, job.tasks[0])["outputs.p"] == "out/3/p"


@given(VALUES)
def test_no_value_makes_two_arguments(value: Scalar) -> None:
    job = spec(("run", "--x={x}", "{x}"), x=value)
    command = command_of(job, job.tasks[0])
    assert command == ("run", f"--x={as_text(value)}", as_text(value))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_in_a_shell_a_value_stays_one_word(value: str) -> None:
    job = spec(("printf %s {x} | cat",), shell=True, x=value)
    (text,) = command_of(job, job.tasks[0])
    assert shlex.split(text.removesuffix(" | cat"))[2:] == [value]


@pytest.mark.parametrize("value", ["a b", "$(touch x)", "'; exit 3; '", '"', "`id`", "a\nb", "", "-n", "\\", "é*?"])
def test_a_real_shell_agrees(value: str) -> None:
    job = spec(("printf '%s|' {x} end",), shell=True, x=value)
    done = subprocess.run(["sh", "-c", *command_of(job, job.tasks[0])], capture_output=True, text=True, timeout=10)
    assert (done.stdout, done.stderr) == (f"{value}|end|", "")


@pytest.mark.parametrize(
    ("text", "filled"),
    [("", ""), ("{{", "{"), ("}}", "}"), ("{{{x}}}", "{3}"), ("{{x}}", "{x}"), ("a{x}b{x}", "a3b3"), ("{{}}", "{}")],
)
def test_braces(text: str, filled: str) -> None:
    assert fill(text, {"x": 3}) == filled


@pytest.mark.parametrize(
    ("text", "name"),
    [("{y}", "y"), ("{}", ""), ("{x", None), ("x}", None), ("{{x}", None), ("{x}}", None), ("{x.y}", "x.y")],
)
def test_what_nothing_fills(text: str, name: str | None) -> None:
    with pytest.raises(UnknownField) as caught:
        fill(text, {"x": 3})
    assert caught.value.name == name
    assert str(caught.value)


@given(st.text())
def test_doubled_braces_are_literal(text: str) -> None:
    assert fill(text.replace("{", "{{").replace("}", "}}"), {}) == text


@given(st.text(alphabet="{}xy .", max_size=12))
def test_any_text_fills_or_says_why_not(text: str) -> None:
    try:
        found = fill(text, {"x": "{y}"})
    except UnknownField as error:
        assert str(error)
    else:
        assert text.count("{x}") == 0 or "{y}" in found or "{{x}" in text, "a value is not filled again"


def test_values_as_text() -> None:
    assert [as_text(value) for value in (True, False, None, 3, 1e-3, 1e22, 0.1, "x")] == [
        "true", "false", "", "3", "0.001", "1e+22", "0.1", "x",
    ]  # fmt: skip
