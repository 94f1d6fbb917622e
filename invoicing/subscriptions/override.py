"""Agree a price of its own with a customer, for a time or until further notice, or go back to the plan's."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import transaction
from django.db.models import Max

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, InvalidInput
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import as_utc
from invoicing.catalog.document import PriceEntry
from invoicing.catalog.meter_fit import meter_mistakes
from invoicing.catalog.models import Plan, Price
from invoicing.core.contract import Price as CorePrice
from invoicing.core.contract import PriceModel
from invoicing.core.definition import definition_of
from invoicing.core.invoice_life import STANDING
from invoicing.core.overrides import Override, laid_over
from invoicing.core.phases import phase_at
from invoicing.subscriptions.agreements import core_override
from invoicing.subscriptions.models import PriceOverride, Subscription
from invoicing.subscriptions.phases import check_moment, check_within, locked_subscription
from invoicing.subscriptions.timelines import timeline_of


class Scope(StrEnum):
    """For which subscriptions a price of its own holds."""

    SUBSCRIPTION = "subscription"
    CUSTOMER = "customer"


@dataclass(frozen=True)
class OwnPrice:
    """What is agreed about one price of a plan: another price, or (None) the plan's again, until a moment or further notice."""

    price_key: str
    price: CorePrice | None
    until: datetime | None = None
    scope: Scope = Scope.SUBSCRIPTION

    def document(self) -> dict[str, Any]:
        """Return it as a canonical document."""
        return {
            "price": self.price_key,
            "definition": None if self.price is None else definition_of(self.price),
            "until": None if self.until is None else as_utc(self.until).isoformat(),
            "scope": self.scope.value,
        }


@dataclass(frozen=True)
class Place:
    """Whose prices follow each other in time: a customer's or one subscription's, for one price of a plan."""

    customer: int
    subscription: int | None
    plan: int
    price_key: str

    def document(self) -> dict[str, Any]:
        """Return it as the database writes it (`is_agreed_by_two`)."""
        return {
            "customer": self.customer,
            "subscription": self.subscription,
            "plan": self.plan,
            "price": self.price_key,
        }

    def rows(self) -> list[PriceOverride]:
        """Return what is stored of it, in the order of time."""
        rows = PriceOverride.objects.filter(
            customer=self.customer, subscription=self.subscription, plan=self.plan, price_key=self.price_key
        )
        return list(rows.order_by("starts_at"))


@dataclass(frozen=True)
class Agreement:
    """What would hold in a place once a price is agreed, and what holds until then."""

    place: Place
    before: tuple[Override, ...]
    after: tuple[Override, ...]

    @property
    def changes_nothing(self) -> bool:
        """Say whether it is so already."""
        return self.before == self.after

    def document(self) -> dict[str, Any]:
        """Return it as a canonical document; the database compares what is stored with `after`."""
        return {
            "place": self.place.document(),
            "before": [_document(one) for one in self.before],
            "after": [_document(one) for one in self.after],
        }


@transaction.atomic
def override_price(*, subscription: Subscription, own: OwnPrice, at: datetime, actor: str, reason: str) -> Subscription:
    """Let another price hold from `at` on, in place of the one in the plan that is in force then, in all its versions.

    It is laid over what was agreed for that time before; the same a second time changes nothing. Raises InvalidFields,
    InvalidInput or Conflict naming `price`, `definition`, `until` or `at`.
    """
    locked = locked_subscription(subscription=subscription)
    agreement = agreement_on(subscription=locked, own=own, at=at)
    if not agreement.changes_nothing:
        _write(agreement, actor=actor, reason=reason)
    return locked


def agreement_on(*, subscription: Subscription, own: OwnPrice, at: datetime) -> Agreement:
    """Return what `override_price` would store for a subscription that the caller has locked; raises what it raises."""
    check_moment(subscription=subscription, at=at)
    at, until = as_utc(at), None
    if own.until is not None:
        check_within(since=subscription.started_at, at=own.until, field="until")
        until = as_utc(own.until)
        if until <= at:
            raise InvalidInput("must be after the moment from which it holds", field="until", code="not_after")
    plan = _plan_at(subscription, at)
    _check_price(subscription, plan, own, at=at)
    alone = subscription.pk if own.scope is Scope.SUBSCRIPTION else None
    place = Place(subscription.customer_id, alone, plan.pk, own.price_key)
    before = tuple(core_override(row=row) for row in place.rows())
    after = laid_over(overrides=before, since=at, until=until)
    if own.price is not None:
        after = _joined((*after, Override(own.price, at, until)))
    if after == _joined(before):
        return Agreement(place, before, before)
    _refuse_invoiced(subscription, plan, own, at=at)
    return Agreement(place, before, after)


