"""An administrator runs a drill on a page: faults and invoices by one button, then check by check what holds."""

from django.contrib.auth.models import User
from django.test import Client

from billing_site.drills import stripe
from billing_site.kernel.errors import Conflict
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from tests.billing_site.backoffice.conftest import support
from tests.invoicing.payments.building import deliver, run_queued_jobs
from tests.invoicing.payments.conftest import listener, sandbox
from tests.invoicing.test_taxes import germany

__all__ = ["listener", "sandbox", "support"]
PAGE = "/admin/drill/"
ORDER = {
    "invoices": 2,
    "rate_limit": 0,
    "http_500": 0,
    "timeout_after_effect": 0,
    "drop_webhooks": 90,
    "duplicate_webhooks": 0,
    "reorder_webhooks": 0,
    "delay_webhooks": 0,
}


def administrator():
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "root"))
    return client


def test_a_drill_is_red_until_what_was_lost_is_found_and_then_green(sandbox, listener):
    client = administrator()
    asked = client.get(PAGE).content.decode()
    begun = client.post(PAGE, ORDER)
    name = begun.url.partition("name=")[2]
    assert sandbox.state()["rates"] == {"drop_webhooks": 90}
    early = client.get(begun.url).content.decode()
    run_queued_jobs()

    client.post(PAGE + "end/", {"name": name})
    sandbox.wait_until_delivered()
    run_queued_jobs()
    deliver(sandbox, listener)
    run_queued_jobs()
    late = client.get(begun.url).content.decode()

    assert "Begin the drill" in asked
    assert "2 here, 0 there under our numbers" in early and "different" in early
    assert sandbox.state()["rates"] == {}
    assert "Everything holds" in late and "2 payments over" in late


def test_where_the_company_charges_tax_the_customers_of_a_drill_are_next_door(sandbox):
    germany()

    administrator().post(PAGE, ORDER)

    issued = Invoice.objects.filter(status="issued")
    assert [f"{invoice.tax_amount.amount:.2f}" for invoice in issued.order_by("id")] == ["1.90", "2.09"]


def test_a_drill_that_cannot_begin_leaves_neither_faults_nor_customers(sandbox, monkeypatch):
    def refused(**named):
        raise Conflict("it cannot be taxed")

    monkeypatch.setattr(stripe, "invoice_once", refused)
    client = administrator()

    told = client.post(PAGE, ORDER, follow=True).content.decode()

    assert "No drill was begun: it cannot be taxed" in told
    assert sandbox.state()["rates"] == {}
    assert not Customer.objects.exists()


def test_faults_that_somebody_left_behind_are_told_and_called_off_on_the_page(sandbox):
    stripe.order_faults(percents={"http_500": 5, "drop_webhooks": 7})
    client = administrator()
    asked = client.get(PAGE).content.decode()

    ended = client.post(PAGE + "end/", {"name": ""}, follow=True).content.decode()

    assert "The sandbox fails now: News lost 7 %, Stripe fails 5 %" in asked and "Call the faults off" in asked
    assert sandbox.state()["rates"] == {} and "Call the faults off" not in ended


def test_with_a_key_of_stripes_there_is_no_form_and_nothing_is_made(db, settings):
    client = administrator()
    settings.STRIPE_IS_SANDBOX = False

    page = client.get(PAGE).content.decode()
    client.post(PAGE, ORDER)

    assert "drills are for the sandbox only" in page and "Begin the drill" not in page
    assert not Invoice.objects.exists()


def test_only_administrators_drill(support):
    assert support.get(PAGE).status_code == 403
    assert support.post(PAGE + "end/", {"name": "x"}).status_code == 403
