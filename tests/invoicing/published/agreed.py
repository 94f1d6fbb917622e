"""The part of the case table that is about single customers: spend that was committed, credit that was granted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tests.invoicing.published.cases import MARCH, BillCase, Source, bill_cases_of, each, known, midnight
from tests.invoicing.reference.grants import Grant
from tests.invoicing.reference.promises import Promise

FIGURES = ("invoices", "drawn", "available")
COMMITMENT = {
    *("what", "currency", "payment", "tranches", "idle", "rollover", "overage_rate", "unit_amount", "used"),
    *("ours", "why", *FIGURES),
}
CREDITS = {"what", "currency", "charge", "lines", "coupons", "lots", "after", "ours", "why"}
RESULTS = ("drawn", "to_pay", "left", "expired", "live")
LOT = {"amount", "priority", "expires", "kind"}
DEFAULT_PRIORITY = 50


@dataclass(frozen=True)
class CommitmentCase:
    """Spend that was committed, and what each month's `invoices`, what was `drawn` and `available` come to; None: not told.

    `used` are quantities at the unit price, month by month; `idle` months come before the commitment begins.
    """

    name: str
    source: Source
    currency: str
    promise: Promise
    unit_amount: str
    idle: int
    used: tuple[str, ...]
    published: Mapping[str, list[str | None]]
    ours: Mapping[str, list[str | None]]
    why: str


@dataclass(frozen=True)
class CreditCase:
    """Lots of credit and one bill: what is `drawn` of each, what is left `to_pay`, what is `left` and what has `expired`.

    `live` is the balance before the bill is made; `after` the day on which it is asked what has expired.
    """

    name: str
    source: Source
    bill: BillCase
    grants: tuple[Grant, ...]
    after: date | None
    published: Mapping[str, Any]
    ours: Mapping[str, Any]
    why: str


def commitment_cases() -> list[CommitmentCase]:
    """All examples of committed spend."""
    return list(each("commitments", _commitment_cases))


def credit_cases() -> list[CreditCase]:
    """All examples of credit."""
    return list(each("credits", _credit_cases))


def _commitment_cases(source: Source, entry: Mapping[str, Any]) -> Iterator[CommitmentCase]:
    known(entry, COMMITMENT, source.url)
    rollover = entry.get("rollover")
    published = {name: entry[name] for name in FIGURES if name in entry}
    yield CommitmentCase(
        name=f"{source.provider}: {entry['what']}",
        source=source,
        currency=entry.get("currency", "USD"),
        promise=Promise(
            agreement="agreement",
            at=MARCH,
            tranches=tuple((months, amount) for months, amount in entry["tranches"]),
            is_paid_before=entry["payment"] == "in_advance",
            overage_rate=entry.get("overage_rate", "1"),
            rolls_over=rollover is not None,
            rollover_max=None if rollover == "all" else rollover,
        ),
        unit_amount=entry.get("unit_amount", "1"),
        idle=entry.get("idle", 0),
        used=tuple(entry["used"]),
        published=published,
        ours=published | entry.get("ours", {}),
        why=entry.get("why", ""),
    )


def _credit_cases(source: Source, entry: Mapping[str, Any]) -> Iterator[CreditCase]:
    known(entry, CREDITS | set(RESULTS), source.url)
    lines = entry.get("lines") or [
        {
            "key": "charge",
            "price": {"model": "per_unit", "unit_amount": "1"},
            "quantity": entry["charge"],
            "amount": entry["charge"],
        }
    ]
    bought = {name: entry[name] for name in ("what", "currency", "coupons") if name in entry}
    [bill] = bill_cases_of(source, bought | {"lines": lines, "total": "0"})
    published = {name: entry[name] for name in RESULTS if name in entry}
    yield CreditCase(
        name=f"{source.provider}: {entry['what']}",
        source=source,
        bill=bill,
        grants=tuple(_grants(source, entry["lots"])),
        after=date.fromisoformat(entry["after"]) if "after" in entry else None,
        published=published,
        ours=published | entry.get("ours", {}),
        why=entry.get("why", ""),
    )


def _grants(source: Source, lots: Mapping[str, Mapping[str, Any]]) -> Iterator[Grant]:
    for name, terms in lots.items():
        known(terms, LOT, source.url)
        yield Grant(
            key=name,
            amount=terms["amount"],
            is_prepaid=terms.get("kind", "promotional") == "prepaid",
            effective_at=MARCH,
            expires_at=midnight(date.fromisoformat(terms["expires"])) if "expires" in terms else None,
            priority=terms.get("priority", DEFAULT_PRIORITY),
        )
