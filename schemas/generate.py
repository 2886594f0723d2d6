"""Schema files generated from the record types and documents, and records in and out of Avro.

    python -m schemas.generate            writes schemas/avro/*.avsc and schemas/json/*.schema.json
    python -m schemas.generate --check    exits 1 and names the files that are out of date

In Avro (1.11 specification)
- a raw JSON value is a string that holds its JSON text, so that number spelling, big integers and
  member order survive here too;
- a time is a long of logical type timestamp-millis: the processor keeps milliseconds, and they are
  the one unit that every Avro reader knows;
- a closed list of words is a string, not an Avro enum: a reader with the older schema fails on an
  enum's new symbol, and kinds will be added;
- a member that may be null has null as default, so that it may come later.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec import inspect as types

from schemas.documents import HandoffContract, Receiver
from schemas.published import PUBLISHED
from schemas.sources import Source

HERE: Final = Path(__file__).parent
NAMESPACE: Final = "handoff"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Record = TypeVar("Record", bound=Struct)
Avro = str | dict[str, Any] | list[Any]


# --- Avro schemas --------------------------------------------------------------------------------


def avro_schema(record: type[Struct]) -> dict[str, Any]:
    """The Avro schema of a record type. Raises TypeError for a member that Avro cannot say."""
    schema = _avro(types.type_info(record), set())
    assert isinstance(schema, dict)
    return schema


def _avro(info: types.Type, named: set[str]) -> Avro:
    match info:
        case types.Metadata(type=inner):
            return _avro(inner, named)
        case types.StructType(cls=cls):
            return _avro_record(info, named) if cls.__name__ not in named else _full_name(cls)
        case types.UnionType():
            return _avro_union(info, named)
        case types.ListType(item_type=item):
            return {"type": "array", "items": _avro(item, named)}
        case types.DictType(value_type=value):
            return {"type": "map", "values": _avro(value, named)}
        case types.DateTimeType():
            return {"type": "long", "logicalType": "timestamp-millis"}
        case types.StrType() | types.RawType():
            return "string"
        case types.LiteralType(values=values) if all(isinstance(v, str) for v in values):
            return "string"
        case types.IntType():
            return "long"
        case types.FloatType():
            return "double"
        case types.BoolType():
            return "boolean"
        case types.NoneType():
            return "null"
        case _:
            raise TypeError(f"no Avro type for {info}; use another type in schemas/records.py")


def _avro_record(info: types.StructType, named: set[str]) -> dict[str, Any]:
    named.add(info.cls.__name__)
    fields: list[dict[str, Any]] = []
    for field in info.fields:
        schema: dict[str, Any] = {"name": field.encode_name}
        doc = _field_doc(field.type)
        if doc:
            schema["doc"] = doc
        schema["type"] = _avro(field.type, named)
        if isinstance(schema["type"], list) and schema["type"][0] == "null":
            schema["default"] = None
        elif field.default is not msgspec.NODEFAULT:
            schema["default"] = field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            schema["default"] = field.default_factory()
        fields.append(schema)
    return {
        "type": "record",
        "name": info.cls.__name__,
        "namespace": NAMESPACE,
        "doc": inspect.getdoc(info.cls) or "",
        "fields": fields,
    }


def _avro_union(info: types.UnionType, named: set[str]) -> Avro:
    members = sorted(info.types, key=lambda t: not isinstance(t, types.NoneType))
    if any(isinstance(member, types.DateTimeType) for member in members):
        # Text or epoch milliseconds in JSON; in Avro both are the one timestamp.
        members = [member for member in members if not isinstance(member, types.IntType)]
    branches = [_avro(member, named) for member in members]
    return branches if len(branches) > 1 else branches[0]


def _field_doc(info: types.Type) -> str:
    match info:
        case types.Metadata(extra_json_schema=said):
            return str((said or {}).get("description", ""))
        case types.UnionType():
            return " ".join(filter(None, map(_field_doc, info.types)))
        case types.DictType(value_type=types.RawType()):
            return "Each value is JSON text."
        case types.RawType():
            return "JSON text."
        case types.LiteralType(values=values):
            return f"One of: {', '.join(map(str, values))}."
        case _:
            return ""


def _full_name(cls: type[Any]) -> str:
    return f"{NAMESPACE}.{cls.__name__}"


# --- records in and out of Avro ------------------------------------------------------------------


def to_avro(record: Struct) -> dict[str, Any]:
    """A record as the plain data that an Avro writer takes, by `avro_schema(type(record))`.

    Times become milliseconds when they are written; smaller parts are cut off.
    """
    return {
        encoded: _plain(getattr(record, name))
        for name, encoded in zip(
            record.__struct_fields__, record.__struct_encode_fields__, strict=True
        )
    }


def _plain(value: Any) -> Any:
    match value:
        case Struct():
            return to_avro(value)
        case Raw():
            return bytes(value).decode()
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


def from_avro(record: type[Record], data: Mapping[str, Any]) -> Record:
    """The record that an Avro reader's plain data stands for. Raises msgspec.ValidationError."""
    whole = _with_raw(types.type_info(record), data)
    return msgspec.json.decode(msgspec.json.encode(whole), type=record)


