"""Settle a contradiction: keep the accepted event, or amend it to what the refused one says."""

from typing import Any

from django.db import transaction

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.reasons import checked_reason
from metering.correcting import MeterEffect, amend_event, effect_of_amending
from metering.models import EventConflict
from metering.queries.contradictions import CONTENT, contents_of

KEPT, AMENDED = "kept", "amended"


@transaction.atomic
def keep_accepted(*, conflict_id: int, actor: str, reason: str) -> EventConflict:
    """Say that the accepted event is right; nothing else changes. Raises NotFound, InvalidInput, Conflict if amended."""
    checked_reason(reason=reason)
    conflict = _to_settle(conflict_id, KEPT)
    return conflict if conflict.settled_at else _settle(conflict, KEPT, actor=actor, reason=reason)


@transaction.atomic
def amend_to_refused(*, conflict_id: int, actor: str, reason: str) -> EventConflict:
    """Say that the refused event is right: the accepted one is amended to its content, at the accepted time.

    A second call changes nothing. Raises what `amend_event` raises, NotFound, and Conflict where it was kept.
    """
    checked_reason(reason=reason)
    conflict = _to_settle(conflict_id, AMENDED)
    if conflict.settled_at:
        return conflict
    amend_event(
        customer_id=conflict.customer_id,
        idempotency_key=conflict.idempotency_key,
        changes=_refused_content(conflict),
        actor=actor,
        reason=reason,
    )
    return _settle(conflict, AMENDED, actor=actor, reason=reason)


def effect_of_settling(*, conflict: EventConflict) -> list[MeterEffect]:
    """Return what `amend_to_refused` would do to each meter's quantity; nothing stays. Raises what `amend_event` raises."""
    return effect_of_amending(
        customer_id=conflict.customer_id,
        idempotency_key=conflict.idempotency_key,
        changes=_refused_content(conflict),
    )


def _refused_content(conflict: EventConflict) -> dict[str, Any]:
    """Return what the refused event says; when it was stamped does not matter, so the accepted time stays."""
    _, refused = contents_of(conflict_id=conflict.pk)
    return {name: refused[name] for name in CONTENT}


def _to_settle(conflict_id: int, outcome: str) -> EventConflict:
    conflict = EventConflict.objects.select_for_update().filter(pk=conflict_id).first()
    if conflict is None:
        raise NotFound(f"there is no contradiction {conflict_id}", field="conflict")
    if conflict.settled_at and conflict.outcome != outcome:
        raise Conflict(f"{conflict.settled_by} has settled this on {conflict.settled_at:%Y-%m-%d}: {conflict.outcome}")
    return conflict


def _settle(conflict: EventConflict, outcome: str, *, actor: str, reason: str) -> EventConflict:
    assert actor, "somebody settles"
    conflict.settled_at, conflict.settled_by = now(), actor
    conflict.outcome, conflict.reason = outcome, reason.strip()
    conflict.save(update_fields=["settled_at", "settled_by", "outcome", "reason"])
    return conflict
