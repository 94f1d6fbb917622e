"""A savings tip is what the last invoices would have come to on another plan, by the engine that billed them."""

from datetime import timedelta

import pytest
from django.test import Client
from moneyed import Money

from invoicing.customers.models import Customer
from invoicing.customers.portal_links import link_for
from invoicing.workflows.find_saving import find_saving
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller
from tests.factories import JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

pytestmark = pytest.mark.django_db
AT = SEPTEMBER + timedelta(days=5)


@pytest.fixture
def acme() -> Customer:
    """Acme on USD 29 and USD 0.01 an action: 10,000 in July, none in August. Flat and dear are sold too, and one without actions."""
    a_plan("pro")
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "10000", at=JULY + timedelta(days=3))
    assert not issue_billing(as_of=SEPTEMBER, at=AT).failures
    a_plan("flat", usd_fee("50"), usd_per_action("0.002"))
    a_plan("dear", usd_fee("500"), usd_per_action("0.01"))
    a_plan("nothing", usd_fee("1"))
    return customer


def test_the_cheapest_plan_is_told_with_what_would_have_been_paid(acme: Customer) -> None:
    found = find_saving(customer=acme, at=AT)

    # 29 + 100 and 29; on flat 50 + 20 and 50.
    assert (found.paid, len(found.invoices)) == (Money("158.00", "USD"), 2)
    assert [(one.version.plan.key, one.amount.amount) for one in found.plans] == [("flat", 120), ("dear", 1100)]
    assert found.tip is not None
    assert found.tip.saved == Money("38.00", "USD")


def test_customers_read_it_in_their_portal_in_their_own_words(
    acme: Customer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_subscription(a_customer("cust_new"))
    monkeypatch.setattr("billing_site.kernel.clock.now", lambda: AT)

    def read(key: str) -> str:
        client.get(link_for(customer_key=key))
        return client.get("/portal/saving/").content.decode()

    page = read("cust_acme")
    new = read("cust_new")

    assert "On Flat you would have paid" in page and page.count('data-testid="would-have-paid"') == 2
    assert "for what you really used" in page
    assert "There is no invoice of one plan alone yet. Once there is something to compare, it stands here." in new


def test_it_is_read_over_the_api_and_in_the_admin(
    acme: Customer, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoicing.api.saving.now", lambda: AT)
    monkeypatch.setattr("invoicing.admin.customers.now", lambda: AT)

    answer = Caller("spend:read", customer="cust_acme").get("/api/v1/customers/cust_acme/saving").json()
    page = admin_client.get(f"/admin/invoicing/customer/{acme.pk}/saving/").content.decode()

    assert (answer["paid"]["amount"], answer["tip"]["plan"]) == ("158.00", "flat")
    assert answer["tip"]["saved"] == {"amount": "38.00", "currency": "USD"}
    assert "On Flat v1 Acme GmbH would have paid" in page


def test_who_pays_least_already_or_was_never_billed_gets_no_tip(acme: Customer) -> None:
    idle = a_customer("cust_idle")
    a_subscription(idle, started_at=SEPTEMBER)
    assert find_saving(customer=idle, at=AT).why_none == "There is no invoice of one plan alone yet."

    small = a_customer("cust_small")
    a_subscription(small)
    assert not issue_billing(as_of=SEPTEMBER, at=AT).failures
    assert find_saving(customer=small, at=AT).tip is None
