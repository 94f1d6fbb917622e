"""By what is to be done the list of cases is narrowed."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from billing_site.kernel.clock import now
from dunning.arrangements.queries import holds_at, open_promises
from dunning.cases.queries import cases_with_broken_promises
from dunning.core.case_life import LIVE, CaseState, state_words
from dunning.handover.queries import escalated_cases
from dunning.hearing import cases_never_told


class StateFilter(admin.SimpleListFilter):
    """By what is to be done."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [
            ("live", "Not closed"),
            ("held", "Held"),
            ("promised", "Promised"),
            ("broken", "A promise was broken"),
            ("untold", "Nobody was told"),
            ("escalated", "Nobody has answered for"),
            *((state.value, state_words(state).capitalize()) for state in CaseState),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case None:
                return queryset
            case "live":
                return queryset.filter(state__in=LIVE)
            case "held":
                return queryset.filter(state__in=LIVE, customer__in=holds_at(at=now()).values("customer"))
            case "promised":
                return queryset.filter(pk__in=open_promises().values("case"))
            case "escalated":
                return queryset.filter(pk__in=escalated_cases(at=now()).values("pk"))
            case "untold":
                return queryset.filter(pk__in=cases_never_told().values("pk"))
            case "broken":
                return queryset.filter(pk__in=cases_with_broken_promises().values("pk"))
        return queryset.filter(state=self.value())
