"""Phases with mistakes. Lines count from 1; the first line of most is the command."""

from __future__ import annotations

from tests.malformed.case import case

KEYS = (
    case("no command", "description: x\n", (None, "command", "is missing")),
    case("command without value", "command:\n", (1, "command", "list of texts", "nothing")),
    case("command is a mapping", "command: {a: b}\n", (1, "command", "found a mapping")),
    case("command is empty", "command: ''\n", (1, "command", "is empty")),
    case("command is an empty list", "command: []\n", (1, "command", "is empty")),
    case("command holds a list", "command: [python, [x]]\n", (1, "command[1]", "text is expected", "a list")),
    case("command with an open quote", "command: echo 'x\n", (1, "command", "no closing quotation")),
    case("shell and a list", "command: [a, b]\nshell: true\n", (1, "command", "one text")),
    case("shell in YAML 1.1", "command: a\nshell: yes\n", (2, "shell", "true or false", "'yes'")),
    case("unknown key", "command: x\nresorces: {gpus: 1}\n", (2, "resorces", "did you mean resources?", "valid:")),
    case("key of another place", "command: x\ngpus: 2\n", (2, "gpus", "did you mean resources.gpus?")),
    case("word of another launcher", "command: x\ntimeout: 2h\n", (2, "timeout", "did you mean resources.time?")),
    case("key given twice", "command: x\ncommand: y\n", (2, "command", "twice", "line 1")),
    case("nested key given twice", "command: x\nparams:\n  a: 1\n  a: 2\n", (4, "params.a", "twice", "line 3")),
    case("key is a list", "command: x\n? [a]\n: b\n", (2, "", "a key is text")),
    case("empty key", "command: x\nparams: {'': b}\n", (2, "params", "a key is missing")),
    case("section is text", "command: x\nresources: many\n", (2, "resources", "a mapping is expected", "'many'")),
    case("a nothing in the command", "command: [x, ]\nafter: [null]\n", (2, "after[0]", "text is expected", "nothing")),
    case("a NUL", 'command: [x, "a\\0b"]\n', (1, "command[1]", "NUL")),
    case("two mistakes", "command: x\nresorces: 1\nshell: 3\n", (2, "resorces"), (3, "shell")),
    case(
        "eight mistakes at once",
        "comand: x\nparams: {a b: 1}\nresources: {gpus: -1, time: soon}\nenv: {A: [1]}\nwatch: {rules: [x]}\nafter: 1a\n"
        "retry: {failed: -2}\n",
        (None, "command", "is missing"),
        (1, "comand", "did you mean command?"),
        (2, "params.a b", "parameter's name"),
        (3, "resources.gpus", "at least 0"),
        (3, "resources.time", "6h"),
        (4, "env.A", "text"),
        (5, "watch.rules[0]", "rule"),
        (6, "after[0]", "phase's name"),
        (7, "retry.failed", "at least 0"),
    ),
    case("merge of no mapping", "command: x\nparams:\n  <<: 3\n", (3, "params", "`<<` takes a mapping")),
    case(
        "a mistake that is merged in",
        "x: &r {gpus: a}\ncommand: x\nresources: {<<: *r}\n",
        (1, "x"),
        (1, "resources.gpus"),
    ),
)

