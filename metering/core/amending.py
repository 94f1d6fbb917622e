"""The keys of replacements, and what a replacement says: the accepted event with some fields changed."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from billing_site.kernel.errors import FieldError, InvalidFields, InvalidInput
from metering.core.parsing import AMENDED, TEXT_LENGTHS, Event, parse_event

CHANGEABLE = ("event_type", "quantity", "timestamp", "namespace_id", "properties")
KEY_LENGTH_MAX = TEXT_LENGTHS["idempotency_key"]
_DIGEST_LENGTH = 16


def amended_key(*, key: str, number: int) -> str:
    """Return the key of the `number`-th replacement of the event that was accepted under `key`.

    A key that leaves no room for the ending is cut and told apart by 16 digits of its SHA-256.
    """
    assert number > 0 and not AMENDED.search(key), "replacements are counted from the event that was accepted first"
    ending = f"~amended-{number}"
    if len(key) + len(ending) <= KEY_LENGTH_MAX:
        return key + ending
    digest = hashlib.sha256(key.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{key[: KEY_LENGTH_MAX - len(ending) - _DIGEST_LENGTH - 1]}~{digest}{ending}"


def amended_event(*, accepted: Event, changes: Mapping[str, Any], key: str, received_at: datetime) -> Event:
    """Return the event under its new key with the changes, read as strictly as an event that arrives.

    A change of `properties` replaces them as a whole. Raises InvalidInput on the field, InvalidFields for others
    than event_type, quantity, timestamp, namespace_id and properties, InvalidInput where nothing would differ.
    """
    if not isinstance(changes, Mapping) or not changes:
        raise InvalidInput(f"say what is right: some of {', '.join(CHANGEABLE)}", field="changes", code="required")
    if unknown := [str(name)[:60] for name in changes if name not in CHANGEABLE]:
        raise InvalidFields(
            tuple(
                FieldError(f"changes.{name}", "unknown_field", f"can be amended are {', '.join(CHANGEABLE)}")
                for name in unknown
            )
        )
    document = {
        "event_id": accepted.event_id,
        "idempotency_key": "amended",
        "customer_id": accepted.customer_id,
        **{name: getattr(accepted, name) for name in CHANGEABLE},
        **changes,
    }
    if isinstance(document["timestamp"], datetime):
        document["timestamp"] = document["timestamp"].isoformat()
    try:
        event = parse_event(document=document, received_at=received_at)
    except InvalidInput as refused:
        raise InvalidInput(refused.message, field=f"changes.{refused.field}", code=refused.code) from None
    return msgspec.structs.replace(event, idempotency_key=key)


def same_fact(one: Event, other: Event) -> bool:
    """Say whether two events say the same, whatever their keys and ids."""
    return all(_same(getattr(one, name), getattr(other, name)) for name in CHANGEABLE)


def _same(one: Any, other: Any) -> bool:
    """Compare like JSON does, numbers by value: to Python true is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(member, other[name]) for name, member in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
