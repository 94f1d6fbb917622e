"""Minimum and maximum spend of a plan as documents say it: one entry a currency."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_site.kernel.errors import FieldError
from billing_site.kernel.money import exponent, plain
from invoicing.catalog.models import PlanSpend
from invoicing.core.numbers import Mistake, read_number

SPEND_FIELDS = ("currency", "minimum_spend", "maximum_spend")


@dataclass(frozen=True)
class SpendEntry:
    """What a plan is worth at least and at most per billing period in one currency; one of the two is set."""

    currency: str
    minimum: Decimal | None
    maximum: Decimal | None

    def document(self) -> dict[str, Any]:
        """Return the canonical form, as in the catalog file."""
        bounds = {"minimum_spend": self.minimum, "maximum_spend": self.maximum}
        return {"currency": self.currency} | {name: plain(bound) for name, bound in bounds.items() if bound is not None}


def spend_entry(*, row: PlanSpend) -> SpendEntry:
    """Return a stored row as documents say it."""
    return SpendEntry(currency=row.currency, minimum=row.minimum_spend, maximum=row.maximum_spend)


def spend_documents(*, rows: Iterable[PlanSpend]) -> list[dict[str, Any]]:
    """Return stored rows as they would stand in a catalog file, by currency."""
    return [spend_entry(row=row).document() for row in sorted(rows, key=lambda row: row.currency)]


def read_spend(value: Any, *, path: str) -> tuple[tuple[SpendEntry, ...], list[FieldError]]:
    """Read the member `spend` of a plan strictly: the entries by currency, and every mistake with its place."""
    if not isinstance(value, list):
        return (), [FieldError(path, "wrong_type", "must be a list")]
    errors: list[FieldError] = []
    entries = [_read_entry(entry, f"{path}[{place}]", errors) for place, entry in enumerate(value)]
    for currency, number in sorted(Counter(entry.currency for entry in entries).items()):
        if number > 1:
            errors.append(FieldError(path, "duplicate", f"holds {currency} twice"))
    return tuple(sorted(entries, key=lambda entry: entry.currency)), errors


def _read_entry(value: Any, path: str, errors: list[FieldError]) -> SpendEntry:
    if not isinstance(value, Mapping):
        errors.append(FieldError(path, "wrong_type", "must be an object"))
        return SpendEntry("", None, None)
    errors += [
        FieldError(f"{path}.{name}", "unknown", f"is not known here; known are {', '.join(SPEND_FIELDS)}")
        for name in value
        if name not in SPEND_FIELDS
    ]
    currency = value.get("currency")
    try:
        exponent(currency if isinstance(currency, str) else "")
    except KeyError:
        errors.append(FieldError(f"{path}.currency", "unknown", "must be an ISO 4217 code such as EUR"))
        currency = ""
    before = len(errors)
    minimum, maximum = (_read_bound(value, name, path, errors) for name in SPEND_FIELDS[1:])
    if len(errors) == before and minimum is None and maximum is None:
        errors.append(FieldError(f"{path}.minimum_spend", "required", "a minimum or a maximum spend must be there"))
    if minimum is not None and maximum is not None and minimum > maximum:
        errors.append(FieldError(f"{path}.minimum_spend", "above_maximum", "must not be above the maximum spend"))
    return SpendEntry(str(currency), minimum, maximum)


def _read_bound(entry: Mapping[str, Any], name: str, path: str, errors: list[FieldError]) -> Decimal | None:
    if entry.get(name) is None:
        return None
    number = read_number(entry[name])
    if isinstance(number, Mistake):
        errors.append(FieldError(f"{path}.{name}", number.code, number.message))
        return None
    return number
