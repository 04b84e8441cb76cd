"""The JSON Schema of what people write, for editors: the model's own, with the short forms that `written` understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.config.checked import adapter
from launcher.config.descriptions import PHASE, PROFILE
from launcher.config.written import ONE_OR_MORE, TEXTS
from launcher.model.phase import Phase
from launcher.model.profile import Profile

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
WORD: Schema = {"type": ["string", "number", "boolean"]}
PARAMS: Schema = {"type": "object", "additionalProperties": SCALAR}


def phase_schema() -> Schema:
    """Of `jobs/*.yaml`."""
    schema = _cleaned(adapter(Phase).json_schema())
    properties = schema["properties"]
    properties["command"] = {
        "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": WORD, "minItems": 1}]
    }
    properties["array"] = {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {"resources": _or_nothing(_ref("ResourceRequest"))},
            "additionalProperties": SCALAR,
        },
    }
    properties["matrix"] = {
        "type": "object",
        "properties": {"exclude": _or_nothing({"type": "array", "items": PARAMS})},
        "additionalProperties": {"type": "array", "items": SCALAR, "minItems": 1},
    }
    properties["params"] = PARAMS
    properties["env"] = {"type": "object", "additionalProperties": WORD}
    for key, kind in (("inputs", "Input"), ("outputs", "Output")):
        entry = {"anyOf": [{"type": "string"}, _ref(kind)]}
        properties[key] = {"type": "object", "additionalProperties": entry}
    properties["checkpoints"] = {"anyOf": [{"type": "string"}, _ref("Checkpoints")]}
    for path in ONE_OR_MORE:
        _at(schema, path)["anyOf"] = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        for key in ("type", "items"):
            _at(schema, path).pop(key, None)
    for path in TEXTS:
        _at(schema, path).pop("anyOf", None)
        _at(schema, path)["type"] = list(WORD["type"])
    schema["$defs"]["Smoke"]["properties"]["params"] = dict(PARAMS)
    for unused in ("ArrayEntry", "Matrix"):
        schema["$defs"].pop(unused, None)
    return _finished(schema, "A phase of launch: what to run", PHASE)


def profile_schema(options_of: Mapping[str, type]) -> Schema:
    """Of `cluster_profiles/*.yaml`; the valid options depend on the executor."""
    schema = _cleaned(adapter(Profile).json_schema())
    schema["properties"]["executor"] = {"enum": sorted(options_of)}
    schema["properties"]["options"] = {"type": "object"}
    schema["$defs"]["Defaults"]["properties"]["env"] = {"type": "object", "additionalProperties": WORD}
    cases = []
    for name in sorted(options_of):
        options = _cleaned(adapter(options_of[name]).json_schema())
        for kind, definition in options.pop("$defs", {}).items():
            schema["$defs"].setdefault(kind, definition)
        options["additionalProperties"] = False
        _allow_nothing(options)
        chosen = {"properties": {"executor": {"const": name}}}
        cases.append({"if": chosen, "then": {"properties": {"options": _or_nothing(options)}}})
    schema["allOf"] = cases
    return _finished(schema, "A profile of launch: where to run", PROFILE)


def _ref(kind: str) -> Schema:
    return {"$ref": f"#/$defs/{kind}"}


def _at(schema: Schema, path: tuple[str, ...]) -> Schema:
    """The schema of a dotted key, through references."""
    found = schema
    for step in path:
        if "$ref" in found:
            found = schema["$defs"][found["$ref"].rsplit("/", 1)[1]]
        found = found["properties"][step]
    return found


def _cleaned(node: Any) -> Any:
    """Without the titles that repeat a key, and without defaults of null."""
    if isinstance(node, dict):
        kept = {key: _cleaned(value) for key, value in node.items() if not _says_nothing(key, value)}
        some = kept.get("anyOf")
        if some is not None and {"type": "null"} in some and len(some) == 2:  # null is allowed below, for every key
            kept.pop("anyOf")
            return {**kept, **next(one for one in some if one != {"type": "null"})}
        return kept
    return [_cleaned(item) for item in node] if isinstance(node, list) else node


def _says_nothing(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def _finished(schema: Schema, title: str, descriptions: Mapping[str, str]) -> Schema:
    for key, text in descriptions.items():
        place = _at(schema, tuple(key.split(".")))
        place.pop("description", None)
        place["description"] = text
    for part in [schema, *schema.get("$defs", {}).values()]:
        _allow_nothing(part)
    return {"$schema": DIALECT, "title": title, **schema}


def _allow_nothing(schema: Schema) -> None:
    """A key without a value says nothing, unless it must be given."""
    if schema.get("type") != "object":
        return
    for key, value in schema.get("properties", {}).items():
        if key not in schema.get("required", ()):
            schema["properties"][key] = _or_nothing(value)


def _or_nothing(schema: Schema) -> Schema:
    outer: Schema = {key: schema[key] for key in ("description", "default") if key in schema and "$ref" not in schema}
    inner = {key: value for key, value in schema.items() if key not in outer}
    if "$ref" in schema:
        outer = {key: value for key, value in schema.items() if key != "$ref"}
        inner = {"$ref": schema["$ref"]}
    if set(inner) == {"anyOf"}:
        return {**outer, "anyOf": [*inner["anyOf"], {"type": "null"}]}
    if set(inner) == {"type"} and isinstance(inner["type"], list):
        return {**outer, "type": [*inner["type"], *(["null"] if "null" not in inner["type"] else [])]}
    return {**outer, "anyOf": [inner, {"type": "null"}]}
