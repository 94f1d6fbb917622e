"""The months of the books: which are closed, the checklist of the next one, its close, its package, and opening the newest again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, ReasonForm, actor_of, attempt, confirmation, go
from billing_site.display.pills import AMBER, BLUE, GREEN, GREY, pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError, Conflict, InvalidInput, NotFound
from billing_site.kernel.words import counted
from invoicing.admin.certificate_words import CHECK_TONES, certificate_shown
from invoicing.approvals.models import ApprovedDeed
from invoicing.approvals.queries import last_approval
from invoicing.closing.models import MonthClose
from invoicing.closing.operations import ask_to_reopen
from invoicing.closing.queries import (
    Month,
    MonthState,
    booked_later,
    closes_in_force,
    closes_of,
    month_state,
    month_states,
    read_month,
)
from invoicing.reports.tabular import CSV_TYPE
from invoicing.workflows.certificate_document import certificate_pdf
from invoicing.workflows.close_checks import Checked, check_to_sign_off
from invoicing.workflows.close_month import CheckState, checklist_of, close_month, sign_off
from invoicing.workflows.close_package import certificate_text, package_of

CLOSE = "invoicing.close_month"
FOUND_SHOWN = 3
TONES = {"closed": GREEN, "running": GREY, "to close": AMBER, "waits": BLUE}
# Where what a check finds is mended; what it is called there.
MENDED_AT: dict[str, tuple[str, str, str]] = {
    "billed": ("invoicing_runproposal_add", "", "Propose a billing run"),
    "issued": ("invoicing_invoice_changelist", "?state=draft", "Drafts"),
    "usage_read": ("metering_unappliedevent_changelist", "", "Events in no window"),
    "usage_charged": ("backoffice_usage_problems", "#uncharged", "Usage that no plan charges"),
    "late_usage": ("invoicing_late_usage_desk", "", "Late-event desk"),
    "unusual_days": ("invoicing_usageanomaly_changelist", "?state=open", "Unusual usage"),
    "rating": ("invoicing_reratingfinding_changelist", "?state=open", "Lines that rate otherwise"),
    "commitments": ("invoicing_subscription_changelist", "?state=unsettled", "Commitments that no invoice settles"),
    "refunds": ("invoicing_creditnote_changelist", "?refund=by_hand", "Refunds to transfer"),
    "disputes": ("invoicing_dispute_changelist", "?state=open", "Disputed payments"),
    "notices": ("invoicing_stripenotice_changelist", "?state=waiting", "Stripe notices"),
    "approvals": ("invoicing_approval_changelist", "?state=open", "Approvals"),
    "books": ("invoicing_journalentry_changelist", "", "Journal"),
    "ties": ("backoffice_trial_balance", "", "Reports"),
}


@dataclass(frozen=True)
class CheckRow:
    """A check on the page: as it is now, or as it was when the month was closed."""

    check: CheckState

    @property
    def found(self) -> tuple[str, ...]:
        """The first things that it found."""
        return self.check.checked.found[:FOUND_SHOWN]

    @property
    def more(self) -> tuple[str, ...]:
        """What else it found, as far as a page can show it."""
        return self.check.checked.found[FOUND_SHOWN:500]

    @property
    def pill(self) -> SafeString:
        """Its state."""
        return pill(self.check.state, tone=CHECK_TONES[self.check.state])

    @property
    def place(self) -> tuple[str, str]:
        """Where it is mended: address and name."""
        return mended_at(self.check.checked)


def mended_at(checked: Checked) -> tuple[str, str]:
    """Return where what a check finds is mended: address and name."""
    view, query, name = MENDED_AT[checked.name]
    return reverse(f"admin:{view}") + query, name


def month_pill(state: MonthState) -> SafeString:
    """Write the state of a month."""
    return pill(state.word, tone=TONES[state.word])


@admin.register(MonthClose)
class MonthCloseAdmin(ReadOnlyAdmin):
    """Months, from the first entry to the present one."""

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of a month."""
        pages = (
            ("", self.month, "invoicing_month"),
            ("sign-off/<str:check>/", self.sign_off, "invoicing_month_sign_off"),
            ("close/", self.close, "invoicing_month_close"),
            ("reopen/", self.reopen, "invoicing_month_reopen"),
            ("package/", self.package, "invoicing_month_package"),
        )
        return [
            *(
                path(f"month/<str:month>/{end}", self.admin_site.admin_view(view), name=name)
                for end, view, name in pages
            ),
            path("month-of/<str:month>/", self.admin_site.admin_view(self.month_of_day), name="invoicing_month_of"),
            path(
                "<int:close_id>/file/<str:name>/",
                self.admin_site.admin_view(self.kept_file),
                name="invoicing_month_file",
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """List the months with how they stand."""
        self._check_seen(request)
        states = month_states(at=now())
        context = self.page_context(
            request,
            title="Months",
            months=[(state, month_pill(state)) for state in states],
            newest=next((state.month for state in states if state.is_closed), None),
            following=next((state for state in states if state.is_next), None),
        )
        return TemplateResponse(request, "backoffice/months.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the month of a close."""
        close: MonthClose = self.row_or_404(request, object_id)
        return go(_page(Month(close.month)))

    def month_of_day(self, request: HttpRequest, month: str) -> HttpResponse:
        """Lead to the month of its first day."""
        return go(_page(_read(month[:7])))

    def month(self, request: HttpRequest, month: str) -> HttpResponse:
        """Show a month: its checklist while it is the next to close, its certificate once it is closed."""
        self._check_seen(request)
        at = now()
        state = _state(month, at)
        may_close = request.user.has_perm(CLOSE)
        checklist = checklist_of(month=state.month, at=at) if state.is_next else None
        closes = list(closes_of(month=state.month))
        newest = closes_in_force().first()
        is_newest = newest is not None and newest == state.close
        asked = last_approval(deed=ApprovedDeed.REOPENING, subject=newest.subject) if newest and is_newest else None
        context = self.page_context(
            request,
            title=f"{state.month.first_day:%B %Y}",
            state=state,
            pill=month_pill(state),
            todo=_todo(state, checklist.open_checks if checklist else [], is_newest=is_newest),
            checks=[CheckRow(one) for one in checklist.checks] if checklist else [],
            certificate=certificate_shown(state.close) if state.close else None,
            closes=closes,
            later=booked_later(month=state.month).count(),
            asked=asked if asked and not asked.decision else None,
            may_sign=may_close and checklist is not None,
            may_close=may_close and checklist is not None and state.is_over and not checklist.open_checks,
            may_reopen=may_close and is_newest and not (asked and not asked.decision),
        )
        return TemplateResponse(request, "backoffice/month.html", context)

    def sign_off(self, request: HttpRequest, month: str, check: str) -> HttpResponse:
        """Answer for what a check found, with a reason."""
        one = self._next(request, month)
        try:
            declared = check_to_sign_off(name=check)
        except InvalidInput as problem:
            raise Http404(f"there is no check {check}") from problem
        except Conflict as problem:
            messages.error(request, f"Nothing has changed: {problem.message}.")
            return go(_page(one))
        form = ReasonForm(request.POST if "digest" in request.POST else None)
        if form.is_valid():
            attempt(
                request,
                lambda: sign_off(
                    month=one,
                    check=check,
                    digest=request.POST["digest"],
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda _: f"Signed off: {declared.title}.",
            )
            return go(_page(one))
        [state] = [row for row in checklist_of(month=one, at=now()).checks if row.checked.name == check]
        return confirmation(
            request,
            admin=self,
            title=f"Sign off for {one.first_day:%B %Y}: {state.checked.title}",
            effect=f"{state.checked.summary}. You answer for it as it is: what comes to it is found anew. It stands in the certificate with your name.",
            form=form,
            submit="Sign it off",
            hidden=[("digest", state.checked.digest)],
            back=_page(one),
        )

    def close(self, request: HttpRequest, month: str) -> HttpResponse:
        """Close the month, with a reason."""
        one = self._next(request, month)
        form = ReasonForm(request.POST if "digest" in request.POST else None)
        if form.is_valid():
            attempt(
                request,
                lambda: close_month(
                    month=one,
                    digest=request.POST["digest"],
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda close: f"{one.first_day:%B %Y} is closed, with {_entries(close)}.",
            )
            return go(_page(one))
        checklist = checklist_of(month=one, at=now())
        signed = sum(row.state == "signed" for row in checklist.checks)
        entries = month_state(month=one, at=now()).entries
        return confirmation(
            request,
            admin=self,
            title=f"Close {one.first_day:%B %Y}",
            effect=f"{entries:,} entries are in its books. From now on nothing is booked in it: what belongs to it and comes later is booked"
            f" on {Month(one.following).first_day:%-d %B %Y} or as the first open month begins. Only two people can open it again.",
            warnings=[f"{signed} checks are not green: they were signed off."] if signed else [],
            form=form,
            submit=f"Close {one.first_day:%B %Y}",
            hidden=[("digest", checklist.digest)],
            back=_page(one),
        )

    def reopen(self, request: HttpRequest, month: str) -> HttpResponse:
        """Ask that the newest closed month is opened again."""
        self._check_may_close(request)
        state = _state(month, now())
        close = state.close
        if close is None:
            return go(_page(state.month))
        newest = closes_in_force().first()
        if newest is not None and newest.pk != close.pk:
            messages.error(
                request,
                f"Only the newest closed month can be opened again, and that is {newest.month:%B %Y}: it is opened first.",
            )
            return go(_page(state.month))
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            attempt(
                request,
                lambda: ask_to_reopen(
                    close_id=close.pk, at=now(), actor=actor_of(request), reason=form.cleaned_data["reason"]
                ),
                done=lambda _: "Asked for: somebody else approves it under Approvals.",
            )
            return go(_page(state.month))
        return confirmation(
            request,
            admin=self,
            title=f"Open {state.month.first_day:%B %Y} again",
            effect=f"Nothing is opened yet: somebody else has to approve it. Then entries are booked in {state.month.first_day:%B %Y} again,"
            " its certificate stays in its history, and it has to be closed anew.",
            form=form,
            submit="Ask for it",
            back=_page(state.month),
            dangerous=True,
        )

    def package(self, request: HttpRequest, month: str) -> HttpResponse | StreamingHttpResponse:
        """Hand out the package of a closed month."""
        self._check_seen(request)
        one = _read(month)
        try:
            package = package_of(month=one)
        except BillingError as problem:
            raise Http404(problem.message) from problem
        return StreamingHttpResponse(
            package.chunks,
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{package.name}"'},
        )

    def kept_file(self, request: HttpRequest, close_id: int, name: str) -> HttpResponse:
        """Hand out the certificate of a close, as a file or on paper, or one of its reports as it was."""
        close: MonthClose = self.row_or_404(request, str(close_id))
        content: str | bytes
        if name == "certificate":
            content, kind, file = certificate_text(close=close), "application/json", f"{close}-certificate.json"
        elif name == "printed":
            content, kind, file = certificate_pdf(close=close), "application/pdf", f"{close}-certificate.pdf"
        elif report := close.reports.filter(name=name).first():
            content, kind, file = report.content, CSV_TYPE, f"{close}-{name}.csv"
        else:
            raise Http404(f"there is no report {name} of this close")
        return HttpResponse(
            content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{file}"'}
        )

    def _check_seen(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _check_may_close(self, request: HttpRequest) -> None:
        if not request.user.has_perm(CLOSE):
            raise PermissionDenied

    def _next(self, request: HttpRequest, text: str) -> Month:
        self._check_may_close(request)
        state = _state(text, now())
        if not state.is_next:
            raise Http404(f"{state.month} is not the next month to close")
        return state.month


def _entries(close: MonthClose) -> str:
    number = close.certificate["journal"]["entries"]
    return f"{number:,} {counted('entry', number)}"


def _todo(state: MonthState, open_checks: list[CheckState], *, is_newest: bool) -> str:
    if state.is_closed:
        again = " Two people can open it again." if is_newest else " The months after it are closed, too."
        return f"Nothing to do: what belongs to it and comes later is booked in the first open month.{again}"
    if not state.is_next:
        return "The months before it are closed first." if state.is_over else "It is not over, and comes after others."
    left = f"{len(open_checks)} {counted('check', len(open_checks))}"
    if not state.is_over:
        ends = f"It can be closed after {state.month.last_day:%-d %B %Y} (UTC)."
        return f"{ends} {f'{left} would hold it back today.' if open_checks else 'Every check is green or signed off today.'}"
    if open_checks:
        mended = sum(not one.checked.check.can_be_signed_off for one in open_checks)
        return (
            f"{left} {'is' if len(open_checks) == 1 else 'are'} open: mend what they found, or sign it off with a reason."
            f"{f' {mended} of them can only be mended.' if mended else ''}"
        )
    return "Every check is green or signed off: it can be closed."


def _state(text: str, at: datetime) -> MonthState:
    try:
        return month_state(month=read_month(text=text), at=at)
    except NotFound as problem:
        raise Http404(problem.message) from problem


def _read(text: str) -> Month:
    try:
        return read_month(text=text)
    except NotFound as problem:
        raise Http404(problem.message) from problem


def _page(month: Month) -> str:
    return reverse("admin:invoicing_month", args=[str(month)])
