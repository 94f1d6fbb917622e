"""Read what Stripe Tax answered: the JSON of a tax calculation over one line becomes what was told, or why nobody here can charge it.

Source: docs.stripe.com/api/tax/calculations (line_items.data.tax_breakdown) and docs.stripe.com/tax/zero-tax (taxability_reason).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing_site.kernel.errors import BillingError
from invoicing.core.tax import RateOfTax, TaxKind
from invoicing.core.tax_rules import EUROPEAN_UNION, place_of
from invoicing.core.told_tax import ToldTax

# The amount that is asked about, in Stripe's minor units: so large that a rate of up to seven decimals has an exact tax.
REFERENCE_AMOUNT = 10_000_000
NAME_LENGTH_MAX, RATE_PLACES = 50, 8
ZERO_RATED = "zero_rated"
# Which rates are charged, and why others are not. What is missing here is not charged in silence: it is told as a problem.
KINDS = {
    "standard_rated": TaxKind.TAXED,
    "reduced_rated": TaxKind.TAXED,
    ZERO_RATED: TaxKind.TAXED,
    "portion_standard_rated": TaxKind.TAXED,
    "portion_reduced_rated": TaxKind.TAXED,
    "proportionally_rated": TaxKind.TAXED,
    "taxable_basis_reduced": TaxKind.TAXED,
    "reverse_charge": TaxKind.REVERSE_CHARGE,
    "customer_exempt": TaxKind.EXEMPT,
    "product_exempt": TaxKind.EXEMPT,
    "product_exempt_holiday": TaxKind.EXEMPT,
    "portion_product_exempt": TaxKind.EXEMPT,
    "not_collecting": TaxKind.OUTSIDE_SCOPE,
    "not_subject_to_tax": TaxKind.OUTSIDE_SCOPE,
}
NAMES = {
    "vat": "VAT",
    "gst": "GST",
    "hst": "HST",
    "igst": "IGST",
    "pst": "PST",
    "qst": "QST",
    "rst": "RST",
    "jct": "Consumption tax",
    "sales_tax": "Sales tax",
}
# Places below a state are told by their name: codes are of countries and states only.
NAMED_LEVELS = ("county", "city", "district")
STATE = re.compile(r"[A-Z0-9]{1,3}")
COUNTRY = re.compile(r"[A-Z]{2}")


class NotReadable(BillingError):
    """Stripe answered something that cannot be charged here as it stands."""

    code = "tax_not_readable"


def read_answer(*, body: dict[str, Any]) -> ToldTax:
    """Return what a calculation tells of the rates of its one line; raises NotReadable, with the reason in words."""
    try:
        [line] = body["line_items"]["data"]
        entries = [_read(entry, amount=line["amount"]) for entry in line["tax_breakdown"]]
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, AssertionError) as problem:
        raise NotReadable(f"its answer cannot be read: {type(problem).__name__} {problem}".rstrip()) from problem
    if not entries:
        raise NotReadable("its answer names no place and no reason")
    taxed = [rate for kind, rate, _ in entries if kind is TaxKind.TAXED]
    if taxed:
        return ToldTax(TaxKind.TAXED, _told_apart(taxed))
    kind, rate, reason = entries[0]
    return ToldTax(kind, (rate,), is_registered=reason != "not_collecting")


def _read(entry: dict[str, Any], *, amount: int) -> tuple[TaxKind, RateOfTax, str]:
    reason = str(entry["taxability_reason"])
    if reason not in KINDS:
        raise NotReadable(f"its reason {reason} is none that can be charged here")
    details = entry["tax_rate_details"] or {}
    share = Fraction(entry["taxable_amount"], amount)
    place = _place(entry["jurisdiction"])
    if KINDS[reason] is not TaxKind.TAXED:
        if entry["amount"]:
            raise NotReadable(f"it charges tax in {place} and says {reason}")
        return KINDS[reason], RateOfTax(place, _name(entry, details, share=Fraction(1)), Decimal(0)), reason
    percent = "0" if reason == ZERO_RATED else details["percentage_decimal"]
    exact = Fraction(Decimal(percent)) / 100 * share
    scaled = exact * 10**RATE_PLACES
    if scaled.denominator != 1:
        raise NotReadable(f"its rate in {place} has more than {RATE_PLACES} decimals")
    if abs(exact * amount - entry["amount"]) > 1:
        raise NotReadable(f"its tax in {place} is not its rate of the amount: there is more to it than a rate")
    rate = Decimal(scaled.numerator).scaleb(-RATE_PLACES).normalize()
    return TaxKind.TAXED, RateOfTax(place, _name(entry, details, share=share), rate), reason


def _told_apart(rates: Sequence[RateOfTax]) -> tuple[RateOfTax, ...]:
    """Return rates that no two share place and name: what stands on an invoice says which is which."""
    seen: dict[tuple[str, str], int] = {}
    apart = []
    for rate in rates:
        count = seen[rate.jurisdiction, rate.name] = seen.get((rate.jurisdiction, rate.name), 0) + 1
        name = rate.name if count == 1 else f"{rate.name[: NAME_LENGTH_MAX - 5]} ({count})"
        apart.append(replace(rate, name=name))
    return tuple(apart)


def _place(jurisdiction: dict[str, Any]) -> str:
    country, state = str(jurisdiction["country"]), str(jurisdiction["state"] or "")
    if not COUNTRY.fullmatch(country):
        raise NotReadable(f"its place {country} is no country")
    return place_of(country=country, region=state if STATE.fullmatch(state) else "")


def _name(entry: dict[str, Any], details: dict[str, Any], *, share: Fraction) -> str:
    """Return what stands on invoices: the tax, below a state its place, and the part of the amount that is taxed where it is not all."""
    unsaid = "VAT" if entry["jurisdiction"]["country"] in EUROPEAN_UNION else "Tax"
    name = NAMES.get(details.get("tax_type", ""), "") or details.get("display_name") or unsaid
    if share not in (0, 1):
        percent = share * 100
        assert percent.denominator == 1, "a part of an amount is told in whole per cent"
        name = f"{name} on {percent.numerator} %"
    if entry["jurisdiction"]["level"] in NAMED_LEVELS:
        name = f"{name}, {entry['jurisdiction']['display_name']}"
    return name if len(name) <= NAME_LENGTH_MAX else f"{name[: NAME_LENGTH_MAX - 1]}…"
