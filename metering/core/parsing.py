"""Read one usage event strictly: every field is right, or the first wrong one is named with what to do."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from billing_site.kernel.errors import InvalidInput

# Limits are those of the columns in metering/models.py.
TEXT_LENGTHS = {
    "event_id": 255,
    "idempotency_key": 255,
    "event_type": 200,
    "customer_id": 100,
    "namespace_id": 200,
}
REQUIRED = ("event_id", "idempotency_key", "event_type", "timestamp", "customer_id", "quantity")
FIELDS = (*REQUIRED, "namespace_id", "properties")
_KNOWN = frozenset(FIELDS)
_NEEDED = frozenset(REQUIRED)

INTEGER_DIGITS_MAX = 26
DECIMAL_PLACES_MAX = 12
NUMBER_LENGTH_MAX = 100
PROPERTIES_BYTES_MAX = 16 * 1024
PROPERTIES_DEPTH_MAX = 8
PROPERTY_DIGITS_MAX = 200
# The keys of replacements (core/amending.py): nobody else's event may be taken for one.
AMENDED = re.compile(r"~amended-[0-9]+\Z")
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD_MAX = timedelta(hours=24)

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?",
)
# What needs no rewriting for datetime.fromisoformat.
_ORDINARY_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|\+00:00)")
_encoder = msgspec.json.Encoder(decimal_format="number")
_ZERO = Decimal(0)


class Event(msgspec.Struct, frozen=True):
    """One usage event as it is accepted (S0-019..028); `timestamp` is UTC, no number is a float."""

    event_id: str
    idempotency_key: str
    event_type: str
    timestamp: datetime
    customer_id: str
    quantity: Decimal
    namespace_id: str = ""
    properties: Mapping[str, Any] = {}


def parse_event(*, document: Any, received_at: datetime) -> Event:
    """Read one decoded JSON value as an event; raises InvalidInput that names the first wrong field.

    An optional field that is null counts as absent. `received_at` bounds the timestamp: usage that happens more than 24 hours later is a mistake.
    """
    if not isinstance(document, dict):
        raise InvalidInput("must be an object with the fields of an event", field="", code="wrong_type")
    if not _KNOWN.issuperset(document):
        unknown = next(name for name in document if name not in _KNOWN)
        raise InvalidInput(
            f"is not a field of an event; write one of {', '.join(FIELDS)}, or put it into properties",
            field=printable(unknown),
            code="unknown_field",
        )
    if not document.keys() >= _NEEDED:
        missing = next(name for name in REQUIRED if name not in document)
        raise InvalidInput("is required", field=missing, code="required")
    return Event(
        event_id=_text(document, "event_id"),
        idempotency_key=_idempotency_key(document),
        event_type=_text(document, "event_type"),
        timestamp=_timestamp(document["timestamp"], received_at=received_at),
        customer_id=_text(document, "customer_id"),
        quantity=_quantity(document["quantity"]),
        namespace_id="" if document.get("namespace_id") in (None, "") else _text(document, "namespace_id"),
        properties={} if document.get("properties") is None else _properties(document["properties"]),
    )


def read_moment(*, text: str) -> datetime:
    """Read a time as RFC 3339 writes it; without an offset the result is naive, and the caller decides.

    Fractions beyond microseconds are cut. Raises ValueError.
    """
    if _ORDINARY_MOMENT.fullmatch(text):
        return datetime.fromisoformat(text)
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, time, fraction, offset = found.groups()
    offset = "+00:00" if offset in ("Z", "z") else offset or ""
    return datetime.fromisoformat(f"{day}T{time}{(fraction or '')[:7]}{offset}")


def printable(text: str) -> str:
    """Shorten a foreign name for a message, with control characters escaped."""
    return text[:60].encode("unicode_escape").decode() if not text.isprintable() else text[:60]


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    # The ordinary case in one look: there are five texts in an event, and tens of thousands of events a second.
    if _is_plain(value) and 0 < len(value) <= TEXT_LENGTHS[name] and value.strip(" ") == value:
        return value
    if not isinstance(value, str):
        raise InvalidInput(f"must be a string, not {_kind(value)}", field=name, code="wrong_type")
    if not value.strip():
        raise InvalidInput("must not be empty", field=name, code="blank")
    if value[0].isspace() or value[-1].isspace():
        raise InvalidInput("must not begin or end with a blank; remove it", field=name, code="blank")
    if len(value) > TEXT_LENGTHS[name]:
        raise InvalidInput(f"may have at most {TEXT_LENGTHS[name]} characters", field=name, code="too_long")
    _refuse_unstorable(value, name)
    return value


def _is_plain(value: Any) -> bool:
    """Say whether it is a text of printable ASCII: without NUL, without a blank but the space, the same in UTF-8."""
    return type(value) is str and value.isascii() and value.isprintable()


def _idempotency_key(document: Mapping[str, Any]) -> str:
    key = _text(document, "idempotency_key")
    if "~amended-" in key and AMENDED.search(key):
        raise InvalidInput(
            "ends like the key of an amended event, which only a correction makes; choose another ending",
            field="idempotency_key",
            code="reserved",
        )
    return key


def _timestamp(value: Any, *, received_at: datetime) -> datetime:
    if not isinstance(value, str):
        raise InvalidInput(
            f"must be a string such as 2026-07-01T12:00:00.000Z, not {_kind(value)}",
            field="timestamp",
            code="wrong_type",
        )
    try:
        moment = read_moment(text=value)
    except ValueError:
        raise InvalidInput(
            "is not a time: write RFC 3339 with an offset, such as 2026-07-01T12:00:00.000Z",
            field="timestamp",
            code="not_a_time",
        ) from None
    if moment.tzinfo is None:
        raise InvalidInput(
            f"has no offset: write {value}Z for UTC, or the local offset such as {value}+02:00",
            field="timestamp",
            code="naive",
        )
    # The years of the bounds are compared first: at the ends of the calendar an offset overflows.
    if moment.year < EARLIEST.year - 1 or (moment.year < EARLIEST.year + 1 and moment < EARLIEST):
        raise InvalidInput("is before the year 2000", field="timestamp", code="out_of_range")
    if moment.year > received_at.year + 1 or moment > received_at + AHEAD_MAX:
        raise InvalidInput("is more than 24 hours in the future", field="timestamp", code="out_of_range")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _quantity(value: Any) -> Decimal:
    if _is_plain(value) and value.isdigit() and value[0] != "0" and len(value) <= INTEGER_DIGITS_MAX:
        return Decimal(value)
    quantity = read_number(value)
    if quantity is None:
        raise InvalidInput('must be a decimal number such as 12.5 or "12.5"', field="quantity", code="not_a_number")
    if quantity < 0:
        raise InvalidInput("must not be negative", field="quantity", code="negative")
    if not fits(quantity):
        raise InvalidInput(
            f"may have at most {INTEGER_DIGITS_MAX} digits before the point and {DECIMAL_PLACES_MAX} after it",
            field="quantity",
            code="out_of_range",
        )
    return quantity if quantity else _ZERO


def read_number(value: Any) -> Decimal | None:
    """Return a JSON number, or a string that is written as one, as a Decimal; None for anything else."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and len(value) <= NUMBER_LENGTH_MAX and _NUMBER.fullmatch(value):
        return Decimal(value)
    return None


