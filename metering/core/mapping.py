"""Read the rows of a foreign file as events: which column, which constant, or which part becomes which field."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from billing_site.kernel.errors import InvalidInput
from metering.core.decoding import decode_json
from metering.core.parsing import FIELDS, REQUIRED, read_moment

PROPERTY = "properties."
# Made from the row where nothing gives them.
DERIVED = ("event_id", "idempotency_key")
EXAMPLE_RULES = {"event_type": "event_type==llm.tokens"}


@dataclass(frozen=True)
class Source:
    """Where a field comes from: a column of that name, a constant, or what `read` makes of the whole row."""

    text: str
    is_constant: bool = False
    read: Callable[[Mapping[str, Any]], Any] | None = None


@dataclass(frozen=True)
class Preset:
    """How a well-known format becomes events; `core/presets.py` lists them.

    `documents` takes one row apart: the values of a JSON object, or `{"line": text}` where the format `is_lines`.
    It returns the usage in it, one mapping each, and raises BillingError for what is not of the format.
    """

    name: str
    title: str
    sources: Mapping[str, Source]
    documents: Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]]]
    is_lines: bool = False


@dataclass(frozen=True)
class RowMapping:
    """How the rows of one file become events: the sources of a preset, and over them those of rules.

    `zone` is what a timestamp without an offset means; None: such a timestamp is refused. `rules` are the
    rules as they were written, so that a refused row can be read the same way again.
    """

    sources: Mapping[str, Source]
    zone: tzinfo | None = None
    preset: Preset | None = None
    rules: tuple[str, ...] = ()


def read_mapping(*, rules: Sequence[str], zone: tzinfo | None, preset: Preset | None = None) -> RowMapping:
    """Read rules FIELD=COLUMN and FIELD==CONSTANT, which win over those of a preset.

    Raises InvalidInput that names the wrong rule.
    """
    sources: dict[str, Source] = {}
    for rule in rules:
        field, separator, text = rule.partition("=")
        if not separator or not field:
            raise InvalidInput(f"--map {rule}: write FIELD=COLUMN, or FIELD==CONSTANT", field="map")
        if field not in FIELDS and not (field.startswith(PROPERTY) and field != PROPERTY):
            raise InvalidInput(
                f"--map {rule}: {field!r} is not a field of an event; fields are {', '.join(FIELDS)}, properties.NAME",
                field="map",
            )
        if field in sources:
            raise InvalidInput(f"--map {rule}: {field} is mapped twice", field="map")
        source = Source(text[1:], is_constant=True) if text.startswith("=") else Source(text)
        if not source.text:
            raise InvalidInput(f"--map {rule}: name a column after =, or a constant after ==", field="map")
        sources[field] = source
    merged = {**preset.sources, **sources} if preset else sources
    return RowMapping(sources=merged, zone=zone, preset=preset, rules=tuple(rules))


def documents_of(*, mapping: RowMapping, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the usage in one row: the row itself, or what the preset finds in it; raises BillingError."""
    return mapping.preset.documents(values) if mapping.preset else (values,)


def complete_mapping(*, mapping: RowMapping, columns: Sequence[str]) -> RowMapping:
    """Let columns that are named like fields serve them where no rule does.

    Raises InvalidInput for a rule whose column does not exist, listing those that do.
    """
    if mapping.preset is not None:
        raise InvalidInput(
            f"--preset {mapping.preset.name} reads {mapping.preset.title}, and this is a CSV file; use --map for it",
            field="preset",
        )
    for field, source in mapping.sources.items():
        if not source.is_constant and source.text not in columns:
            raise InvalidInput(
                f"--map {field}={source.text}: there is no column {source.text!r}; columns are {', '.join(columns)}",
                field="map",
            )
    named = {name: Source(name) for name in columns if name in FIELDS or name.startswith(PROPERTY)}
    return replace(mapping, sources={**named, **mapping.sources})


