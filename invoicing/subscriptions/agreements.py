"""What customers agreed to, read at once: subscriptions, phases, plan versions and prices, however many customers there are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from django.db.models import Prefetch, Q, QuerySet

from billing_site.kernel.among import among
from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.models import PlanVersion, Price
from invoicing.catalog.queries import with_rates
from invoicing.catalog.rate_card import OfferedPrice, offered_price
from invoicing.catalog.spend import SpendEntry, spend_entry
from invoicing.core.contract import AdjustmentKind
from invoicing.core.definition import price_from_definition
from invoicing.core.invoice_life import STANDING
from invoicing.core.overrides import Override, in_force
from invoicing.customers.models import Customer
from invoicing.subscriptions.commitment import CommitmentTranche
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import PriceOverride, Subscription, SubscriptionPhase
from invoicing.subscriptions.progressive import InvoicedSoFar, invoiced_so_far

IN_ADVANCE = (AdjustmentKind.IN_ADVANCE, AdjustmentKind.INVOICED_IN_ADVANCE, AdjustmentKind.ADVANCE_CREDIT)


def advance_reference(*, subscription: Subscription, kind: AdjustmentKind) -> str:
    """Return the name of a line about fees in advance; the colon keeps it apart from prices, whose keys have none."""
    return f"{subscription.key}/:{kind.value}"


@dataclass(frozen=True)
class TakenInAdvance:
    """What the invoice or draft of a period takes in advance of a subscription, or, below zero, settles."""

    period: Period
    amount: Decimal
    is_issued: bool = False

    @property
    def rank(self) -> tuple[datetime, datetime]:
        """Sort by the order in which periods are billed."""
        return self.period.end, self.period.start


@dataclass(frozen=True)
class Agreements:
    """The subscriptions of some customers, in the order of their contracts, with phases and plan versions.

    To those of a customer belong those of the accounts that are billed to it, after its own. An account that is asked for has its own.
    Rows that several customers share are one object: a plan's price is read, and compiled, once for all of them.
    """

    subscriptions: Mapping[int, tuple[Subscription, ...]]
    discounts: Mapping[int, tuple[Discount, ...]]
    tranches: Mapping[int, tuple[CommitmentTranche, ...]]
    advances: dict[int, tuple[TakenInAdvance, ...]] = field(default_factory=dict)
    issued: Mapping[int, frozenset[Period]] = field(default_factory=dict)
    computed: dict[int, dict[Period, Mapping[str, Decimal]]] = field(default_factory=dict)
    progressive: Mapping[int, tuple[InvoicedSoFar, ...]] = field(default_factory=dict)
    _overrides: Mapping[tuple[int, int | None, int, str], tuple[Override, ...]] = field(
        default_factory=dict, repr=False
    )
    _offered: dict[tuple[int, str], tuple[tuple[OfferedPrice, Price], ...]] = field(default_factory=dict, repr=False)
    _in_advance: dict[int, bool] = field(default_factory=dict, repr=False)

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
            for row in subscription.known_phases()
            if row.plan_version_id == plan_version_id
        )
        offered = self.prices_of(version=version, currency=customer.currency)
        return version.plan.key, frozenset(price.key for price, _ in offered)

    def tranches_of(self, *, subscription: Subscription) -> tuple[CommitmentTranche, ...]:
        """Return the tranches of the commitments of a subscription."""
        return self.tranches.get(subscription.pk, ())

    def has_fees_in_advance(self, *, subscription: Subscription) -> bool:
        """Say whether a plan version that a subscription has, had or will have charges a fee in advance."""
        found = self._in_advance.get(subscription.pk)
        if found is None:
            currency = subscription.customer.currency
            found = self._in_advance[subscription.pk] = any(
                price.in_advance
                for row in subscription.known_phases()
                for price, _ in self.prices_of(version=row.plan_version, currency=currency)
            )
        return found

    def held_in_advance(self, *, subscription: Subscription, before: Period) -> Decimal:
        """Return what invoices of periods before one have taken of a subscription in advance and not settled.

        The order is that in which periods are billed: by their end.
        """
        rank = (before.end, before.start)
        held = (taken.amount for taken in self.advances.get(subscription.pk, ()) if taken.rank < rank)
        return max(sum(held, Decimal(0)), Decimal(0))

    def is_issued(self, *, customer: Customer, period: Period) -> bool:
        """Say whether a period of a customer who has fees in advance, or progressive invoices, has an issued invoice, its own or that of who pays."""
        return period in self.issued.get(customer.payer_id, frozenset())

    def took_in_advance(self, *, subscription: Subscription, period: Period) -> bool:
        """Say whether the issued invoice of a period has lines about fees of a subscription in advance."""
        taken = self.advances.get(subscription.pk, ())
        return any(one.is_issued and one.period == period for one in taken)

    def settled_after(self, *, subscription: Subscription, period: Period) -> Decimal:
        """Return what issued invoices of later periods settle that these have not taken themselves: it was there when they did.

        Not negative. Drafts of later periods do not count: they are made again after this one.
        """
        rank = (period.end, period.start)
        later = [one for one in self.advances.get(subscription.pk, ()) if one.is_issued and one.rank > rank]
        held = lowest = Decimal(0)
        # What an invoice settles comes before what it takes.
        for one in sorted(later, key=lambda one: (one.rank, one.amount)):
            held = EXACT.add(held, one.amount)
            lowest = min(lowest, held)
        return -lowest

    def computed_of(self, *, customer: Customer) -> Mapping[Period, Mapping[str, Decimal]]:
        """Return the amounts of a customer's invoices that were noted as computed, by reference, for each period."""
        return self.computed.get(customer.pk, {})

    def note_computed(self, *, customer: Customer, period: Period, amounts: Mapping[str, Decimal]) -> None:
        """Count what an invoice, computed and not stored, takes, settles and draws: for the previews of later periods.

        `amounts` are those of its lines, by reference. What a draft of the same period holds is replaced.
        """
        self.computed.setdefault(customer.pk, {})[period] = amounts
        for subscription in self.of_customer(customer=customer):
            others = [taken for taken in self.advances.get(subscription.pk, ()) if taken.period != period]
            amount = Decimal(0)
            for kind in IN_ADVANCE:
                amount = EXACT.add(
                    amount, amounts.get(advance_reference(subscription=subscription, kind=kind), Decimal(0))
                )
            self.advances[subscription.pk] = (*others, TakenInAdvance(period, amount))

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
    """Read what these customers agreed to, for all times: thirteen queries, however many they are; three more where fees in advance were taken, three for progressive invoices."""
    asked = {customer.pk: customer for customer in customers}
    # Who is billed for itself alone or with accounts: these are read with it, and are asked for beside it at times.
    by_id = _with_accounts(asked)
    currencies = {customer.currency for customer in by_id.values()}
    prices = with_rates(Price.objects.filter(currency__in=currencies))
    offered = Prefetch("prices", prices.order_by("position", "id"), to_attr="prices_offered")
    versions = PlanVersion.objects.select_related("plan").prefetch_related(offered, "spend")
    rows = Subscription.objects.filter(among("customer", by_id)).order_by("started_at", "id")
    found: dict[int, list[Subscription]] = {number: [] for number in asked}
    by_number = {row.pk: row for row in rows}
    _read_phases(by_number, versions)
    for row in by_number.values():
        row.customer = by_id[row.customer_id]
        for number in {row.customer_id, row.customer.payer_id} & asked.keys():
            found[number].append(row)
    for number, those in found.items():
        those.sort(key=lambda row: (row.customer_id != number, row.customer_id))
    for row in by_number.values():
        row.parent = by_number[row.parent_id] if row.parent_id is not None else None
    overrides: dict[tuple[int, int | None, int, str], tuple[Override, ...]] = {}
    for own in PriceOverride.objects.filter(among("customer", by_id)).order_by("starts_at"):
        place = (own.customer_id, own.subscription_id, own.plan_id, own.price_key)
        overrides[place] = (*overrides.get(place, ()), core_override(row=own))
    discounts: dict[int, tuple[Discount, ...]] = {}
    for discount in (
        Discount.objects.filter(among("customer", asked)).select_related("coupon", "subscription").order_by("id")
    ):
        discounts[discount.customer_id] = (*discounts.get(discount.customer_id, ()), discount)
    tranches: dict[int, tuple[CommitmentTranche, ...]] = {}
    committed = CommitmentTranche.objects.filter(among("subscription__customer", by_id)).select_related("commitment")
    for tranche in committed.order_by("starts_at"):
        tranche.subscription = by_number[tranche.subscription_id]
        tranches[tranche.subscription_id] = (*tranches.get(tranche.subscription_id, ()), tranche)
    subscriptions = {number: tuple(those) for number, those in found.items()}
    progressive = invoiced_so_far(customers=asked)
    agreements = Agreements(
        subscriptions, discounts, tranches, _taken_in_advance(by_id), {}, {}, progressive, overrides
    )
    in_advance = {
        row.customer.payer_id for row in by_number.values() if agreements.has_fees_in_advance(subscription=row)
    }
    looked_at = in_advance | set(progressive)
    return replace(agreements, issued=_issued(looked_at)) if looked_at else agreements


