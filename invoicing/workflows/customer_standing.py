"""What decides about customers now: their state, phases, means of payment and unpaid invoices, read for one or all in one query."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from billing_site.kernel.written_query import WrittenQuery
from invoicing.core.access import Stretch
from invoicing.core.life_cycle import Circumstances, State, Transition, moves_due
from invoicing.core.phases import PhaseKind
from invoicing.customers.life_cycle import with_state
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.models import InvoiceStatus
from invoicing.invoices.queries import not_paid
from invoicing.payments.disputes import freezing_disputes
from invoicing.payments.models import PaymentFailure
from invoicing.spend.queries import stopped_until

_PHASE = "subscriptions__phases__"
_COLUMNS = ("kind", "starts_at", "ends_at", "subscription__key", "plan_version__plan__key")


@dataclass(frozen=True)
class CustomerStanding:
    """A customer's recorded state and the circumstances at a moment.

    `overdue_since` is the oldest due date that has passed, `stopped_until` when a spend limit that is reached ends, `disputed_since` when
    the oldest open chargeback was opened that freezes the customer.
    """

    customer_id: int
    recorded: State
    since: datetime | None
    circumstances: Circumstances
    overdue_since: date | None
    stopped_until: datetime | None
    disputed_since: datetime | None
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
    """Yield where each of the customers stands at a moment; one query."""
    yield from _standings(_rows(customers, at), at)


def standing_of(*, customer_key: str, at: datetime) -> CustomerStanding | None:
    """Return where one customer stands, or None where there is no such; the same query, which is written only once."""
    return next(_standings(_BY_KEY.rows(key=customer_key, at=at), at), None)


def _rows(customers: "QuerySet[Customer]", at: datetime) -> "QuerySet[Customer, tuple[Any, ...]]":
    oldest = not_paid(at=at).filter(customer=OuterRef("pk")).values("due_date")[:1]
    refused = PaymentFailure.objects.filter(
        invoice__customer=OuterRef("pk"), invoice__status=InvoiceStatus.ISSUED, occurred_at__lte=at
    )
    disputed = freezing_disputes().filter(payment__customer=OuterRef("pk")).order_by("opened_at")
    return (
        with_state(customers)
        .annotate(
            overdue_since=Subquery(oldest),
            was_refused=Exists(refused),
            stopped_until=stopped_until(customer="pk", at=at),
            disputed_since=Subquery(disputed.values("opened_at")[:1]),
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
            "settlement_channel",
            "payment_method",
            *(_PHASE + column for column in _COLUMNS),
        )
        .order_by("pk")
    )


_BY_KEY = WrittenQuery(lambda key, at: _rows(Customer.objects.filter(key=key), at), key=str, at=datetime)


def _standings(rows: Iterable[tuple[Any, ...]], at: datetime) -> Iterator[CustomerStanding]:
    for head, of_customer in groupby(rows, key=lambda row: row[:10]):
        yield _standing(head, [row[10:] for row in of_customer], at)


def _standing(head: tuple[Any, ...], phases: list[tuple[Any, ...]], at: datetime) -> CustomerStanding:
    pk, created_at, state, since, overdue_since, was_refused, stopped, disputed, channel, payment_method = head
    stretches = [
        Stretch(kind=PhaseKind(kind), starts_at=starts_at, ends_at=ends_at, subscription=subscription, plan=plan)
        for kind, starts_at, ends_at, subscription, plan in phases
        # A customer without a subscription is one row without a phase.
        if kind is not None
    ]
    circumstances = Circumstances(
        registered_at=created_at,
        stretches=stretches,
        can_pay=channel != SettlementChannel.STRIPE or bool(payment_method),
        owes=overdue_since is not None or bool(was_refused),
    )
    return CustomerStanding(pk, State(state), since, circumstances, overdue_since, stopped, disputed, at)
