"""Stripe's OpenAPI document as JSON Schema: what an object, a list or an event from Stripe may look like.

An enum value that the document does not list is refused, and so is (`closed`) a property that it does not name. This file
knows nothing about Tollgate.
"""

import json
import pathlib
import re
import typing

import jsonschema_rs

REF = "#/components/schemas/"
LISTS = {"list": {"object", "data", "has_more", "url"}, "search_result": {"object", "data", "has_more", "url", "next_page", "total_count"}}


# Stripe sends these without documenting them: its own fixtures carry them, too.
UNDOCUMENTED = {"payment_intent": "source", "product": "type", "recurring": "trial_period_days", "subscription_item": "plan"}


class Fault(typing.NamedTuple):
    """One fault: in which schema, where in the object, what; and the object, as an example."""

    schema: str
    path: str
    message: str
    example: object


class Document:
    """One `spec3.json` with a validator for each of its schemas, compiled when first asked for."""

    def __init__(self, path: pathlib.Path, closed: bool = True):
        spec = json.loads(path.read_text())
        self.version = spec["info"]["version"]
        self.schemas = spec["components"]["schemas"]
        self.event_types = set(_event_types(spec))
        self._definitions = {name: convert(schema, closed) for name, schema in self.schemas.items()}
        for name, key in UNDOCUMENTED.items():
            self._definitions[name]["properties"][key] = {}
        self._validators = {}
        self._operations = list(_operations(spec))
        self._by_object = {}
        for name, schema in self.schemas.items():
            for value in schema.get("properties", {}).get("object", {}).get("enum", []):
                deleted = "deleted" in schema.get("required", [])
                self._by_object.setdefault((value, deleted), []).append(name)

    def schema_name(self, value: dict):
        """The schema of a Stripe object by its `object` and `deleted` fields; None when the document has none."""
        names = self._by_object.get((value.get("object"), value.get("deleted") is True), [])
        return names[0] if len(names) == 1 else None

    def faults(self, value):
        """What Stripe could not have sent of a response body or an event, as a list of `Fault`."""
        if not isinstance(value, dict) or not isinstance(value.get("object"), str):
            return [Fault("?", "", "not an object with a string `object` field", value)]
        if value["object"] in LISTS:
            return self._list_faults(value)
        name = self.schema_name(value)
        if name is None:
            return [Fault("?", "/object", f"no schema for object {value['object']!r}, deleted {value.get('deleted')!r}", value)]
        if name not in self._validators:
            root = {"$ref": "#/$defs/" + name, "$defs": self._definitions}
            self._validators[name] = jsonschema_rs.Draft202012Validator(root)
        errors = self._validators[name].iter_errors(value)
        faults = [Fault(name, path, message, value) for error in errors for path, message in _innermost(error)]
        return faults + (self._event_faults(value) if name == "event" else [])

    def parameter_errors(self, method, path, parameters):
        """Every fault of a request's parameters, given as decoded `(name, value)` pairs such as `("items[0][price]", "price_…")`.

        stripe-mock looks at the outermost names only; this looks at all of them.
        """
        schemas = next((s for m, pattern, s in self._operations if m == method and pattern.fullmatch(path)), None)
        if schemas is None:
            return [f"no such endpoint: {method} {path}"]
        faults = []
        for name, value in parameters:
            parts = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
            fault = _parameter_error({"properties": schemas}, parts, value)
            if fault:
                general_name = re.sub(r"\[\d+\]", "[]", name)
                faults.append(f"{general_name}: {fault}")
        return faults

    def _list_faults(self, value):
        kind, known = value["object"], LISTS[value["object"]]
        faults = [Fault(kind, "", f"{key!r} is required", value) for key in ("data", "has_more", "url") if key not in value]
        faults += [Fault(kind, "", f"{key!r} is not a property of a {kind}", value) for key in value if key not in known]
        if "has_more" in value and not isinstance(value["has_more"], bool):
            faults.append(Fault(kind, "/has_more", "is not a boolean", value))
        if "url" in value and not str(value["url"]).startswith("/v1/"):
            faults.append(Fault(kind, "/url", "does not start with /v1/", value))
        for item in value.get("data", []):
            faults += self.faults(item)
        return faults

    def _event_faults(self, event):
        faults = []
        if event.get("type") not in self.event_types:
            faults.append(Fault("event", "/type", f"{event.get('type')!r} is not an event type", event))
        if event.get("api_version") != self.version:
            faults.append(Fault("event", "/api_version", f"is not {self.version!r}", event))
        data = event.get("data") if isinstance(event.get("data"), dict) else {}
        about = data.get("object")
        # An event carries an object as it was, also the event of its deletion.
        if isinstance(about, dict) and about.get("deleted") is True:
            return [*faults, Fault("event", "/data/object/deleted", "is the answer to a deletion, not the object", event)]
        faults += self.faults(about)
        name = self.schema_name(about) if isinstance(about, dict) else None
        for key in data.get("previous_attributes") or {}:
            if name and key not in self._definitions[name]["properties"]:
                faults.append(Fault("event", "/data/previous_attributes", f"{key!r} is not a property of a {name}", event))
        return faults


