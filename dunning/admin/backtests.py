"""The page that asks what a policy would have done over the last 90 days: of a version that there is, or of terms that nobody has published yet."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from moneyed import Money
from unfold.widgets import UnfoldAdminSelectWidget

from billing_site.display.admin import StaffAdmin
from billing_site.display.charts import Series, row_chart
from billing_site.display.figures import quantity
from billing_site.kernel.clock import now
from billing_site.kernel.money import round_money
from dunning.admin.terms_field import TermsField
from dunning.backtest_words import act_words, count_rows, difference_lines, effect_words, line_words
from dunning.backtesting import DAYS, Trial, backtest, late_customers
from dunning.core.comparison import Comparison, Difference, Side
from dunning.core.policy import read_terms
from dunning.policies.models import PolicyVersion
from invoicing.customers.models import Customer
from invoicing.reports.tabular import CSV_TYPE, csv_lines

EVERYBODY = ""
SHOWN_MAX = 200
# So many are worked out in a second or two, while somebody waits; the command does all of them.
CUSTOMERS_MAX = 2_000
ONLY = (
    ("", "everybody who differs"),
    ("spared", "who would have been spared something"),
    ("burdened", "who would have lost something"),
)


class BacktestForm(forms.Form):
    """Which terms are tried, on whom."""

    terms = TermsField()
    whom = forms.ChoiceField(required=False, label="In place of", widget=UnfoldAdminSelectWidget())
    only = forms.ChoiceField(required=False, label="Show", choices=ONLY, widget=UnfoldAdminSelectWidget())
    # As they were entered where the terms are published, and go back to there.
    key = forms.CharField(required=False, widget=forms.HiddenInput())
    name = forms.CharField(required=False, widget=forms.HiddenInput())

    def __init__(self, *arguments: Any, keys: Sequence[str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        field = self.fields["whom"]
        assert isinstance(field, forms.ChoiceField), "as it is declared above"
        field.choices = [*((key, f"the policy “{key}”") for key in keys), (EVERYBODY, "every policy")]


@dataclass(frozen=True)
class Shown:
    """A customer who differs, as the page writes it."""

    customer: Customer
    difference: Difference
    spared: str
    burdened: str


def show_backtest(request: HttpRequest, *, admin: StaffAdmin) -> HttpResponse | StreamingHttpResponse:
    """Show what terms would have done: those that are posted, or those of the version that the address names; else the form alone, for it reads months."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    at = now()
    keys = list(PolicyVersion.objects.order_by("key").values_list("key", flat=True).distinct())
    version = _version(request)
    form = _form(request, keys, version)
    found: Comparison | None = None
    late: list[int] = []
    if (request.method == "POST" or version is not None) and form.is_valid():
        late = late_customers(at=at)
        trial = Trial(read_terms(form.cleaned_data["terms"]), form.cleaned_data["whom"])
        found = backtest(trial=trial, at=at, customers=late[:CUSTOMERS_MAX])
    if found and request.POST.get("format") == "csv":
        response = StreamingHttpResponse(csv_lines(rows=difference_lines(found)), content_type=CSV_TYPE)
        name = "dunning-backtest-sample" if len(late) > CUSTOMERS_MAX else "dunning-backtest"
        response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return response
    chosen = _chosen(found, form.cleaned_data["only"]) if found else []
    context = admin.page_context(
        request,
        title="What a policy would have done",
        form=form,
        days=DAYS,
        since=at - timedelta(days=DAYS),
        until=at,
        found=found,
        effect=effect_words(found) if found else "",
        sampled=CUSTOMERS_MAX if len(late) > CUSTOMERS_MAX else 0,
        late=len(late),
        command=_command(form) if len(late) > CUSTOMERS_MAX else "",
        terms_json=json.dumps(form.cleaned_data["terms"], indent=2) if found else "",
        rows=count_rows(found) if found else [],
        chart=_chart(found) if found else "",
        sides=[("By the policies in force", _ladder(found.held)), ("With these terms", _ladder(found.tried))]
        if found
        else [],
        differences=_shown(chosen[:SHOWN_MAX]),
        more=max(len(chosen) - SHOWN_MAX, 0),
        may_publish=admin.has_add_permission(request),
        publish=_publish(form) if found else "",
        rehearsal=reverse("admin:dunning_dunningcase_rehearsal"),
    )
    return TemplateResponse(request, "backoffice/dunning_backtest.html", context, status=422 if form.errors else 200)


def _version(request: HttpRequest) -> PolicyVersion | None:
    """Return the version that the address names."""
    number = request.GET.get("version", "")
    is_number = number.isascii() and number.isdecimal() and len(number) < 10
    return PolicyVersion.objects.filter(pk=int(number)).first() if is_number else None


def _form(request: HttpRequest, keys: Sequence[str], version: PolicyVersion | None) -> BacktestForm:
    """Return the form, filled by what is posted, by the version of the address, or by the newest version of the first policy."""
    if request.method == "POST":
        told = request.POST.copy()
        told.setdefault("whom", told.get("key", EVERYBODY) if told.get("key") in keys else EVERYBODY)
        return BacktestForm(told, keys=keys)
    chosen = version or PolicyVersion.objects.order_by("key", "-number").first()
    if chosen is None:
        return BacktestForm(keys=keys)
    return BacktestForm({"terms": json.dumps(chosen.terms, indent=2), "whom": chosen.key, "only": ""}, keys=keys)


def _chart(found: Comparison) -> str:
    rows = count_rows(found)
    return row_chart(
        title="What the policies in force would have done, and what these terms would have",
        labels=[words.capitalize() for words, *_ in rows],
        series=[
            Series(
                "by the policies in force", 1, [Decimal(row[1]) for row in rows], [quantity(row[1]) for row in rows]
            ),
            Series("with these terms", 4, [Decimal(row[2]) for row in rows], [quantity(row[2]) for row in rows]),
        ],
    )


def _ladder(side: Side) -> list[tuple[int, str, int, int, list[Money]]]:
    return [
        (
            one.step.day,
            one.step.words,
            one.taken,
            one.spared,
            [round_money(amount, currency) for currency, amount in sorted(one.paid.items())],
        )
        for one in side.ladder
    ]


def _chosen(found: Comparison, only: str) -> list[Difference]:
    return [one for one in found.differences if not only or getattr(one, only)]


def _shown(differences: Sequence[Difference]) -> list[tuple[Shown, list[str], list[str]]]:
    customers = Customer.objects.in_bulk([one.customer_id for one in differences])
    return [
        (
            Shown(customers[one.customer_id], one, act_words(one.spared), act_words(one.burdened)),
            line_words(one.held),
            line_words(one.tried),
        )
        for one in differences
    ]


def _command(form: BacktestForm) -> str:
    """Return the command that tries the same terms on everybody."""
    whom = f" --policy {form.cleaned_data['whom']}" if form.cleaned_data["whom"] else ""
    return f"manage.py backtest TERMS.json{whom} --csv FILE.csv"


def _publish(form: BacktestForm) -> str:
    """Return the address of the form that publishes these terms, filled in."""
    entered = form.cleaned_data
    whom = entered["whom"]
    version = PolicyVersion.objects.filter(key=whom).order_by("-number").first()
    told = {
        "key": entered["key"] or whom,
        "name": entered["name"] or (version.name if version else ""),
        "terms": json.dumps(entered["terms"]),
    }
    return (
        f"{reverse('admin:dunning_policyversion_add')}?{urlencode({key: text for key, text in told.items() if text})}"
    )
