"""The shipped main job: its store, its prompts and parsing, and whole runs as real processes on tiny random weights."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.model.template import fill
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "jobs" / "phase1_large"
DEADLINE_S = 180.0
MODEL = "Qwen/Qwen2.5-7B-Instruct"
ODD = 'a "b" c\'s\nd'

sys.path.insert(0, str(CODE))  # as `python jobs/phase1_large/main.py` does
import fallback as plain_rule  # noqa: E402
import parsing  # noqa: E402
import prompts  # noqa: E402
import state as states  # noqa: E402
import store_world as shop  # noqa: E402
import weights as weight_search  # noqa: E402


@pytest.fixture(scope="module")
def needs_torch() -> None:
    for name in ("torch", "transformers", "accelerate"):
        pytest.importorskip(name)


def environment(folder: Path, **more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("LAUNCH_")}
    return {
        **plain,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        "OMP_NUM_THREADS": "1",
        "LAUNCH_PROGRESS": str(folder / "progress.jsonl"),
        "LAUNCH_METRICS": str(folder / "metrics.jsonl"),
        "LAUNCH_STOP_FILE": str(folder / "stop"),
        "LAUNCH_SCRATCH": str(folder / "scratch"),
        **more,
    }


def arguments(*more: str, days: int = 2) -> list[str]:
    plain = ["--model", MODEL, "--weights=tiny", f"--days={days}", "--max-new-tokens=6", "--index=1"]
    return [sys.executable, str(CODE / "main.py"), *plain, *more]


def run(folder: Path, *more: str, days: int = 2, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        arguments(*more, days=days),
        cwd=folder,
        env=environment(folder) if env is None else env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, needs_torch: None) -> Path:
    """A run that nothing disturbed; its output is in `log`."""
    folder = tmp_path_factory.mktemp("whole") / ODD
    ended = run(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (folder / "log").write_text(ended.stdout)
    return folder


# --- whole runs ------------------------------------------------------------------------------------------------------


def test_a_run_answers_each_step_and_says_that_the_weights_are_not_real(whole: Path) -> None:
    answers = lines(whole / "answers.jsonl")
    assert [line["step"] for line in answers] == [1, 2, 3, 4]
    assert [line["day"] for line in answers] == [0, 0, 1, 1]
    assert all(line["model"] == MODEL and "tiny random weights, not" in line["weights"] for line in answers)
    assert all(line["new_tokens"] >= 1 and line["prompt"]["tokens"] > 100 for line in answers)
    assert all(line["decided_by"] == ("model" if line["parsed"] else "fallback") for line in answers)
    assert [line["day_report"] is None for line in answers] == [True, False, True, False]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["real_weights"] is False and summary["decisions"] == 4
    assert summary["parse_rate"] == sum(line["parsed"] for line in answers) / 4
    assert sum(summary["problems"].values()) == sum(not line["parsed"] for line in answers)


def test_its_log_tells_each_stage_with_its_time(whole: Path) -> None:
    log = (whole / "log").read_text()
    assert "TINY RANDOM WEIGHTS instead of " + MODEL in log
    for stage in (
        "import:",
        "load: tokenizer",
        "load: first parameter on cpu",
        "step 4/4",
        "first token after",
        "done:",
    ):
        assert stage in log
    for stage in ("tokenize", "move", "generate", "decode", "act"):
        assert sum(line.split("]", 1)[1].strip().startswith(stage) for line in log.splitlines()) >= 4
    assert int(log.split("peak memory ")[1].split()[0]) < 1000


def test_it_reports_progress_metrics_and_checkpoints(whole: Path) -> None:
    told = lines(whole / "progress.jsonl")
    steps = [line["step"] for line in told if line.get("stage") == "saved"]
    assert steps == [1, 2, 3, 4] and told[0]["total"] == 4
    stages = {"import", "load", "tokenize", "move", "prefill", "generate", "decode", "save", "saved", "done"}
    assert stages <= {line["stage"] for line in told if "stage" in line}
    saved = [line for line in told if "checkpoint" in line]
    assert [Path(line["checkpoint"]).name for line in saved] == ["step-0001", "step-0002", "step-0003", "step-0004"]
    assert all((Path(line["checkpoint"]) / "complete").is_file() for line in saved)
    metrics = lines(whole / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [1, 2, 3, 4]
    assert all({"budget", "parse_rate", "tokens_per_s", "prefill_s"} <= line.keys() for line in metrics)


@pytest.mark.parametrize("step", ["step-0001", "step-0003"])
def test_a_resumed_run_gives_the_same_answers_byte_for_byte(whole: Path, tmp_path: Path, step: str) -> None:
    shutil.copytree(whole / "checkpoints" / step, tmp_path / "from" / step)
    (tmp_path / "answers.jsonl").write_text('{"step": 1}\n{"half a li')
    ended = run(tmp_path, env=environment(tmp_path, LAUNCH_RESUME_FROM=str(tmp_path / "from" / step)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{int(step[-1])} of 4 steps are done" in ended.stdout
    assert (tmp_path / "answers.jsonl").read_bytes() == (whole / "answers.jsonl").read_bytes()
    assert (tmp_path / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()


def test_a_killed_run_goes_on_from_its_last_step(whole: Path, tmp_path: Path) -> None:
    """SIGKILL once two steps are saved, wherever the process is then; outputs and checkpoints lie behind links."""
    for name in ("kept", "kept/checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "answers.jsonl").symlink_to(tmp_path / "kept" / "answers.jsonl")
    (tmp_path / "checkpoints").symlink_to(tmp_path / "kept" / "checkpoints")
    child = subprocess.Popen(arguments(), cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL)
    try:
        saved = tmp_path / "kept" / "checkpoints" / "step-0002" / "complete"
        until(saved.exists, DEADLINE_S, "two saved steps")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    newest = max((tmp_path / "kept" / "checkpoints").glob("step-*"))
    ended = run(tmp_path, "--resume", str(newest))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "answers.jsonl").is_symlink()
    assert (tmp_path / "kept" / "answers.jsonl").read_bytes() == (whole / "answers.jsonl").read_bytes()
    assert not list((tmp_path / "kept" / "checkpoints").glob(".*"))


def test_a_stop_request_ends_it_with_its_own_code_and_all_steps_saved(whole: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(
        arguments(days=500), cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    try:
        until((tmp_path / "checkpoints" / "step-0001").exists, DEADLINE_S, "the first saved step")
        (tmp_path / "stop").touch()
        output, _ = child.communicate(timeout=DEADLINE_S)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == os.EX_TEMPFAIL
    assert "stopped as requested" in output
    assert not (tmp_path / "summary.json").exists()
    done = max(line["step"] for line in lines(tmp_path / "answers.jsonl"))
    assert (tmp_path / "checkpoints" / f"step-{done:04d}" / "complete").is_file()
    same = min(done, 4)
    assert (tmp_path / "answers.jsonl").read_text().splitlines()[:same] == (
        (whole / "answers.jsonl").read_text().splitlines()[:same]
    )


def test_earlier_answers_are_not_overwritten(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text("precious\n")
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert (tmp_path / "answers.jsonl").read_text() == "precious\n"
    assert lines(tmp_path / "progress.jsonl")[-1]["outcome"] == "start failed"


@pytest.mark.parametrize("damage", ["marker", "content", "seed", "gone"])
def test_a_checkpoint_that_does_not_fit_is_named(whole: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "step-0002"
    if damage != "gone":
        shutil.copytree(whole / "checkpoints" / "step-0002", folder)
    if damage == "marker":
        (folder / "complete").unlink()
    if damage == "content":
        (folder / "state.json").write_bytes((folder / "state.json").read_bytes()[:-9])
    ended = run(tmp_path, f"--resume={folder}", f"--seed={int(damage == 'seed')}")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    declared = lines(tmp_path / "progress.jsonl")[-1]
    assert declared["outcome"] == "start failed"
    expected = {
        "marker": "complete is missing",
        "content": "damaged",
        "seed": "seed was 0 and is now 1",
        "gone": "missing",
    }
    assert expected[damage] in declared["reason"]
    assert not (tmp_path / "answers.jsonl").exists()


def test_a_full_disk_is_declared(whole: Path, tmp_path: Path) -> None:
    """/dev/full refuses each byte as a full disk does."""
    (tmp_path / "answers.jsonl").symlink_to("/dev/full")
    ended = run(tmp_path)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert lines(tmp_path / "progress.jsonl")[-1]["outcome"] == "out of disk"


def test_weights_that_are_present_are_used_and_half_of_them_refused(whole: Path, tmp_path: Path) -> None:
    """A folder of the user's with a model: here the tiny one, saved in several shards as the large ones are."""
    from transformers import AutoModelForCausalLM

    source = whole / "scratch" / "tiny-1"
    target = tmp_path / "models" / "Qwen2.5-7B-Instruct"
    shutil.copytree(source, target)
    (target / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(source).save_pretrained(target, max_shard_size="100KB")
    shards = sorted(target.glob("*.safetensors"))
    assert len(shards) > 2
    more = ("--weights=auto", f"--models-dir={tmp_path / 'models'}")
    ended = run(tmp_path / "all", *more)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    answers = lines(tmp_path / "all" / "answers.jsonl")
    assert {line["weights"] for line in answers} == {f"real weights of {MODEL}"}
    assert [line["answer"] for line in answers] == [line["answer"] for line in lines(whole / "answers.jsonl")]
    shards[1].unlink()
    ended = run(tmp_path / "half", *more)
    assert ended.returncode == 1
    declared = lines(tmp_path / "half" / "progress.jsonl")[-1]
    assert declared["outcome"] == "start failed" and shards[1].name in declared["reason"]


def test_wrong_arguments_are_refused_before_anything_heavy_is_read(tmp_path: Path) -> None:
    for wrong in ("--days=0", "--seed=x", "--weights=huge", "--max-new-tokens=-1"):
        ended = run(tmp_path, wrong)
        assert ended.returncode == 2 and wrong.split("=")[0] in ended.stderr and ended.stdout == ""


# --- prompts and weights ---------------------------------------------------------------------------------------------


def test_a_long_prompt_loses_its_oldest_history_first_and_never_its_question(whole: Path) -> None:
    import inference
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(whole / "scratch" / "tiny-1")
    history = [f"day {n}: something happened" for n in range(12)]
    world = shop.opening(0)

    def said(shown: int) -> list[prompts.Message]:
        return prompts.messages(world, history[len(history) - shown :], 2)

    full = inference.fit(tokenizer, said, 12, 10_000)
    assert (full.shown, full.cut, full.shortened) == (12, 0, False)
    less = inference.fit(tokenizer, said, 12, len(full.token_ids) - 1)
    assert less.shown < 12 and less.cut == 0 and less.shortened
    assert "day 11" in less.text and "day 0: something" not in less.text
    cut = inference.fit(tokenizer, said, 12, 50)
    assert cut.shown == 0 and len(cut.token_ids) == 50 and cut.cut > 0
    assert "Your tool call:" in tokenizer.decode(cut.token_ids)


def test_missing_shards_are_found(tmp_path: Path) -> None:
    assert weight_search.missing_files(tmp_path) == ["model.safetensors or pytorch_model.bin"]
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-1.safetensors").touch()
    assert weight_search.missing_files(tmp_path) == ["model-2.safetensors"]
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    assert weight_search.missing_files(tmp_path) == ["model.safetensors.index.json (cannot be read)"]


# --- parsing ---------------------------------------------------------------------------------------------------------

ORDER = shop.Action("order", good="milk", quantity=12)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ('{"tool": "order", "good": "milk", "quantity": 12}', ORDER),
        ('Sure!\n```json\n{"tool": "tool_order", "good": "Milk", "quantity": "12"}\n```\nGood luck', ORDER),
        ('{"name": "order", "arguments": {"good": "milk", "quantity": 12.0}}', ORDER),
        ('<think>{"tool": "wait"}</think>{"tool": "order", "good": "milk", "quantity": 12}', ORDER),
        ('analysis<|channel|>final<|message|>{"tool": "order", "good": "milk", "quantity": 12}', ORDER),
        ("I will call order(good='milk', quantity=12) now", ORDER),
        ('{"thought": "hm"} {"tool": "sell"} {"tool": "order", "good": "milk", "quantity": 12}', ORDER),
        ('{"tool": "set_price", "good": "rice", "price": "$2.40"}', shop.Action("set_price", good="rice", price=240)),
        ("tool_check_storage()", shop.Action("check_storage")),
        ('{"tool": "wait", "why": "nothing to do"}', shop.Action("wait")),
    ],
)
def test_tool_calls_are_read_as_models_write_them(text: str, action: shop.Action) -> None:
    assert parsing.parse(text) == parsing.Parsed(action)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty answer"),
        ("<think>what now</think>  ", "empty answer"),
        ("I would order some milk.", "no tool call"),
        ('{"tool": "order", "good": "milk", "quan', "no tool call"),
        ('{"tool": "burn"}', "unknown tool"),
        ('{"tool": ["order"]}', "unknown tool"),
        ('{"tool": "order", "good": "gold", "quantity": 1}', "unknown good"),
        ('{"tool": "order", "good": "milk"}', "quantity out of range"),
        ('{"tool": "order", "good": "milk", "quantity": true}', "quantity out of range"),
        ('{"tool": "order", "good": "milk", "quantity": 1.5}', "quantity out of range"),
        ('{"tool": "order", "good": "milk", "quantity": 1e999}', "quantity out of range"),
        (f'{{"tool": "order", "good": "milk", "quantity": {"9" * 400}}}', "quantity out of range"),
        ('{"tool": "set_price", "good": "milk", "price": NaN}', "price out of range"),
        ('{"tool": "set_price", "good": "milk", "price": 0}', "price out of range"),
        ('{"a":' * 5000, "no tool call"),
    ],
)
def test_what_is_no_tool_call_has_a_reason(text: str, problem: str) -> None:
    assert parsing.parse(text) == parsing.Parsed(problem=problem)


