"""Build what a test needs, stating only what matters; always through the public operations."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from invoicing.approvals.models import Approval, Decision
from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.core.gate import RULES, Rule
from invoicing.customers.models import Customer
from invoicing.customers.operations import create_customer
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.approve import decide
from invoicing.workflows.loosen_check import set_check_or_ask
from metering.core.parsing import Event
from metering.ingest import accept_events

JULY = datetime(2026, 7, 1, tzinfo=UTC)
AUGUST = datetime(2026, 8, 1, tzinfo=UTC)
SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC)

ACTIONS_METER = {"key": "actions", "name": "Actions", "event_type": "action.consumed", "unit": "action"}
MILLION_TIERS = [
    {"up_to": "1000000", "unit_amount": "0.000025"},
    {"up_to": "10000000", "unit_amount": "0.00002"},
    {"up_to": None, "unit_amount": "0.000015"},
]
_numbers = itertools.count(1)


def usd_per_action(unit_amount: str = "0.01", **members: Any) -> dict[str, Any]:
    """A per-unit price of the meter `actions` in USD."""
    return {
        "key": "actions",
        "name": "Actions",
        "meter": "actions",
        "currency": "USD",
        "model": "per_unit",
        "unit_amount": unit_amount,
        **members,
    }


def usd_fee(amount: str = "29") -> dict[str, Any]:
    """A flat monthly fee in USD."""
    return {"key": "base", "name": "Base fee", "currency": "USD", "model": "flat", "unit_amount": amount}


def a_plan(
    key: str = "pro", *prices: dict[str, Any], at: datetime = datetime(2026, 1, 1, tzinfo=UTC), **terms: Any
) -> None:
    """Load a plan with these prices (or a fee of USD 29 and USD 0.01 an action)."""
    load_catalog(
        document={
            "meters": [ACTIONS_METER],
            "products": [{"key": "platform", "name": "Platform"}],
            "plans": [
                {
                    "key": key,
                    "name": key.capitalize(),
                    "product": "platform",
                    "prices": list(prices) or [usd_fee(), usd_per_action()],
                    **terms,
                }
            ],
        },
        at=at,
        actor="test",
        reason="set up",
    )


def a_customer(key: str = "cust_acme", **fields: Any) -> Customer:
    """A customer in USD who pays by bank transfer, unless said otherwise."""
    known = {
        "name": "Acme GmbH",
        "email": "ap@acme.example",
        "currency": "USD",
        "settlement_channel": "manual",
        "actor": "test",
        "reason": "set up",
    }
    return create_customer(key=key, **(known | fields))


def a_subscription(
    customer: Customer,
    *,
    plan: str = "pro",
    started_at: datetime = JULY,
    anchor: str = "calendar",
    key: str = "",
    trial_ends_at: datetime | None = None,
) -> Subscription:
    """The customer's subscription to the newest version of a plan."""
    return start_subscription(
        key=key or f"sub_{customer.key}",
        customer=customer,
        plan_version=published_version(plan_key=plan),
        started_at=started_at,
        anchor=anchor,
        trial_ends_at=trial_ends_at,
        actor="test",
        reason="set up",
    )


def use(
    customer_id: str,
    quantity: str,
    *,
    at: datetime,
    event_type: str = "action.consumed",
    key: str = "",
    **properties: Any,
) -> None:
    """One accepted usage event."""
    accept_events(events=[an_event(customer_id, quantity, at=at, event_type=event_type, key=key, **properties)])


def an_event(
    customer_id: str,
    quantity: str,
    *,
    at: datetime,
    event_type: str = "action.consumed",
    key: str = "",
    **properties: Any,
) -> Event:
    """An event with a key of its own, unless one is given."""
    key = key or f"event-{next(_numbers)}"
    return Event(
        event_id=key,
        idempotency_key=key,
        event_type=event_type,
        timestamp=at,
        customer_id=customer_id,
        quantity=Decimal(quantity),
        namespace_id="",
        properties=properties,
    )


def amounts(lines: Sequence[Any]) -> list[str]:
    """The amounts of invoice lines as text, in the order of the document."""
    return [f"{line.amount.amount:.2f}" for line in lines]


def nothing_is_checked_before_issue() -> None:
    """Let months without usage after months with it be issued: the test is about something else. What takes two is approved by another."""
    for check, rule in RULES.items():
        off = Rule(is_on=False, threshold=rule.threshold)
        asked = set_check_or_ask(check=check, rule=off, at=JULY, actor="test", reason="set up")
        if isinstance(asked, Approval):
            decide(
                approval_id=asked.pk,
                digest=asked.digest,
                decision=Decision.APPROVED,
                at=JULY,
                actor="colleague",
                reason="set up",
            )


def settle_constraints() -> None:
    """Let the deferred triggers have their say now, as a commit would."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
