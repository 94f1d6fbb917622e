"""Rounds of idempotency keys of what is told to Stripe while no intent stands for it: a customer whom no invoice was pushed for, a card that was left."""

from collections.abc import Callable

from django.db import models, transaction
from django.db.models import F

from invoicing.payments.remote import GatewayUnavailable


class KeyRound(models.Model):
    """Which round of keys a subject is in; where there is no row it is in the first, 0. Only `in_round` writes it."""

    subject = models.CharField(max_length=200, unique=True, help_text="What is told, in the words of its keys.")
    number = models.PositiveIntegerField(help_text="How often Stripe has kept a failure under one of its keys.")

    objects = models.Manager["KeyRound"]()

    def __str__(self) -> str:
        return f"{self.subject}: round {self.number}"


def in_round(*, subject: str, call: Callable[[int], str]) -> str:
    """Return what a call brings with keys of its subject's round; call it under the lock of the subject, outside of a transaction.

    A failure that Stripe keeps under such a key would be the answer for a day, so the next round begins, and is tried at once; one that is kept
    in that, too, begins another with the next call. Raises what the call raises.
    """
    number = KeyRound.objects.filter(subject=subject).values_list("number", flat=True).first() or 0
    try:
        return call(number)
    except GatewayUnavailable as error:
        if not error.is_kept:
            raise
        _begin_next(subject)
        return call(number + 1)


@transaction.atomic(durable=True)
def _begin_next(subject: str) -> None:
    KeyRound.objects.get_or_create(subject=subject, defaults={"number": 0})
    KeyRound.objects.filter(subject=subject).update(number=F("number") + 1)
