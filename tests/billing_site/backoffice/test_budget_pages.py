"""Budgets in the admin: set with a reason beside the spend, refused by their field, retired, and told on the index."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from moneyed import Money

from invoicing.customers.models import Customer
from invoicing.spend.models import Budget
from invoicing.workflows.watch_spend import sweep_spend
from tests.factories import AUGUST, a_customer, a_plan, a_subscription, use

pytestmark = pytest.mark.django_db
ADD = "admin:invoicing_budget_add"
MID_AUGUST = AUGUST + timedelta(days=14)


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Customer:
    """Acme, who pays USD 29 a month and USD 0.01 an action and has used 2,100; it is the middle of August."""
    for module in ("invoicing.admin.budgets", "invoicing.admin.customers", "billing_site.backoffice.site"):
        monkeypatch.setattr(f"{module}.now", lambda: MID_AUGUST)
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "2100", at=AUGUST)
    return customer


def form(customer: Customer | None, **fields: Any) -> dict[str, Any]:
    return {
        "customer": customer.pk if customer else "",
        "name": "Monthly budget",
        "currency": "",
        "amount": "50",
        "thresholds": "50, 80, 100",
        "projected_thresholds": "",
        "at_limit": "stop",
        "reason": "agreed with Acme",
        **fields,
    }


def test_finance_sets_a_limit_and_sees_at_once_what_it_does(finance: Client, acme: Customer) -> None:
    answer = finance.post(reverse(ADD), form(acme))

    page = finance.get(answer.headers["Location"].partition("#")[0]).content.decode()
    assert "Monthly budget" in page
    assert "100 % of Monthly budget reached, access refused" in page
    assert "a spend limit is reached (sub_cust_acme) until 2026-09-01 00:00 (UTC)" in page
    assert "Stopped by a spend limit" in finance.get("/admin/").content.decode()
    listed = finance.get(reverse("admin:invoicing_spendwatch_changelist") + "?access=stopped").content.decode()
    assert "Acme GmbH" in listed
    budget = Budget.objects.get()
    assert budget.history.get().history_change_reason == "fiona: agreed with Acme"


@pytest.mark.parametrize(
    ("field", "wrong", "words"),
    [
        ("amount", "0", "must be more than nothing"),
        ("amount", "1.001", "whole minor units of USD"),
        ("amount", "-1", "must not be negative"),
        ("amount", "a lot", "plain decimal"),
        ("thresholds", "fifty", "whole percents"),
        ("thresholds", "0", "from 1 to 1000 percent"),
        ("name", "  ", "required"),
        ("reason", "", "required"),
    ],
)
def test_what_no_budget_can_be_is_told_at_its_field_and_nothing_is_kept(
    finance: Client, acme: Customer, field: str, wrong: str, words: str
) -> None:
    answer = finance.post(reverse(ADD), form(acme, **{field: wrong}))

    assert answer.status_code == 200
    assert words in str(answer.context["adminform"].form.errors[field])
    assert not Budget.objects.exists()


def test_a_default_needs_a_currency_and_is_named_as_one(finance: Client, acme: Customer) -> None:
    refused = finance.post(reverse(ADD), form(None))
    assert "ISO 4217" in str(refused.context["adminform"].form.errors["currency"])

    finance.post(reverse(ADD), form(None, currency="USD"))
    sweep_spend(at=MID_AUGUST)

    page = finance.get(reverse("admin:invoicing_customer_change", args=[acme.pk])).content.decode()
    assert "(default)" in page


def test_a_budget_is_raised_and_retired_with_a_reason_and_support_only_looks(
    finance: Client, support: Client, acme: Customer
) -> None:
    finance.post(reverse(ADD), form(acme))
    budget = Budget.objects.get()
    page = reverse("admin:invoicing_budget_change", args=[budget.pk])

    finance.post(page, form(acme, amount="75.50", thresholds="90"))
    budget.refresh_from_db()
    assert (budget.amount, budget.thresholds) == (Money("75.50", "USD"), [90])
    assert support.post(page, form(acme, amount="1")).status_code == 403
    retire = reverse("admin:invoicing_budget_retire", args=[budget.pk])
    assert support.post(retire, {"reason": "no"}).status_code == 403
    assert "is not watched any more, and stops nobody" in finance.get(retire).content.decode()
    finance.post(retire, {"reason": "not needed"})
    budget.refresh_from_db()
    assert budget.retired_at == MID_AUGUST
    assert finance.get(page).status_code == 200
