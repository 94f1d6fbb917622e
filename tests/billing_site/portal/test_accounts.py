"""What accounts that are billed together see of each other: who pays sees all, an account its own part and nothing else."""

import pytest

from tests.billing_site.api.caller import Caller, fields_of
from tests.billing_site.portal.reading import text_of, unpacked
from tests.factories import AUGUST, a_subscription
from tests.invoicing.accounts import EAST, WEST, a_company, an_account, billed

pytestmark = pytest.mark.django_db


@pytest.fixture
def company(db):
    a_company()
    return billed()


def read(answer) -> str:
    assert answer.status_code == 200
    return text_of(answer.content.decode())


def test_who_pays_reads_its_invoice_in_sections(company, visit):
    text = read(visit("cust_acme").get(f"/portal/invoices/{company.number}/"))

    for words in ("Subtotal Acme GmbH USD 30.00", "Subtotal East USD 39.00", "Subtotal West USD 49.00"):
        assert words in text


def test_an_account_reads_its_own_part_and_nothing_of_the_others(company, visit):
    client = visit(EAST)

    listed = read(client.get("/portal/invoices/"))
    part = read(client.get(f"/portal/invoices/{company.number}/"))
    home = read(client.get("/portal/"))

    assert "USD 39.00" in listed and "USD 39.00" in part and "billed to Acme GmbH" in listed
    for text in (listed, part, home):
        for hidden in ("West", "118.00", "30.00", "49.00"):
            assert hidden not in text
    taken = unpacked(client.get("/portal/data/account.zip").content)
    assert ",39" in taken or "East" in taken
    for hidden in ("West", "118.00", "Acme"):
        assert hidden not in taken
    assert client.get("/portal/data/statement.csv").status_code == 404
    for address in ("proof.json", "events.ndjson", "event/?key=x", "inclusion.json?line=1&event=1"):
        assert client.get(f"/portal/invoices/{company.number}/{address}").status_code == 404
    assert client.get(f"/billing/invoices/{company.number}/pdf").status_code == 404


def test_home_of_who_pays_shows_the_running_period_by_account(company, visit):
    text = read(visit("cust_acme").get("/portal/"))

    assert "Subtotal East" in text and "Subtotal West" in text


def test_a_part_of_nobody_elses_invoice(company, visit):
    a_subscription(an_account("cust_north"), started_at=AUGUST)

    assert visit("cust_north").get(f"/portal/invoices/{company.number}/").status_code == 404


def test_a_key_that_is_bound_to_an_account_sees_no_invoice(company):
    caller = Caller(customer=EAST)

    assert caller.get("/api/v1/invoices").json()["data"] == []
    for address in (company.number, f"{company.number}/proof", f"{company.number}/events", f"{company.number}/explain"):
        assert caller.get(f"/api/v1/invoices/{address}").status_code == 404
    assert caller.get(f"/api/v1/customers/{WEST}").status_code == 404
    assert caller.get(f"/api/v1/customers/{EAST}").json()["billed_to"] == "cust_acme"
    assert caller.patch(f"/api/v1/customers/{EAST}", {"billed_to": ""}).status_code == 403


def test_lines_name_the_account_that_they_are_about(company):
    lines = Caller().get(f"/api/v1/invoices/{company.number}").json()["lines"]

    assert [line["customer_id"] for line in lines] == [None, None, EAST, EAST, WEST, WEST]


def test_previews_name_the_account_of_a_line_and_are_refused_for_an_account(company):
    question = {"customer_id": "cust_acme", "as_of": "2026-08-15T12:00:00Z"}

    lines = Caller().post("/api/v1/invoices/preview", question).json()["lines"]
    refused = Caller().post("/api/v1/invoices/preview", question | {"customer_id": EAST})

    assert [line["customer_id"] for line in lines] == [None, None, EAST, EAST, WEST, WEST]
    assert (refused.status_code, fields_of(refused)) == (409, {"customer_id": "billed_to_another"})


def test_accounts_are_set_and_listed_over_the_api(company):
    caller = Caller()
    terms = {"name": "North", "email": "", "currency": "USD"}

    made = caller.post("/api/v1/customers", {"key": "cust_north", "billed_to": "cust_acme", **terms})
    nested = caller.post("/api/v1/customers", {"key": "cust_south", "billed_to": EAST, **terms})
    listed = caller.get("/api/v1/customers?billed_to=cust_acme").json()["data"]

    assert (made.status_code, made.json()["billed_to"]) == (201, "cust_acme")
    assert (nested.status_code, fields_of(nested)) == (422, {"billed_to": "nested"})
    assert {one["key"] for one in listed} == {EAST, WEST, "cust_north"}