def convert(schema, closed):
    """OpenAPI 3.0 to JSON Schema 2020-12: `nullable`, references, and (`closed`) no property that is not named."""
    if isinstance(schema, list):
        return [convert(item, closed) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": "#/$defs/" + schema["$ref"].removeprefix(REF)}
    result = {}
    for key in ("type", "enum", "pattern", "maxLength", "minLength", "minimum", "maximum", "required", "maxItems", "minItems"):
        if key in schema:
            result[key] = schema[key]
    for key in ("anyOf", "oneOf", "allOf", "items"):
        if key in schema:
            result[key] = convert(schema[key], closed)
    if "properties" in schema:
        result["properties"] = {name: convert(value, closed) for name, value in schema["properties"].items()}
        if closed:
            result["additionalProperties"] = False
    if "additionalProperties" in schema:
        result["additionalProperties"] = convert(schema["additionalProperties"], closed)
    return {"anyOf": [{"type": "null"}, result]} if schema.get("nullable") else result


def general(path):
    """A path without list positions, so that one mistake in a hundred items is one mistake."""
    return re.sub(r"/\d+(?=/|$)", "/*", path)


def _operations(spec):
    """`(method, pattern of the path, schema of each parameter)`, paths without variables first."""
    for path in sorted(spec["paths"], key=lambda path: (path.count("{"), path)):
        pattern = re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", path)))
        for method, operation in spec["paths"][path].items():
            schemas = {p["name"]: p["schema"] for p in operation.get("parameters", []) if p["in"] == "query"}
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schemas.update(content["schema"].get("properties", {}))
            yield method.upper(), pattern, schemas


def _parameter_error(schema, parts, value):
    if "anyOf" in schema:
        faults = [_parameter_error(branch, parts, value) for branch in schema["anyOf"]]
        return None if None in faults else faults[0]
    if parts:
        if parts[0] in schema.get("properties", {}):
            return _parameter_error(schema["properties"][parts[0]], parts[1:], value)
        if "items" in schema and (parts[0] == "" or parts[0].isdigit()):
            return _parameter_error(schema["items"], parts[1:], value)
        if isinstance(schema.get("additionalProperties"), dict):
            return _parameter_error(schema["additionalProperties"], parts[1:], value)
        return f"{parts[0]!r} is not a parameter"
    if "enum" in schema:
        return None if value in schema["enum"] else f"{value!r} is not one of {', '.join(map(repr, schema['enum']))}"
    kind = {"integer": r"-?\d+", "boolean": "true|false", "number": r"-?\d+(\.\d+)?", "string": r"(?s).*"}.get(schema.get("type"))
    if kind is None:
        return None if value == "" else f"{value!r} is not of type {schema.get('type')}"
    return None if re.fullmatch(kind, value) else f"{value!r} is not of type {schema['type']}"


def _event_types(spec):
    body = spec["paths"]["/v1/webhook_endpoints"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    return body["schema"]["properties"]["enabled_events"]["items"]["enum"]


def _innermost(error):
    """An `anyOf` says only that nothing fitted: descend into the alternative that was meant."""
    context = getattr(error.kind, "context", None)
    if context:
        branches = [[fault for inner in branch for fault in _innermost(inner)] for branch in context]
        path = _pointer(error.instance_path)
        # The alternative that was meant complains about something deeper, not about the type or the `object` field.
        def unlikely(faults):
            wrong_type = any(where == path and " is not of type " in message for where, message in faults)
            wrong_object = any(where == path + "/object" or message.startswith('"deleted" is') for where, message in faults)
            return (wrong_type, wrong_object, len(faults))
        return min(branches, key=unlikely)
    message = error.message if len(error.message) < 300 else error.message[:140] + " … " + error.message[-140:]
    return [(_pointer(error.instance_path), message)]


def _pointer(parts):
    return "".join(f"/{part}" for part in parts)
