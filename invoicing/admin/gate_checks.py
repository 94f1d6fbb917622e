"""The checks before issue as staff set them: each with what it looks for, its threshold, its hit rate, and who changed it why."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from billing_site.display.admin import (
    ConfirmedTable,
    ReasonForm,
    StaffAdmin,
    actor_of,
    attempt_asked,
    confirmation,
    go,
)
from billing_site.display.figures import moment
from billing_site.kernel.clock import now
from billing_site.kernel.money import plain
from invoicing.admin.approvals import waits_words
from invoicing.core.gate import CHECKS, Check, CheckTerms, Rule
from invoicing.gate.models import GateSetting
from invoicing.gate.queries import HitRate, hit_rates, rules_in_force
from invoicing.workflows.loosen_check import rule_words, set_check_or_ask

SET_CHECKS = "invoicing.set_gatesetting"
SETTINGS_SHOWN = 50
TAKES_TWO = " Two people release what it holds: another one approves what you change here."


@dataclass(frozen=True)
class CheckRow:
    """A check on the page."""

    check: Check
    terms: CheckTerms
    rule: Rule
    rate: HitRate
    last: GateSetting | None

    @property
    def threshold(self) -> str:
        """The threshold in words."""
        return rule_words(check=self.check, rule=self.rule)


class CheckForm(ReasonForm):
    """How a check is made from now on."""

    is_on = forms.BooleanField(required=False, label="This check is made", widget=UnfoldBooleanSwitchWidget)
    threshold = forms.DecimalField(widget=UnfoldAdminTextInputWidget)
    takes_two = forms.BooleanField(
        required=False, label="Two people release what it holds, however small", widget=UnfoldBooleanSwitchWidget
    )
    field_order = ("is_on", "threshold", "takes_two", "reason")

    def __init__(self, *args: Any, terms: CheckTerms, **options: Any) -> None:
        """Ask for a threshold where the check has one."""
        super().__init__(*args, **options)
        if terms.threshold:
            self.fields[
                "threshold"
            ].help_text = f"{terms.threshold.format('this').capitalize()}; the house begins with {plain(terms.usual or Decimal(0))}."
        else:
            del self.fields["threshold"]


def checks_page() -> list[CheckRow]:
    """Return all checks, in the order in which they are made."""
    rules, rates = rules_in_force(), hit_rates()
    newest = GateSetting.objects.order_by("check_name", "-number").distinct("check_name")
    last = {one.check_name: one for one in newest}
    return [
        CheckRow(check, terms, rules[check], rates[check], last.get(check.value)) for check, terms in CHECKS.items()
    ]


def check_page(request: HttpRequest, *, admin: StaffAdmin, check: Check) -> HttpResponse:
    """Show the form of one check with its earlier settings, and set it."""
    terms, rule = CHECKS[check], rules_in_force()[check]
    initial = {
        "is_on": rule.is_on,
        "threshold": None if rule.threshold is None else plain(rule.threshold),
        "takes_two": rule.takes_two,
    }
    form = CheckForm(request.POST or None, terms=terms, initial=initial)
    back = reverse("admin:invoicing_gate_checks")
    if request.method == "POST" and form.is_valid() and _set(request, form, check):
        return go(back)
    settings = list(GateSetting.objects.filter(check_name=check.value).order_by("-number")[:SETTINGS_SHOWN])
    history = ConfirmedTable(
        titles=("Set by", "When", "How", "Why"),
        rows=[
            (
                one.actor,
                moment(one.set_at),
                rule_words(check=check, rule=Rule(one.is_on, one.threshold, one.takes_two)),
                one.reason,
            )
            for one in settings
        ],
        caption="Earlier settings",
    )
    return confirmation(
        request,
        admin=admin,
        title=terms.title,
        effect=f"{terms.asks} What is set holds for drafts that are made, refreshed or issued from now on.{TAKES_TWO if rule.is_on and rule.takes_two else ''}",
        form=form,
        submit="Set the check",
        back=back,
        table=history if settings else None,
    )


def _set(request: HttpRequest, form: CheckForm, check: Check) -> bool:
    asked = form.cleaned_data
    rule = Rule(asked["is_on"], asked.get("threshold"), asked["takes_two"])
    return attempt_asked(
        request,
        form,
        lambda: set_check_or_ask(check=check, rule=rule, at=now(), actor=actor_of(request), reason=asked["reason"]),
        done=lambda done: waits_words(done) or f"Set: {CHECKS[check].title}.",
    )
