"""Files that are no YAML, or not one mapping: for phases, profiles and settings alike."""

from __future__ import annotations

from tests.malformed.case import case

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(2000)) + "}\nb:\n" + "  - {<<: *a}\n" * 2000

TEXTS = (
    case("empty", "", (None, "", "is empty")),
    case("only comments", "# nothing\n\n", (None, "", "is empty")),
    case("a list at the top", "- command: x\n", (1, "", "a mapping of keys", "a list")),
    case("one word", "hello\n", (1, "", "a mapping of keys", "one value")),
    case("a bracket that never ends", "command: [python\n", (2, "", "is no YAML")),
    case("a quote that never ends", "command: x\ndescription: 'open\n", (3, "", "is no YAML", "begun in line 2")),
    case("a tab", "command: x\nresources:\n\tgpus: 1\n", (3, "", "a tab", "spaces")),
    case("a colon within text", "description: a: b\n", (1, "", "is no YAML", "put in quotes")),
    case("a field without quotes", "command: {a}/{b}\n", (1, "", "is no YAML", "in quotes")),
    case("bad indentation", "resources:\n  gpus: 1\n cpus: 2\n", (3, "", "is no YAML")),
    case("not UTF-8", b"command: x\ndescription: caf\xe9\n", (2, "", "UTF-8", "0xe9")),
    case("UTF-16", "command: x\n".encode("utf-16"), (1, "", "UTF-8")),
    case("a control character", "command: x\ndescription: a\x07b\n", (2, "", "character")),
    case("two documents", "command: x\n---\ncommand: y\n", (2, "", "second document")),
    case("an unknown alias", "command: *nothing\n", (1, "command", "*nothing stands for nothing")),
    case("an alias inside itself", "command: x\nparams: &p\n  a: *p\n", (3, "params.a", "stands inside")),
    case("a tag", "command: !!python/object:os.system x\n", (1, "command", "tags are not used")),
    case("deeply nested", "command: " + "[" * 5000 + "]" * 5000 + "\n", (1, "", "levels deep")),
    case("deeply nested blocks", "- " * 5000 + "x\n", (1, "", "levels deep")),
    case("too large", b"#" * ((8 << 20) + 1), (None, "", "larger than 8 MiB")),
    case("merges without end", MERGES, (None, "", "merges more")),
)
"""The last line of "merges without end" depends on the limit: it is not compared."""
