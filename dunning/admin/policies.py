"""Dunning policies in the admin: each version as it stays, and who is chased by which."""

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import OperationForm, StaffAdmin, confirm_with_reason, moment_column
from billing_site.display.figures import NOTHING, link
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from dunning.admin.backtests import show_backtest
from dunning.admin.terms_field import DAYS, TermsField
from dunning.core.policy import PolicyTerms
from dunning.core.public_holidays import YEARS, public_holidays
from dunning.policies.models import PolicyAssignment, PolicyVersion
from dunning.policies.operations import assign_policy, end_assignment, publish_policy


def _working_words(terms: PolicyTerms) -> str:
    """Say on which days anything is done."""
    if not terms.business_days:
        return "On every day"
    weekend = " or ".join(DAYS[day] for day in sorted(terms.weekend))
    off = [f"on {weekend}"] if weekend else []
    if terms.holidays:
        off.append(f"on {len(terms.holidays)} holidays, the last on {max(terms.holidays)}")
    return f"On business days only: {'not ' + ', nor '.join(off) if off else 'none is off yet'}"


class PolicyForm(OperationForm):
    """The terms of a version, and why."""

    terms = TermsField()
    why = forms.CharField(max_length=300, label="Reason", widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))
    renamed: ClassVar = {"reason": "why"}

    class Meta:
        model = PolicyVersion
        fields = ("key", "name", "terms", "in_force_from")
        help_texts = {"key": "Of a policy that is there, for its next version, or a new one."}

    def operate(self, *, actor: str) -> PolicyVersion:
        """Publish it."""
        fields = self.cleaned_data
        return publish_policy(
            key=fields["key"],
            name=fields["name"],
            terms=fields["terms"],
            in_force_from=max(fields["in_force_from"], now()),
            at=now(),
            actor=actor,
            reason=fields["why"],
        )