def _read_phases(subscriptions: Mapping[int, Subscription], versions: "QuerySet[PlanVersion]") -> None:
    """Read the phases of subscriptions and the versions that they are of: Django would make a query set for each subscription."""
    phases: dict[int, list[SubscriptionPhase]] = {number: [] for number in subscriptions}
    for row in SubscriptionPhase.objects.filter(among("subscription", subscriptions)).order_by("starts_at"):
        phases[row.subscription_id].append(row)
    by_number = versions.in_bulk({row.plan_version_id for of_one in phases.values() for row in of_one})
    for number, of_one in phases.items():
        for row in of_one:
            row.plan_version = by_number[row.plan_version_id]
        subscriptions[number].know_phases(of_one)


def billed_to(*, customers: Iterable[int]) -> "QuerySet[Subscription]":
    """Return the subscriptions that customers (ids) are billed for: their own, and those of the accounts that are billed to them."""
    numbers = list(customers)
    return Subscription.objects.filter(Q(customer__in=numbers) | Q(customer__billed_to__in=numbers))


def _with_accounts(asked: Mapping[int, Customer]) -> dict[int, Customer]:
    """Return the customers that are asked for and the accounts that are billed to them, each once."""
    found = dict(asked)
    for account in Customer.objects.filter(among("billed_to", asked)):
        account = found.setdefault(account.pk, account)
        account.billed_to = asked[account.payer_id]
    return found


