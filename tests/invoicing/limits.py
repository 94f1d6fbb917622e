"""Switches of deeds that take two people: turned on by one, off by two."""

from datetime import datetime
from decimal import Decimal

from invoicing.approvals.models import NO_CURRENCY, Approval, ApprovedDeed, Decision
from invoicing.workflows.approve import decide
from invoicing.workflows.loosen_limit import set_limit_or_ask


def switch(deed: ApprovedDeed, *, on: bool, at: datetime) -> None:
    """Say whether a deed over no amount takes two people: as otto asks, and olga approves where that is looser."""
    asked = set_limit_or_ask(
        deed=deed,
        currency=NO_CURRENCY,
        amount=Decimal(0) if on else None,
        at=at,
        actor="otto",
        reason="agreed with the board",
    )
    if isinstance(asked, Approval):
        decide(
            approval_id=asked.pk,
            digest=asked.digest,
            decision=Decision.APPROVED,
            at=at,
            actor="olga",
            reason="as agreed",
        )
