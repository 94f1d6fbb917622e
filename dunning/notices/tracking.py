"""What a mail provider tells of a mail after it took it: delivered, bounced, called unwanted. Anymail speaks each provider's own language, and verifies who speaks.

It is the one signal that we listen to: anymail's webhooks have no other way to tell (`dunning.apps` connects it).
"""

import logging
from datetime import datetime
from typing import Any, Final

from anymail.signals import EventType, RejectReason
from django.db import transaction

from billing_site.kernel.clock import now
from billing_site.kernel.digest import digest_of
from dunning.notices.models import BLOCKING, BlockedAddress, MailEvent, MailEventKind, Notice

logger = logging.getLogger(__name__)

KINDS: Final = {
    EventType.DELIVERED: MailEventKind.DELIVERED,
    EventType.DEFERRED: MailEventKind.DELAYED,
    EventType.BOUNCED: MailEventKind.BOUNCE,
    EventType.REJECTED: MailEventKind.BOUNCE,
    EventType.FAILED: MailEventKind.SOFT_BOUNCE,
    EventType.COMPLAINED: MailEventKind.COMPLAINT,
    EventType.UNSUBSCRIBED: MailEventKind.COMPLAINT,
}
# Of what bounced: these pass, or are no fault of the address.
PASSING: Final = (RejectReason.TIMED_OUT, RejectReason.BLOCKED, RejectReason.OTHER)
# Anymail calls both kinds of bounces one: where and how Postmark, Brevo, Amazon, Mailgun and Mailjet say that one passes.
TOLD_IN: Final = (("Type",), ("event",), ("bounce", "bounceType"), ("event-data", "severity"), ("hard_bounce",))
SOFT: Final = ("softbounce", "soft_bounce", "transient", "undetermined", "temporary", "false")
SAID_MAX = 500


def hear(sender: Any, event: Any, esp_name: str, **_: Any) -> None:
    """Record what anymail's webhook has verified; anything else that providers tell (opened, clicked) is nobody's business."""
    kind = KINDS.get(event.event_type)
    if kind is None or not event.recipient:
        return
    if kind is MailEventKind.BOUNCE and (event.reject_reason in PASSING or _is_soft(event.esp_event)):
        kind = MailEventKind.SOFT_BOUNCE
    record_event(
        kind=kind,
        address=event.recipient,
        provider_id=event.message_id or "",
        notice_key=str((event.metadata or {}).get("notice", "")),
        named=f"{esp_name} {event.event_id or ''} {event.event_type}",
        said=" ".join(filter(None, (event.description, event.mta_response))),
        occurred_at=event.timestamp or now(),
    )


@transaction.atomic
def record_event(
    *,
    kind: MailEventKind,
    address: str,
    provider_id: str,
    notice_key: str,
    named: str,
    said: str,
    occurred_at: datetime,
) -> MailEvent:
    """Keep what became of a mail, once however often it is told; after a bounce or a complaint the address is not written to any more."""
    small = address.strip().lower()[:254]
    notice = _notice(provider_id=provider_id, notice_key=notice_key, address=small)
    told = {
        "named": named,
        "mail": provider_id,
        "notice": str(notice.pk) if notice else notice_key,
        "address": small,
        "kind": kind.value,
        "at": occurred_at.isoformat(),
    }
    event, is_new = MailEvent.objects.get_or_create(
        key=digest_of(told),
        defaults={
            "notice": notice,
            "kind": kind,
            "address": small,
            "said": said.replace("\x00", "")[:SAID_MAX],
            "occurred_at": occurred_at,
        },
    )
    if is_new and kind in BLOCKING:
        logger.warning("%s is not written to any more: %s", small, kind)
        # One that is blocked already stays so by its first event.
        blocked = BlockedAddress(address=small, event=event, blocked_at=occurred_at)
        BlockedAddress.objects.bulk_create([blocked], ignore_conflicts=True)
    return event


def _is_soft(told: Any) -> bool:
    """Say whether the provider's own words call a bounce one that passes; what says nothing does not pass."""
    for path in TOLD_IN:
        found = told
        for name in path:
            found = found.get(name) if hasattr(found, "get") else None
        if str(found).lower() in SOFT:
            return True
    return False


def _notice(*, provider_id: str, notice_key: str, address: str) -> Notice | None:
    """Return the notice that a mail was, by the provider's name of it or our own; only one that went to this address."""
    found = Notice.objects.filter(to_address__iexact=address)
    if provider_id and (by_provider := found.filter(provider_id=provider_id).first()):
        return by_provider
    is_key = notice_key.isascii() and notice_key.isdecimal() and len(notice_key) < 19
    return found.filter(pk=int(notice_key)).first() if is_key else None