def _with_raw(info: types.Type, value: Any) -> Any:
    """The same data with its JSON texts as raw JSON, where the type asks for it."""
    match info, value:
        case types.RawType(), str():
            return Raw(value.encode())
        case types.StructType(fields=fields), Mapping():
            return {
                field.encode_name: _with_raw(field.type, value[field.encode_name])
                for field in fields
                if field.encode_name in value
            }
        case types.DictType(value_type=item), Mapping():
            return {name: _with_raw(item, content) for name, content in value.items()}
        case types.ListType(item_type=item), list():
            return [_with_raw(item, content) for content in value]
        case types.UnionType(types=members), _:
            kind = _member_for(value)
            return next((_with_raw(m, value) for m in members if isinstance(m, kind)), value)
        case _:
            return value


def _member_for(value: Any) -> tuple[type[types.Type], ...]:
    if isinstance(value, Mapping):
        return (types.StructType, types.DictType)
    return (types.ListType,) if isinstance(value, list) else (types.RawType,)


# --- JSON Schema ---------------------------------------------------------------------------------


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema by name: every published record, and the documents as YAML has them."""
    schemas = {name: _cleaned(msgspec.json.schema(record)) for name, record in PUBLISHED.items()}
    schemas["handoff-contract"] = _without_null(HandoffContract.model_json_schema())
    schemas["receiver"] = _without_null(Receiver.model_json_schema())
    schemas["source"] = _without_null(Source.model_json_schema())
    return {name: {"$schema": _DIALECT} | schema for name, schema in schemas.items()}


def _cleaned(schema: dict[str, Any]) -> dict[str, Any]:
    """Docstrings without their indentation, which differs between versions of Python."""
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Optional keys without null: in YAML they are left out, on the topics null stands for that."""
    for model in (schema, *schema["$defs"].values()):
        for member in model["properties"].values():
            if member.get("default", ...) is None:
                del member["default"]
                kinds = [kind for kind in member.pop("anyOf", []) if kind != {"type": "null"}]
                member.update({"anyOf": kinds} if len(kinds) > 1 else (kinds or [{}])[0] | member)
            elif isinstance(member.get("default"), dict):
                member["default"] = {k: v for k, v in member["default"].items() if v is not None}
    return schema


# --- files ---------------------------------------------------------------------------------------


def files() -> dict[Path, str]:
    """Every generated file, by its path below this package, with its content."""
    found = {
        Path("avro", f"{name}.avsc"): _text(avro_schema(record))
        for name, record in PUBLISHED.items()
    }
    for name, schema in json_schemas().items():
        found[Path("json", f"{name}.schema.json")] = _text(schema)
    return found


def outdated() -> list[Path]:
    """Generated files that are missing, differ from the types, or belong to no type any more."""
    wanted = files()
    there = {
        path.relative_to(HERE)
        for path in (*HERE.glob("avro/*"), *HERE.glob("json/*"))
        if path.is_file()
    }
    return sorted(
        path
        for path in wanted.keys() | there
        if path not in there or wanted.get(path) != (HERE / path).read_text(encoding="utf-8")
    )


def _text(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or check them; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name what is outdated")
    options = parser.parse_args(arguments)
    stale = outdated()
    if options.check:
        for path in stale:
            sys.stderr.write(f"{HERE.name}/{path} is out of date; run python -m schemas.generate\n")
        return 1 if stale else 0
    wanted = files()
    for path in stale:
        if path in wanted:
            (HERE / path).parent.mkdir(exist_ok=True)
            (HERE / path).write_text(wanted[path], encoding="utf-8")
        else:
            (HERE / path).unlink()
        sys.stdout.write(f"{HERE.name}/{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
