"""Read the rows of a foreign file as events: which column, or which constant, becomes which field."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """Where a field comes from: a column of that name, or a constant."""

    text: str
    is_constant: bool = False


@dataclass(frozen=True)
class RowMapping:
    """How the rows of one file become events.

    `zone` is what a timestamp without an offset means; None: such a timestamp is refused.
    """

    sources: Mapping[str, Source]
    zone: tzinfo | None = None


def read_mapping(*, rules: Sequence[str], zone: tzinfo | None) -> RowMapping:
    """Read rules FIELD=COLUMN and FIELD==CONSTANT; raises InvalidInput that names the wrong one."""
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
    return RowMapping(sources=sources, zone=zone)


def complete_mapping(*, mapping: RowMapping, columns: Sequence[str]) -> RowMapping:
    """Let columns that are named like fields serve them where no rule does.

    Raises InvalidInput for a rule whose column does not exist, listing those that do.
    """
    for field, source in mapping.sources.items():
        if not source.is_constant and source.text not in columns:
            raise InvalidInput(
                f"--map {field}={source.text}: there is no column {source.text!r}; columns are {', '.join(columns)}",
                field="map",
            )
    named = {name: Source(name) for name in columns if name in FIELDS or name.startswith(PROPERTY)}
    return RowMapping(sources={**named, **mapping.sources}, zone=mapping.zone)


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
    """
    named = {name: Source(name) for name in names if name in FIELDS or not mapping.sources}
    return RowMapping(sources={**named, **mapping.sources}, zone=mapping.zone)


def map_row(*, mapping: RowMapping, row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the members of an event, not validated yet, as one row of the file gives them.

    An empty cell counts as absent. Where no idempotency key is given, the row's number and content
    make one, so that the same rows are the same events when a file is imported again or has grown.
    """
    members: dict[str, Any] = {}
    for field, source in mapping.sources.items():
        value = source.text if source.is_constant else _value_at(row, source.text)
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
        members["idempotency_key"] = f"row-{number}-{_content_digest(members)[:24]}"
    if "event_id" not in members and "idempotency_key" in members:
        members["event_id"] = members["idempotency_key"]
    if mapping.zone is not None and isinstance(members.get("timestamp"), str):
        members["timestamp"] = _with_offset(members["timestamp"].strip(), mapping.zone)
    return members


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
