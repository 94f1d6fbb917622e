"""The home page: what was used, what it will cost, what is to pay."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from moneyed import Money

from billing_site.portal.queries import home
from billing_site.portal.queries.home import home_page
from invoicing.customers.queries import customer_by_key
from invoicing.subscriptions.cancel import end_subscription
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import settle_payment
from metering.ingest import accept_events
from metering.rollup import IngestStandsStill
from tests.billing_site.portal.conftest import AUGUST_BERLIN, JULY_BERLIN, NOW
from tests.billing_site.portal.reading import text_of
from tests.factories import (
    AUGUST,
    JULY,
    a_customer,
    a_plan,
    a_subscription,
    an_event,
    usd_fee,
    usd_per_action,
    use,
)

pytestmark = pytest.mark.django_db


def the_page(key: str = "cust_acme", *, at: datetime = NOW) -> home.HomePage:
    return home_page(customer=customer_by_key(key=key), at=at)


@pytest.mark.requirement("S3-017")
@pytest.mark.requirement("S3-013")
@pytest.mark.requirement("S0-143")
def test_the_page_says_what_it_costs_so_far_at_this_pace_and_before(july):
    [running] = the_page().running

    # 210,000 actions at USD 25 a million; in 31 days 210,000 × 31/10.5 = 620,000.
    assert running.so_far == Money("34.25", "USD")
    assert running.at_this_pace == Money("44.50", "USD")
    # By noon of 11 July all of July's usage had been counted: 1,000,000 at 25 and 500,000.5 at 20 a million.
    assert running.before_at_this_point == Money("64.00", "USD")
    assert (running.first_day.isoformat(), running.last_day.isoformat()) == ("2026-08-01", "2026-08-31")
    assert running.days_left == 20


@pytest.mark.requirement("S3-016")
def test_the_words_of_the_page_are_those_of_the_figures(july, visit):
    text = text_of(visit("cust_acme").get("/portal/").content.decode())

    assert "1 – 31 August 2026 today and 20 days more" in text
    assert "So far USD 34.25 The period before stood at USD 64.00 at this point" in text
    # The last four weeks hold 210,000 actions, all in the last of them; three weeks are to come.
    assert "Expected at the end USD 34.25 – 50.00 most likely USD 38.19" in text
    assert "To pay USD 64.00 1 open invoice" in text
    assert "210,000 actions used. Each unit is charged at the rate of the tier it falls in." in text
    assert "First 210,000 actions at USD 25.00 per million 210,000 × 0.000025 = 5.25" in text
    assert "Counted until 11 August 2026, 12:00 Europe/Berlin." in text


@pytest.mark.requirement("S3-012")
def test_usage_is_put_into_the_days_of_the_customer(acme):
    [running] = the_page(at=datetime(2026, 7, 10, tzinfo=UTC)).running
    [actions] = running.usage

    days = {day.isoformat(): value for day, value in actions.days}
    assert days["2026-07-04"] == 900000
    assert days["2026-07-05"] == Decimal("600000.5")
    assert (min(days), max(days), actions.day_count) == ("2026-07-01", "2026-07-10", 31)
    assert not actions.cut_within_the_hour


def test_a_zone_within_the_hour_says_so(present):
    a_plan()
    a_subscription(
        a_customer("cust_delhi", timezone="Asia/Kolkata"), started_at=datetime(2026, 7, 31, 18, 30, tzinfo=UTC)
    )
    use("cust_delhi", "5", at=NOW)

    [actions] = the_page("cust_delhi", at=NOW + timedelta(hours=1)).running[0].usage

    assert actions.cut_within_the_hour
    assert actions.total == 5


def test_sums_keep_every_digit(present):
    a_plan("pro", usd_per_action("0.000000000001"))
    a_subscription(a_customer(), started_at=AUGUST)
    use("cust_acme", "12345678901234567890123456", at=AUGUST + timedelta(days=1))
    use("cust_acme", "0.000000000001", at=AUGUST + timedelta(days=2))

    [running] = the_page().running

    assert running.usage[0].total == Decimal("12345678901234567890123456.000000000001")
    assert running.at_this_pace is not None


def test_on_the_first_day_there_is_no_pace_but_where_weeks_are_known_a_forecast(acme, visit, present):
    present(AUGUST_BERLIN + timedelta(hours=23, minutes=59))
    assert the_page(at=AUGUST_BERLIN + timedelta(hours=23, minutes=59)).running[0].at_this_pace is None
    assert "Expected at the end" in text_of(visit("cust_acme").get("/portal/").content.decode())
    a_subscription(a_customer("cust_new", timezone="Europe/Berlin"), started_at=AUGUST_BERLIN)
    assert "An estimate needs one full day of usage" in text_of(visit("cust_new").get("/portal/").content.decode())
    assert the_page(at=AUGUST_BERLIN + timedelta(days=1)).running[0].at_this_pace is not None


def test_the_very_first_moment_of_a_period_is_a_page_too(acme):
    [running] = the_page(at=AUGUST_BERLIN).running

    assert running.so_far == Money("29.00", "USD")
    assert running.usage == ()


def test_a_service_that_begins_later_in_the_period_waits(acme):
    a_plan("extra", {**usd_per_action("1"), "meter": "actions"})
    customer = customer_by_key(key="cust_acme")

    end_subscription(
        subscription=customer.subscriptions.get(), ended_at=NOW + timedelta(days=5), actor="test", reason="change"
    )
    a_subscription(customer, plan="extra", started_at=NOW + timedelta(days=5), key="sub_extra")

    [running] = the_page().running

    assert running.at_this_pace is None
    assert [line.name for line in running.lines] == ["Base fee", "Actions", "Actions"]


def test_the_period_before_is_of_the_same_length(present):
    a_plan("pro")
    a_plan("yearly")
    a_subscription(a_customer(), started_at=JULY)

    assert the_page(at=AUGUST + timedelta(days=2)).running[0].before_at_this_point == Money("29", "USD")
    assert the_page(at=JULY + timedelta(days=2)).running[0].before_at_this_point is None


def test_no_plan_no_usage_and_no_invoice_are_pages_with_words(visit, present):
    a_customer("cust_idle")
    text = text_of(visit("cust_idle").get("/portal/").content.decode())
    assert "No plan is running" in text
    assert "No invoice yet." in text
    assert "To pay USD 0.00 No invoice yet" in text

    a_plan()
    a_subscription(customer_by_key(key="cust_idle"), started_at=AUGUST)
    text = text_of(visit("cust_idle").get("/portal/").content.decode())
    assert "This is your first period" in text
    assert "No usage in this period yet. It appears here as soon as it is sent." in text
    assert "The first one comes after 31 August 2026" in text


def test_an_invoice_is_overdue_when_its_last_day_is_over_where_the_customer_is(july, visit, present):
    # Issued on 1 August in Berlin, due on 15 August; that day ends at 22:00 UTC.
    present(datetime(2026, 8, 15, 21, 59, tzinfo=UTC))
    assert "overdue" not in text_of(visit("cust_acme").get("/portal/").content.decode())
    present(datetime(2026, 8, 15, 22, 0, tzinfo=UTC))
    text = text_of(visit("cust_acme").get("/portal/").content.decode())
    assert f"One invoice is overdue: USD 64.00 {july.number} (due 15 August 2026). Open it to see what to do." in text

    settle_payment(
        invoice_id=july.pk, channel="manual", reference="t1", amount=july.total, received_at=NOW, actor="f", reason="r"
    )
    text = text_of(visit("cust_acme").get("/portal/").content.decode())
    assert "overdue" not in text
    assert "To pay USD 0.00 All invoices are paid" in text


def test_usage_that_cannot_be_counted_yet_does_not_close_the_page(acme, visit, monkeypatch):
    client = visit("cust_acme")

    def stand_still():
        raise IngestStandsStill("one transaction is open")

    monkeypatch.setattr(home, "roll_up", stand_still)
    text = text_of(client.get("/portal/").content.decode())

    assert "What was sent in the last minutes is still being counted; nothing of it is lost." in text


@pytest.mark.requirement("S3-021")
@pytest.mark.requirement("S3-015")
def test_newest_invoices_stand_first_and_older_ones_are_in_pages(visit, present):
    a_plan("pro", usd_fee())
    a_subscription(a_customer(), started_at=datetime(2022, 6, 1, tzinfo=UTC))
    issue_billing(as_of=AUGUST, at=AUGUST)
    client = visit("cust_acme")

    assert "All 50 invoices" in text_of(client.get("/portal/").content.decode())
    first = text_of(client.get("/portal/invoices/").content.decode())
    last = text_of(client.get("/portal/invoices/?page=3").content.decode())
    assert "1 to 24 of 50 Older" in first and "1 – 31 July 2026" in first
    assert "Newer 49 to 50 of 50" in last and "1 – 30 June 2022" in last
    for nonsense in ("0", "-1", "99", "x", "", "9" * 500):
        assert client.get("/portal/invoices/", {"page": nonsense}).status_code == 200


def test_the_number_of_queries_does_not_grow_with_windows_events_or_invoices(
    visit, present, django_assert_max_num_queries
):
    a_plan("pro", usd_fee(), usd_per_action())
    a_subscription(a_customer(), started_at=datetime(2022, 6, 1, tzinfo=UTC))
    issue_billing(as_of=AUGUST, at=AUGUST)
    for start in range(0, 10_000, 5_000):
        accept_events(
            events=[
                an_event("cust_acme", "1", at=AUGUST + timedelta(minutes=hour), event_type="action.consumed")
                for hour in range(start, start + 5_000)
            ]
        )
    client = visit("cust_acme")

    with django_assert_max_num_queries(68):
        assert "USD" in text_of(client.get("/portal/").content.decode())
    with django_assert_max_num_queries(7):
        client.get("/portal/invoices/")
    with django_assert_max_num_queries(21):
        client.get("/portal/invoices/INV-2026-00050/")


def test_july_in_berlin_begins_in_june_in_utc(acme):
    [running] = the_page(at=JULY_BERLIN).running

    assert running.first_day.isoformat() == "2026-07-01"