_WORDS = st.sampled_from(
    ['{"tool": ', '"order"', '"wait"', "order(", "good=", "milk", ")", "}", "{", ", ", "12", "NaN", "\x00"]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(_WORDS, max_size=30).map("".join)))
def test_any_text_is_a_valid_action_or_a_reason(text: str) -> None:
    found = parsing.parse(text)
    assert (found.action is None) != (found.problem is None)
    if found.action is not None:
        shop.act(shop.opening(0), found.action)


# --- the store -------------------------------------------------------------------------------------------------------

_ACTIONS = st.one_of(
    st.builds(shop.Action, st.sampled_from(["check_storage", "wait"])),
    st.builds(shop.Action, st.just("order"), st.sampled_from(sorted(shop.GOODS)), st.integers(1, shop.LARGEST_ORDER)),
    st.builds(
        lambda good, price: shop.Action("set_price", good=good, price=price),
        st.sampled_from(sorted(shop.GOODS)),
        st.integers(1, shop.HIGHEST_PRICE),
    ),
)


def played(world: shop.World, actions: list[shop.Action]) -> Iterator[tuple[shop.World, shop.World, shop.DayReport]]:
    for action in actions:
        acted, _ = shop.act(world, action)
        world, report = shop.close_day(acted)
        yield acted, world, report


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.lists(_ACTIONS, max_size=25))
def test_no_unit_and_no_cent_comes_from_nowhere(seed: int, actions: list[shop.Action]) -> None:
    for before, after, report in played(shop.opening(seed), actions):
        assert after.budget == before.budget + report.income - report.rent
        for name in shop.GOODS:
            gone = report.sold[name] + report.spoiled[name] - report.arrived[name]
            assert after.stock(name) == before.stock(name) - gone >= 0
            assert after.coming(name) == before.coming(name) - report.arrived[name] >= 0
            assert min(report.sold[name], report.missed[name], report.spoiled[name]) >= 0
            assert report.missed[name] == 0 or report.sold[name] == before.stock(name)
        assert all(batch.spoils_on is None or batch.spoils_on >= after.day for batch in after.shelf)
        assert sum(batch.quantity for batch in after.shelf) <= shop.CAPACITY


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(_ACTIONS, max_size=12), st.lists(_ACTIONS, max_size=12))
def test_a_world_that_was_saved_goes_on_as_one_that_was_not(
    seed: int, first: list[shop.Action], then: list[shop.Action]
) -> None:
    world = shop.opening(seed)
    for _, following, _ in played(world, first):
        world = following
    loaded = shop.World.from_json(json.loads(json.dumps(world.to_json())))
    assert list(played(loaded, then)) == list(played(world, then))


