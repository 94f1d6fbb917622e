"""What customers agreed to, read at once: subscriptions, phases, plan versions and prices, however many customers there are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.db.models import Prefetch

from billing_site.kernel.period import as_utc
from invoicing.catalog.models import PlanVersion, Price
from invoicing.catalog.queries import with_rates
from invoicing.catalog.rate_card import OfferedPrice, offered_price
from invoicing.catalog.spend import SpendEntry, spend_entry
from invoicing.core.definition import price_from_definition
from invoicing.core.overrides import Override, in_force
from invoicing.customers.models import Customer
from invoicing.subscriptions.commitment import CommitmentTranche
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import PriceOverride, Subscription, SubscriptionPhase


@dataclass(frozen=True)
class Agreements:
    """The subscriptions of some customers, in the order of their contracts, with phases and plan versions.

    Rows that several customers share are one object: a plan's price is read, and compiled, once for all of them.
    """

    subscriptions: Mapping[int, tuple[Subscription, ...]]
    discounts: Mapping[int, tuple[Discount, ...]]
    tranches: Mapping[int, tuple[CommitmentTranche, ...]]
    _overrides: Mapping[tuple[int, int | None, int, str], tuple[Override, ...]] = field(
        default_factory=dict, repr=False
    )
    _offered: dict[tuple[int, str], tuple[tuple[OfferedPrice, Price], ...]] = field(default_factory=dict, repr=False)

    def of_customer(self, *, customer: Customer) -> tuple[Subscription, ...]:
        """Return the subscriptions of a customer who was asked for."""
        return self.subscriptions[customer.pk]

    def discounts_of(self, *, customer: Customer) -> tuple[Discount, ...]:
        """Return the discounts of a customer who was asked for, with their coupons."""
        return self.discounts.get(customer.pk, ())

    def prices_of(self, *, version: PlanVersion, currency: str) -> tuple[tuple[OfferedPrice, Price], ...]:
        """Return the prices of a plan version that some of these subscriptions have, in the order of the document, with their rows."""
        found = self._offered.get((version.pk, currency))
        if found is None:
            rows = [row for row in version.prices_offered if row.currency == currency]  # type: ignore[attr-defined]
            found = self._offered[version.pk, currency] = tuple((offered_price(row=row), row) for row in rows)
        return found

    def sold_as(self, *, customer: Customer, plan_version_id: int) -> tuple[str, frozenset[str]]:
        """Return the key of the plan of a version that a customer has or had, and of its prices in the customer's currency."""
        version = next(
            row.plan_version
            for subscription in self.of_customer(customer=customer)
            for row in subscription.phases.all()
            if row.plan_version_id == plan_version_id
        )
        offered = self.prices_of(version=version, currency=customer.currency)
        return version.plan.key, frozenset(price.key for price, _ in offered)

    def tranches_of(self, *, subscription: Subscription) -> tuple[CommitmentTranche, ...]:
        """Return the tranches of the commitments of a subscription."""
        return self.tranches.get(subscription.pk, ())

    def spend_of(self, *, version: PlanVersion, currency: str) -> SpendEntry | None:
        """Return the minimum and maximum spend of a plan version that some of these subscriptions have, or None."""
        return next((spend_entry(row=row) for row in version.spend.all() if row.currency == currency), None)

    def overrides_of(self, *, subscription: Subscription, plan_id: int, price_key: str) -> tuple[Override, ...]:
        """Return the prices of its own that hold for a subscription in place of a plan's, in the order of time."""
        if not self._overrides:
            return ()
        general, special = (
            self._overrides.get((subscription.customer_id, number, plan_id, price_key), ())
            for number in (None, subscription.pk)
        )
        return in_force(general=general, special=special)


def agreements_of(*, customers: Iterable[Customer]) -> Agreements:
    """Read what these customers agreed to, for all times: ten queries, however many they are."""
    by_id = {customer.pk: customer for customer in customers}
    currencies = {customer.currency for customer in by_id.values()}
    prices = with_rates(Price.objects.filter(currency__in=currencies))
    offered = Prefetch("prices", prices.order_by("position", "id"), to_attr="prices_offered")
    versions = PlanVersion.objects.select_related("plan").prefetch_related(offered, "spend")
    phases = SubscriptionPhase.objects.order_by("starts_at").prefetch_related(Prefetch("plan_version", versions))
    rows = Subscription.objects.filter(customer__in=by_id).prefetch_related(Prefetch("phases", phases))
    found: dict[int, list[Subscription]] = {number: [] for number in by_id}
    for row in rows.order_by("started_at", "id"):
        row.customer = by_id[row.customer_id]
        found[row.customer_id].append(row)
    for of_customer in found.values():
        by_number = {row.pk: row for row in of_customer}
        for row in of_customer:
            row.parent = by_number[row.parent_id] if row.parent_id is not None else None
    overrides: dict[tuple[int, int | None, int, str], tuple[Override, ...]] = {}
    for own in PriceOverride.objects.filter(customer__in=by_id).order_by("starts_at"):
        place = (own.customer_id, own.subscription_id, own.plan_id, own.price_key)
        overrides[place] = (*overrides.get(place, ()), core_override(row=own))
    discounts: dict[int, tuple[Discount, ...]] = {}
    for discount in Discount.objects.filter(customer__in=by_id).select_related("coupon", "subscription").order_by("id"):
        discounts[discount.customer_id] = (*discounts.get(discount.customer_id, ()), discount)
    tranches: dict[int, tuple[CommitmentTranche, ...]] = {}
    committed = CommitmentTranche.objects.filter(subscription__customer__in=by_id).select_related("commitment")
    for tranche in committed.order_by("starts_at"):
        tranches[tranche.subscription_id] = (*tranches.get(tranche.subscription_id, ()), tranche)
    subscriptions = {number: tuple(those) for number, those in found.items()}
    return Agreements(subscriptions, discounts, tranches, overrides)


def core_override(*, row: PriceOverride) -> Override:
    """Return a price of a customer's own as the core sees it."""
    return Override(
        price=price_from_definition(row.definition),
        starts_at=as_utc(row.starts_at),
        ends_at=None if row.ends_at is None else as_utc(row.ends_at),
    )
