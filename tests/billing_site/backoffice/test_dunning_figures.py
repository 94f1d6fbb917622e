"""The page of the figures of dunning: charts, tables, the list behind each number, files."""

import csv
import io
import re
from datetime import date
from html import unescape

import pytest
from django.test import Client

from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.dunning.chasing import chase, late_customer, local, pay

pytestmark = pytest.mark.django_db

PAGE = "/admin/dunning/dunningcase/figures/"
SPAN = "?start=2026-08-01&end=2026-08-31"


@pytest.fixture
def late(monkeypatch):
    """Two who are late and were reminded; one of them has paid since. It is the end of August."""
    invoice, other = late_customer(), late_customer("cust_kyoto", name="Kyoto <b>KK</b>")
    chase(local("2026-08-16 09:00", invoice.customer))
    pay(other, local("2026-08-17 09:00", other.customer))
    chase(local("2026-08-17 12:00", invoice.customer))
    monkeypatch.setattr("dunning.admin.figures.now", lambda: local("2026-08-31 12:00", invoice.customer))
    return invoice


def test_every_number_leads_to_a_list_that_counts_it(finance: Client, late) -> None:
    page = finance.get(PAGE + SPAN)

    told = text_of(page)
    assert "Day 0: write to the customer (reminder)" in told and "50.0 %" in told and "USD 62.00" in told
    assert "ties" in told and "account 1200 Receivable" in told and "Days outstanding" in told
    html = page.content.decode()
    assert html.count("<summary>The same as a table") == html.count("<details open><summary>The same as a table")
    assert 'bo-key-4">Held' in html and 'bo-key-7">Promised' in html, "in the hues of their pills"
    assert '<p class="bo-top-line">' in html and '<p class="bo-slots"><span>' in html
    assert html.count("<svg") > 20 and html.count("<table") >= 5
    doors = [unescape(door) for door in re.findall(r'href="([^"]*/figures/[^"]*measure=[^"]*)"', html)]
    assert len(doors) >= 20
    for door in sorted({re.sub("bar=[^&]*", "bar=all", door) for door in doors}):
        listed = finance.get(door)
        assert listed.status_code == 200 and "Kyoto <b>" not in listed.content.decode(), door
    paid = next(door for door in doors if "measure=paid" in door)
    assert "1 row of" in text_of(finance.get(paid)) and "Kyoto" in text_of(finance.get(paid))
    rows = list(csv.reader(io.StringIO(_body(finance.get(f"{paid}&format=csv")))))
    assert rows[1][1:] == ["Kyoto <b>KK</b>", "step 1", "USD", "31.00", "31.00"]


def test_a_figure_is_handed_out_as_a_file(finance: Client, late) -> None:
    rows = list(csv.reader(io.StringIO(_body(finance.get(f"{PAGE}ageing/csv/{SPAN}")))))

    assert rows[0] == ["Currency", "Legal entity", "Overdue", "Invoices", "Open"]
    assert ["USD", "", "1–30 days", "1", "31.00"] in rows and rows[-1][2:] == ["Total", "1", "31.00"]


def test_what_cannot_be_asked_is_told_and_what_is_not_there_is_not_found(finance: Client, late, client: Client) -> None:
    wrong = finance.get(f"{PAGE}?start=soon&entity=nobody")

    assert wrong.status_code == 422
    assert "Must be a day such as" in text_of(wrong) and "There is no such legal entity" in text_of(wrong)
    for address in ("nothing/", "recovery/?bar=x&measure=taken", "recovery/?bar=all&measure=none", "nothing/csv/"):
        assert finance.get(PAGE + address).status_code == 404, address
    assert client.get(PAGE).status_code == 302


def test_where_nobody_is_late_the_page_says_what_will_stand_there(finance: Client) -> None:
    told = text_of(finance.get(PAGE))

    assert "No step was taken in this span" in told and "Nobody owed anything" in told


def test_the_page_asks_the_database_a_bounded_number_of_times(
    finance: Client, late, django_assert_max_num_queries
) -> None:
    with django_assert_max_num_queries(45):
        finance.get(f"{PAGE}?start=2025-09-01&end={date(2026, 8, 31)}")


def _body(response) -> str:
    return b"".join(response.streaming_content).decode()