def _issued(customers: Iterable[int]) -> dict[int, frozenset[Period]]:
    rows = Customer.objects.filter(pk__in=customers, invoices__kind="period", invoices__status__in=STANDING)
    found: dict[int, set[Period]] = {}
    for number, start, end in rows.values_list("pk", "invoices__period_start", "invoices__period_end"):
        found.setdefault(number, set()).add(Period(as_utc(start), as_utc(end)))
    return {number: frozenset(periods) for number, periods in found.items()}


def _taken_in_advance(customers: Iterable[int]) -> dict[int, tuple[TakenInAdvance, ...]]:
    # Asked without their invoices first: most customers have none, and PostgreSQL would read all invoices to say so.
    taking = set(
        Subscription.objects.filter(among("customer", customers), invoice_lines__adjustment__in=IN_ADVANCE).values_list(
            "pk", flat=True
        )
    )
    if not taking:
        return {}
    lines = Subscription.objects.filter(
        among("pk", taking),
        invoice_lines__adjustment__in=IN_ADVANCE,
        invoice_lines__invoice__status__in=("draft", *STANDING),
    )
    found: dict[int, tuple[TakenInAdvance, ...]] = {}
    for number, start, end, status, amount in lines.values_list(
        "pk",
        "invoice_lines__invoice__period_start",
        "invoice_lines__invoice__period_end",
        "invoice_lines__invoice__status",
        "invoice_lines__amount",
    ):
        taken = TakenInAdvance(Period(as_utc(start), as_utc(end)), amount, is_issued=status != "draft")
        found[number] = (*found.get(number, ()), taken)
    # What a credit note gave back of it is held no longer.
    given_back = Subscription.objects.filter(pk__in=found, invoice_lines__credit_note_lines__released__gt=0)
    for number, start, end, released in given_back.values_list(
        "pk",
        "invoice_lines__invoice__period_start",
        "invoice_lines__invoice__period_end",
        "invoice_lines__credit_note_lines__released",
    ):
        taken = TakenInAdvance(Period(as_utc(start), as_utc(end)), -released, is_issued=True)
        found[number] = (*found[number], taken)
    return found


def core_override(*, row: PriceOverride) -> Override:
    """Return a price of a customer's own as the core sees it."""
    return Override(
        price=price_from_definition(row.definition),
        starts_at=as_utc(row.starts_at),
        ends_at=None if row.ends_at is None else as_utc(row.ends_at),
    )
