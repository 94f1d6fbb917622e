"""Ask a register whether a VAT id is known there: VIES, the one of the European Union, or whoever speaks its REST interface.

Off unless the setting `VAT_ID_CHECK_URL` names the register. It is asked by a job, never while somebody waits or bills; an
answer is kept as a row, and a register that cannot answer now is asked again later.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

import requests
from django.conf import settings
from django.db.models import OuterRef, QuerySet, Subquery

from invoicing.core.tax_rules import EUROPEAN_UNION
from invoicing.tax.models import CustomerTax, TaxRegistration, VatIdCheck
from invoicing.tax.vat_ids import PREFIXES

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 20
# A confirmation is asked for again after this long; a refusal sooner: a young company's number takes days to arrive.
CONFIRMED_FOR, REFUSED_FOR = timedelta(days=30), timedelta(days=1)
AT_ONCE_MAX = 50
VALID, INVALID = "VALID", "INVALID"


@dataclass(frozen=True)
class RegisterAnswer:
    """What a register says about a VAT id; `reference` is its consultation number, the proof that it was asked."""

    is_valid: bool
    name: str
    reference: str


class RegisterUnavailable(Exception):
    """The register cannot say now: that is neither yes nor no."""


def ask_register(*, vat_id: str, asked_as: str = "") -> RegisterAnswer:
    """Ask whether a VAT id is known; asked as a company with a VAT id of its own there is a consultation number. Raises RegisterUnavailable."""
    address = f"{settings.VAT_ID_CHECK_URL.rstrip('/')}/ms/{quote(vat_id[:2])}/vat/{quote(vat_id[2:])}"
    asker = {"requesterMemberStateCode": asked_as[:2], "requesterNumber": asked_as[2:]} if asked_as else {}
    try:
        answer = requests.get(address, params=asker, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        told = answer.json()
        outcome = str(told["userError"])
    except (requests.RequestException, ValueError, LookupError, TypeError) as problem:
        raise RegisterUnavailable(f"{type(problem).__name__} {problem}") from problem
    if outcome not in (VALID, INVALID):
        raise RegisterUnavailable(outcome)
    return RegisterAnswer(
        is_valid=outcome == VALID,
        name=str(told.get("name") or "")[:300],
        reference=str(told.get("requestIdentifier") or "")[:100],
    )


def check_vat_ids(*, at: datetime) -> list[VatIdCheck]:
    """Ask the register about the VAT ids of the European Union whose answer is missing or old, and keep what it says; nothing where none is named."""
    if not settings.VAT_ID_CHECK_URL:
        return []
    asked_as: dict[str, str] = {}
    checks = []
    for row in ids_to_check(at=at)[:AT_ONCE_MAX]:
        seller = row.customer.seller_key
        if seller not in asked_as:
            asked_as[seller] = _own_number(seller, at)
        try:
            answer = ask_register(vat_id=row.vat_id, asked_as=asked_as[seller])
        except RegisterUnavailable as problem:
            logger.warning("the VAT id of %s could not be checked: %s", row.customer.key, problem)
            continue
        checks.append(
            VatIdCheck.objects.create(
                customer=row.customer,
                vat_id=row.vat_id,
                is_valid=answer.is_valid,
                registered_name=answer.name,
                reference=answer.reference,
                checked_at=at,
            )
        )
    return checks


def ids_to_check(*, at: datetime) -> "QuerySet[CustomerTax]":
    """Return the customers whose VAT id has no answer yet, or an old one; those that were never asked about first."""
    last = VatIdCheck.objects.filter(customer=OuterRef("customer"), vat_id=OuterRef("vat_id")).order_by("-id")
    known = CustomerTax.objects.filter(country__in=EUROPEAN_UNION).exclude(vat_id="").select_related("customer")
    asked = known.annotate(
        asked_at=Subquery(last.values("checked_at")[:1]), was_valid=Subquery(last.values("is_valid")[:1])
    )
    recent = asked.filter(was_valid=True, asked_at__gt=at - CONFIRMED_FOR) | asked.filter(
        was_valid=False, asked_at__gt=at - REFUSED_FOR
    )
    return asked.exclude(pk__in=recent.values("pk")).order_by("asked_at", "pk")


def _own_number(seller: str, at: datetime) -> str:
    """Return a VAT id of a legal entity's own in the European Union, or ""."""
    for row in TaxRegistration.objects.filter(legal_entity__key=seller, valid_from__lte=at.date()).order_by("id"):
        if row.jurisdiction in EUROPEAN_UNION and (row.valid_to is None or at.date() < row.valid_to):
            prefix = PREFIXES.get(row.jurisdiction, row.jurisdiction)
            if row.number.startswith(prefix):
                return row.number
    return ""
