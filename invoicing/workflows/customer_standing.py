"""What decides about customers now: their state, phases, means of payment and unpaid invoices, read for one or all in one query."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from billing_site.kernel.written_query import WrittenQuery
from invoicing.core.access import Stretch
from invoicing.core.life_cycle import Circumstances, State, Transition, moves_due
from invoicing.core.phases import PhaseKind
from invoicing.customers.life_cycle import with_state
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.customers.restriction import ServiceRestriction
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.queries import not_paid, owed_still
from invoicing.payments.disputes import freezing_disputes
from invoicing.payments.models import PaymentFailure
from invoicing.spend.queries import stopped_until
from invoicing.subscriptions.models import SubscriptionPhase

_PHASE = "subscriptions__phases__"
_COLUMNS = ("kind", "starts_at", "ends_at", "subscription__key", "plan_version__plan__key")
# So many columns of a row are the customer's own, the rest those of a phase.
_HEAD = 13
# So many customers are read at a time where all are.
ROWS = 2_000


@dataclass(frozen=True)
class CustomerStanding:
    """A customer's recorded state and the circumstances at a moment.

    `stretches` are its own phases, `circumstances` know those of the accounts that are billed to it, too: whoever pays for somebody is a customer.
    `billed_to` is the number of who pays for it, and owes in its place; None: itself.
    `overdue_since` is the oldest due date that has passed, `stopped_until` when a spend limit that is reached ends, `disputed_since` when
    the oldest open chargeback was opened that freezes the customer, `restricted_since` since when dunning restricts its service.
    """

    customer_id: int
    recorded: State
    since: datetime | None
    circumstances: Circumstances
    stretches: list[Stretch]
    billed_to: int | None
    overdue_since: date | None
    stopped_until: datetime | None
    disputed_since: datetime | None
    restricted_since: datetime | None
    at: datetime

    @property
    def moves(self) -> tuple[Transition, ...]:
        """Return the moves that are due."""
        return moves_due(state=self.recorded, since=self.since, circumstances=self.circumstances, at=self.at)

    @property
    def state(self) -> State:
        """Return the state as it is, whether or not the sweep has come by to record it."""
        moves = self.moves
        return moves[-1].to if moves else self.recorded


def standings(*, customers: "QuerySet[Customer]", at: datetime) -> Iterator[CustomerStanding]:
    """Yield where each of the customers stands at a moment; one query, and one more where accounts are billed to some."""
    yield from _standings(_rows(customers, at), at)


def standing_of(*, customer_key: str, at: datetime) -> CustomerStanding | None:
    """Return where one customer stands, or None where there is no such; the same query, which is written only once."""
    return next(_standings(_BY_KEY.rows(key=customer_key, at=at), at), None)


def standing_now(*, customer_id: int, at: datetime) -> CustomerStanding:
    """Return where a customer that is there stands, by its number; the same query, which is written only once."""
    [standing] = _standings(_BY_NUMBER.rows(number=customer_id, at=at), at)
    return standing


def perhaps_moving(*, at: datetime) -> list[int]:
    """Return the customers for whom a move may be due at a moment; one query, which knows of each only what would bring a move about.

    Nobody is missing for whom `core/life_cycle.py: moves_due` says one; whether it does is asked of each of these.
    """
    lasting = SubscriptionPhase.objects.filter(Q(ends_at=None) | Q(ends_at__gt=at))
    running = lasting.filter(starts_at__lte=at)
    known = with_state(Customer.objects.all()).annotate(
        owes=_boolean(_is_of(not_paid(at=at)) | _is_of(_refused(at=at))),
        has_lasting=_boolean(_has_phase(lasting)),
        has_running=_boolean(_has_phase(running)),
    )
    rows = known.order_by("pk").values_list("pk", "state", "owes", "has_lasting", "has_running")
    return [
        pk
        for pk, state, owes, has_lasting, has_running in rows.iterator(chunk_size=ROWS)
        if {
            State.TRIAL: True,
            State.ACTIVE: owes or not has_lasting,
            State.PAST_DUE: not owes,
            State.SUSPENDED: not owes,
            State.CHURNED: has_running,
        }[State(state)]
    ]


def _is_of(invoices: "QuerySet[Invoice]") -> Q:
    return Q(pk__in=invoices.order_by().values("customer"))


def _has_phase(phases: "QuerySet[SubscriptionPhase]") -> Q:
    """Say of a customer whether it, or an account that is billed to it, has one of the phases."""
    of_accounts = phases.filter(subscription__customer__billed_to__isnull=False)
    return Q(pk__in=phases.values("subscription__customer")) | Q(
        pk__in=of_accounts.values("subscription__customer__billed_to")
    )


def _boolean(condition: Q) -> ExpressionWrapper:
    return ExpressionWrapper(condition, output_field=BooleanField())


def _refused(*, at: datetime) -> "QuerySet[Invoice]":
    """Return what is owed still though it is not overdue: its charge was refused."""
    failures = PaymentFailure.objects.filter(invoice=OuterRef("pk"), occurred_at__lte=at, by_customer=False)
    return owed_still(invoices=Invoice.objects.filter(Exists(failures), status=InvoiceStatus.ISSUED))


def _rows(customers: "QuerySet[Customer]", at: datetime) -> "QuerySet[Customer, tuple[Any, ...]]":
    oldest = not_paid(at=at).filter(customer=OuterRef("pk")).values("due_date")[:1]
    refused = _refused(at=at).filter(customer=OuterRef("pk"))
    restricted = ServiceRestriction.objects.filter(customer=OuterRef("pk"), lifted_at=None, restricted_at__lte=at)
    disputed = freezing_disputes().filter(payment__customer=OuterRef("pk")).order_by("opened_at")
    return (
        with_state(customers)
        .annotate(
            overdue_since=Subquery(oldest),
            was_refused=Exists(refused),
            stopped_until=stopped_until(customer="pk", at=at),
            disputed_since=Subquery(disputed.values("opened_at")[:1]),
            restricted_since=Subquery(restricted.values("restricted_at")[:1]),
            has_accounts=Exists(Customer.objects.filter(billed_to=OuterRef("pk"))),
            # Who pays has the means, or not.
            channel=Coalesce("billed_to__settlement_channel", "settlement_channel"),
            method=Coalesce("billed_to__payment_method", "payment_method"),
        )
        .values_list(
            "pk",
            "created_at",
            "state",
            "state_since",
            "overdue_since",
            "was_refused",
            "stopped_until",
            "disputed_since",
            "restricted_since",
            "channel",
            "method",
            "billed_to_id",
            "has_accounts",
            *(_PHASE + column for column in _COLUMNS),
        )
        .order_by("pk")
    )


_BY_KEY = WrittenQuery(lambda key, at: _rows(Customer.objects.filter(key=key), at), key=str, at=datetime)
_BY_NUMBER = WrittenQuery(lambda number, at: _rows(Customer.objects.filter(pk=number), at), number=int, at=datetime)


def _standings(rows: Iterable[tuple[Any, ...]], at: datetime) -> Iterator[CustomerStanding]:
    read = [
        (head, _stretches(row[_HEAD:] for row in of_customer))
        for head, of_customer in groupby(rows, key=lambda row: row[:_HEAD])
    ]
    of_accounts = _stretches_of_accounts([head[0] for head, _ in read if head[_HEAD - 1]])
    for head, stretches in read:
        yield _standing(head, stretches, of_accounts.get(head[0], []), at)


def _stretches_of_accounts(payers: Collection[int]) -> dict[int, list[Stretch]]:
    """Return the phases of the accounts that are billed to customers, by these; no query where there are none."""
    if not payers:
        return {}
    phases = SubscriptionPhase.objects.filter(subscription__customer__billed_to__in=payers)
    rows = phases.order_by("subscription__customer__billed_to").values_list(
        "subscription__customer__billed_to", *_COLUMNS
    )
    return {payer: _stretches(row[1:] for row in those) for payer, those in groupby(rows, key=lambda row: row[0])}


def _stretches(rows: Iterable[tuple[Any, ...]]) -> list[Stretch]:
    return [
        Stretch(kind=PhaseKind(kind), starts_at=starts_at, ends_at=ends_at, subscription=subscription, plan=plan)
        for kind, starts_at, ends_at, subscription, plan in rows
        # A customer without a subscription is one row without a phase.
        if kind is not None
    ]


def _standing(
    head: tuple[Any, ...], stretches: list[Stretch], of_accounts: list[Stretch], at: datetime
) -> CustomerStanding:
    pk, created_at, state, since, overdue_since, was_refused, stopped, disputed, restricted, *who_pays = head
    channel, payment_method, payer, _ = who_pays
    circumstances = Circumstances(
        registered_at=created_at,
        stretches=[*stretches, *of_accounts],
        can_pay=channel != SettlementChannel.STRIPE or bool(payment_method),
        owes=overdue_since is not None or bool(was_refused),
    )
    return CustomerStanding(
        pk, State(state), since, circumstances, stretches, payer, overdue_since, stopped, disputed, restricted, at
    )
