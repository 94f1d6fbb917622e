"""The index shows work: each kind with its number, money by currency and reason, in a bounded number of queries."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from moneyed import Money

from billing_site.backoffice.queries import index_page
from billing_site.kernel.clock import now
from invoicing.invoices.models import Invoice
from invoicing.payments.models import PushIntent
from invoicing.payments.operations import record_failure
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.run_billing import draft_billing
from invoicing.workflows.settle_payment import settle_payment
from metering.rollup import roll_up
from tests.billing_site.backoffice.conftest import AT
from tests.factories import JULY, a_customer, a_plan, a_subscription, use

pytestmark = pytest.mark.django_db
QUERIES_MAX = 69


def queue_named(page: Any, name: str) -> Any:
    return next(queue for queue in page.queues if queue.name == name)


def test_an_empty_house_says_that_nothing_waits_and_what_will_fill_each_queue(administrator: Client) -> None:
    page = index_page(at=AT)
    response = administrator.get("/admin/")

    assert page.is_quiet
    assert all(queue.empty for queue in page.queues)
    assert b"Nothing waits for you" in response.content
    assert b"No invoice was issued this month or the last" in response.content


def test_drafts_stand_in_their_queue_with_money_by_currency_never_added_up(drafts: list[Invoice]) -> None:
    queue = queue_named(index_page(at=AT), "Drafts to issue")

    assert queue.count == 2
    assert queue.money == (Money(4000, "JPY"), Money("31.50", "USD"))
    assert queue.oldest == AT


def test_where_runs_are_signed_drafts_say_that_a_run_is_due_and_lead_to_it(
    drafts: list[Invoice], settings: Any
) -> None:
    settings.BILLING_RUNS_NEED_APPROVAL = True

    queue = queue_named(index_page(at=AT), "Drafts to issue")

    assert queue.count == len(drafts)
    assert "a billing run is due" in queue.why
    assert queue.link == "/admin/invoicing/runproposal/"


def test_an_invoice_past_its_due_date_is_overdue_and_one_due_today_is_not(drafts: list[Invoice]) -> None:
    invoice = issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")
    assert invoice.due_date is not None
    due = datetime(invoice.due_date.year, invoice.due_date.month, invoice.due_date.day, 23, 59, tzinfo=UTC)

    assert queue_named(index_page(at=due), "Overdue invoices").count == 0
    assert queue_named(index_page(at=due + timedelta(minutes=1)), "Overdue invoices").count == 1


def test_a_push_that_stripe_refused_is_work_with_stripes_reason(drafts: list[Invoice]) -> None:
    issue_invoice(invoice_id=drafts[1].pk, at=AT, actor="test", reason="test")
    PushIntent.objects.update(status="refused", last_error="customer tax id is invalid")

    queue = queue_named(index_page(at=AT), "Invoices that Stripe did not take")

    assert (queue.count, queue.money, queue.why) == (1, (Money(4000, "JPY"),), "customer tax id is invalid")


def test_a_declined_card_is_work_until_the_invoice_is_paid(drafts: list[Invoice]) -> None:
    invoice = issue_invoice(invoice_id=drafts[1].pk, at=AT, actor="test", reason="test")
    record_failure(
        invoice_id=invoice.pk, reference="ch_1", code="card_declined", message="Your card was declined.", occurred_at=AT
    )
    assert queue_named(index_page(at=AT), "Payments that failed").why == "card declined 1"

    settle_payment(invoice_id=invoice.pk, channel="stripe", reference="pi_1", amount=Money(4000, "JPY"), received_at=AT)

    assert queue_named(index_page(at=AT), "Payments that failed").count == 0


def test_usage_that_comes_after_its_invoice_is_told_with_invoice_and_quantity(
    drafts: list[Invoice], administrator: Client
) -> None:
    issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")
    use("cust_acme", "7", at=datetime(2026, 7, 31, 23, 59, 59, tzinfo=UTC), key="late")
    use("cust_acme", "5", at=datetime(2026, 8, 1, tzinfo=UTC), key="in time for the next")
    roll_up()

    queue = queue_named(index_page(at=AT), "Late usage of issued lines")
    page = administrator.get("/admin/usage-problems/").content.decode()
    desk = administrator.get(queue.link).content.decode()

    assert (queue.count, queue.money) == (1, (Money("0.07", "USD"),))
    assert queue.why == "the next sweep settles it by the customer's terms"
    assert "cust_acme" in page
    assert "257 actions" in desk


def test_usage_of_unknown_customers_and_of_no_meter_is_told(drafts: list[Invoice]) -> None:
    use("cust_nobody", "1", at=JULY)
    use("cust_acme", "1", at=JULY, event_type="gpu.seconds")
    roll_up()
    page = index_page(at=AT)

    assert queue_named(page, "Usage of unknown customers").why == "cust_nobody"
    assert queue_named(page, "Events in no window").why == "gpu.seconds: no meter counts this event type"


def test_an_accepted_event_that_waits_for_its_window_too_long_is_an_alarm_with_what_to_do(
    administrator: Client, settings: Any
) -> None:
    use("cust_a", "1", at=JULY)
    [before] = [flow for flow in index_page(at=now()).flows if flow.name == "rollup"]
    settings.ROLLUP_LAG_ALARM_SECONDS = -1

    [after] = [flow for flow in index_page(at=now()).flows if flow.name == "rollup"]
    page = administrator.get("/admin/").content.decode()

    assert (before.state, after.state) == ("ok", "stopped")
    assert "1 event behind" in before.detail
    assert "is `manage.py roll_up --watch` running?" in after.detail
    assert "is `manage.py roll_up --watch` running?" in page


def test_the_month_compares_issued_with_the_month_before_by_currency(drafts: list[Invoice]) -> None:
    invoice = issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")
    settle_payment(invoice_id=invoice.pk, channel="manual", reference="A", amount=Money("6.30", "USD"), received_at=AT)

    (month,) = index_page(at=AT).months

    assert month.issued == Money("31.50", "USD")
    assert month.collected_percent == Decimal("20.0")
    assert month.against_last_month is None
    (september,) = index_page(at=datetime(2026, 9, 2, tzinfo=UTC)).months
    assert september.against_last_month == Decimal("-100.0")


def test_the_number_of_queries_does_not_grow_with_the_number_of_rows(django_assert_max_num_queries: Any) -> None:
    a_plan()
    for number in range(12):
        a_subscription(a_customer(f"cust_{number}"), started_at=JULY)
    for invoice in draft_billing(as_of=datetime(2026, 10, 1, tzinfo=UTC), at=AT).invoices[:20]:
        issue_invoice(invoice_id=invoice.pk, at=datetime(2026, 10, 2, tzinfo=UTC), actor="test", reason="test")

    with django_assert_max_num_queries(QUERIES_MAX):
        page = index_page(at=AT)

    assert queue_named(page, "Drafts to issue").count == 16


def test_someone_without_a_role_sees_no_figures(db: Any, client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("new", is_staff=True))

    page = client.get("/admin/").content.decode()

    assert "You have no role yet" in page
    assert "Drafts to issue" not in page
