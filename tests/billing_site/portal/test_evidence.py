"""The portal hands out what it takes to check an invoice without us, and shows where one event stands on it."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from msgspec import structs

from invoicing.catalog.operations import load_catalog
from invoicing.checker import CHECKER
from invoicing.checker.check_invoice import main
from invoicing.core.languages.german import GERMAN
from invoicing.invoices.document import invoice_page
from invoicing.workflows import event_evidence
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.run_billing import issue_billing
from metering.correcting import amend_event, cancel_event
from metering.ingest import accept_events
from metering.queries import search
from tests.billing_site.portal.reading import text_of
from tests.factories import ACTIONS_METER, AUGUST, JULY, a_customer, a_subscription, an_event, usd_per_action, use

pytestmark = pytest.mark.django_db


def read(answer) -> str:
    return text_of(answer.content.decode())


def test_the_three_files_of_the_invoice_page_check_the_invoice(july, visit, tmp_path, capsys):
    client = visit("cust_acme")
    text = read(client.get(f"/portal/invoices/{july.number}/"))
    names = {"proof.json": "invoice.json", "events.ndjson": "events.ndjson"}
    for address, name in names.items():
        answer = client.get(f"/portal/invoices/{july.number}/{address}")
        (tmp_path / name).write_bytes(b"".join(answer) if answer.streaming else answer.content)
        assert answer["Content-Disposition"].startswith(f'attachment; filename="{july.number}-')

    checker = client.get("/portal/check_invoice.py")

    assert checker.content == CHECKER.read_bytes()
    assert main([str(tmp_path / "invoice.json"), str(tmp_path / "events.ndjson")]) == 0
    assert july.events_root in capsys.readouterr().out
    assert july.events_root in text
    assert "Check it without us This invoice rests on 2 usage events." in text
    assert f"Root of its 2 usage events: {july.lines.get(position=2).events_root}" in text


def test_an_event_that_two_lines_count_is_told_once(present, visit):
    whole = usd_per_action("0.01", key="starts", name="Starts", meter="starts")
    starts = {**ACTIONS_METER, "key": "starts", "name": "Starts", "aggregation": "count"}
    load_catalog(
        document={
            "meters": [ACTIONS_METER, starts],
            "products": [{"key": "platform", "name": "Platform"}],
            "plans": [{"key": "pro", "name": "Pro", "product": "platform", "prices": [usd_per_action(), whole]}],
        },
        at=JULY,
        actor="test",
        reason="set up",
    )
    a_subscription(a_customer(), started_at=JULY)
    for day in range(3):
        use("cust_acme", "5", at=JULY + timedelta(days=day))
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    page = read(visit("cust_acme").get(f"/portal/invoices/{invoice.number}/"))

    assert sum(line.event_count for line in invoice.lines.all()) == 6
    assert "We have just counted all 3 usage events behind this invoice, on 2 lines, again" in page
    assert "This invoice rests on 3 usage events, counted on 2 lines." in page
    document = document_of(invoice=invoice)
    assert "This invoice rests on 3 usage events, counted on 2 lines, under the root" in str(
        invoice_page(document=document).evidence
    )
    assert "3 Ereignisse der Nutzung, gezählt auf 2 Positionen, unter der" in str(
        invoice_page(document=replace(document, language=GERMAN)).evidence
    )


def test_of_meters_that_choose_other_events_of_a_type_it_is_told_how_often_events_were_counted(present, visit):
    meters = [
        {**ACTIONS_METER, "key": f"tok_{model}", "name": f"Tokens {model}", "filters": {"model": [model]}}
        for model in ("a", "b")
    ]
    prices = [usd_per_action("0.01", key=one["key"], name=one["name"], meter=one["key"]) for one in meters]
    load_catalog(
        document={
            "meters": meters,
            "products": [{"key": "platform", "name": "Platform"}],
            "plans": [{"key": "pro", "name": "Pro", "product": "platform", "prices": prices}],
        },
        at=JULY,
        actor="test",
        reason="set up",
    )
    a_subscription(a_customer(), started_at=JULY)
    for day, model in enumerate("aaabb"):
        use("cust_acme", "5", at=JULY + timedelta(days=day), model=model)
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    page = read(visit("cust_acme").get(f"/portal/invoices/{invoice.number}/"))

    assert sorted(invoice.lines.values_list("event_count", flat=True)) == [2, 3]
    assert "This invoice rests on usage events, counted 5 times on 2 lines." in page
    assert "This invoice rests on usage events, counted 5 times on 2 lines, under the root" in str(
        invoice_page(document=document_of(invoice=invoice)).evidence
    )


def test_a_customer_finds_one_event_by_its_key_with_its_way_to_the_root(july, visit, tmp_path):
    client, lines = visit("cust_acme"), []
    lines = b"".join(client.get(f"/portal/invoices/{july.number}/events.ndjson")).splitlines()
    event = json.loads(lines[2])

    page = read(client.get(f"/portal/invoices/{july.number}/event/?key={event['idempotency_key']}"))

    assert f"It is on invoice {july.number}." in page
    by_id = read(client.get(f"/portal/invoices/{july.number}/event/?key={event['event_id']}"))
    assert f"It is on invoice {july.number}." in by_id
    assert "Event 2 of 2. With 1 other hash its hash makes the root of the line: equal." in page
    proof = client.get(f"/portal/invoices/{july.number}/inclusion.json?line=2&event={event['id']}")
    (tmp_path / "proof.json").write_bytes(proof.content)
    (tmp_path / "invoice.json").write_bytes(client.get(f"/portal/invoices/{july.number}/proof.json").content)
    assert main([str(tmp_path / "invoice.json"), "--inclusion", str(tmp_path / "proof.json")]) == 0


def test_an_event_that_was_replaced_is_found_by_its_id_in_the_form_that_the_invoice_counts(acme, visit):
    mistyped = structs.replace(an_event("cust_acme", "5", at=JULY + timedelta(days=3), key="mistyped"), event_id="ev-1")
    accept_events(events=[mistyped])
    for quantity in ("6", "7"):
        amend_event(
            customer_id="cust_acme",
            idempotency_key="mistyped",
            changes={"quantity": quantity},
            actor="test",
            reason="mistyped",
        )
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    client = visit("cust_acme")

    page = client.get(f"/portal/invoices/{invoice.number}/event/?key=ev-1")

    assert f"It is on invoice {invoice.number}." in read(page)
    [found] = page.context["found"]
    assert json.loads(found.proof["event"])["idempotency_key"] == "mistyped~amended-2"
    proof = client.get(f"/portal/invoices/{invoice.number}/inclusion.json?line={found.line}&event={found.number}")
    assert f'?line={found.line}&amp;event={found.number}"' in page.content.decode()
    assert proof.json()["event"] == found.proof["event"]


def test_an_id_that_takes_too_long_to_look_for_is_told_kindly_and_a_key_is_still_found(july, visit, monkeypatch):
    monkeypatch.setattr(search, "SEARCH_MILLISECONDS_MAX", 20)
    client, address = visit("cust_acme"), f"/portal/invoices/{july.number}/event/"
    [_, line, *_] = b"".join(client.get(f"/portal/invoices/{july.number}/events.ndjson")).splitlines()

    def slow(execute, sql, params, many, context):
        return (
            execute("SELECT pg_sleep(5)", (), many, context)
            if '"event_id" = ' in sql
            else execute(sql, params, many, context)
        )

    with connection.execute_wrapper(slow):
        by_id = client.get(f"{address}?key=ev-unknown")
        by_key = client.get(f"{address}?key={json.loads(line)['idempotency_key']}")

    assert "There are too many events to look for this id among them while you wait." in read(by_id)
    assert f"It is on invoice {july.number}." in read(by_key)


def test_an_event_that_is_not_on_the_invoice_is_said_to_be_accepted_or_unknown(july, visit):
    use("cust_acme", "1", at=JULY, key="late")
    use("cust_other", "1", at=JULY, key="another's")
    page = f"/portal/invoices/{july.number}/event/"

    assert f"We accepted it, and invoice {july.number} does not count it." in read(
        visit("cust_acme").get(f"{page}?key=late")
    )
    for key in ("another%27s", "nothing", "%00", ""):
        assert "We never accepted an event with this key from you." in read(visit("cust_acme").get(f"{page}?key={key}"))


def test_an_event_that_was_cancelled_after_the_invoice_is_still_on_it(july, visit):
    [_, line, *_] = b"".join(visit("cust_acme").get(f"/portal/invoices/{july.number}/events.ndjson")).splitlines()
    key = json.loads(line)["idempotency_key"]
    cancel_event(customer_id="cust_acme", idempotency_key=key, actor="test", reason="sent by mistake")

    assert f"It is on invoice {july.number}." in read(
        visit("cust_acme").get(f"/portal/invoices/{july.number}/event/?key={key}")
    )


def test_of_very_many_events_none_is_looked_for_while_somebody_waits(july, visit, monkeypatch):
    monkeypatch.setattr(event_evidence, "INCLUSION_EVENTS_MAX", 1)
    client = visit("cust_acme")
    [_, line, *_] = b"".join(client.get(f"/portal/invoices/{july.number}/events.ndjson")).splitlines()
    event = json.loads(line)

    answer = client.get(f"/portal/invoices/{july.number}/inclusion.json?line=2&event={event['id']}")

    assert answer.status_code == 409
    assert "download the event file and check it as a whole" in read(answer)


@pytest.mark.parametrize("address", ["proof.json", "events.ndjson", "inclusion.json?line=2&event=1", "event/?key=x"])
def test_nobody_gets_another_customers_evidence(july, visit, client, address):
    a_customer("cust_other")

    assert visit("cust_other").get(f"/portal/invoices/{july.number}/{address}").status_code == 404
    client.logout()
    client.cookies.clear()
    assert client.get(f"/portal/invoices/{july.number}/{address}").status_code == 401