def test_an_order_that_cannot_be_met_changes_nothing() -> None:
    world = shop.opening(0)
    poor = replace(world, budget=10)
    assert shop.act(poor, ORDER)[0] == poor and "refused" in shop.act(poor, ORDER)[1]
    full = replace(world, shelf=(shop.Batch("rice", shop.CAPACITY, None),))
    assert shop.act(full, ORDER)[0] == full and "room for 0" in shop.act(full, ORDER)[1]


def test_a_high_price_keeps_customers_away_and_the_plain_rule_earns() -> None:
    def sold(price: int) -> int:
        world = replace(shop.opening(3), prices={**shop.opening(3).prices, "rice": price})
        world = replace(world, shelf=(shop.Batch("rice", 10**6, None),))
        total = 0
        for _, _, report in played(world, [shop.Action("wait")] * 30):
            total += report.sold["rice"]
        return total

    assert sold(480) < sold(240) < sold(120)
    world = shop.opening(5)
    for _ in range(60):
        for _ in range(2):
            world, _ = shop.act(world, plain_rule.fallback(world))
        world, _ = shop.close_day(world)
    assert world.budget > 1.5 * shop.START_BUDGET


@pytest.mark.parametrize("broken", [{}, {"shelf": 3}, None, {"day": "x"}, {"prices": {}}, {"budget": 1.5}, {"more": 1}])
def test_what_is_no_world_is_refused(broken: Any) -> None:
    data = {**shop.opening(0).to_json(), **broken} if broken else broken
    with pytest.raises(ValueError, match="no state of a store"):
        shop.World.from_json(data)


