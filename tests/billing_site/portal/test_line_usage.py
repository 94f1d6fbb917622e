"""Behind each line of usage the customer finds what was counted in which hour, and every event, with sums and digests that agree."""

from datetime import timedelta

import pytest

from billing_site.portal.queries import line_usage
from invoicing.customers.models import Customer
from metering.archiving.absent import EventsArchived
from tests.billing_site.portal.reading import text_of
from tests.factories import JULY, a_customer, use

pytestmark = pytest.mark.django_db


def address(invoice, *, position: int = 2) -> str:
    return f"/portal/invoices/{invoice.number}/lines/{position}/"


def read(answer) -> str:
    return text_of(answer.content.decode())


def test_a_line_leads_to_its_hours_and_events_which_come_to_what_it_charges(july, visit):
    client = visit("cust_acme")
    line = july.lines.get(position=2)
    invoice_page = client.get(f"/portal/invoices/{july.number}/").content.decode()

    answer = client.get(address(july))
    page, text = answer.context["page"], read(answer)

    assert f'href="{address(july)}"' in invoice_page
    assert sum(hour.value for hour in page.usage.windows) == line.quantity
    assert sum(event.counted for event in page.usage.events) == line.quantity
    assert len(page.usage.events) == line.event_count == 2
    assert "Counted again from 2 usage events and calculated again just now: equal." in text
    assert text.count(line.windows_digest) == 2 and text.count(line.events_root) == 2
    assert all(event.event_id in text for event in page.usage.events)


def test_it_speaks_german(july, visit):
    Customer.objects.update(language="de")

    text = read(visit("cust_acme").get(address(july)))

    assert "Stunde für Stunde" in text and "Ereignis für Ereignis" in text and "Gerade noch einmal gezählt" in text


def test_what_came_after_the_invoice_is_not_behind_it(july, visit):
    use("cust_acme", "7", at=JULY + timedelta(days=5), key="too late")

    page = visit("cust_acme").get(address(july)).context["page"]

    assert page.proof.equal and "too late" not in {event.event_id for event in page.usage.events}


def test_many_events_come_in_pages_and_too_many_are_not_counted_while_somebody_waits(july, visit, monkeypatch):
    monkeypatch.setattr("invoicing.workflows.line_usage.EVENTS_PER_PAGE", 1)
    monkeypatch.setattr(line_usage, "EVENTS_COUNTED_MAX", 1)
    client = visit("cust_acme")

    first = client.get(address(july))
    second = client.get(address(july), {"after": first.context["page"].usage.next_page})
    third = client.get(address(july), {"after": second.context["page"].usage.next_page})

    assert "too many events to count them by the hour" in read(first) and "Hour by hour" not in read(second)
    seen = [answer.context["page"].usage.events[0].number for answer in (first, second)]
    assert len(set(seen)) == 2 and third.context["page"].usage.events == ()


@pytest.mark.parametrize("after", ["x", "/", "2026-07-01T00:00:00/1", "2026-07-01T00:00:00+00:00/-1", "\x00/1"])
def test_odd_places_begin_with_the_first_event(july, visit, after):
    assert len(visit("cust_acme").get(address(july), {"after": after}).context["page"].usage.events) == 2


def test_events_in_the_archive_are_asked_for(july, visit, monkeypatch):
    def gone(**asked):
        raise EventsArchived(("2026-07",))

    monkeypatch.setattr(line_usage, "usage_of_line", gone)

    assert "in our archive. Ask us" in read(visit("cust_acme").get(address(july)))


def test_what_is_not_theirs_or_counts_nothing_is_not_found(july, visit):
    client = visit("cust_acme")

    assert client.get(address(july, position=1)).status_code == 404
    assert client.get(address(july, position=99)).status_code == 404
    assert client.get(f"/portal/invoices/{july.number}x/lines/2/").status_code == 404


def test_another_customer_sees_nothing_of_it(july, visit, present):
    a_customer("cust_other")

    assert visit("cust_other").get(address(july)).status_code == 404
