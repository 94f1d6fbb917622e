"""What may happen to a coupon: created once with its terms, closed."""

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, NotFound
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.money import plain
from billing_site.kernel.words import counted
from invoicing.catalog.coupon import POSITION_DEFAULT, Coupon, CouponDuration
from invoicing.catalog.coupon_document import COUPON_FIELDS, CouponEntry
from invoicing.catalog.models import Plan, Price


@transaction.atomic
def create_coupon(*, entry: CouponEntry, path: str = "", actor: str, reason: str) -> tuple[Coupon, bool]:
    """Make a coupon, and say whether it is new: the same code with the same terms a second time is the coupon that exists.

    `path` is where its terms stand in a greater document.

    Raises InvalidFields where it names a plan or price that does not exist, Conflict (field `code`) where the code has other terms.
    """
    existing = Coupon.objects.filter(code=entry.code).first()
    if existing is not None:
        different = sorted(
            name for name, value in asdict(entry_of(coupon=existing)).items() if asdict(entry)[name] != value
        )
        if different:
            message = f"coupon {entry.code} exists with another {', '.join(different)}: close it and use a new code"
            raise Conflict(message, field=_at(path, "code"))
        return existing, False
    if errors := _unknown_references(entry, path):
        raise InvalidFields(tuple(errors))
    coupon = Coupon(**(asdict(entry) | {"plans": list(entry.plans), "prices": list(entry.prices)}))
    save_with_reason(coupon, actor=actor, reason=reason)
    return coupon, True


@transaction.atomic
def close_coupon(*, code: str, at: datetime, actor: str, reason: str) -> Coupon:
    """Let nobody redeem a coupon any more; discounts that were redeemed go on. A second time changes nothing."""
    coupon = locked_coupon(code=code, field="code")
    if coupon.closed_at is None:
        coupon.closed_at = at
        save_with_reason(coupon, actor=actor, reason=reason, fields=["closed_at"])
    return coupon


def locked_coupon(*, code: str, field: str) -> Coupon:
    """Return the coupon with a code, however it is capitalised, locked until the transaction ends; raises NotFound."""
    found = Coupon.objects.select_for_update(no_key=True).filter(code=code.strip().upper()).first()
    if found is None:
        raise NotFound(f"there is no coupon {code!r}", field=field)
    return found


def entry_of(*, coupon: Coupon) -> CouponEntry:
    """Return the terms of a stored coupon."""
    terms = {name: getattr(coupon, name) for name in COUPON_FIELDS}
    return CouponEntry(**(terms | {"plans": tuple(coupon.plans), "prices": tuple(coupon.prices)}))


def coupon_document(*, coupon: Coupon) -> dict[str, Any]:
    """Return a coupon as it would stand in a catalog file; what it does not say is left out."""
    document: dict[str, Any] = {}
    for name, value in asdict(entry_of(coupon=coupon)).items():
        if name in ("code", "name", "duration") or value not in (None, "", (), 0, POSITION_DEFAULT):
            document[name] = (
                plain(value) if isinstance(value, Decimal) else list(value) if isinstance(value, tuple) else value
            )
    return document


def terms_text(*, coupon: Coupon) -> str:
    """Say what a coupon takes off: 20 % off for 3 billing periods."""
    if coupon.percent_off is not None:
        what = f"{plain(coupon.percent_off)} % off"
    else:
        what = f"{coupon.currency} {plain(coupon.amount_off or Decimal(0))} off each"
    if coupon.minimum_amount:
        what += f" where it comes to {coupon.currency} {plain(coupon.minimum_amount)} or more"
    match coupon.duration:
        case CouponDuration.ONCE:
            return f"{what}, one billing period"
        case CouponDuration.REPEATING:
            return f"{what}, {coupon.periods} {counted('billing period', coupon.periods or 0)}"
    return f"{what}, every billing period"


def _unknown_references(entry: CouponEntry, path: str) -> list[FieldError]:
    plans = set(Plan.objects.filter(key__in=entry.plans).values_list("key", flat=True))
    prices = set(Price.objects.filter(key__in=entry.prices).values_list("key", flat=True))
    return [
        FieldError(_at(path, field), "unknown", f"there is no {noun} {key!r}")
        for field, noun, asked, known in (
            ("plans", "plan", entry.plans, plans),
            ("prices", "price", entry.prices, prices),
        )
        for key in asked
        if key not in known
    ]


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
