"""Builders of core values that state only what a test is about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing_site.kernel.period import Period
from invoicing.core.contract import Charge, ContractSnapshot, Price, Usage
from invoicing.core.definition import price_from_definition

JULY = Period(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))

# S0-069: 0-1M at $25/M, 1M-10M at $20/M, above at $15/M.
ACTION_TIERS = [
    {"up_to": "1000000", "unit_amount": "0.000025"},
    {"up_to": "10000000", "unit_amount": "0.00002"},
    {"up_to": None, "unit_amount": "0.000015"},
]


def price(model: str, **members: Any) -> Price:
    """Return the price of a definition."""
    return price_from_definition({"model": model, **members})


def charge(
    definition: Mapping[str, Any] | None = None,
    *,
    reference: str = "sub/actions",
    meter: str | None = "actions",
    unit: str = "action",
    share: Fraction = Fraction(1),
    service_period: Period = JULY,
) -> Charge:
    """Return a charge; by default the graduated one of S0-069."""
    return Charge(
        reference=reference,
        name="Actions" if meter else "Base fee",
        price=price_from_definition(definition or {"model": "graduated", "tiers": ACTION_TIERS}),
        meter=meter,
        unit=unit if meter else "",
        subscription=reference.partition("/")[0],
        service_period=service_period,
        share=share,
    )


def base_fee(amount: str, *, reference: str = "sub/base", share: Fraction = Fraction(1)) -> Charge:
    """Return a flat charge."""
    return charge({"model": "flat", "unit_amount": amount}, reference=reference, meter=None, share=share)


def usage(quantity: str, *, meter: str = "actions", known_through: int = 9) -> Usage:
    """Return what a meter counted."""
    return Usage(
        meter=meter,
        quantity=Decimal(quantity),
        window_count=3,
        event_count=4,
        windows_digest="d" * 64,
        known_through=known_through,
    )


def snapshot(*charges: Charge, currency: str = "USD") -> ContractSnapshot:
    """Return a contract for July."""
    return ContractSnapshot(customer="cust_acme", currency=currency, period=JULY, charges=charges)