VALUES = (
    case("half a GPU", "command: x\nresources: {gpus: 1.5}\n", (2, "resources.gpus", "whole number", "1.5")),
    case("GPUs as text", "command: x\nresources: {gpus: '2'}\n", (2, "resources.gpus", "whole number", "'2'")),
    case("no CPU", "command: x\nresources: {cpus: 0}\n", (2, "resources.cpus", "at least 1")),
    case("a size without unit", "command: x\nresources: {memory: lots}\n", (2, "resources.memory", "40GB")),
    case("an empty size", "command: x\nresources: {memory: 0GB}\n", (2, "resources.memory", "more than nothing")),
    case("a negative size", "command: x\nresources: {disk: -4}\n", (2, "resources.disk", "negative")),
    case("an endless size", "command: x\nresources: {disk: .inf}\n", (2, "resources.disk", "endless")),
    case("an absurd size", f"command: x\nresources: {{disk: {'9' * 40}}}\n", (2, "resources.disk", "too large")),
    case("a number too long", f"command: x\nparams: {{a: {'9' * 5000}}}\n", (2, "params.a", "5000 digits")),
    case("minutes or hours", "command: x\nresources: {time: '90:00'}\n", (2, "resources.time", "minutes or hours")),
    case("unknown resource", "command: x\nresources: {gpu: 1}\n", (2, "resources.gpu", "did you mean gpus?")),
    case("watch word", "command: x\nwatch: {disk: stopp}\n", (2, "watch.disk", "off, warn, stop", "mean stop?")),
    case("watch as a boolean", "command: x\nwatch: {disk: false}\n", (2, "watch.disk", "off, warn, stop")),
    case("unknown watchdog", "command: x\nwatch: {dsk: off}\n", (2, "watch.dsk", "did you mean disk?")),
    case("rule with =", "command: x\nwatch: {rules: ['a = 1']}\n", (2, "watch.rules[0]", "metric < number")),
    case(
        "rule without number", "command: x\nwatch:\n  rules:\n    - a < b\n", (4, "watch.rules[0]", "'b' is no number")
    ),
    case("rule against nan", "command: x\nwatch: {rules: a == nan}\n", (2, "watch.rules[0]", "isnan")),
    case("negative retry", "command: x\nretry: {preempted: -1}\n", (2, "retry.preempted", "at least 0")),
    case("no beat", "command: x\nbeat: 0s\n", (2, "beat", "more than nothing")),
    case(
        "unknown launcher", "command: x\ndistributed: torch\n", (2, "distributed", "torchrun", "did you mean torchrun?")
    ),
    case("torchrun twice", "command: torchrun a.py\ndistributed: torchrun\n", (1, "command", "starts the processes")),
    case("distributed shell", "command: a\nshell: true\ndistributed: accelerate\n", (3, "distributed", "no shell")),
    case("distributed program", "command: ./train.sh\ndistributed: torchrun\n", (1, "command", "starts Python")),
    case("code word", "command: x\ncode: snapshots\n", (2, "code", "snapshot, here", "did you mean snapshot?")),
    case("two environments", "command: x\nsetup: {conda: a, venv: b}\n", (2, "setup.venv", "one environment")),
    case("python for nothing", "command: x\nsetup: {python: 3.10}\n", (2, "setup.python", "requirements", "'3.10'")),
    case("requirements outside", "command: x\nsetup: {requirements: ../r.txt}\n", (2, "setup.requirements", "..")),
    case("no checkpoint kept", "command: x\ncheckpoints: {path: c, keep_last: 0}\n", (2, "checkpoints.keep_last", "1")),
    case(
        "checkpoint without path", "command: x\ncheckpoints:\n  keep_last: 3\n", (2, "checkpoints.path", "is missing")
    ),
    case(
        "pattern with a slash",
        "command: x\ncheckpoints: {path: c, pattern: a/*}\n",
        (2, "checkpoints.pattern", "step-*"),
    ),
    case(
        "good without metric", "command: x\noutputs: {a: {path: a, good: 1}}\n", (2, "outputs.a.good", "needs a metric")
    ),
    case(
        "good equals poor",
        "command: x\noutputs: {a: {path: a, metric: m, good: 1, poor: 1.0}}\n",
        (2, "outputs.a.poor", "equals good"),
    ),
)

NAMES = (
    case("parameter with a space", "command: x\nparams:\n  my param: 1\n", (3, "params.my param", "parameter's name")),
    case("parameter called phase", "command: x\nparams: {phase: 1}\n", (2, "params.phase", "meaning of its own")),
    case("parameter is a list", "command: x\nparams: {a: [1]}\n", (2, "params.a", "one value is expected", "a list")),
    case("parameter is endless", "command: x\nparams: {a: .inf}\n", (2, "params.a", "finite")),
    case("variable with a hyphen", "command: x\nenv: {A-B: 1}\n", (2, "env.A-B", "environment variable's name")),
    case("variable of launch", "command: x\nenv: {LAUNCH_JOB: 1}\n", (2, "env.LAUNCH_JOB", "launch's own")),
    case("credential in env", f"command: x\nenv: {{HUB: hf_{'a' * 24}}}\n", (2, "env.HUB", "looks like a credential")),
    case("secret in env", "command: x\nenv: {T: a}\nsecrets: [T]\n", (3, "secrets[0]", "stands in env too")),
    case("secret named twice", "command: x\nsecrets: [A, A]\n", (2, "secrets[1]", "twice")),
    case("secret with its value", "command: x\nsecrets: [HF_TOKEN=hf_abc]\n", (2, "secrets[0]", "variable's name")),
    case("secrets as a mapping", "command: x\nsecrets: {A: b}\n", (2, "secrets", "a list is expected")),
    case("output's name", "command: x\noutputs: {a b: c}\n", (2, "outputs.a b", "is no name")),
    case("after itself", "command: x\nafter: broken\n", (2, "after[0]", "after itself")),
    case("after twice", "command: x\nafter: [a, a]\n", (2, "after[1]", "twice")),
    case(
        "smoke of another phase",
        "command: x\nparams: {days: 3}\nsmoke: {params: {day: 1}}\n",
        (3, "smoke.params.day", "mean days?"),
    ),
    case(
        "unknown field",
        "command: [x, '{modle}']\nparams: {model: a}\n",
        (1, "command[1]", "{modle}", "did you mean model?"),
    ),
    case("unknown field in env", "command: x\nenv:\n  A: '{b}'\n", (3, "env.A", "nothing fills {b}")),
    case("unknown field in a path", "command: x\noutputs:\n  a: out/{run}\n", (3, "outputs.a", "nothing fills {run}")),
    case(
        "field of a later output", "command: x\noutputs: {a: '{outputs.b}/a', b: c}\n", (2, "outputs.a", "{outputs.b}")
    ),
    case("brace without partner", "command: [x, 'a}']\n", (1, "command[1]", "literal brace")),
    case(
        "field that is a mapping", "command: [x, {model}]\nparams: {model: a}\n", (1, "command[1]", 'quotes: "{name}"')
    ),
)

