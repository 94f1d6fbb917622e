"""Who of the house is asked about cases, and what of that is overdue."""

from datetime import datetime

from django.db.models import QuerySet

from dunning.cases.models import DunningCase
from dunning.core.case_life import LIVE
from dunning.handover.models import Escalation


def escalation_of(*, case_id: int) -> Escalation | None:
    """Return who is asked about a case, or None."""
    return Escalation.objects.filter(case=case_id, ended_at=None).first()


def overdue_escalations(*, at: datetime) -> "QuerySet[Escalation]":
    """Return the escalations of live cases whose day is over (UTC), and nobody else was asked since, oldest first."""
    overdue = Escalation.objects.filter(ended_at=None, until__lt=at.date(), case__state__in=LIVE)
    return overdue.select_related("case__customer").order_by("until", "pk")


def escalated_cases(*, at: datetime) -> "QuerySet[DunningCase]":
    """Return the cases of escalations that are overdue."""
    return DunningCase.objects.filter(pk__in=overdue_escalations(at=at).values("case")).select_related("customer")
