"""Dunning cases in the admin: who is chased, what comes next and when; the story of one, and what people arrange."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import (
    ReasonForm,
    confirm_with_reason,
)
from billing_site.display.figures import NOTHING, day, link, moment, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.words import counted
from dunning.acting import take_step_by_hand
from dunning.admin.case_filter import StateFilter
from dunning.admin.figures import figure_urls
from dunning.admin.forms import HoldForm, ObjectionForm, PromiseForm, StepForm
from dunning.admin.handover import DOWNLOAD, HandOverPages
from dunning.admin.holds import ARRANGE
from dunning.admin.overdue import CHARGE, LatePaymentPages
from dunning.arrangements.operations import (
    decide_objection,
    hold_dunning,
    lift_hold,
    object_to,
    promise_to_pay,
    withdraw_promise,
)
from dunning.arrangements.queries import hold_of, open_promise
from dunning.cases.arrears import debts_of, owed
from dunning.cases.models import DunningCase
from dunning.cases.operations import hand_over, steps_to_come
from dunning.core.case_life import CaseState, state_words
from dunning.core.notice_kinds import KIND_WORDS
from dunning.core.policy import ACT_WORDS
from dunning.core.retries import refusal_words
from dunning.due import arranged_against
from dunning.earliest import hindered_until, next_at_the_earliest, steps_at_the_earliest
from dunning.handover.models import HandOverFile
from dunning.handover.queries import escalation_of
from dunning.hearing import why_not_told
from dunning.overdue.queries import accrued_of, accrued_total
from dunning.rehearsal import grave_count, rehearse, tomorrow_ends, words_of
from dunning.rehearsing_beside import rehearse_beside
from dunning.timeline import timeline_of
from invoicing.invoices.models import Invoice, Objection


@admin.register(DunningCase)
class DunningCaseAdmin(HandOverPages, LatePaymentPages):
    """Who is chased."""

    list_display = (
        "customer_link",
        "state_pill",
        "late_with",
        "since",
        "next_step",
        "comes_at",
    )
    list_filter = (StateFilter, "policy__key", ("opened_at", admin.DateFieldListFilter))
    list_select_related = ("customer", "policy")
    search_fields = ("customer__key", "customer__name", "anchor_invoice__number")
    ordering = ("next_due_at", "-id")
    empty_message = (
        "Whoever is late with an invoice, or whose charge was refused, has a case here until nothing is late any more."
    )

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, case: DunningCase) -> SafeString:
        """Link to the case by the customer's name."""
        return link(reverse("admin:dunning_dunningcase_change", args=[case.pk]), case.customer)

    @admin.display(description="State", ordering="state")
    def state_pill(self, case: DunningCase) -> SafeString:
        """Show where it stands, and what it waits for."""
        word = _word(case)
        why = case.waits_because.removeprefix(f"{word}: ")
        return format_html('{}<span class="bo-line bo-small bo-faint">{}</span>', pill(word), why)

    @admin.display(description="Late")
    def late_with(self, case: DunningCase) -> SafeString:
        """Show what is late now."""
        if not case.is_live:
            return NOTHING
        debts = debts_of(customers=[case.customer_id], at=now()).get(case.customer_id, [])
        return money(owed(debts, currency=case.customer.currency))

    @admin.display(description="Days from", ordering="anchor_day")
    def since(self, case: DunningCase) -> SafeString:
        """Show from which day on days are counted."""
        return day(case.anchor_day)

    @admin.display(description="Next step")
    def next_step(self, case: DunningCase) -> str:
        """Say what comes next."""
        if case.next_number is None:
            return "–"
        step = case.policy.read.steps[case.next_number - 1]
        return f"Day {step.day}: {ACT_WORDS[step.act]}"

    @admin.display(description="When", ordering="next_due_at")
    def comes_at(self, case: Any) -> SafeString:
        """Show when that is planned; of a case that waits, when it comes at the earliest."""
        comes_at, waits = case.earliest
        if comes_at is None:
            return NOTHING
        if case.waits_for_somebody:
            return pill("waits", why="until somebody acts")
        if not waits:
            return moment(comes_at)
        # One element, so that it breaks where the row is a list.
        return format_html("<span>{} {}</span>", pill("waits", why="earliest"), moment(comes_at))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Ask once for all rows what is against their steps."""
        changelist = super().get_changelist_instance(request)
        at, cases = now(), list(changelist.result_list)
        hindered = hindered_until(cases=cases, at=at)
        for case in cases:
            case.earliest = next_at_the_earliest(case=case, hindered=hindered, at=at)
            # Nobody knows the end of it: a hold until it is lifted, an address that is to be mended.
            case.waits_for_somebody = hindered.get(case.pk) == at
        changelist.result_list = cases
        return changelist

    def get_urls(self) -> list[Any]:
        """Add the rehearsal, the figures, and the pages of what may be arranged."""
        deeds: dict[str, Callable[..., HttpResponse]] = {
            "hold": self.hold,
            "lift": self.lift,
            "promise": self.promise,
            "withdraw": self.withdraw,
            "object": self.object_,
            "decide": self.decide,
            "step": self.step,
            "hand_over": self.hand_over,
        }
        view = self.admin_site.admin_view
        return [
            path("rehearsal/", view(self.rehearsal), name="dunning_dunningcase_rehearsal"),
            *figure_urls(admin=self),
            *(
                path(f"<int:object_id>/{name}/", view(deed), name=f"dunning_dunningcase_{name}")
                for name, deed in deeds.items()
            ),
            *super().get_urls(),
        ]

    def rehearsal(self, request: HttpRequest) -> HttpResponse:
        """Show who gets what until the end of tomorrow."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        at = now()
        # What is taken stands above what waits.
        rows = sorted(rehearse(until=tomorrow_ends(at=at), at=at), key=lambda row: (bool(row.against), row.comes_at))
        beside = rehearse_beside(until=tomorrow_ends(at=at), at=at)
        words = words_of([*rows, *beside])
        context = self.page_context(
            request,
            title="Who gets what until tomorrow",
            rows=[(row, ACT_WORDS[row.planned.step.act], words.get((row.notice, row.language))) for row in rows],
            beside=[(row, words.get((row.notice, row.language))) for row in beside],
            until=tomorrow_ends(at=at),
            grave=grave_count(rows),
            going=sum(not row.against for row in rows),
            held_back=sum(bool(row.against) for row in rows),
        )
        return TemplateResponse(request, "backoffice/dunning_rehearsal.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the story of a case and what comes next."""
        case = self.row_or_404(request, object_id)
        at = now()
        debts = debts_of(customers=[case.customer_id], at=at).get(case.customer_id, []) if case.is_live else []
        is_open = case.state == CaseState.OPEN
        hold, promise = hold_of(customer_id=case.customer_id, at=at), open_promise(case_id=case.pk)
        file = HandOverFile.objects.filter(case=case).defer("content").first()
        late = owed(debts, currency=case.customer.currency)
        is_taken = file is not None and file.downloads.exists()
        context = self.page_context(
            request,
            title=f"Dunning of {case.customer}",
            row=case,
            word=_word(case),
            late=late,
            debts=[(debt, refusal_words(debt.refusal) if debt.refusal else "") for debt in debts],
            charges=accrued_total(accrued=accrued_of(customer=case.customer, at=at), currency=case.customer.currency),
            may_charge=request.user.has_perm(ARRANGE) and request.user.has_perm(CHARGE),
            may_waive=request.user.has_perm(ARRANGE),
            owner=escalation_of(case_id=case.pk),
            may_download=file is not None and request.user.has_perm(DOWNLOAD),
            file_is_coming=case.state == CaseState.HANDED_OVER and file is None,
            outdated_file=file if file is not None and is_taken and file.amount != late else None,
            ahead=[
                (
                    one,
                    ACT_WORDS[one.planned.step.act],
                    KIND_WORDS[one.planned.step.notice] if one.planned.step.notice else "",
                )
                for one in steps_at_the_earliest(case=case, at=at)
            ],
            waits_because=(is_open and why_not_told(case=case, at=at))
            or case.waits_because
            or (is_open and arranged_against(hold=hold, is_promised=bool(promise))),
            story=timeline_of(case=case),
            hold=hold,
            promise=promise,
            objections=_open_objections(case),
            may_arrange=case.is_live and request.user.has_perm(ARRANGE),
            is_open=is_open,
            may_hand_over=case.state in (CaseState.OPEN, CaseState.EXHAUSTED) and request.user.has_perm(ARRANGE),
        )
        return TemplateResponse(request, "backoffice/dunning_case.html", context)

    def hold(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Do nothing about a customer for now."""
        return self._arrange(
            request,
            object_id,
            form=HoldForm(request.POST or None),
            deed=lambda case, form, **who: hold_dunning(
                customer=case.customer, kind=form["kind"], until=form["until"], at=now(), **who
            ),
            title="Hold",
            effect="Nothing is sent, charged or suspended until the hold ends; what is due meanwhile comes later, at the same distances.",
        )

    def lift(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Lift the hold."""
        hold = hold_of(customer_id=self.row_or_404(request, str(object_id)).customer_id, at=now())
        return self._confirm(
            request,
            object_id,
            title="Lift the hold",
            effect="What is due is done from now on, at the distances of the policy.",
            deed=lambda case, **who: hold and lift_hold(hold_id=hold.pk, at=now(), **who),
        )

    def promise(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Write down what a customer has promised."""
        case = self.row_or_404(request, str(object_id))
        late = owed(
            debts_of(customers=[case.customer_id], at=now()).get(case.customer_id, []), currency=case.customer.currency
        )
        return self._arrange(
            request,
            object_id,
            form=PromiseForm(request.POST or None, late=late),
            deed=lambda case, form, **who: promise_to_pay(
                case_id=case.pk, instalments=form["instalments"], at=now(), **who
            ),
            title="Promise to pay",
            effect=f"{money_text(late)} are late. Steps wait while the promise is kept; a day after an instalment that did not come they go on.",
        )

    def withdraw(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Wait for a promise no longer."""
        promise = open_promise(case_id=object_id)
        return self._confirm(
            request,
            object_id,
            title="Wait for the promise no longer",
            effect="The steps of the policy go on.",
            deed=lambda case, **who: promise and withdraw_promise(promise_id=promise.pk, at=now(), **who),
        )

    def object_(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Leave a part of an invoice alone."""
        case = self.row_or_404(request, str(object_id))
        debts = debts_of(customers=[case.customer_id], at=now()).get(case.customer_id, [])
        invoices = Invoice.objects.filter(pk__in=[debt.invoice_id for debt in debts]).order_by("due_date", "pk")
        return self._arrange(
            request,
            object_id,
            form=ObjectionForm(request.POST or None, invoices=invoices),
            deed=lambda case, form, **who: object_to(
                invoice_id=form["invoice"].pk, amount=form["money"], at=now(), **who
            ),
            title="Objection to a part",
            effect="That part is not chased until it is decided; the rest is. A credit note says what it comes to.",
        )

    def decide(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """End the oldest open objection."""
        objection = _open_objections(self.row_or_404(request, str(object_id))).first()
        return self._confirm(
            request,
            object_id,
            title="End the objection",
            effect="What is still open of the invoice is chased again; what was right of the objection is credited before.",
            deed=lambda case, **who: objection and decide_objection(objection_id=objection.pk, at=now(), **who),
        )

    def step(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Take the next step now: the one that is shown, or none."""
        case = self.row_or_404(request, str(object_id))
        ahead = steps_to_come(case=case)
        what = ACT_WORDS[ahead[0].step.act] if ahead else "nothing is to come"
        return self._arrange(
            request,
            object_id,
            form=StepForm(request.POST or None, initial={"number": ahead[0].number if ahead else 0}),
            deed=lambda case, form, **who: take_step_by_hand(case_id=case.pk, number=form["number"], at=now(), **who),
            title=f"Take the next step now: {what}",
            effect="It is taken before its day, and in spite of a hold or a promise; not if nothing is owed any more.",
        )

    def hand_over(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Let people go on."""
        case = self.row_or_404(request, str(object_id))
        debts = debts_of(customers=[case.customer_id], at=now()).get(case.customer_id, [])
        late = money_text(owed(debts, currency=case.customer.currency))
        return self._confirm(
            request,
            object_id,
            title="Hand over to people",
            effect=f"{late} on {len(debts)} {counted('invoice', len(debts))} are late. Within minutes the file for collectors is made: the claims with interest and fees so far, the invoices as PDF,"
            " the statement, what was sent. No step of the policy is taken any more; the case stands in its queue until it is paid or written off.",
            deed=lambda case, **who: hand_over(case_id=case.pk, at=now(), **who),
        )

    def _confirm(
        self, request: HttpRequest, object_id: int, *, title: str, effect: str, deed: Callable[..., Any]
    ) -> HttpResponse:
        case = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=case,
            permission=ARRANGE,
            deed=lambda **who: deed(case, **who),
            done=lambda _: f"{title}: done.",
            title=title,
            effect=effect,
            submit=title,
        )

    def _arrange(
        self,
        request: HttpRequest,
        object_id: int,
        *,
        form: forms.Form,
        deed: Callable[..., Any],
        title: str,
        effect: str,
    ) -> HttpResponse:
        """Ask what is to be arranged with the customer of a case and why, then arrange it."""
        assert isinstance(form, ReasonForm), "whoever arranges something says why"
        if not request.user.has_perm(ARRANGE):
            raise PermissionDenied
        case = self.row_or_404(request, str(object_id))
        return self.arrange(
            request,
            form=form,
            deed=lambda told, **who: deed(case, told, **who),
            title=title,
            heading=title,
            effect=effect,
            back=reverse("admin:dunning_dunningcase_change", args=[case.pk]),
            row=case,
        )


def _word(case: DunningCase) -> str:
    """Return the word of its pill: what keeps it from going on, or its state."""
    if case.is_live and case.waits_because.startswith("held"):
        return "held"
    if case.is_live and open_promise(case_id=case.pk) is not None:
        return "promised"
    return state_words(case.state)


def _open_objections(case: DunningCase) -> "QuerySet[Any]":
    open_ones = Objection.objects.filter(invoice__customer=case.customer_id, ended_at=None)
    return open_ones.select_related("invoice").order_by("id")
