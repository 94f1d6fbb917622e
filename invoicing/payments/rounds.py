"""Rounds of idempotency keys: what Stripe is told under a key is written down before, and told again word by word (docs.stripe.com/api/idempotent_requests).

Stripe refuses a key that comes with other parameters, repeats a failure that it keeps under one, and forgets it after a day. So an attempt after midnight
tells the due date of the first one; and a new round, with keys and words of its own, begins when a key is of no use any more. What the round before
began is looked up first.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from invoicing.payments.models import PushIntent, StripeCustomer
from invoicing.payments.told import due_at_stripe

# Stripe keeps a key for a day at least.
KEYS_KEPT = timedelta(hours=20)


def goes_on(intent: PushIntent, *, at: datetime) -> bool:
    """Say whether the round that was begun is still of use."""
    told = intent.told
    if "since" not in told or told["is_spent"] or told["retry_count"] != intent.retry_count:
        return False
    return at - datetime.fromisoformat(told["since"]) < KEYS_KEPT


def new_round(intent: PushIntent, *, customer: StripeCustomer, at: datetime) -> dict[str, Any]:
    """Return what Stripe is told in a new round, to be written down before the first call."""
    due_at = None if customer.payment_method else due_at_stripe(intent.invoice, at=at)
    return {
        "round": round_of(intent, at=at),
        "retry_count": intent.retry_count,
        "is_spent": False,
        "since": at.isoformat(),
        "customer": customer.stripe_id,
        "due_at": due_at.isoformat() if due_at else None,
    }


def spent(intent: PushIntent, *, at: datetime) -> dict[str, Any]:
    """Return the round that ends because Stripe keeps a failure under one of its keys."""
    return {**intent.told, "round": round_of(intent, at=at), "is_spent": True}


def round_of(intent: PushIntent, *, at: datetime) -> int:
    """Return the number of the round, of the next one where one has ended, by its age, too: under the same keys other words would be refused."""
    number: int = intent.told.get("round", 0)
    is_over = intent.told.get("is_spent") or ("since" in intent.told and not goes_on(intent, at=at))
    return number + bool(is_over)


def due_at_of(told: Mapping[str, Any]) -> datetime | None:
    """Return until when the customer pays by itself; None where it is charged."""
    return datetime.fromisoformat(told["due_at"]) if told["due_at"] else None


def key_of(intent: PushIntent, *, step: str) -> str:
    """Return the idempotency key of one step."""
    return f"{intent.key}:{intent.retry_count}:{intent.told['round']}:{step}"
