"""Stripe's payouts and the transactions of its balance: what went to our bank, and what it was made of.

Reference: docs.stripe.com/api/payouts, docs.stripe.com/api/balance_transactions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from moneyed import Money

from invoicing.payments.gateway import client, stripe_errors
from invoicing.payments.minor_units import from_stripe_minor_units
from invoicing.payments.remote import id_of, member_of

PAGE = 100


@dataclass(frozen=True)
class RemotePayout:
    """A payout as Stripe holds it at this moment; a negative one takes from our bank. `is_listed` says that Stripe names its transactions."""

    id: str
    status: str
    amount: Money
    arrival_date: date
    descriptor: str
    trace: str
    failure_code: str
    failure_message: str
    is_automatic: bool
    is_listed: bool
    created_at: datetime


@dataclass(frozen=True)
class RemoteBalanceTransaction:
    """What moved Stripe's balance: `net` is the amount less Stripe's fee, `source` names the charge, refund, dispute or payout that did."""

    id: str
    kind: str
    category: str
    amount: Money
    fee: Money
    net: Money
    source: str
    description: str
    created_at: datetime


def retrieve_payout(payout: str) -> RemotePayout:
    """Return the present state of one payout. Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        return _payout(client().v1.payouts.retrieve(payout))


def payouts_between(*, start: datetime, end: datetime) -> list[RemotePayout]:
    """Return the payouts that were made in [start, end), in whole seconds, newest first. Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        found = client().v1.payouts.list(
            {"created": {"gte": int(start.timestamp()), "lt": int(end.timestamp())}, "limit": PAGE}
        )
        return [_payout(one) for one in found.auto_paging_iter()]


def transactions_of_payout(payout: str) -> list[RemoteBalanceTransaction]:
    """Return what an automatic payout was made of, itself included."""
    with stripe_errors():
        found = client().v1.balance_transactions.list({"payout": payout, "limit": PAGE})
        return [_transaction(one) for one in found.auto_paging_iter()]


def transactions_between(*, start: datetime, end: datetime) -> Iterator[RemoteBalanceTransaction]:
    """Yield what moved the balance in [start, end), in whole seconds, newest first. Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        found = client().v1.balance_transactions.list(
            {"created": {"gte": int(start.timestamp()), "lt": int(end.timestamp())}, "limit": PAGE}
        )
        for one in found.auto_paging_iter():
            yield _transaction(one)


def _payout(payout: Any) -> RemotePayout:
    return RemotePayout(
        id=payout.id,
        status=payout.status,
        amount=from_stripe_minor_units(payout.amount, payout.currency.upper()),
        arrival_date=datetime.fromtimestamp(payout.arrival_date, tz=UTC).date(),
        descriptor=payout.statement_descriptor or "",
        trace=member_of(payout.trace_id, "value"),
        failure_code=payout.failure_code or "",
        failure_message=payout.failure_message or "",
        is_automatic=payout.automatic,
        is_listed=payout.automatic and payout.reconciliation_status == "completed",
        created_at=datetime.fromtimestamp(payout.created, tz=UTC),
    )


def _transaction(transaction: Any) -> RemoteBalanceTransaction:
    currency = transaction.currency.upper()
    return RemoteBalanceTransaction(
        id=transaction.id,
        kind=transaction.type,
        category=transaction.reporting_category,
        amount=from_stripe_minor_units(transaction.amount, currency),
        fee=from_stripe_minor_units(transaction.fee, currency),
        net=from_stripe_minor_units(transaction.net, currency),
        source=id_of(transaction.source),
        description=transaction.description or "",
        created_at=datetime.fromtimestamp(transaction.created, tz=UTC),
    )
