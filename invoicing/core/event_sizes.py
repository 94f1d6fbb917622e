"""Amounts of single events from outside, read strictly, divided as a price of each event needs them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from billing_site.kernel.errors import FieldError, InvalidFields
from invoicing.core.detail import BySize, SizeUsage, sizes_of
from invoicing.core.numbers import Mistake, read_number

EVENTS_MAX = 1_000
COUNT_MAX = 10**12
MEMBERS = ("quantity", "count")


def events_from(value: Any, *, need: BySize) -> SizeUsage:
    """Read events, [{"quantity": "12.50", "count": 3}], a count being 1 where it is not said; raises InvalidFields."""
    errors: list[FieldError] = []
    events: list[tuple[Decimal, int]] = []
    if not isinstance(value, list | tuple):
        errors.append(FieldError("events", "required", 'is missing: write [{"quantity": "12.50", "count": 3}]'))
    elif len(value) > EVENTS_MAX:
        errors.append(
            FieldError("events", "wrong_length", f"may hold at most {EVENTS_MAX}, counted where they are alike")
        )
    else:
        events = [
            event
            for place, entry in enumerate(value)
            if (event := _event(entry, f"events[{place}]", errors)) is not None
        ]
    if errors:
        raise InvalidFields(tuple(errors))
    return sizes_of(need=need, events=events)


def _event(entry: Any, place: str, errors: list[FieldError]) -> tuple[Decimal, int] | None:
    if not isinstance(entry, Mapping):
        errors.append(FieldError(place, "wrong_type", "must be an object with quantity and count"))
        return None
    errors += [
        FieldError(f"{place}.{str(name)[:100]}", "unknown", f"is not known here; known are {', '.join(MEMBERS)}")
        for name in entry
        if name not in MEMBERS
    ]
    quantity, count = read_number(entry.get("quantity")), entry.get("count", 1)
    if isinstance(quantity, Mistake):
        errors.append(FieldError(f"{place}.quantity", quantity.code, quantity.message))
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= COUNT_MAX:
        errors.append(FieldError(f"{place}.count", "wrong_type", "must be a whole number from 1 on"))
        return None
    return (quantity, count) if isinstance(quantity, Decimal) else None
