"""What may happen to a customer: created once, changed with actor and reason."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from billing_site.kernel.among import among
from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, InvalidInput
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import exponent, plain, round_money
from billing_site.kernel.text import is_storable
from billing_site.kernel.written_query import WrittenObjects
from invoicing.core.languages import LANGUAGES
from invoicing.core.numbers import Mistake, read_number
from invoicing.customers.billed_to import payer_errors, payer_of_key, refused_by_database
from invoicing.customers.models import GRACE_HOURS_MAX, Customer, LateUsagePolicy, SettlementChannel
from invoicing.entities.models import FIRST
from invoicing.entities.operations import entity_errors

KEY_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
# Key, currency and time zone stay: events, prices and the bounds of billed periods hang on them.
CHANGEABLE = (
    "name",
    "legal_entity",
    "billed_to",
    "email",
    "address",
    "tax_id",
    "language",
    "settlement_channel",
    "net_terms_days",
    "payment_method",
    "late_usage_policy",
    "late_materiality",
    "grace_hours",
)
# Fields that are numbers, and the greatest number of days or hours that they may be.
WHOLE_LIMITS = {"net_terms_days": (365, "days"), "grace_hours": (GRACE_HOURS_MAX, "hours")}
# What is given as a key, and the column that keeps it.
NAMED_BY_KEY = {"legal_entity": "legal_entity_id", "billed_to": "billed_to_id"}
TEXT_LIMITS = {"name": 300, "email": 254, "address": 2000, "tax_id": 50, "payment_method": 100}


@transaction.atomic
def create_customer(
    *,
    key: str,
    name: str,
    email: str,
    currency: str,
    legal_entity: str = FIRST,
    billed_to: str = "",
    timezone: str = "UTC",
    address: str = "",
    tax_id: str = "",
    language: str = "",
    settlement_channel: str = "stripe",
    net_terms_days: int = 14,
    payment_method: str = "",
    late_usage_policy: str = LateUsagePolicy.NEXT_INVOICE.value,
    late_materiality: Decimal = Decimal(0),
    grace_hours: int = 0,
    actor: str,
    reason: str,
) -> Customer:
    """Create the customer that usage events name by `key` (S0-122).

    `late_materiality` is an amount in the customer's currency; together with `late_usage_policy` it says what
    becomes of usage that is late for its invoice, `grace_hours` for how long it is not (S0-060..062). `language` is that of
    its documents, "" the one of the house; `legal_entity` the key of who sells to it; `billed_to` the key of the customer who gets one
    invoice for it, "" for a customer who is billed itself.
    The same key with the same content a second time returns the customer that exists; with other
    content it is a Conflict. Raises InvalidFields naming each field that is wrong.
    """
    fields = {
        "key": key,
        "name": name,
        "legal_entity": legal_entity,
        "billed_to": billed_to,
        "email": email,
        "currency": currency,
        "timezone": timezone,
        "address": address,
        "tax_id": tax_id,
        "language": language,
        "settlement_channel": settlement_channel,
        "net_terms_days": net_terms_days,
        "payment_method": payment_method,
        "late_usage_policy": late_usage_policy,
        "late_materiality": late_materiality,
        "grace_hours": grace_hours,
    }
    check_customer_fields(fields)
    columns = _columns(fields)
    customer = Customer(**columns)
    if columns["billed_to_id"] is not None:
        customer.billed_to = lock_customer(customer_id=columns["billed_to_id"])
        if errors := payer_errors(customer=customer):
            raise InvalidFields(tuple(errors))
    try:
        with transaction.atomic():
            save_with_reason(customer, actor=actor, reason=reason)
    except IntegrityError:
        return _existing_customer(columns)
    return customer


@transaction.atomic
def change_customer(*, customer: Customer, changes: Mapping[str, Any], actor: str, reason: str) -> Customer:
    """Change a customer's fields (never key, currency or time zone); raises InvalidFields naming each field that is wrong.

    The legal entity stays once there is an invoice, a draft or credit: another one sells to another customer. So does who is billed for it.
    """
    unknown = [
        FieldError(name, "not_changeable", f"cannot be changed; changeable are {', '.join(CHANGEABLE)}")
        for name in changes
        if name not in CHANGEABLE
    ]
    if unknown:
        raise InvalidFields(tuple(unknown))
    check_customer_fields({"currency": customer.currency, **changes})
    columns = _columns(changes)
    payer_id = columns.get("billed_to_id")
    several = lock_customers(customer_ids={customer.pk} if payer_id is None else {customer.pk, payer_id})
    locked = several[customer.pk]
    if all(getattr(locked, name) == value for name, value in columns.items()):
        return locked
    was_billed_to = locked.billed_to_id
    for name, value in columns.items():
        setattr(locked, name, value)
    if locked.billed_to_id is not None and (errors := payer_errors(customer=locked)):
        raise InvalidFields(tuple(errors))
    try:
        with transaction.atomic():
            save_with_reason(locked, actor=actor, reason=reason)
    except IntegrityError as problem:
        field = "legal_entity" if locked.billed_to_id == was_billed_to else "billed_to"
        if (refused := refused_by_database(problem=problem, field=field)) is not None:
            raise InvalidFields((refused,)) from problem
        if "stays with its seller" not in str(problem):
            raise
        message = "stays: there are invoices, drafts, credit or money on account of the customer. What another sells is sold to another customer"
        raise InvalidFields((FieldError("legal_entity", "invoiced", message),)) from problem
    return locked


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as the row keeps them: a legal entity, and who is billed, are named by their keys."""
    columns = {NAMED_BY_KEY.get(name, name): value for name, value in fields.items()}
    if "billed_to_id" in columns:
        payer = payer_of_key(key=columns["billed_to_id"])
        columns["billed_to_id"] = None if payer is None else payer.pk
    return columns


