"""Would two tasks commit one path? Then the later would set aside what the earlier made."""

from __future__ import annotations

from launcher.checks.facts import Facts, Objection, enclosing

NAME = "one path"
_SHOWN = 3


def check(facts: Facts) -> list[Objection]:
    """Within the job, and against the tasks of jobs that have not ended."""
    makers: dict[str, str] = {}
    clashes: list[str] = []
    for paths in facts.tasks:
        for name, path in paths.outputs.items():
            me = f"task {paths.task.index} ({name})"
            if path in makers:
                clashes.append(f"{makers[path]} and {me} would both commit {path}")
            else:
                makers[path] = me
    for path, me in makers.items():
        above = next((folder for folder in enclosing(path)[1:] if folder in makers), None)
        if above is not None:
            clashes.append(f"{me} would commit {path} inside {above} of {makers[above]}")
    hint = "give each task its own path: {task.index} or a {param} in `outputs`"
    found = [Objection(NAME, True, text, hint) for text in clashes[:_SHOWN]]
    if len(clashes) > _SHOWN:
        found.append(Objection(NAME, True, f"and {len(clashes) - _SHOWN} more paths that two tasks would commit", hint))
    return found + _busy(facts, makers)


def _busy(facts: Facts, makers: dict[str, str]) -> list[Objection]:
    if not facts.busy:
        return []
    inside = {above: path for path in facts.busy for above in enclosing(path)}
    found = []
    for path, me in makers.items():
        theirs = next((folder for folder in enclosing(path) if folder in facts.busy), inside.get(path))
        if theirs is not None:
            task = facts.busy[theirs]
            job = task.rpartition(":")[0]
            message = f"{task}, which has not ended, is going to commit {theirs}; {me} would commit {path}"
            found.append(
                Objection(
                    NAME, True, message, f"launch wait {job}, or launch cancel {job}; launch reconcile if it is lost"
                )
            )
    return found[:_SHOWN]
