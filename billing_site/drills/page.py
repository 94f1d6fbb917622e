"""The page of failure drills: order the faults, issue the invoices, and watch check by check until all is green."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from billing_site.drills import stripe
from billing_site.drills.settings import DEFAULT_PERCENTS
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.jobs import queue_each
from invoicing.payments.models import PushIntent, PushStatus
from invoicing.workflows.follow_stripe import LOOK_JOB

# What one request issues; the command takes more.
INVOICES_MAX = 50
NAME_LENGTH_MAX = 40
# Of each fault what it is called, and what happens then.
LABELS = {
    "rate_limit": ("Too many calls", "Of so many calls the sandbox says that we make too many (HTTP 429)."),
    "http_500": ("Stripe fails", "So many calls end with an error of Stripe's own (HTTP 500)."),
    "timeout_after_effect": ("Answer lost", "So many calls are done there, but their answer never comes."),
    "drop_webhooks": ("News lost", "So much of its news never comes; the daily look finds what was lost."),
    "duplicate_webhooks": ("News twice", "So much of its news comes twice."),
    "reorder_webhooks": ("News out of order", "So much of its news overtakes what happened before."),
    "delay_webhooks": ("News late", "So much of its news comes later."),
}


class DrillForm(forms.Form):
    """How many invoices, and how often what happens, in percent."""

    invoices = forms.IntegerField(min_value=1, max_value=INVOICES_MAX, initial=10, widget=UnfoldAdminIntegerFieldWidget)

    def __init__(self, *args: Any, **options: Any) -> None:
        """Ask for each kind of fault."""
        super().__init__(*args, **options)
        for kind in stripe.FAULTS:
            self.fields[kind] = forms.IntegerField(
                label=f"{LABELS[kind][0]}, %",
                help_text=LABELS[kind][1],
                min_value=0,
                max_value=90,
                initial=DEFAULT_PERCENTS.get(kind, 0),
                widget=UnfoldAdminIntegerFieldWidget,
            )


def drill(request: HttpRequest) -> HttpResponse:
    """Show the form, or the checks of a drill; a POST begins one."""
    _require_administrator(request)
    name = request.GET.get("name", "")[:NAME_LENGTH_MAX]
    form = DrillForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        at = now()
        name = f"{at:%Y%m%d%H%M%S}"
        try:
            percents = {kind: form.cleaned_data[kind] for kind in stripe.FAULTS}
            stripe.begin(name=name, count=form.cleaned_data["invoices"], percents=percents, at=at)
        except BillingError as problem:
            messages.error(request, f"No drill was begun: {problem.message}")
            return HttpResponseRedirect(reverse("drill"))
        return _show(name)
    try:
        checks = stripe.check(name=name) if name else []
        refusal = "" if name else _refusal()
    except BillingError as problem:
        checks, refusal = [], problem.message
    context = {
        **admin.site.each_context(request),
        "title": "Failure drill",
        "form": form,
        "name": name,
        "checks": checks,
        "refusal": refusal,
        "standing": [
            f"{LABELS[kind][0]} {percent} %"
            for kind, percent in sorted(({} if refusal else stripe.standing_faults()).items())
        ],
        "is_green": bool(checks) and all(one.holds for one in checks),
    }
    return TemplateResponse(request, "backoffice/drill.html", context)


@require_POST
def end_drill(request: HttpRequest) -> HttpResponse:
    """Call the faults off and let the worker look for news that were lost."""
    _require_administrator(request)
    name = request.POST.get("name", "")[:NAME_LENGTH_MAX]
    try:
        stripe.order_faults(percents={})
    except BillingError as problem:
        messages.error(request, problem.message)
        return _show(name)
    waiting = PushIntent.objects.filter(
        invoice__in=stripe.invoices_of(name=name), status=PushStatus.PUSHED, invoice__status="issued"
    )
    queue_each(LOOK_JOB, list(waiting.values_list("id", flat=True)))
    messages.success(request, "The sandbox is sound again; the worker looks for what was lost.")
    return _show(name)


def _refusal() -> str:
    try:
        stripe.require_sandbox()
    except BillingError as problem:
        return problem.message
    return ""


def _show(name: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(f"{reverse('drill')}?name={name}")


def _require_administrator(request: HttpRequest) -> None:
    if not request.user.is_superuser:
        raise PermissionDenied
