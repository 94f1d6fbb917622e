"""What may happen at the gate: a check is set, a draft is held, released, or an ordinary draft again."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.reasons import checked_reason
from invoicing.approvals.models import Approval
from invoicing.approvals.operations import NeedsApproval
from invoicing.core.gate import CHECKS, Check, Finding, Rule
from invoicing.core.gate_states import GateState, may_move
from invoicing.gate.models import GateSetting, HoldOutcome, InvoiceHold
from invoicing.gate.queries import newest_setting, rules_in_force
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.operations import locked_invoice

PLACES_MAX = 6


@transaction.atomic
def set_check(
    *,
    check: Check,
    is_on: bool,
    threshold: Decimal | None,
    takes_two: bool,
    at: datetime,
    actor: str,
    reason: str,
    approval: Approval | None = None,
) -> GateSetting:
    """Set a check from now on, and whether two people release what it holds; what is set already is left as it is.

    Raises InvalidFields at `threshold`, InvalidInput at `reason`, and NeedsApproval where two people release what it holds until now
    and nobody else has approved the change (`workflows/loosen_check.py` asks).
    """
    if errors := _wrong_threshold(check, threshold):
        raise InvalidFields(tuple(errors))
    said = checked_reason(reason=reason)
    last = newest_setting(check=check)
    rule, after = rules_in_force()[check], Rule(is_on, threshold, takes_two)
    if last is not None and rule == after:
        return last
    if approval is None and rule.binds(after):
        raise NeedsApproval("two people release what it holds: somebody else approves a change", field="takes_two")
    try:
        with transaction.atomic():
            return GateSetting.objects.create(
                check_name=check.value,
                number=last.number + 1 if last else 1,
                is_on=is_on,
                threshold=threshold,
                takes_two=takes_two,
                set_at=max(at, last.set_at) if last else at,
                actor=actor,
                reason=said,
                approval=approval,
            )
    except IntegrityError:
        raise Conflict("somebody else has just set this check: look again", code="outdated") from None


def hold(*, invoice: Invoice, findings: Sequence[Finding], at: datetime) -> InvoiceHold:
    """Hold a locked draft for what was found."""
    assert invoice.status == InvoiceStatus.DRAFT and findings, "a draft is held for something"
    return InvoiceHold.objects.create(
        invoice=invoice,
        customer_id=invoice.customer_id,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        currency=invoice.currency,
        total=invoice.total,
        content_digest=invoice.content_digest,
        findings=[{"check": one.check.value, "message": one.message} for one in findings],
        held_at=at,
    )


def end_hold(*, held: InvoiceHold, outcome: HoldOutcome, at: datetime) -> None:
    """Make a locked draft an ordinary one again."""
    _move(held, GateState.DRAFT)
    held.outcome, held.ended_at = outcome.value, at
    held.save(update_fields=["state", "outcome", "ended_at"])


@transaction.atomic
def release_hold(*, hold_id: int, digest: str, at: datetime, actor: str, reason: str) -> InvoiceHold:
    """Release a held draft as it is, so that it may be issued; a second time changes nothing.

    `digest` is that of the draft which the person saw. From the limit of its currency on somebody else has approved it, or the
    database refuses it: `workflows/approve.py` asks first. Raises what `checked_release` raises.
    """
    held = checked_release(hold_id=hold_id, digest=digest, reason=reason)
    if held.released_at is not None:
        return held
    _move(held, GateState.READY)
    held.released_at, held.released_by, held.reason = at, actor, reason.strip()
    held.save(update_fields=["state", "released_at", "released_by", "reason"])
    return held


def checked_release(*, hold_id: int, digest: str, reason: str) -> InvoiceHold:
    """Return a hold, locked with its draft, that may be released as it is, or was.

    Raises InvalidInput at `reason`, and Conflict (code `outdated`) where the draft says something else by now, or is not held any more.
    """
    checked_reason(reason=reason)
    found = InvoiceHold.objects.select_related("invoice").get(pk=hold_id)
    if found.invoice_id is None:
        raise Conflict("the draft is gone: nothing is to be released", code="outdated")
    invoice = locked_invoice(invoice_id=found.invoice_id)
    held = InvoiceHold.objects.select_for_update().get(pk=hold_id)
    held.customer = invoice.customer
    if held.state == GateState.READY and held.content_digest == digest:
        return held
    if (held.state, held.content_digest, invoice.content_digest) != (GateState.HELD, digest, digest):
        raise Conflict("it says something else by now, or is not held any more: look again", code="outdated")
    return held


def subject_of(*, held: InvoiceHold) -> str:
    """Return what an approval calls a hold."""
    return f"hold {held.pk}"


def _move(held: InvoiceHold, to: GateState) -> None:
    if not may_move(start=GateState(held.state), to=to):
        raise Conflict(f"a draft that is {held.state} does not become {to.value}", field="state")
    held.state = to.value


def _wrong_threshold(check: Check, threshold: Decimal | None) -> list[FieldError]:
    terms = CHECKS[check]
    if not terms.threshold:
        return [] if threshold is None else [FieldError("threshold", "unknown", "this check has no threshold")]
    if threshold is None or not threshold.is_finite():
        return [FieldError("threshold", "required", "must be a number")]
    if not terms.low <= threshold <= terms.high:
        return [FieldError("threshold", "out_of_range", f"must be from {terms.low} to {terms.high:,}")]
    exponent = threshold.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "it is finite"
    if terms.is_whole and exponent < 0:
        return [FieldError("threshold", "not_whole", "must be a whole number")]
    return (
        [FieldError("threshold", "too_precise", f"has more than {PLACES_MAX} places")] if -exponent > PLACES_MAX else []
    )
