"""Profiles and settings with mistakes."""

from __future__ import annotations

from tests.malformed.case import case

PROFILES = (
    case("no executor", "description: x\n", (None, "executor", "is missing")),
    case("unknown executor", "executor: loca\n", (1, "executor", "is no executor", "local", "did you mean local?")),
    case("executor is a list", "executor: [local]\n", (1, "executor", "text is expected")),
    case("unknown key", "executor: local\nstor: x\n", (2, "stor", "did you mean store?")),
    case("key given twice", "executor: local\nstore: a\nstore: b\n", (3, "store", "twice")),
    case("unknown option", "executor: local\noptions:\n  cpu: 3\n", (3, "options.cpu", "executor local", "mean cpus?")),
    case("option of the wrong kind", "executor: local\noptions: {cpus: many}\n", (2, "options.cpus", "whole number")),
    case("option below one", "executor: local\noptions: {cpus: 0}\n", (2, "options.cpus", "at least 1")),
    case("option's size", "executor: local\noptions: {memory: 3 cows}\n", (2, "options.memory", "40GB")),
    case("negative index", "executor: local\noptions: {gpus: [0, -1]}\n", (2, "options.gpus[1]", "counts from 0")),
    case("index twice", "executor: local\noptions: {gpus: [1, 1]}\n", (2, "options.gpus[1]", "twice")),
    case("options are a list", "executor: local\noptions: [a]\n", (2, "options", "a mapping is expected")),
    case(
        "python that is none",
        "executor: local\noptions:\n  python: /nowhere/python\n",
        (3, "options.python", "no program"),
    ),
    case("price", "executor: local\nprice: cheap\n", (2, "price", "0.89/h")),
    case("negative price", "executor: local\nprice: -1\n", (2, "price", "0.89/h")),
    case("empty store", "executor: local\nstore: ''\n", (2, "store", "a folder is expected")),
    case(
        "unset variable", "executor: local\nstore: $NO_SUCH_VARIABLE/x\n", (2, "store", "$NO_SUCH_VARIABLE is not set")
    ),
    case("unknown user", "executor: local\nworkspace: ~no-such-user/x\n", (2, "workspace", "no such user")),
    case("limit", "executor: local\nlimits: {tasks: 0}\n", (2, "limits.tasks", "at least 1")),
    case("budget", "executor: local\nlimits: {budget: 0}\n", (2, "limits.budget", "dollars")),
    case("unknown limit", "executor: local\nlimits: {gpu: 1}\n", (2, "limits.gpu", "did you mean gpus?")),
    case(
        "default resource", "executor: local\ndefaults: {resources: {cpus: 0}}\n", (2, "defaults.resources.cpus", "1")
    ),
    case(
        "default variable", "executor: local\ndefaults: {env: {A B: 1}}\n", (2, "defaults.env.A B", "variable's name")
    ),
    case(
        "five mistakes at once",
        "executor: slrum\nprice: x\nlimits:\n  time: never\n  cpus: -1\ndefaults: {resorces: {}}\n",
        (1, "executor", "local"),
        (2, "price"),
        (4, "limits.time", "6h"),
        (5, "limits.cpus", "at least 1"),
        (6, "defaults.resorces", "did you mean resources?"),
    ),
)

SETTINGS = (
    case("unknown setting", "profil: lab\n", (1, "profil", "did you mean profile?")),
    case("beat", "beat: soon\n", (1, "beat", "90s")),
    case("no beat", "beat: 0\n", (1, "beat", "more than nothing")),
    case("budget", "budget: -3\n", (1, "budget", "dollars")),
    case("budget as text", "budget: '3'\n", (1, "budget", "a number is expected")),
    case("store is a list", "store: [a]\n", (1, "store", "text is expected")),
    case("a list", "- store\n", (1, "", "a mapping")),
)