def test_a_checkpoint_is_whole_or_absent_when_the_disk_is_full(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow beyond a few hundred bytes."""
    (tmp_path / "answers.jsonl").write_text("{}\n")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
            states.save(
                tmp_path / "checkpoints", states.RunState({}, shop.opening(0), done=1), tmp_path / "answers.jsonl"
            )
        except OSError:
            code = 42
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert list((tmp_path / "checkpoints").iterdir()) == []


# --- the phase -------------------------------------------------------------------------------------------------------


def test_the_phase_names_one_model_per_index_and_every_place_is_filled() -> None:
    phase = yaml.safe_load((ROOT / "jobs" / "phase1_large.yaml").read_text())
    assert len(phase["array"]) == 6
    for index, entry in enumerate(phase["array"]):
        values = {**phase["params"], **{key: value for key, value in entry.items() if key != "resources"}}
        values["task.index"] = index
        values |= {f"outputs.{name}": fill(output["path"], values) for name, output in phase["outputs"].items()}
        values["checkpoints"] = fill(phase["checkpoints"]["path"], values)
        for part in phase["command"]:
            fill(part, values)
        assert entry["resources"]["gpus"] >= 1
    assert len({entry["name"] for entry in phase["array"]}) == 6
    assert phase["smoke"]["params"]["weights"] == "tiny"
    assert set(phase["smoke"]["params"]) <= set(phase["params"])
    assert phase["checkpoints"]["marker"] == states.MARKER
