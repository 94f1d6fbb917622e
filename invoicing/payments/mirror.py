"""Bring dj-stripe's local tables to the present state of an object at Stripe, one worker at a time for each customer.

dj-stripe fetches what an object refers to while it stores it. Two workers who do that for two objects
of one customer insert the same rows in different orders: duplicate keys and deadlocks (dj-stripe issues
409, 429, 1267). So everything of a customer is mirrored under one lock, and the account and its key,
which all customers share, are there before anything else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import IntegrityError, OperationalError, connection
from djstripe import models as djstripe_models

from invoicing.payments.gateway import pace_other_callers, stripe_errors

ATTEMPTS = 3
MODELS = {
    "balance_transaction": djstripe_models.BalanceTransaction,
    "charge": djstripe_models.Charge,
    "customer": djstripe_models.Customer,
    "dispute": djstripe_models.Dispute,
    "invoice": djstripe_models.Invoice,
    "payment_intent": djstripe_models.PaymentIntent,
    "payment_method": djstripe_models.PaymentMethod,
    "subscription": djstripe_models.Subscription,
}
SHARED = "account"


def mirror(*, object_kind: str, object_id: str, owner: str = "") -> None:
    """Fetch an object's present state and store it, with what it refers to, in dj-stripe's tables.

    `object_kind` is Stripe's word ("invoice", "customer", "payment_intent", ...), `owner` the customer to whom it belongs, where that is
    known. Safe under several workers, twice is harmless. Raises GatewayUnavailable, GatewayRefused (there is no such object).
    Call it outside of a transaction: it talks to Stripe.
    """
    model = MODELS[object_kind]
    pace_other_callers()
    with stripe_errors():
        _ensure_account()
        with _only_one(owner or _owner_of(model, object_id)):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    _store_present_state(model, object_id)
                    return
                except (IntegrityError, OperationalError):
                    # Somebody outside of this function (an admin page, a command) stored the same rows meanwhile.
                    if attempt == ATTEMPTS:
                        raise


def _store_present_state(model: Any, object_id: str) -> None:
    present = model(id=object_id).api_retrieve(api_key=settings.STRIPE_SECRET_KEY)
    model.sync_from_stripe_data(present, api_key=settings.STRIPE_SECRET_KEY)


def _owner_of(model: Any, object_id: str) -> str:
    """Return the customer to whom an object belongs, or the object's own id; it never changes."""
    if model is djstripe_models.Customer:
        return object_id
    if model is djstripe_models.Dispute:
        disputed = model(id=object_id).api_retrieve(api_key=settings.STRIPE_SECRET_KEY)
        return _owner_of(djstripe_models.Charge, str(getattr(disputed.charge, "id", disputed.charge)))
    if not hasattr(model, "customer"):
        return object_id
    known = model.objects.filter(id=object_id).values_list("customer_id", flat=True).first()
    if known:
        return known
    present = model(id=object_id).api_retrieve(api_key=settings.STRIPE_SECRET_KEY)
    return getattr(present, "customer", None) or object_id


def _ensure_account() -> None:
    """Make sure that dj-stripe knows our key and the account behind it; without them it asks for them without end."""
    known = djstripe_models.APIKey.objects.filter(secret=settings.STRIPE_SECRET_KEY)
    if known.filter(djstripe_owner_account__isnull=False).exists():
        return
    with _only_one(SHARED):
        djstripe_models.Account.get_or_retrieve_for_api_key(settings.STRIPE_SECRET_KEY)


@contextmanager
def _only_one(name: str) -> Iterator[None]:
    """Hold the advisory lock of a name in this session; not in a transaction, because Stripe is called meanwhile."""
    number = int.from_bytes(sha256(f"mirror:{name}".encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [number])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