@admin.register(PolicyVersion)
class PolicyVersionAdmin(StaffAdmin):
    """What is done on which day."""

    form = PolicyForm
    list_display = ("name", "key", "number", "ladder", moment_column("in_force_from", "In force from"))
    list_filter = ("key",)
    search_fields = ("key", "name")
    ordering = ("key", "-number")
    empty_message = "The product's two policies are here as soon as it was started once."
    change_form_before_template = "backoffice/policy_links.html"

    def get_urls(self) -> list[Any]:
        """Add the page that asks what terms would have done, and what fills in the holidays of a country."""
        view = self.admin_site.admin_view
        page = view(lambda request: show_backtest(request, admin=self))
        return [
            path("backtest/", page, name="dunning_policyversion_backtest"),
            path("holidays/", view(self.holidays), name="dunning_policyversion_holidays"),
            *super().get_urls(),
        ]

    def holidays(self, request: HttpRequest) -> JsonResponse:
        """Answer which days are holidays of a place, this year and the next two, and which its weekend is."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        year = now().year
        try:
            found = public_holidays(place=request.GET.get("place", ""), years=range(year, year + YEARS))
        except ValueError as problem:
            return JsonResponse({"problem": str(problem)})
        return JsonResponse({"holidays": [day.isoformat() for day in found.days], "weekend": found.weekend})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Take over terms that were tried, or those of the version whose next one is written."""
        told: dict[str, Any] = {**super().get_changeform_initial_data(request)}
        before = told.pop("from", "")
        if version := PolicyVersion.objects.filter(pk=int(before)).first() if before.isdecimal() else None:
            return {"key": version.key, "name": version.name, "terms": version.terms}
        try:
            told["terms"] = json.loads(told.get("terms", ""))
        except ValueError:
            told.pop("terms", None)
        return told

    @admin.display(description="Steps")
    def ladder(self, policy: PolicyVersion) -> SafeString:
        """Show its steps."""
        steps = ((step.day, step.words) for step in policy.read.steps)
        return format_html_join("", '<span class="bo-line">Day {}: {}</span>', steps)

    @admin.display(description="Terms")
    def terms_words(self, policy: PolicyVersion) -> SafeString:
        """Show the rest of its terms."""
        terms = policy.read
        lines = (
            f"Days count from {'a refused charge' if terms.counts_from == 'failure' else 'the due date'}",
            f"At {terms.at_hour:%H:%M} where the customer is, never from {terms.quiet_from:%H:%M} to {terms.quiet_until:%H:%M}",
            _working_words(terms),
            f"A card is charged again at most {terms.retries_max} times",
            *(f"Then {rung.owner} has {rung.days} days" for rung in terms.escalation),
            *(f"From {currency} {amount} on" for currency, amount in terms.minimums),
        )
        return format_html_join("", '<span class="bo-line">{}</span>', ((line,) for line in lines))

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Ask for the terms while it is published, show them afterwards."""
        if obj is None:
            return ("key", "name", "terms", "in_force_from", "why")
        return ("name", "key", "number", "ladder", "terms_words", "in_force_from", "actor", "reason")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what is computed."""
        return () if obj is None else ("ladder", "terms_words")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A version stays: other terms are the next one."""
        return False


class AssignmentForm(OperationForm):
    """Who is chased by which policy."""

    policy = forms.CharField(max_length=50, help_text="The key of a policy: short.")
    why = forms.CharField(max_length=300, label="Reason", widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))
    renamed: ClassVar = {"reason": "why"}

    class Meta:
        model = PolicyAssignment
        fields = ("policy", "customer", "country")
        help_texts = {"customer": "Empty: of a country, or, without one, of everybody else."}

    def operate(self, *, actor: str) -> PolicyAssignment:
        """Assign it."""
        fields = self.cleaned_data
        return assign_policy(
            policy=fields["policy"],
            customer=fields["customer"],
            country=fields["country"].upper(),
            at=now(),
            actor=actor,
            reason=fields["why"],
        )


@admin.register(PolicyAssignment)
class PolicyAssignmentAdmin(StaffAdmin):
    """Who is chased by which policy."""

    form = AssignmentForm
    list_display = ("who", "policy", "state", moment_column("set_at", "Since"), "reason")
    list_filter = ("policy",)
    list_select_related = ("customer",)
    search_fields = ("customer__key", "customer__name", "country", "policy")
    autocomplete_fields = ("customer",)
    ordering = ("-id",)
    actions_detail = ("end",)
    empty_message = "Everybody is chased by the policy “standard” until another one is assigned here."

    @admin.display(description="Who")
    def who(self, assignment: PolicyAssignment) -> SafeString:
        """Name the customer, the country, or the rest."""
        if assignment.customer is None:
            return format_html("{}", assignment.country or "everybody else")
        return link(reverse("admin:invoicing_customer_change", args=[assignment.customer.pk]), assignment.customer)

    @admin.display(description="State")
    def state(self, assignment: PolicyAssignment) -> SafeString:
        """Say whether it is in force."""
        return pill("ended") if assignment.ended_at else pill("active")

    @admin.display(description="Ended")
    def end_words(self, assignment: PolicyAssignment) -> SafeString:
        """Say how it ended."""
        if assignment.ended_at is None:
            return NOTHING
        return format_html(
            "{} by {}: {}", f"{assignment.ended_at:%Y-%m-%d}", assignment.ended_by, assignment.ended_because
        )

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Ask while it is set, show everything afterwards."""
        if obj is None:
            return ("policy", "customer", "country", "why")
        return ("who", "policy", "state", "set_at", "actor", "reason", "end_words")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what is computed."""
        return () if obj is None else ("who", "state", "end_words")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """It stays: another one takes its place."""
        return False

    @action(description="End", url_path="end")
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then end it."""
        assignment: PolicyAssignment = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=assignment,
            permission="dunning.change_policyassignment",
            deed=lambda **who: end_assignment(assignment_id=assignment.pk, at=now(), **who),
            done=lambda _: "The assignment has ended.",
            title=f"End: {assignment}",
            effect="The next case is opened by the policy of the country, or of everybody else. Open cases keep theirs.",
            submit="End the assignment",
        )
