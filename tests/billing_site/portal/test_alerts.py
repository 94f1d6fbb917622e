"""A customer sets alerts and limits of its own, sees how they stand, and cannot touch the company's."""

import pytest
from moneyed import Money

from invoicing.customers.models import Customer
from invoicing.spend.models import Budget
from invoicing.spend.operations import set_budget
from tests.billing_site.portal.reading import text_of
from tests.factories import a_customer

pytestmark = pytest.mark.django_db
ALERTS = "/portal/alerts/"
MINE = {
    "name": "Our cap",
    "amount": "30",
    "thresholds": "50, 100",
    "projected_thresholds": "",
    "at_limit": "stop",
}


def test_a_limit_of_ones_own_is_set_seen_and_removed(july, visit):
    browser = visit("cust_acme")

    assert browser.post(ALERTS, MINE).headers["Location"] == ALERTS

    home = text_of(browser.get("/portal/").content.decode())
    assert "Your spend limit is reached Access is refused until 1 September 2026, 00:00 Europe/Berlin" in home
    assert "Our cap set by you USD 34.25 of USD 30.00" in home
    assert "114 % used; reached 50 %, 100 %; at 100 % access stops until the period ends." in home
    alerts = text_of(browser.get(ALERTS).content.decode())
    assert "Our cap set by you USD 30.00 a period" in alerts
    assert "100 % of Our cap reached" in alerts
    budget = Budget.objects.get()
    assert (budget.set_by, budget.history.get().history_change_reason) == (
        "customer",
        "customer cust_acme: in the portal",
    )

    browser.post(ALERTS, {"retire": budget.key})
    assert "Your spend limit is reached" not in text_of(browser.get("/portal/").content.decode())


@pytest.mark.parametrize(
    ("field", "wrong", "words"),
    [
        ("amount", "0", "It must be more than nothing."),
        ("amount", "much", "Write a number with a point"),
        ("amount", "1.001", "It has more decimals than your currency."),
        ("thresholds", "half", "Write whole percents"),
        ("thresholds", "2000", "Each percent must be from 1 to 1000."),
        ("name", "", "This field is required."),
    ],
)
def test_what_cannot_be_set_is_told_beside_its_field(acme, visit, field, wrong, words):
    answer = visit("cust_acme").post(ALERTS, MINE | {field: wrong})

    assert answer.status_code == 200
    assert any(words in error for error in answer.context["form"].errors[field])
    assert not Budget.objects.exists()


def test_what_the_company_or_another_customer_set_cannot_be_removed(acme, visit):
    who = {"name": "Cap", "amount": Money("10", "USD"), "actor": "test", "reason": "set up"}
    acme = Customer.objects.get(key="cust_acme")
    of_company = set_budget(customer=acme, **who)
    of_other = set_budget(customer=a_customer("cust_other"), set_by="customer", **who)
    browser = visit("cust_acme")

    for budget in (of_company, of_other):
        assert browser.post(ALERTS, {"retire": budget.key}).status_code == 404
    assert browser.post(ALERTS, {"retire": "a\x00b"}).status_code == 404
    assert "set by us" in text_of(browser.get(ALERTS).content.decode())
    assert Budget.objects.filter(retired_at__isnull=True).count() == 2
