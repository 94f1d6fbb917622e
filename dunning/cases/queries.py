"""What may be asked about cases."""

from django.db.models import Case, Exists, F, Max, OuterRef, Q, QuerySet, Subquery, When

from dunning.arrangements.models import Promise
from dunning.cases.models import CaseStep, DunningCase
from dunning.core.case_life import LIVE, CaseState
from dunning.core.policy import Act
from invoicing.core.life_cycle import Trigger
from invoicing.customers.models import LifeCycleMove


def cases_with_broken_promises() -> "QuerySet[DunningCase]":
    """Return the live cases in which a promise was broken, and no other was made since; `broken_at` says when, the longest ago first."""
    broken = Promise.objects.filter(outcome="broken").values("case")
    waiting = Promise.objects.filter(ended_at=None).values("case")
    cases = DunningCase.objects.filter(state__in=LIVE, pk__in=broken).exclude(pk__in=waiting)
    cases = cases.annotate(broken_at=Max("promises__ended_at", filter=Q(promises__outcome="broken")))
    return cases.select_related("customer").order_by("broken_at", "pk")


def returned(*, cases: "QuerySet[DunningCase]") -> set[int]:
    """Return those of the cases whose customer has come back since the case came to its end, or, while steps are to come, since one closed it."""
    closed = CaseStep.objects.filter(case=OuterRef("pk"), act=Act.CLOSE.value).values("done_at")[:1]
    gone_since = Case(When(state=CaseState.OPEN.value, then=Subquery(closed)), default=F("state_since"))
    back = LifeCycleMove.objects.filter(
        customer=OuterRef("customer"), trigger=Trigger.CAME_BACK.value, moved_at__gte=OuterRef("gone_since")
    )
    return set(cases.alias(gone_since=gone_since).filter(Exists(back)).values_list("pk", flat=True))


def ended_cases() -> "QuerySet[DunningCase]":
    """Return the cases that only people go on with: handed over, or with no step to come."""
    cases = DunningCase.objects.filter(state__in=(CaseState.HANDED_OVER, CaseState.EXHAUSTED))
    return cases.select_related("customer").order_by("state_since", "pk")