def _plan_at(subscription: Subscription, at: datetime) -> Plan:
    phase = phase_at(phases=timeline_of(subscription=subscription).phases, moment=at)
    assert phase is not None, "a moment within the subscription is in one of its phases"
    return next(row.plan_version.plan for row in subscription.phases.all() if row.plan_version_id == phase.plan)


def _check_price(subscription: Subscription, plan: Plan, own: OwnPrice, *, at: datetime) -> None:
    phase = phase_at(phases=timeline_of(subscription=subscription).phases, moment=at)
    assert phase is not None, "it was found before"
    prices = Price.objects.filter(plan_version=phase.plan, currency=subscription.customer.currency)
    listed = prices.filter(key=own.price_key).select_related("meter").first()
    if listed is None:
        known = ", ".join(prices.order_by("position").values_list("key", flat=True))
        raise InvalidInput(f"{plan.name} has no such price then; it has {known}", field="price", code="unknown")
    if own.price is not None and (own.price.model is PriceModel.FLAT) != (listed.meter_id is None):
        kind = "a fee: its model is flat" if listed.meter_id is None else "a price of usage: its model is not flat"
        raise InvalidFields((FieldError("definition.model", "other_kind", f"{listed.name} is {kind}"),))
    if own.price is not None and listed.meter is not None:
        meter = listed.meter
        entry = PriceEntry(own.price_key, own.price_key, meter.key, listed.currency, own.price)
        mistakes = meter_mistakes(price=entry, meters={meter.key: meter}, path="definition")
        if mistakes:
            raise InvalidFields(tuple(mistakes))


def _document(one: Override) -> dict[str, Any]:
    return {
        "definition": definition_of(one.price),
        "starts_at": _moment(one.starts_at),
        "ends_at": None if one.ends_at is None else _moment(one.ends_at),
    }


def _moment(at: datetime) -> str:
    """Write a moment as the database does: in UTC, to the microsecond."""
    return f"{as_utc(at):%Y-%m-%dT%H:%M:%S.%f}Z"


def _joined(overrides: tuple[Override, ...]) -> tuple[Override, ...]:
    """Make neighbours with the same price one."""
    joined: list[Override] = []
    for one in sorted(overrides, key=lambda override: override.starts_at):
        if joined and joined[-1].ends_at == one.starts_at and joined[-1].price == one.price:
            joined[-1] = Override(one.price, joined[-1].starts_at, one.ends_at)
        else:
            joined.append(one)
    return tuple(joined)


def _refuse_invoiced(subscription: Subscription, plan: Plan, own: OwnPrice, *, at: datetime) -> None:
    charged = Price.objects.filter(
        plan_version__plan=plan,
        key=own.price_key,
        invoice_lines__kind="charge",
        invoice_lines__subscription__customer=subscription.customer_id,
        invoice_lines__invoice__status__in=STANDING,
        **({"invoice_lines__subscription": subscription.pk} if own.scope is Scope.SUBSCRIPTION else {}),
    )
    until = charged.aggregate(until=Max("invoice_lines__service_end"))["until"]
    if until is not None and until > at:
        message = f"{own.price_key} is invoiced until {as_utc(until).isoformat().replace('+00:00', 'Z')}: agree it from then on"
        raise Conflict(message, field="at", code="invoiced_already")


def _write(agreement: Agreement, *, actor: str, reason: str) -> None:
    """Put overrides in place of those that are stored: what goes makes room first, what stays is cut or lengthened."""
    place, kept = agreement.place, {one.starts_at: one for one in agreement.after}
    left: dict[datetime, PriceOverride] = {}
    for row in place.rows():
        stays = kept.get(as_utc(row.starts_at))
        if stays is not None and core_override(row=row).price == stays.price:
            left[stays.starts_at] = row
        else:
            row._change_reason = f"{actor}: {reason}"  # type: ignore[attr-defined]
            row.delete()
    for one in agreement.after:
        stored = left.get(one.starts_at)
        if stored is None:
            stored = PriceOverride(
                customer_id=place.customer,
                subscription_id=place.subscription,
                plan_id=place.plan,
                price_key=place.price_key,
                definition=definition_of(one.price),
                starts_at=one.starts_at,
            )
        elif stored.ends_at == one.ends_at:
            continue
        stored.ends_at = one.ends_at
        save_with_reason(stored, actor=actor, reason=reason)
