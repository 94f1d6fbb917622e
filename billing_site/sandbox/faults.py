"""Faults on demand: each kind is ordered for a number of times and strikes until they are used up."""

from django.db.models import F

from billing_site.sandbox.models import SandboxFault

HTTP_500 = "http_500"
RATE_LIMIT = "rate_limit"
TIMEOUT_AFTER_EFFECT = "timeout_after_effect"
DROP_WEBHOOKS = "drop_webhooks"
DUPLICATE_WEBHOOKS = "duplicate_webhooks"
DELAY_WEBHOOKS = "delay_webhooks"
KINDS = (HTTP_500, RATE_LIMIT, TIMEOUT_AFTER_EFFECT, DROP_WEBHOOKS, DUPLICATE_WEBHOOKS, DELAY_WEBHOOKS)


def order(*, kind: str, times: int) -> None:
    """Let a kind of fault strike the next so many times; 0 calls it off."""
    assert kind in KINDS, kind
    SandboxFault.objects.update_or_create(kind=kind, defaults={"times_left": times})


def strikes(kind: str, among: dict[str, int]) -> bool:
    """Use up one strike of a kind, if it is among the outstanding ones; False where none is left."""
    if kind not in among:
        return False
    return SandboxFault.objects.filter(kind=kind, times_left__gt=0).update(times_left=F("times_left") - 1) == 1


def outstanding() -> dict[str, int]:
    """Return the strikes that are left, by kind."""
    return dict(SandboxFault.objects.filter(times_left__gt=0).values_list("kind", "times_left"))
