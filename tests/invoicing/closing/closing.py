"""Closing months in tests: whatever a check finds is signed off, so that a test says only what it is about."""

from datetime import date, datetime

from invoicing.approvals.models import Decision
from invoicing.closing.models import MonthClose
from invoicing.closing.operations import ask_to_reopen
from invoicing.closing.queries import Month
from invoicing.workflows.approve import decide
from invoicing.workflows.close_month import checklist_of, close_month, sign_off

AUGUST_MONTH, SEPTEMBER_MONTH = Month(date(2026, 8, 1)), Month(date(2026, 9, 1))
WHY = {"actor": "ann", "reason": "month end"}


def close(month: Month, *, at: datetime) -> MonthClose:
    """Close a month, as it is."""
    for one in checklist_of(month=month, at=at).open_checks:
        sign_off(month=month, check=one.checked.name, digest=one.checked.digest, at=at, **WHY)
    return close_month(month=month, digest=checklist_of(month=month, at=at).digest, at=at, **WHY)


def reopen(closed: MonthClose, *, at: datetime, asks: str = "ann", approves: str = "bob") -> None:
    """Open a month again, as two persons do."""
    asked = ask_to_reopen(close_id=closed.pk, at=at, actor=asks, reason="an invoice is wrong")
    decide(
        approval_id=asked.pk,
        digest=asked.digest,
        decision=Decision.APPROVED,
        at=at,
        actor=approves,
        reason="seen",
    )