def lock_customer(*, customer_id: int) -> Customer:
    """Return the customer as it is now, its row locked until the transaction ends.

    Whatever decides what a customer is billed takes this lock first, before subscriptions and invoices:
    billing, starting and ending a subscription, issuing a draft. With an account who is billed for it is locked: its lock is enough to bill all its accounts.
    """
    assert connection.in_atomic_block, "a lock lasts as long as its transaction"
    # Most are billed themselves: one query. Of an account who is billed for it is locked before.
    itself = _ITSELF.first(customer=customer_id)
    if itself is not None:
        return itself
    found = lock_customers(customer_ids=[customer_id])
    if customer_id not in found:
        raise Customer.DoesNotExist(f"there is no customer {customer_id}")
    return found[customer_id]


_ITSELF = WrittenObjects(
    lambda customer: Customer.objects.select_for_update(no_key=True).filter(pk=customer, billed_to=None), customer=int
)


def lock_customers(*, customer_ids: Collection[int]) -> dict[int, Customer]:
    """Return customers as `lock_customer` does, by number; locked in one order, as everybody does who locks several.

    Who is billed comes before its accounts, each in the order of their numbers.
    """
    assert connection.in_atomic_block, "a lock lasts as long as its transaction"
    payers = Customer.objects.filter(among("pk", customer_ids), billed_to__isnull=False).values_list(
        "billed_to", flat=True
    )
    rows = Customer.objects.select_for_update(no_key=True).filter(among("pk", {*customer_ids, *payers}))
    locked = {row.pk: row for row in rows.order_by(F("billed_to").asc(nulls_first=True), "pk")}
    found = {number: locked[number] for number in customer_ids if number in locked}
    if any(row.payer_id not in locked for row in found.values()):
        # It was billed to another a moment ago.
        return lock_customers(customer_ids=customer_ids)
    for row in found.values():
        if row.billed_to_id is not None:
            row.billed_to = locked[row.billed_to_id]
    return found


def lock_who_pays(*, customer_id: int) -> Customer:
    """Return a customer who is billed itself, locked; raises InvalidInput (field `customer_id`) for one that is billed to another.

    Invoices, credit and coupons belong to who pays.
    """
    customer = lock_customer(customer_id=customer_id)
    if customer.billed_to is not None:
        message = f"{customer.key} is billed to {customer.billed_to.key}, who gets invoices, credit and coupons for it: name that one"
        raise InvalidInput(message, field="customer_id", code="billed_to_another")
    return customer


