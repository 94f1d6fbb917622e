"""Faults on demand: each kind is ordered for a number of times, or for so many of a hundred, and strikes until it is called off."""

import secrets

from django.db.models import F, Q

from billing_site.sandbox.models import SandboxFault

HTTP_500 = "http_500"
HTTP_500_ON_WRITES = "http_500_on_writes"
# As Stripe does where a request has failed in the middle: the key gets this answer again and again.
KEPT_500 = "kept_500"
RATE_LIMIT = "rate_limit"
TIMEOUT_AFTER_EFFECT = "timeout_after_effect"
DROP_WEBHOOKS = "drop_webhooks"
DUPLICATE_WEBHOOKS = "duplicate_webhooks"
DELAY_WEBHOOKS = "delay_webhooks"
REORDER_WEBHOOKS = "reorder_webhooks"
KINDS = (
    HTTP_500,
    HTTP_500_ON_WRITES,
    KEPT_500,
    RATE_LIMIT,
    TIMEOUT_AFTER_EFFECT,
    DROP_WEBHOOKS,
    DUPLICATE_WEBHOOKS,
    DELAY_WEBHOOKS,
    REORDER_WEBHOOKS,
)
# Numbers that stand until they are changed: how many calls it takes in any second, by how much the clock of its signatures is wrong, and how long ago it is for it.
CALLS_PER_SECOND = "calls_per_second"
CLOCK_SKEW_SECONDS = "clock_skew_seconds"
CLOCK_BEHIND_SECONDS = "clock_behind_seconds"
LEVELS = (CALLS_PER_SECOND, CLOCK_SKEW_SECONDS, CLOCK_BEHIND_SECONDS)

Ordered = dict[str, SandboxFault]


def order(*, kind: str, times: int) -> None:
    """Let a kind of fault strike the next so many times; 0 calls it off."""
    assert kind in KINDS, kind
    SandboxFault.objects.update_or_create(kind=kind, defaults={"times_left": times})


def order_percent(*, kind: str, percent: int) -> None:
    """Let a kind of fault strike so many of a hundred; 0 calls it off."""
    assert kind in KINDS, kind
    SandboxFault.objects.update_or_create(kind=kind, defaults={"percent": percent})


def set_level(*, kind: str, level: int) -> None:
    """Set one of the standing numbers; 0 is what a sound Stripe has."""
    assert kind in LEVELS, kind
    SandboxFault.objects.update_or_create(kind=kind, defaults={"level": level})


def call_off() -> None:
    """Call everything off that is ordered."""
    SandboxFault.objects.update(times_left=0, percent=0, level=0)


def strikes(kind: str, among: Ordered) -> bool:
    """Say whether a kind strikes now, using up one of the times that are left; by chance otherwise."""
    fault = among.get(kind)
    if fault is None:
        return False
    if fault.percent and secrets.randbelow(100) < fault.percent:
        return True
    if not fault.times_left:
        return False
    return SandboxFault.objects.filter(kind=kind, times_left__gt=0).update(times_left=F("times_left") - 1) == 1


def level_of(kind: str, among: Ordered) -> int:
    """Return one of the standing numbers; 0 where nothing was said."""
    return among[kind].level if kind in among else 0


def ordered() -> Ordered:
    """Return what is ordered at this moment, by kind."""
    standing = SandboxFault.objects.filter(Q(times_left__gt=0) | Q(percent__gt=0) | ~Q(level=0))
    return {fault.kind: fault for fault in standing}


def outstanding() -> dict[str, int]:
    """Return the strikes that are left, by kind."""
    return {kind: fault.times_left for kind, fault in ordered().items() if fault.times_left}


def rates() -> dict[str, int]:
    """Return of what is ordered by the hundred how much, and the standing numbers."""
    return {kind: fault.percent or fault.level for kind, fault in ordered().items() if fault.percent or fault.level}