ARRAYS = (
    case("array is a number", "command: x\narray: 5\n", (2, "array", "a list is expected", "5")),
    case("array is empty", "command: x\narray: []\n", (2, "array", "no entries")),
    case("entries are numbers", "command: x\narray: [1, 2]\n", (2, "array[0]", "mapping"), (2, "array[1]", "mapping")),
    case("array and matrix", "command: x\narray: [{a: 1}]\nmatrix: {b: [1]}\n", (3, "matrix", "not both")),
    case("entry holds a list", "command: x\narray:\n  - a: 1\n  - a: [2]\n", (4, "array[1].a", "one value")),
    case(
        "entry with a slip",
        "command: x\narray:\n  - {model: a}\n  - {modle: b}\n",
        (3, "array[0].model"),
        (4, "array[1].modle"),
    ),
    case(
        "entry lacks a field",
        "command: x {a} {b}\narray:\n  - {a: 1, b: 1}\n  - {a: 1}\n",
        (1, "command[2]", "array[1] gives no b"),
        (3, "array[0].b", "some entries only"),
    ),
    case(
        "entry's resources",
        "command: x\narray:\n  - a: 1\n    resources: {gpus: x}\n",
        (4, "array[0].resources.gpus", "whole"),
    ),
    case(
        "entry's unknown resource",
        "command: x\narray: [{resources: {ram: 1}}]\n",
        (2, "array[0].resources.ram", "valid: "),
    ),
    case("matrix of one value", "command: x\nmatrix: {a: 3}\n", (2, "matrix.a", "a list is expected")),
    case("matrix without values", "command: x\nmatrix: {a: []}\n", (2, "matrix.a", "no values")),
    case("matrix is empty", "command: x\nmatrix: {}\n", (2, "matrix", "no parameters")),
    case(
        "matrix too large",
        "command: x\nmatrix: {" + ", ".join(f"p{n}: [1, 2]" for n in range(21)) + "}\n",
        (2, "matrix", "2097152"),
    ),
    case(
        "exclude of no parameter",
        "command: x\nmatrix: {a: [1], exclude: [{b: 1}]}\n",
        (2, "matrix.exclude[0].b", "valid: a"),
    ),
    case(
        "exclude of no value",
        "command: x\nmatrix: {a: [1], exclude: [{a: 2}]}\n",
        (2, "matrix.exclude[0].a", "none of the values"),
    ),
    case("exclude everything", "command: x\nmatrix: {a: [1], exclude: [{}]}\n", (2, "matrix.exclude[0]", "every")),
)

PATHS = (
    case("absolute output", "command: x\noutputs: {a: /data/a}\n", (2, "outputs.a", "relative to the workspace")),
    case(
        "output outside",
        "command: x\noutputs:\n  a: {path: a/../../b}\n",
        (3, "outputs.a.path", "leaves the workspace"),
    ),
    case("output at home", "command: x\noutputs: {a: ~/a}\n", (2, "outputs.a", "~ is not expanded")),
    case("output is everything", "command: x\noutputs: {a: ./}\n", (2, "outputs.a", "whole workspace")),
    case("output without path", "command: x\noutputs: {a: {metric: m}}\n", (2, "outputs.a.path", "is missing")),
    case("output is empty", "command: x\noutputs: {a: ''}\n", (2, "outputs.a", "a path is expected")),
    case("output in .launch", "command: x\noutputs: {a: .launch/store}\n", (2, "outputs.a", "launch's own")),
    case(
        "two outputs, one path",
        "command: x\noutputs:\n  a: out\n  b: ./out/\n",
        (4, "outputs.b", "same path as outputs.a"),
    ),
    case(
        "output inside another", "command: x\noutputs: {a: out, b: out/b}\n", (2, "outputs.b", "lies inside outputs.a")
    ),
    case(
        "checkpoints in an output",
        "command: x\noutputs: {a: o}\ncheckpoints: o/c\n",
        (3, "checkpoints", "lies inside outputs.a"),
    ),
    case("checkpoints outside", "command: x\ncheckpoints: ../c\n", (2, "checkpoints", "leaves the workspace")),
    case("input outside", "command: x\ninputs: {a: ../a}\n", (2, "inputs.a", "leaves the workspace")),
    case(
        "output is an input", "command: x\ninputs: {a: d}\noutputs: {b: d}\n", (3, "outputs.b", "inputs.a", "read-only")
    ),
    case("output is a list", "command: x\noutputs: [a, b]\n", (2, "outputs", "a mapping is expected")),
    case("output is a number", "command: x\noutputs: {a: 3}\n", (2, "outputs.a", "a mapping is expected", "3")),
    case(
        "unknown key of an output",
        "command: x\noutputs: {a: {pth: b}}\n",
        (2, "outputs.a.pth", "mean path?"),
        (2, "outputs.a.path"),
    ),
)

PHASES = (*KEYS, *VALUES, *NAMES, *ARRAYS, *PATHS)