def refuse_without_required(*, mapping: RowMapping, columns: Sequence[str]) -> None:
    """Raise InvalidInput where no column and no rule gives a required field: then no row could ever be an event.

    `idempotency_key` and `event_id` are made from the row where nothing gives them.
    """
    missing = [name for name in REQUIRED if name not in (*DERIVED, *mapping.sources)]
    if not missing:
        return
    example = " ".join(f"--map {EXAMPLE_RULES.get(name, f'{name}=COLUMN')}" for name in missing)
    raise InvalidInput(
        f"nothing was imported: no column gives {', '.join(missing)}; columns are {', '.join(columns)}. "
        f"Say which column is meant, or give a constant after ==, for example {example}",
        field="map",
    )


def mapping_of_object(*, mapping: RowMapping, names: Iterable[str]) -> RowMapping:
    """Let members that are named like fields serve them where no rule does.

    Without any rule the object is meant to be an event: all its members stay, the unknown ones to be refused.
    A preset says itself what becomes of each member.
    """
    if mapping.preset is not None:
        return mapping
    named = {name: Source(name) for name in names if name in FIELDS or not mapping.sources}
    return replace(mapping, sources={**named, **mapping.sources})


def map_row(*, mapping: RowMapping, row: Mapping[str, Any], position: str) -> dict[str, Any]:
    """Return the members of an event, not validated yet, as one row of the file gives them.

    An empty cell counts as absent. Where no idempotency key is given, the row's position (`row-7`) and content
    make one, so that the same rows are the same events when a file is imported again or has grown.
    """
    members: dict[str, Any] = {}
    for field, source in mapping.sources.items():
        value = _value_of(row, source)
        if value is None or value == "":
            continue
        if field.startswith(PROPERTY):
            members.setdefault("properties", {})[field.removeprefix(PROPERTY)] = value
        elif field == "properties":
            members["properties"] = {**_properties(value), **members.get("properties", {})}
        else:
            members[field] = value
    if isinstance(members.get("quantity"), str):
        members["quantity"] = members["quantity"].strip()
    if "idempotency_key" not in mapping.sources:
        members["idempotency_key"] = f"{position}-{_content_digest(members)[:24]}"
    if "event_id" not in members and "idempotency_key" in members:
        members["event_id"] = members["idempotency_key"]
    if mapping.zone is not None and isinstance(members.get("timestamp"), str):
        members["timestamp"] = _with_offset(members["timestamp"].strip(), mapping.zone)
    return members


def _value_of(row: Mapping[str, Any], source: Source) -> Any:
    if source.is_constant:
        return source.text
    return source.read(row) if source.read else _value_at(row, source.text)


def _value_at(row: Mapping[str, Any], column: str) -> Any:
    """Return a cell; in JSON rows `usage.tokens` reaches into the object `usage`."""
    if column in row or "." not in column:
        return row.get(column)
    outer, _, inner = column.partition(".")
    nested = row.get(outer)
    return _value_at(nested, inner) if isinstance(nested, Mapping) else None


def _properties(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = decode_json(value.encode("utf-8", "surrogateescape"))
    if not isinstance(value, dict):
        raise InvalidInput("must be a JSON object", field="properties", code="wrong_type")
    return value


def _content_digest(members: Mapping[str, Any]) -> str:
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), default=_as_text)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_text(value: Any) -> str:
    assert isinstance(value, Decimal), f"a row holds text and JSON values only: {value!r}"
    return str(value)


def _with_offset(text: str, zone: tzinfo) -> str:
    """Give a local time the offset of its zone; what cannot be read is left to the check of the event."""
    try:
        moment = read_moment(text=text)
    except ValueError:
        return text
    if moment.tzinfo is not None:
        return text
    local = moment.replace(tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise InvalidInput(
            f"is skipped or happens twice in {zone}: write it with an offset", field="timestamp", code="ambiguous"
        )
    return local.isoformat()
