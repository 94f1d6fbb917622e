"""What the pages of invoices tell and offer: search hits as words, drafts apart, doors that lead somewhere."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from moneyed import Money

from billing_site.display.figures import period_text
from invoicing.admin.invoice_page import Moment, in_order_of_cause, invoice_page
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment, PushIntent
from invoicing.payments.operations import record_failure
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.run_billing import draft_billing
from metering.rollup import roll_up
from tests.billing_site.backoffice.conftest import AT
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer, a_plan, a_subscription, use

pytestmark = pytest.mark.django_db
BEFORE_ITS_END = datetime(2026, 7, 31, 23, 59, 59, tzinfo=UTC)


def address(name: str, invoice: Invoice) -> str:
    return reverse(f"admin:invoicing_invoice_{name}", args=[invoice.pk])


def may_do_anything(permission: str) -> bool:
    return True


@pytest.fixture
def declined(drafts: list[Invoice]) -> Invoice:
    """An invoice at Stripe whose card was declined."""
    invoice = issue_invoice(invoice_id=drafts[1].pk, at=AT, actor="test", reason="test")
    PushIntent.objects.update(status="pushed", pushed_at=AT, stripe_invoice_id="in_1")
    record_failure(
        invoice_id=invoice.pk, reference="ch_1", code="card_declined", message="Your card was declined.", occurred_at=AT
    )
    return invoice


def test_search_hits_are_words_and_pills_never_the_markup_of_them(
    administrator: Client, drafts: list[Invoice], declined: Invoice
) -> None:
    Payment.objects.create(
        invoice=declined,
        customer=declined.customer,
        channel="manual",
        reference="TRF 4000",
        amount=Money(4000, "JPY"),
        received_at=AT,
    )

    page = administrator.get(reverse("admin:backoffice_search"), {"q": "4000"}).content.decode()

    assert "&lt;span" not in page
    assert f"</span> for {declined.number}" in page
    assert '<span class="bo-pill bo-pill-blue">' in page


def test_drafts_stand_apart_from_what_is_owed(administrator: Client, drafts: list[Invoice]) -> None:
    issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")

    context = administrator.get(reverse("admin:invoicing_invoice_changelist")).context

    assert [(number, total) for number, total, _ in context["totals"]] == [(1, Money("31.50", "USD"))]
    assert [(number, total) for number, total, _ in context["draft_totals"]] == [(1, Money(4000, "JPY"))]


def test_the_months_of_the_period_filter_are_those_of_the_column_each_once(administrator: Client) -> None:
    a_plan()
    for key, zone in (("cust_utc", "UTC"), ("cust_berlin", "Europe/Berlin"), ("cust_tokyo", "Asia/Tokyo")):
        begins = datetime(2026, 6, 1, tzinfo=ZoneInfo(zone))
        a_subscription(a_customer(key, name=key, timezone=zone), started_at=begins)
    draft_billing(as_of=AT, at=AT)
    list_address = reverse("admin:invoicing_invoice_changelist")

    [period] = [one for one in administrator.get(list_address).context["cl"].filter_specs if one.title == "period"]
    july = administrator.get(list_address, {"period": "2026-07"}).context["cl"].queryset

    assert period.lookup_choices == [("2026-07", "July 2026"), ("2026-06", "June 2026")]
    assert sorted(invoice.customer_name for invoice in july) == ["cust_berlin", "cust_tokyo", "cust_utc"]
    shown = {(one.period_start, one.period_end, one.timezone) for one in july}
    assert {period_text(start=start, end=end, timezone=zone) for start, end, zone in shown} == {"2026-07"}


def test_nobody_owes_a_draft(administrator: Client, drafts: list[Invoice]) -> None:
    page = administrator.get(reverse("admin:invoicing_invoice_changelist")).content.decode()

    assert "0.00" not in page


def test_a_declined_invoice_offers_a_bank_transfer_and_says_what_happens_next(
    finance: Client, declined: Invoice
) -> None:
    page = finance.get(address("change", declined)).content.decode()
    asked = finance.get(address("record_transfer", declined)).content.decode()

    assert address("record_transfer", declined) in page
    assert "charged again as its reason says" in page
    assert "withdraws the invoice at Stripe" in page
    assert "it is withdrawn there" in asked


def test_the_list_of_failed_charges_says_why_each_failed(finance: Client, declined: Invoice) -> None:
    failed = text_of(finance.get(reverse("admin:invoicing_invoice_changelist"), {"state": "failed"}))
    every = text_of(finance.get(reverse("admin:invoicing_invoice_changelist")))

    assert "Why it failed" in failed and "card declined Your card was declined." in failed
    assert "Why it failed" not in every


def test_a_part_of_an_invoice_at_stripe_is_not_taken_by_bank_transfer(finance: Client, declined: Invoice) -> None:
    entered = {"reference": "TRF 1", "received_date": "2026-08-04", "reason": "statement 31"}

    refused = finance.post(address("record_transfer", declined), {**entered, "amount": "3999"})
    finance.post(address("record_transfer", declined), {**entered, "amount": "4000"})

    assert "must be the whole JPY 4,000" in refused.content.decode()
    assert Payment.objects.get().amount == Money(4000, "JPY")


def test_a_draft_is_not_offered_for_issue_before_its_period_ends(drafts: list[Invoice]) -> None:
    before = invoice_page(invoice=drafts[0], at=BEFORE_ITS_END, allowed=may_do_anything)
    after = invoice_page(invoice=drafts[0], at=BEFORE_ITS_END + timedelta(seconds=1), allowed=may_do_anything)

    assert (before.may_issue, after.may_issue) == (False, True)
    assert before.question == "Its period has not ended: it can be issued from 2026-08-01 00:00 (UTC) on."


def test_an_outdated_draft_says_so_and_is_refreshed_with_a_reason(finance: Client, drafts: list[Invoice]) -> None:
    use("cust_acme", "100", at=datetime(2026, 7, 20, tzinfo=UTC), key="late")
    roll_up()

    refused = finance.post(address("issue", drafts[0]), {"reason": "checked"}, follow=True).content.decode()
    finance.post(address("refresh", drafts[0]), {"reason": "usage arrived"})
    finance.post(address("issue", drafts[0]), {"reason": "checked again"})

    assert "Not issued, nothing has changed" in refused
    assert address("refresh", drafts[0]) in refused
    issued = Invoice.objects.get(pk=drafts[0].pk)
    assert (issued.status, issued.total) == ("issued", Money("32.50", "USD"))


def test_support_refreshes_nothing(support: Client, drafts: list[Invoice]) -> None:
    assert support.post(address("refresh", drafts[0]), {"reason": "x"}).status_code == 403
    assert address("refresh", drafts[0]) not in support.get(address("change", drafts[0])).content.decode()


def test_what_happens_within_minutes_is_told_by_cause_and_what_is_apart_by_time() -> None:
    def at(seconds: int, word: str) -> Moment:
        return Moment(AT + timedelta(seconds=seconds), word, "")

    told = in_order_of_cause([at(3, "pushed"), at(1, "paid"), at(0, "issued"), at(0, "draft"), at(7200, "pushed")])

    assert [moment.word for moment in told] == ["draft", "issued", "pushed", "paid", "pushed"]
    assert in_order_of_cause([]) == []


@pytest.mark.parametrize(
    ("start", "end", "written"),
    [
        ("2026-10-01T00:00", "2026-11-01T00:00", "2026-10"),
        ("2026-09-23T09:30", "2026-10-23T09:30", "2026-09-23 to 2026-10-22"),
        ("2026-09-23T00:00", "2026-10-23T00:00", "2026-09-23 to 2026-10-22"),
        ("2026-09-23T09:30", "2026-10-01T00:00", "2026-09-23 to 2026-09-30"),
        ("2026-09-01T00:00", "2026-09-15T12:00", "2026-09-01 to 2026-09-15"),
        ("2026-09-01T08:00", "2026-09-01T12:00", "2026-09-01 08:00 to 2026-09-01 12:00"),
        ("2026-12-01T00:00", "2027-01-01T00:00", "2026-12"),
    ],
)
def test_a_period_is_written_by_its_first_and_last_day(start: str, end: str, written: str) -> None:
    bounds: dict[str, Any] = {
        "start": datetime.fromisoformat(start).replace(tzinfo=UTC),
        "end": datetime.fromisoformat(end).replace(tzinfo=UTC),
    }

    assert period_text(**bounds, timezone="UTC") == written
