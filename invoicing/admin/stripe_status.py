"""Whether Stripe is called, what waits for it, and the outages so far; who may stops the calls and begins again."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirmation,
    go,
    moment_column,
)
from billing_site.kernel.clock import now
from invoicing.payments.breaker import STRIPE, close_outage, open_by_hand, outage_now, probe_soon
from invoicing.payments.outage import FailureStreak, Outage
from invoicing.payments.waiting import Waiting, what_waits

STOP = "invoicing.stop_stripe"
STATUS = "admin:invoicing_stripe_status"
OUTAGES_SHOWN = 20
# The lists behind what_waits, in its order.
LISTS = (
    ("pushintent", "status__exact=pending"),
    ("pushintent", "state=failed"),
    ("refund", "status__exact=pending"),
    ("withdrawal", "status__exact=planned"),
    ("refund", "status__exact=failed"),
    ("chargeattempt", "status__exact=failed"),
    ("withdrawal", "status__exact=failed"),
    ("stripenotice", "state=waiting"),
    ("stripenotice", "state=parked"),
)


@admin.register(Outage)
class OutageAdmin(ReadOnlyAdmin):
    """Times in which Stripe was not called."""

    list_display = (
        "cause",
        moment_column("opened_at", "Began"),
        "opened_by",
        moment_column("closed_at", "Ended"),
        "closed_by",
        "closed_reason",
    )
    list_display_links = ("cause",)
    list_filter = ("is_by_hand",)
    search_fields = ("cause", "closed_reason")
    ordering = ("-id",)
    fields = (
        "name",
        "opened_at",
        "opened_by",
        "cause",
        "is_by_hand",
        "probe_count",
        "last_probe_error",
        "closed_at",
        "closed_by",
        "closed_reason",
    )
    readonly_fields = fields
    empty_message = "When Stripe fails again and again, or somebody stops the calls, a row stands here."

    def get_urls(self) -> list[Any]:
        """Add the page of the state, and what can be done on it."""
        view = self.admin_site.admin_view
        return [
            path("status/", view(self.status), name="invoicing_stripe_status"),
            path("status/stop/", view(self.stop), name="invoicing_stripe_stop"),
            path("status/resume/", view(self.resume), name="invoicing_stripe_resume"),
            path("status/probe/", view(require_POST(self.probe)), name="invoicing_stripe_probe"),
            *super().get_urls(),
        ]

    def status(self, request: HttpRequest) -> HttpResponse:
        """Show whether Stripe is called, and what waits."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        links = [reverse(f"admin:invoicing_{model}_changelist") + f"?{query}" for model, query in LISTS]
        waiting = what_waits()
        streak = FailureStreak.objects.filter(name=STRIPE).values_list("length", flat=True).first()
        context = self.page_context(
            request,
            title="Stripe",
            outage=outage_now(),
            streak=streak or 0,
            failures_max=settings.STRIPE_OUTAGE_AFTER_FAILURES,
            window_seconds=settings.STRIPE_OUTAGE_WINDOW_SECONDS,
            limit_of_all=settings.STRIPE_CALLS_PER_SECOND,
            limit_of_endpoint=settings.STRIPE_CALLS_PER_SECOND_AND_ENDPOINT,
            waiting=list(zip(waiting, links, strict=True)),
            called=_called_words(waiting),
            outages=Outage.objects.order_by("-id")[:OUTAGES_SHOWN],
            may_stop=request.user.has_perm(STOP),
        )
        return TemplateResponse(request, "backoffice/stripe_status.html", context)

    def stop(self, request: HttpRequest) -> HttpResponse:
        """Stop all calls, with a reason that everybody reads."""
        return self._decide(
            request,
            deed=open_by_hand,
            done="Stripe is not called any more.",
            title="Stop all calls to Stripe",
            effect="Nothing is sent to Stripe or asked there, by nobody, until somebody begins again. Invoices are issued as always;"
            " what is to be collected or paid back waits. Staff, and customers who pay through Stripe, read it on their pages at once.",
            submit="Stop all calls",
            dangerous=True,
        )

    def resume(self, request: HttpRequest) -> HttpResponse:
        """Begin again."""
        waiting = ", ".join(f"{one.what.lower()}: {one.count}" for one in what_waits() if one.state != "failed")
        return self._decide(
            request,
            deed=close_outage,
            done="Stripe is called again; what has waited is being sent.",
            title="Call Stripe again",
            effect=f"What has waited is sent in its order, within the limits ({waiting}).",
            submit="Begin again",
        )

    def probe(self, request: HttpRequest) -> HttpResponse:
        """Let the worker look at once whether Stripe answers: a page never calls Stripe itself."""
        if not request.user.has_perm(STOP):
            raise PermissionDenied
        attempt(request, lambda: probe_soon(at=now()), done=lambda _: "The worker asks Stripe now.")
        return go(reverse(STATUS))

    def _decide(self, request: HttpRequest, *, deed: Any, done: str, **words: Any) -> HttpResponse:
        if not request.user.has_perm(STOP):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            reason = form.cleaned_data["reason"]
            attempt(request, lambda: deed(at=now(), actor=actor_of(request), reason=reason), done=lambda _: done)
            return go(reverse(STATUS))
        return confirmation(request, admin=self, form=form, back=reverse(STATUS), **words)


def _called_words(waiting: Sequence[Waiting]) -> str:
    """Say while Stripe is called what people have to do, and what goes on its way by itself."""
    by_people, by_itself = (
        ", ".join(
            f"{one.what.lower()}: {one.count}" for one in waiting if one.count and (one.state == "failed") is failed
        )
        for failed in (True, False)
    )
    if by_people:
        return f"Stripe is called, but somebody has to look at what failed ({by_people})."
    if by_itself:
        return f"Stripe is called; what waits goes on its way by itself ({by_itself}): nothing to do."
    return "Stripe is called and nothing is held back: nothing to do."