def check_customer_fields(fields: Mapping[str, Any]) -> None:
    """Raise InvalidFields naming each of the given fields that cannot be accepted."""
    errors = [
        error
        for name, value in fields.items()
        if name != "legal_entity" and (error := _check_text(name, value) or _check_field(name, value)) is not None
    ]
    if "legal_entity" in fields:
        errors += entity_errors(key=fields["legal_entity"])
    if fields.get("billed_to") and "billed_to" not in {error.field for error in errors}:
        errors += [] if payer_of_key(key=fields["billed_to"]) else [_unknown_payer(fields["billed_to"])]
    if "late_materiality" in fields and not {"late_materiality", "currency"} & {error.field for error in errors}:
        errors += _check_materiality(fields["late_materiality"], str(fields.get("currency", "")))
    if errors:
        raise InvalidFields(tuple(errors))


def _unknown_payer(key: str) -> FieldError:
    return FieldError("billed_to", "unknown", f"there is no customer {key!r}")


def _check_text(name: str, value: Any) -> FieldError | None:
    if name in WHOLE_LIMITS or name == "late_materiality":
        return None
    if not isinstance(value, str):
        return FieldError(name, "wrong_type", "must be a string")
    if not is_storable(value):
        return FieldError(name, "invalid", "must be Unicode text without the NUL character")
    limit = TEXT_LIMITS.get(name)
    if limit is not None and len(value) > limit:
        return FieldError(name, "too_long", f"must have at most {limit} characters")
    return None


def _check_field(name: str, value: Any) -> FieldError | None:
    if name == "key" and not KEY_PATTERN.fullmatch(value):
        return FieldError(name, "invalid", "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit")
    if name == "name" and not value.strip():
        return FieldError(name, "required", "must not be empty")
    if name == "email" and value:
        try:
            validate_email(value)
        except ValidationError:
            return FieldError(name, "invalid", "must be an e-mail address")
    if name == "currency":
        try:
            exponent(value)
        except KeyError:
            return FieldError(name, "unknown", "must be an ISO 4217 code such as EUR")
    if name == "timezone":
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return FieldError(name, "unknown", "must be an IANA time zone such as Europe/Berlin")
    if name == "language" and value not in ("", *LANGUAGES):
        return FieldError(name, "unknown", f"must be one of {', '.join(LANGUAGES)}, or empty")
    if name == "settlement_channel" and value not in SettlementChannel.values:
        return FieldError(name, "unknown", f"must be one of {', '.join(SettlementChannel.values)}")
    if name == "late_usage_policy" and value not in LateUsagePolicy.values:
        return FieldError(name, "unknown", f"must be one of {', '.join(LateUsagePolicy.values)}")
    if name in WHOLE_LIMITS:
        limit, unit = WHOLE_LIMITS[name]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
            return FieldError(name, "invalid", f"must be a whole number of {unit} from 0 to {limit}")
    if name == "late_materiality" and isinstance(number := read_number(value), Mistake):
        return FieldError(name, number.code, number.message)
    return None


def _check_materiality(value: Any, currency: str) -> list[FieldError]:
    """Return what is wrong with a number as an amount of the currency ("" where none is known)."""
    number = read_number(value)
    assert not isinstance(number, Mistake), "a number was checked before"
    if number >= 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES):
        message = f"must have at most {AMOUNT_DIGITS - AMOUNT_PLACES} digits before the point"
        return [FieldError("late_materiality", "too_large", message)]
    if currency and round_money(number, currency).amount != number:
        message = f"must be whole minor units: {plain(number)} {currency} cannot be paid"
        return [FieldError("late_materiality", "too_precise", message)]
    return []


def _existing_customer(fields: Mapping[str, Any]) -> Customer:
    customer = Customer.objects.get(key=fields["key"])
    given = {column: name for name, column in NAMED_BY_KEY.items()}
    different = sorted(given.get(name, name) for name, value in fields.items() if getattr(customer, name) != value)
    if different:
        raise Conflict(
            f"customer {customer.key} exists already with another {', '.join(different)}: change it instead",
            field="key",
        )
    return customer
