"""What may happen to a budget: set once, changed and retired with actor and reason."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, InvalidInput
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import round_money
from billing_site.kernel.text import is_storable
from invoicing.core.numbers import Mistake, read_number
from invoicing.core.spend import THRESHOLD_MAX, THRESHOLDS, THRESHOLDS_MAX
from invoicing.customers.models import Customer
from invoicing.spend.models import AtLimit, Budget, SetBy

KEY_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
NAME_MAX = 100
BUDGETS_MAX = 20
CHANGEABLE = ("name", "amount", "thresholds", "projected_thresholds", "at_limit")


def amount_of(*, text: str, currency: str) -> Money:
    """Return the amount that somebody wrote, in a currency; raises InvalidInput on the field `amount` or `currency`."""
    number = read_number(text.strip())
    if isinstance(number, Mistake):
        raise InvalidInput(number.message, field="amount", code=number.code)
    try:
        amount = round_money(number, currency)
    except KeyError:
        raise InvalidInput("must be an ISO 4217 code such as EUR", field="currency", code="unknown") from None
    if amount.amount != number:
        raise InvalidInput(f"must be whole minor units of {currency}", field="amount", code="too_precise")
    return amount


@transaction.atomic
def set_budget(
    *,
    key: str = "",
    customer: Customer | None,
    name: str,
    amount: Money,
    thresholds: Sequence[int] = THRESHOLDS,
    projected_thresholds: Sequence[int] = (),
    at_limit: str = AtLimit.NOTIFY.value,
    set_by: str = SetBy.COMPANY.value,
    actor: str,
    reason: str,
) -> Budget:
    """Watch the spend of each billing period of a customer, or of all without a budget of the company's own (S0-140, S0-141).

    Thresholds are whole percent of the amount. With `at_limit` stop, access is refused from the amount on until
    the period ends. The same key with the same content again returns the budget that exists; with other content it
    is a Conflict. Raises InvalidFields naming each field that is wrong.
    """
    fields: dict[str, Any] = {
        "name": name,
        "amount": amount,
        "thresholds": _sorted(thresholds),
        "projected_thresholds": _sorted(projected_thresholds),
        "at_limit": at_limit,
    }
    errors = _mistakes(fields)
    if key and not KEY_PATTERN.fullmatch(key):
        message = "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit"
        errors.append(FieldError("key", "invalid", message))
    if customer is not None and amount.currency.code != customer.currency:
        message = f"must be in the customer's currency, {customer.currency}"
        errors.append(FieldError("amount", "currency_differs", message))
    if errors:
        raise InvalidFields(tuple(errors))
    if customer is not None:
        Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    key = key or f"budget_{uuid4().hex}"
    existing = Budget.objects.filter(key=key).first()
    if existing is not None:
        return _the_same(existing, {**fields, "customer": customer, "set_by": set_by})
    if Budget.objects.filter(customer=customer, retired_at=None).count() >= BUDGETS_MAX:
        message = f"has {BUDGETS_MAX} budgets already: retire one first"
        raise InvalidFields((FieldError("customer_id", "too_many", message),))
    budget = Budget(key=key, customer=customer, currency=amount.currency.code, set_by=set_by, **fields)
    try:
        with transaction.atomic():
            save_with_reason(budget, actor=actor, reason=reason)
    except IntegrityError:
        return _the_same(Budget.objects.get(key=key), {**fields, "customer": customer, "set_by": set_by})
    return budget


@transaction.atomic
def change_budget(*, budget: Budget, changes: Mapping[str, Any], actor: str, reason: str) -> Budget:
    """Change what a budget says from now on; raises InvalidFields naming each field that is wrong, Conflict if it is retired."""
    changes = {name: _sorted(value) if name.endswith("thresholds") else value for name, value in changes.items()}
    errors = [
        FieldError(name, "not_changeable", f"cannot be changed; changeable are {', '.join(CHANGEABLE)}")
        for name in changes
        if name not in CHANGEABLE
    ] or _mistakes(changes)
    amount = changes.get("amount")
    if isinstance(amount, Money) and amount.currency.code != budget.currency:
        errors.append(FieldError("amount", "currency_differs", f"must be in {budget.currency}, as it was set"))
    if errors:
        raise InvalidFields(tuple(errors))
    locked = _locked(budget)
    if all(getattr(locked, name) == value for name, value in changes.items()):
        return locked
    for name, value in changes.items():
        setattr(locked, name, value)
    save_with_reason(locked, actor=actor, reason=reason)
    return locked


@transaction.atomic
def retire_budget(*, budget: Budget, at: datetime, actor: str, reason: str) -> Budget:
    """Watch by this budget no more; what it noticed stays. A second time changes nothing."""
    locked = Budget.objects.select_for_update().get(pk=budget.pk)
    if locked.retired_at is None:
        locked.retired_at = at
        save_with_reason(locked, actor=actor, reason=reason)
    return locked


def _locked(budget: Budget) -> Budget:
    locked = Budget.objects.select_for_update().get(pk=budget.pk)
    if locked.retired_at is not None:
        raise Conflict(f"budget {budget.key} is retired: set a new one", field="key")
    return locked


def _sorted(thresholds: Any) -> Any:
    """Return thresholds in their order, each once; what is no list of numbers is refused later."""
    if isinstance(thresholds, list | tuple) and all(type(one) is int for one in thresholds):
        return sorted(set(thresholds))
    return thresholds


def _mistakes(fields: Mapping[str, Any]) -> list[FieldError]:
    """Return what is wrong with each of the given fields."""
    errors = []
    for name, value in fields.items():
        if name.endswith("thresholds"):
            errors += _mistakes_of_thresholds(name, value)
        elif name == "name" and (not isinstance(value, str) or not value.strip()):
            errors.append(FieldError(name, "required", "must not be empty"))
        elif name == "name" and (len(value) > NAME_MAX or not is_storable(value)):
            message = f"must be Unicode text of at most {NAME_MAX} characters without the NUL character"
            errors.append(FieldError(name, "invalid", message))
        elif name == "at_limit" and value not in AtLimit.values:
            errors.append(FieldError(name, "unknown", f"must be one of {', '.join(AtLimit.values)}"))
        elif name == "amount" and value.amount <= 0:
            errors.append(FieldError(name, "out_of_range", "must be more than nothing"))
        elif name == "amount" and value.amount >= 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES):
            message = f"must have at most {AMOUNT_DIGITS - AMOUNT_PLACES} digits before the point"
            errors.append(FieldError(name, "too_large", message))
    return errors


def _mistakes_of_thresholds(name: str, value: Any) -> list[FieldError]:
    if not isinstance(value, list) or any(type(one) is not int for one in value):
        return [FieldError(name, "wrong_type", "must be a list of whole numbers, in percent of the amount")]
    if len(value) > THRESHOLDS_MAX:
        return [FieldError(name, "too_many", f"must be at most {THRESHOLDS_MAX} thresholds")]
    if any(not 1 <= one <= THRESHOLD_MAX for one in value):
        return [FieldError(name, "out_of_range", f"must be from 1 to {THRESHOLD_MAX} percent")]
    return []


def _the_same(existing: Budget, fields: Mapping[str, Any]) -> Budget:
    different = sorted(name for name, value in fields.items() if getattr(existing, name) != value)
    if different or existing.retired_at is not None:
        what = f"another {', '.join(different)}" if different else "its end behind it"
        raise Conflict(
            f"budget {existing.key} exists already with {what}: change it, or choose another key", field="key"
        )
    return existing
