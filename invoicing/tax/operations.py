"""What may happen to tax data: settings superseded, dated rows added and ended, a customer's data set; each with actor and reason."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from django.db import IntegrityError, models, transaction

from billing_site.kernel.errors import BillingError, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.jobs import queue
from billing_site.kernel.text import is_storable
from invoicing.core.countries import COUNTRIES
from invoicing.core.tax import TaxRounding
from invoicing.core.tax_rules import ONE_STOP_SHOP, rounding_asked
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.entities.models import FIRST
from invoicing.entities.operations import entity_errors
from invoicing.tax.models import CustomerTax, SellerTax, TaxExemption, TaxRate, TaxRegistration
from invoicing.tax.stripe_questions import address_errors, asks_stripe_for
from invoicing.tax.vat_ids import read_vat_id

REGION = re.compile(r"[A-Z0-9]{1,3}")
RATE_PLACES = 8
PLACE_LIMITS = {"postal_code": 20, "city": 100, "line1": 200}
# Asks Stripe about a customer whose place has changed.
ASK_JOB = "invoicing.tasks.ask_stripe_tax_about"
TEXT_LIMITS = {"number": 50, "name": 50, "reason": 300, "evidence": 200}
Row = TypeVar("Row", TaxRate, TaxRegistration, TaxExemption)


@transaction.atomic
def set_seller_tax(
    *,
    valid_from: date,
    country: str,
    rounding: str = "",
    prices_include_tax: bool = False,
    legal_entity: str = FIRST,
    actor: str,
    reason: str,
) -> SellerTax:
    """Say how a legal entity charges tax on its invoices whose period ends on that day or later; the newest word about a day holds.

    Without `rounding` it is what the law of the country asks for. The same as what holds from that day on changes nothing. Raises InvalidFields.
    """
    errors = [*_country_errors("country", country), *_text_errors({"reason": reason}), *entity_errors(key=legal_entity)]
    if rounding not in ("", *(one.value for one in TaxRounding)):
        errors.append(FieldError("rounding", "unknown", f"must be one of {', '.join(TaxRounding)}"))
    if errors:
        raise InvalidFields(tuple(errors))
    wanted = {
        "legal_entity_id": legal_entity,
        "valid_from": valid_from,
        "country": country,
        "rounding": rounding or rounding_asked(country=country).value,
        "prices_include_tax": prices_include_tax,
    }
    last = SellerTax.objects.filter(legal_entity__key=legal_entity, valid_from=valid_from).order_by("-id").first()
    if last is not None and all(getattr(last, name) == value for name, value in wanted.items()):
        return last
    return SellerTax.objects.create(**wanted, actor=actor, reason=reason)


def add_rate(
    *,
    jurisdiction: str,
    name: str,
    rate: Decimal,
    valid_from: date,
    valid_to: date | None = None,
    actor: str,
    reason: str,
) -> TaxRate:
    """Add a rate of a place, a fraction of one. The same a second time is the row that exists. Raises InvalidFields."""
    errors = [*_place_errors(jurisdiction), *_text_errors({"name": name}), *_span_errors(valid_from, valid_to)]
    if not rate.is_finite() or not 0 <= rate < 1:
        errors.append(FieldError("rate", "out_of_range", "must be a fraction of one: 0.19 is 19 %"))
    elif rate != round(rate, RATE_PLACES):
        errors.append(FieldError("rate", "too_precise", f"must have at most {RATE_PLACES} decimals"))
    fields = {
        "jurisdiction": jurisdiction,
        "name": name.strip(),
        "rate": rate,
        "valid_from": valid_from,
        "valid_to": valid_to,
    }
    return _added(TaxRate, fields, errors, actor=actor, reason=reason)


def add_registration(
    *,
    jurisdiction: str,
    number: str,
    valid_from: date,
    valid_to: date | None = None,
    legal_entity: str = FIRST,
    actor: str,
    reason: str,
) -> TaxRegistration:
    """Say where a legal entity is registered for tax, EU for the One-Stop Shop. The same a second time is the row that exists. Raises InvalidFields."""
    place = [] if jurisdiction == ONE_STOP_SHOP else _place_errors(jurisdiction)
    errors = [*place, *_text_errors({"number": number}), *_span_errors(valid_from, valid_to)]
    errors += entity_errors(key=legal_entity)
    fields = {
        "legal_entity_id": legal_entity,
        "jurisdiction": jurisdiction,
        "number": number.strip(),
        "valid_from": valid_from,
        "valid_to": valid_to,
    }
    return _added(TaxRegistration, fields, errors, actor=actor, reason=reason)


def add_exemption(
    *,
    customer: Customer,
    jurisdiction: str,
    law: str,
    evidence: str,
    valid_from: date,
    valid_to: date | None = None,
    actor: str,
    reason: str,
) -> TaxExemption:
    """Say that a customer pays no tax of a place: `law` is the sentence on the invoice, `evidence` what proves it. Raises InvalidFields."""
    texts = [
        FieldError("law", error.code, error.message) if error.field == "reason" else error
        for error in _text_errors({"reason": law, "evidence": evidence})
    ]
    errors = [*_place_errors(jurisdiction), *texts, *_span_errors(valid_from, valid_to)]
    fields = {
        "customer": customer,
        "jurisdiction": jurisdiction,
        "reason": law.strip(),
        "evidence": evidence.strip(),
        "valid_from": valid_from,
        "valid_to": valid_to,
    }
    return _added(TaxExemption, fields, errors, actor=actor, reason=reason)


@transaction.atomic
def end_dated(*, row: Row, valid_to: date | None, actor: str, reason: str) -> Row:
    """End a rate, registration or exemption on a day, the first on which it holds no more; the day on which it began takes it back.

    None lets it go on. Invoices that are issued keep what they were taxed by. Raises InvalidFields.
    """
    locked = type(row).objects.select_for_update().get(pk=row.pk)
    if errors := _span_errors(locked.valid_from, valid_to):
        raise InvalidFields(tuple(errors))
    if locked.valid_to == valid_to:
        return locked
    locked.valid_to = valid_to
    _save_alone(locked, actor=actor, reason=reason, field="valid_to", fields=["valid_to"])
    return locked


@transaction.atomic
def set_customer_tax(
    *,
    customer: Customer,
    country: str,
    region: str = "",
    vat_id: str = "",
    postal_code: str = "",
    city: str = "",
    line1: str = "",
    actor: str,
    reason: str,
) -> CustomerTax:
    """Say where a customer is and by which number tax law knows it; the VAT id is checked by its country's rules.

    Where Stripe Tax decides it is asked about the new place by a job, and what it needs of an address must be said. Raises InvalidFields.
    """
    place = {"postal_code": postal_code.strip(), "city": city.strip(), "line1": line1.strip()}
    errors = [*_country_errors("country", country), *_place_text_errors(place)]
    if asks_stripe_for(seller=customer.seller_key):
        errors += address_errors(country=country, region=region, postal_code=place["postal_code"])
    if region and not REGION.fullmatch(region):
        errors.append(FieldError("region", "invalid", "must be the code of a region such as CA, without its country"))
    number = ""
    if not errors:
        try:
            number = read_vat_id(country=country, text=vat_id)
        except BillingError as problem:
            errors += problem.field_errors
    if errors:
        raise InvalidFields(tuple(errors))
    lock_customer(customer_id=customer.pk)
    row = CustomerTax.objects.filter(customer=customer).first() or CustomerTax(customer=customer)
    wanted = {"country": country, "region": region, "vat_id": number, **place}
    if row.pk is None or any(getattr(row, name) != value for name, value in wanted.items()):
        for name, value in wanted.items():
            setattr(row, name, value)
        save_with_reason(row, actor=actor, reason=reason)
        if asks_stripe_for(seller=customer.seller_key):
            queue(ASK_JOB, customer.pk)
    return row


@transaction.atomic
def _added(model: type[Row], fields: Mapping[str, Any], errors: list[FieldError], *, actor: str, reason: str) -> Row:
    if errors:
        raise InvalidFields(tuple(errors))
    existing = model.objects.filter(**fields).first()
    if existing is not None:
        return existing
    row = model(**fields)
    _save_alone(row, actor=actor, reason=reason, field="valid_from")
    return row


def _save_alone(row: models.Model, *, actor: str, reason: str, field: str, fields: Sequence[str] | None = None) -> None:
    """Save a dated row; raises InvalidFields where another holds on one of its days."""
    try:
        with transaction.atomic():
            save_with_reason(row, actor=actor, reason=reason, fields=fields)
    except IntegrityError as problem:
        if "one_at_a_time" not in str(problem):
            raise
        message = "another holds on some of these days: end that one first"
        raise InvalidFields((FieldError(field, "overlaps", message),)) from None


def _country_errors(field: str, country: str) -> list[FieldError]:
    return (
        []
        if country in COUNTRIES
        else [FieldError(field, "unknown", "must be a country of ISO 3166 in two letters: DE")]
    )


def _place_errors(jurisdiction: str) -> list[FieldError]:
    country, dash, region = jurisdiction.partition("-")
    if country in COUNTRIES and (not dash or REGION.fullmatch(region)):
        return []
    return [FieldError("jurisdiction", "unknown", "must be a country, or a country and its region: DE, US-CA")]


def _place_text_errors(place: Mapping[str, str]) -> list[FieldError]:
    return [
        FieldError(name, "invalid", f"must be one line of at most {PLACE_LIMITS[name]} characters")
        for name, text in place.items()
        if len(text) > PLACE_LIMITS[name] or not is_storable(text) or not text.isprintable()
    ]


def _span_errors(valid_from: date, valid_to: date | None) -> list[FieldError]:
    if valid_to is None or valid_to >= valid_from:
        return []
    return [FieldError("valid_to", "out_of_order", f"must not lie before {valid_from.isoformat()}")]


def _text_errors(texts: Mapping[str, str]) -> list[FieldError]:
    checks: tuple[tuple[str, Callable[[str, str], bool], str], ...] = (
        ("required", lambda _, text: bool(text.strip()), "must not be empty"),
        ("invalid", lambda _, text: is_storable(text), "must be Unicode text without the NUL character"),
        ("too_long", lambda name, text: len(text.strip()) <= TEXT_LIMITS[name], "is too long"),
    )
    return [
        next(FieldError(name, code, message) for code, fits, message in checks if not fits(name, text))
        for name, text in texts.items()
        if not all(fits(name, text) for _, fits, _ in checks)
    ]
