"""The steps of a run: observe, decide, act, write the answer, save the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from fallback import fallback
from inference import Answer, Limits, StopAsked, answer
from model_loading import Loaded
from narration import say, stopwatch
from parsing import Parsed, parse
from prompts import HISTORY_SHOWN, Message, messages
from settings import Settings
from state import RunState, append_line, save
from store_world import Action, DayReport, act, close_day, money

from launcher import task


@dataclass(frozen=True)
class Decision:
    """What is done, and whether the model chose it."""

    action: Action
    parsed: Parsed

    @property
    def by(self) -> str:
        return "model" if self.parsed.action is not None else "fallback"


def play(loaded: Loaded, settings: Settings, note: str, state: RunState) -> RunState:
    """Play from `state` to the end. Raises StopAsked when a stop was requested, OSError when the disk refuses."""
    while state.done < settings.steps and not state.world.closed:
        if task.stop_requested():
            raise StopAsked
        with stopwatch() as watch:
            state = _step(loaded, settings, note, state)
        say(f"step {state.done}/{settings.steps}: done and saved in {watch.seconds:.2f}s")
    return state


def _step(loaded: Loaded, settings: Settings, note: str, state: RunState) -> RunState:
    world = state.world
    number = state.done + 1
    call = state.done % settings.calls_per_day
    say(f"step {number}/{settings.steps}: day {world.day}, call {call + 1}, budget {money(world.budget)}")

    def said(shown: int) -> list[Message]:
        return messages(world, state.history[len(state.history) - shown :], settings.calls_per_day - call)

    limits = Limits(settings.max_prompt_tokens, settings.max_new_tokens)
    given = answer(loaded, said, len(state.history), limits)
    decision = decide(state, given)
    after, result = act(world, decision.action)
    lines = [f"day {world.day}: {_called(decision.action)} -> {result}"]
    report: Optional[DayReport] = None
    if call + 1 == settings.calls_per_day:
        after, report = close_day(after)
        lines.append(_evening(report))
    reason = f" ({decision.parsed.problem})" if decision.parsed.problem else ""
    say(f"  act      {_called(decision.action)} by the {decision.by}{reason}: {result.splitlines()[0]}")
    following = replace(
        state,
        world=after,
        done=number,
        history=(*state.history, *lines)[-HISTORY_SHOWN:],
        tally=_counted(state, given, decision.parsed),
    )
    append_line(settings.answers, _record(following, note, world.day, given, decision, result, report))
    _report(settings, following, given)
    return following


def decide(state: RunState, given: Answer) -> Decision:
    """The model's tool call, or the plain rule's where there is none."""
    parsed = parse(given.text)
    return Decision(parsed.action or fallback(state.world), parsed)


def _counted(state: RunState, given: Answer, parsed: Parsed) -> Any:
    tally = state.tally
    problems = dict(tally.problems)
    if parsed.problem is not None:
        problems[parsed.problem] = problems.get(parsed.problem, 0) + 1
    return replace(
        tally,
        decisions=tally.decisions + 1,
        parsed=tally.parsed + (parsed.action is not None),
        problems=problems,
        new_tokens=tally.new_tokens + given.new_tokens,
        prompts_shortened=tally.prompts_shortened + given.prompt.shortened,
    )


def _record(
    state: RunState,
    note: str,
    day: int,
    given: Answer,
    decision: Decision,
    result: str,
    report: Optional[DayReport],
) -> Mapping[str, Any]:
    """One line of the answers, with nothing of the clock in it: two runs of the same state can be compared by byte."""
    return {
        "step": state.done,
        "day": day,
        "model": state.setting["model"],
        "weights": note,
        "prompt": {
            "tokens": len(given.prompt.token_ids),
            "tokens_cut": given.prompt.cut,
            "history": given.prompt.known,
            "history_shown": given.prompt.shown,
        },
        "answer": given.text,
        "new_tokens": given.new_tokens,
        "parsed": decision.parsed.action is not None,
        "problem": decision.parsed.problem,
        "decided_by": decision.by,
        "action": decision.action.to_json(),
        "result": result,
        "day_report": None if report is None else report.to_json(),
        "budget": state.world.budget / 100,
    }


def _report(settings: Settings, state: RunState, given: Answer) -> None:
    """Save, then tell: a step counts once it cannot be lost."""
    task.progress(stage="save")
    saved = save(settings.checkpoints, state, settings.answers)
    values = {"budget": state.world.budget / 100, "parse_rate": state.tally.parse_rate}
    task.checkpoint_saved(saved, state.done, **values)
    speed = {"tokens_per_s": given.tokens_per_s, "prefill_s": given.prefill_s, "generate_s": given.generate_s}
    task.metric(state.done, **values, **speed, prompt_tokens=len(given.prompt.token_ids))
    task.progress(state.done, settings.steps, stage="saved")


def _called(action: Action) -> str:
    arguments = {key: value for key, value in action.to_json().items() if key != "tool"}
    if action.price is not None:
        arguments["price"] = money(action.price)
    return f"{action.tool}({', '.join(f'{key}={value}' for key, value in arguments.items())})"


def _evening(report: DayReport) -> str:
    def counts(numbers: Mapping[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in numbers.items() if count) or "nothing"

    return (
        f"day {report.day} ended: sold {counts(report.sold)} for {money(report.income)}; customers missed "
        f"{counts(report.missed)}; spoiled {counts(report.spoiled)}; arrived {counts(report.arrived)}"
    )
