"""What may be asked about cases."""

from django.db.models import Max, Q, QuerySet

from dunning.arrangements.models import Promise
from dunning.cases.models import DunningCase
from dunning.core.case_life import LIVE, CaseState


def cases_with_broken_promises() -> "QuerySet[DunningCase]":
    """Return the live cases in which a promise was broken, and no other was made since; `broken_at` says when, the longest ago first."""
    broken = Promise.objects.filter(outcome="broken").values("case")
    waiting = Promise.objects.filter(ended_at=None).values("case")
    cases = DunningCase.objects.filter(state__in=LIVE, pk__in=broken).exclude(pk__in=waiting)
    cases = cases.annotate(broken_at=Max("promises__ended_at", filter=Q(promises__outcome="broken")))
    return cases.select_related("customer").order_by("broken_at", "pk")


def ended_cases() -> "QuerySet[DunningCase]":
    """Return the cases that only people go on with: handed over, or with no step to come."""
    cases = DunningCase.objects.filter(state__in=(CaseState.HANDED_OVER, CaseState.EXHAUSTED))
    return cases.select_related("customer").order_by("state_since", "pk")
