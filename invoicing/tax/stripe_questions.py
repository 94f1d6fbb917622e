"""What Stripe Tax is asked about a customer, and what it needs to know for that; no answer is read here."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from django.conf import settings

from billing_site.kernel.errors import FieldError
from invoicing.core.tax_rules import EUROPEAN_UNION, TaxQuestion
from invoicing.core.told_tax import is_exempt
from invoicing.tax.stripe_answers import REFERENCE_AMOUNT

PROVIDER = "invoicing.tax.stripe_tax.StripeTax"
# Stripe's types of the ids that may change how a company is taxed (docs.stripe.com/billing/customer/tax-ids).
ID_TYPES = {
    "AU": "au_abn",
    "CA": "ca_gst_hst",
    "CH": "ch_vat",
    "GB": "gb_vat",
    "IN": "in_gst",
    "IS": "is_vat",
    "JP": "jp_trn",
    "KR": "kr_brn",
    "MX": "mx_rfc",
    "NO": "no_vat",
    "NZ": "nz_gst",
    "SG": "sg_gst",
    "TR": "tr_tin",
    "TW": "tw_vat",
    "ZA": "za_vat",
    **dict.fromkeys(EUROPEAN_UNION, "eu_vat"),
}
NEEDED = "Stripe Tax needs it to tell the taxes of an address"
# docs.stripe.com/tax/customer-locations: a state alone is not enough in the United States, a province is in Canada.
POSTAL_CODE, REGION = "postal_code", "region"
LOCATION_INVALID = "customer_tax_location_invalid"


def asks_stripe() -> bool:
    """Say whether the installation lets Stripe Tax decide."""
    return bool(settings.TAX_PROVIDER == PROVIDER)


def asks_stripe_for(*, seller: str) -> bool:
    """Say whether Stripe Tax decides about what a legal entity sells: one account at Stripe has one company's registrations."""
    return asks_stripe() and seller == settings.STRIPE_TAX_LEGAL_ENTITY


def mode_asked() -> str:
    """Return who answers by the key in use: our sandbox, or Stripe in test or live mode."""
    if settings.STRIPE_IS_SANDBOX:
        return "sandbox"
    return "live" if settings.STRIPE_LIVE_MODE else "test"


def address_errors(*, country: str, region: str, postal_code: str) -> list[FieldError]:
    """Return what Stripe Tax has to know of an address beside its country, field by field."""
    if country == "US" and not postal_code:
        return [FieldError(POSTAL_CODE, "required", f"{NEEDED} in the US: a ZIP code such as 10001")]
    if country == "CA" and not (postal_code or region):
        return [FieldError(REGION, "required", f"{NEEDED} in Canada: a province such as QC, or a postal code")]
    return []


def missing_for_stripe(*, question: TaxQuestion) -> list[str]:
    """Return what has to be known of a customer before Stripe can be asked, in words."""
    customer = question.customer
    if not customer.country:
        return [f"the country of {customer.name}"]
    if customer.number_problem:
        return [customer.number_problem]
    errors = address_errors(country=customer.country, region=customer.region, postal_code=customer.postal_code)
    return [f"the {error.field.replace('_', ' ')} of {customer.name}: {error.message}" for error in errors]


def days_asked(*, question: TaxQuestion) -> dict[date, date]:
    """Return for each day of an invoice the day whose rates are asked for.

    What is charged in advance has rates of a day that nobody knows yet: those hold that are in force when its period ends.
    """
    return {day: min(day, question.on) for day in question.days}


def inquiry_document(*, question: TaxQuestion, day: date) -> dict[str, Any]:
    """Return what Stripe is asked about a customer, beside the day: where it is, its VAT id, an exemption from everything.

    For whom and in which mode is not sent: it keeps apart what the sandbox, a test key or another company's account told.
    """
    customer = question.customer
    address = {
        "country": customer.country,
        "state": customer.region,
        "postal_code": customer.postal_code,
        "city": customer.city,
        "line1": customer.line1,
    }
    document: dict[str, Any] = {
        "legal_entity": question.seller.key,
        "mode": mode_asked(),
        "currency": question.currency,
        "amount": REFERENCE_AMOUNT,
        "tax_code": settings.STRIPE_TAX_CODE,
        "address": {name: text for name, text in address.items() if text},
        "tax_ids": [],
        "taxability_override": "customer_exempt" if is_exempt(question=question, day=day) else "none",
    }
    if customer.number and customer.country in ID_TYPES:
        document["tax_ids"] = [{"type": ID_TYPES[customer.country], "value": customer.number}]
    return document


def is_of_customer(*, param: str, code: str) -> bool:
    """Say whether a refusal of Stripe's is about the customer's own data; otherwise the account, or our question, is at fault."""
    return code == LOCATION_INVALID or param.startswith("customer_details")


def field_in_words(*, param: str) -> str:
    """Return which field of a customer's tax data a parameter of Stripe's names, "" where none."""
    fields: Iterable[tuple[str, str]] = (
        ("tax_ids", "vat_id"),
        ("postal_code", "postal_code"),
        ("[state]", "region"),
        ("[city]", "city"),
        ("line1", "line1"),
        ("[country]", "country"),
        ("address", "address"),
    )
    return next((field for part, field in fields if part in param), "")
