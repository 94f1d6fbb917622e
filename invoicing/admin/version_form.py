"""The form of a plan version that is a draft, and what is owed at least and most: dates that cannot be are refused here, not only when it is published."""

from typing import Any

from unfold.admin import TabularInline

from billing_site.display.admin import ReasonedForm
from billing_site.display.changes import readable
from billing_site.kernel import clock
from invoicing.catalog.effective import effective_mistakes
from invoicing.catalog.models import PlanSpend, PlanVersion
from invoicing.catalog.price_words import spend_in_words


class VersionForm(ReasonedForm):
    """The terms of a draft and between which moments it will be sold."""

    class Meta:
        model = PlanVersion
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        """Put what a publication would be refused for beside the dates that were written; what is not written may follow."""
        cleaned = super().clean() or {}
        dates = {name: cleaned.get(name) for name in ("effective_from", "effective_to")}
        draft = PlanVersion(plan=self.instance.plan, number=self.instance.number, **dates)
        for error in effective_mistakes(version=draft, at=clock.now()):
            if dates.get(error.field) is not None and error.field not in self.errors:
                self.add_error(error.field, readable(error.message))
        return cleaned


class SpendInline(TabularInline):
    """Minimum and maximum spend of a draft, one row a currency."""

    model = PlanSpend
    extra = 0
    fields = ("currency", "minimum_spend", "maximum_spend")
    ordering = ("currency",)


def spend_said(version: PlanVersion) -> str:
    """Say what a version owes at least and at most."""
    rows = PlanSpend.objects.filter(plan_version=version).order_by("currency")
    said = [sentence for row in rows for sentence in spend_in_words(row=row, cadence=version.cadence)]
    return " ".join(said) or "no least and no most"