def fits(number: Decimal) -> bool:
    """Say whether a number has at most 26 digits before the point and 12 after it, zeros at the end aside."""
    if not number:
        return True
    if number.adjusted() >= INTEGER_DIGITS_MAX:
        return False
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int), "only finite numbers come here"
    surplus = -exponent - DECIMAL_PLACES_MAX
    return surplus <= 0 or (surplus < len(digits) and not any(digits[-surplus:]))


def _properties(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"must be an object, not {_kind(value)}", field="properties", code="wrong_type")
    if _are_plain(value):
        return value
    _check_member(value, "properties", depth=1)
    if len(_encoder.encode(value)) > PROPERTIES_BYTES_MAX:
        raise InvalidInput(f"may have at most {PROPERTIES_BYTES_MAX} bytes", field="properties", code="too_long")
    return value


def _are_plain(properties: Mapping[str, Any]) -> bool:
    """Say whether names and members are plain texts, and so few that they are short in JSON, where each may be escaped."""
    length = 0
    for name, member in properties.items():
        if not (_is_plain(member) and _is_plain(name)):
            return False
        length += len(name) + len(member) + 3
    return 2 * length + 2 <= PROPERTIES_BYTES_MAX


def _check_member(value: Any, path: str, *, depth: int) -> None:
    """Refuse what PostgreSQL cannot keep exactly as jsonb: NUL, absurd numbers, bottomless nesting."""
    if isinstance(value, str):
        _refuse_unstorable(value, path)
    elif isinstance(value, dict | list):
        if depth > PROPERTIES_DEPTH_MAX:
            raise InvalidInput(
                f"may be nested at most {PROPERTIES_DEPTH_MAX} levels deep", field="properties", code="too_deep"
            )
        if isinstance(value, list):
            for position, member in enumerate(value):
                _check_member(member, f"{path}[{position}]", depth=depth + 1)
            return
        for name, member in value.items():
            _refuse_unstorable(name, path)
            _check_member(member, f"{path}.{printable(name)}", depth=depth + 1)
    elif isinstance(value, int | Decimal) and not isinstance(value, bool) and _is_absurd(value):
        raise InvalidInput(
            f"may have at most {PROPERTY_DIGITS_MAX} digits before or after the point", field=path, code="out_of_range"
        )


def _is_absurd(number: int | Decimal) -> bool:
    if isinstance(number, int):
        return abs(number) >= 10**PROPERTY_DIGITS_MAX
    if not number.is_finite():
        return True
    _, _, exponent = number.as_tuple()
    assert isinstance(exponent, int), "only finite numbers come here"
    return number.adjusted() >= PROPERTY_DIGITS_MAX or -exponent > PROPERTY_DIGITS_MAX


def _refuse_unstorable(value: str, field: str) -> None:
    if "\x00" in value:
        raise InvalidInput(
            "contains the character NUL (U+0000), which cannot be stored; remove it", field=field, code="nul"
        )
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput("is not valid UTF-8; encode the text as UTF-8", field=field, code="encoding") from None


def _kind(value: Any) -> str:
    """Name a decoded value as JSON calls it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "an array"
    return "an object" if isinstance(value, dict) else "a number"
