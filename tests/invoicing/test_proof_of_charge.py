"""A customer checks an invoice without us: the event file, the proof document and the checker agree, or the first difference is named."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from invoicing.catalog.operations import load_catalog
from invoicing.checker import CHECKER
from invoicing.checker.check_invoice import main
from invoicing.invoices import event_roots
from invoicing.invoices.models import Invoice, InvoiceLine, UsageCorrection
from invoicing.tax.operations import set_customer_tax
from invoicing.workflows.explain_invoice import prove_invoice
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.models import EventTree
from tests.billing_site.api.caller import Caller
from tests.factories import (
    AUGUST,
    JULY,
    MILLION_TIERS,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.test_taxes import germany

pytestmark = pytest.mark.django_db

Lines = list[bytes]


@dataclass
class Files:
    """What the customer has downloaded."""

    folder: Path
    document: dict[str, Any]
    events: Lines

    def checked(self, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        """What the checker says."""
        (self.folder / "invoice.json").write_text(json.dumps(self.document, ensure_ascii=False))
        (self.folder / "events.ndjson").write_bytes(b"".join(self.events))
        status = main([str(self.folder / "invoice.json"), str(self.folder / "events.ndjson")])
        said = capsys.readouterr()
        return status, said.out + said.err


def downloaded(invoice: Invoice, folder: Path) -> Files:
    caller = Caller("invoices:read", customer=invoice.customer.key)
    document = caller.get(f"/api/v1/invoices/{invoice.number}/proof").json()
    answer = caller.get(f"/api/v1/invoices/{invoice.number}/events")
    assert answer["Content-Type"] == "application/x-ndjson"
    return Files(folder, document, b"".join(answer.streaming_content).splitlines(keepends=True))


def billed(as_of: Any = AUGUST) -> Invoice:
    report = issue_billing(as_of=as_of, at=as_of + timedelta(hours=7))
    assert not report.failures
    settle_constraints()
    return report.invoices[-1]


def behind_the_triggers(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET session_replication_role = origin")


@pytest.fixture
def july() -> Invoice:
    a_plan("pro", usd_fee(), usd_per_action(model="graduated", tiers=MILLION_TIERS, unit_amount=None))
    a_subscription(a_customer())
    for hour in (7, 3, 5, 1, 9):
        use("cust_acme", f"{hour}00000.5", at=JULY + timedelta(hours=hour), note='ümläut "quoted" \\ 漢字 \t')
    return billed()


def test_a_customer_checks_the_invoice_without_us_and_with_python_alone(july: Invoice, tmp_path: Path) -> None:
    files = downloaded(july, tmp_path)
    (tmp_path / "invoice.json").write_text(json.dumps(files.document))
    (tmp_path / "events.ndjson.gz").write_bytes(gzip.compress(b"".join(files.events)))

    said = subprocess.run(
        [sys.executable, "-I", "-S", CHECKER, tmp_path / "invoice.json", tmp_path / "events.ndjson.gz"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (said.returncode, said.stderr) == (0, "")
    assert "line 2 Actions: 5 events, 2500002.5 sum, root " in said.stdout
    assert f"equal: invoice {july.number}, root of its events {july.events_root}" in said.stdout
    assert len(july.events_root) == 64


def changed(lines: Lines) -> Lines:
    # The same sum, count, numbers: only what nothing was charged for is another.
    return [*lines[:2], lines[2].replace(b"quoted", b"quotes"), *lines[3:]]


def with_another_quantity(lines: Lines) -> Lines:
    return [*lines[:1], re.sub(rb'"quantity": "\d', b'"quantity": "2', lines[1]), *lines[2:]]


def dropped(lines: Lines) -> Lines:
    return lines[:-1]


def added(lines: Lines) -> Lines:
    return [*lines, re.sub(rb'"id": \d+', b'"id": %d' % 10**9, lines[-1])]


def reordered(lines: Lines) -> Lines:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def with_the_last_event_twice(lines: Lines) -> Lines:
    return [*lines, lines[-1]]


def without_its_section(lines: Lines) -> Lines:
    return []


def with_another_blank(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1].replace(b": ", b":  ", 1)]


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (changed, "line 2: the events have the root"),
        (with_another_quantity, "line 2: the events have the root"),
        (with_another_blank, "line 2: the events have the root"),
        (dropped, "line 2: the file has 4 events, the invoice counts 5"),
        (added, "line 2: event 1000000000 was not known then"),
        (reordered, "it was moved, or stands twice"),
        (with_the_last_event_twice, "it was moved, or stands twice"),
        (without_its_section, "line 2: the file has no section with its events"),
    ],
)
def test_the_checker_finds_what_was_done_to_the_file(
    july: Invoice,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    attack: Callable[[Lines], Lines],
    told: str,
) -> None:
    files = downloaded(july, tmp_path)
    files.events = attack(files.events)

    status, said = files.checked(capsys)

    assert status == 1
    assert told in said


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("lines", 1, "events", "root"), "0" * 64, "the lines' events have the root"),
        (("events_root",), "0" * 64, "the lines' events have the root"),
        (("lines", 1, "events", "count"), 4, "the lines' events have the root"),
        (("lines", 1, "events", "quantity"), "2500002", "the events come to 2500002.5"),
        (("lines", 1, "amount", "amount"), "55.01", "line 2: it comes to"),
        (("lines", 1, "rated", "inputs", "price", "tiers", 0, "up_to"), "2000000", "line 2: step 1 comes to"),
        (("lines", 1, "rated", "inputs", "usage", "quantity"), "2500003", "priced with another quantity"),
        (("lines", 0, "amount", "amount"), "28.00", "line 1: it comes to 29"),
        (("subtotal", "amount"), "1.00", "the lines add up to"),
        (("total", "amount"), "1.00", "lines and tax add up to"),
        (("tax_added",), {"amount": "0.01", "currency": "USD"}, "lines and tax add up to"),
    ],
)
def test_the_checker_finds_what_was_done_to_the_document(
    july: Invoice,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    place: Sequence[str | int],
    value: Any,
    told: str,
) -> None:
    files = downloaded(july, tmp_path)
    inner: Any = files.document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value

    status, said = files.checked(capsys)

    assert status == 1
    assert told in said


AGGREGATIONS = ("sum", "count", "max", "min", "latest", "average", "unique_count", "time_weighted_sum")


def test_every_aggregation_is_counted_again_or_said_not_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meters = [
        {
            "key": name.replace("_", "-"),
            "name": name,
            "event_type": "seen",
            "aggregation": name,
            "value_property": {"unique_count": "who", "count": ""}.get(name, "much"),
            "filters": {"region": ["eu", "us"]},
            **({"dimensions": ["region"]} if name in ("latest", "sum", "unique_count") else {}),
        }
        for name in AGGREGATIONS
    ]
    prices = [usd_per_action("0.3", key=meter["key"], name=meter["name"], meter=meter["key"]) for meter in meters]
    load_catalog(document={"meters": meters}, at=JULY, actor="test", reason="set up")
    a_plan("pro", *prices)
    a_subscription(a_customer())
    seen = [
        ("eu", 1, "ann"),
        ("us", "2.50", True),
        ("eu", 7, 12),
        ("asia", 99, "eve"),
        ("us", "0.25", "12"),
        ("eu", 3, [1]),
    ]
    for place, (region, much, who) in enumerate(seen):
        use(
            "cust_acme",
            "1",
            at=JULY + timedelta(hours=10 - place // 2),
            event_type="seen",
            region=region,
            much=much,
            who=who,
        )

    status, said = downloaded(billed(), tmp_path).checked(capsys)

    assert status == 0, said
    assert said.count("5 events") == len(AGGREGATIONS)
    assert said.count("quantity not checked") == 1
    assert "5 events, 13.75 sum" in said
    assert "time_weighted_sum, quantity not checked" in said


ODD_PRICES = [
    {"model": "volume", "tiers": [{"up_to": "10", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.7", "flat_amount": "3"}]},
    {"model": "package", "package_size": "4", "package_amount": "1.005", "free_units": "2"},
    {"model": "percentage", "rate": "0.029", "minimum_amount": "5"},
    {"model": "percentage", "rate": "0.5", "fixed_amount_per_event": "0.3", "minimum_amount_per_event": "1", "maximum_amount_per_event": "4.4"},
    {"model": "percentage", "rate": "0.5", "fixed_amount_per_event": "0.3"},
    {"model": "graduated_percentage", "tiers": [{"up_to": "7.5", "rate": "0.1"}, {"up_to": None, "rate": "0.3", "flat_amount": "1"}]},
    {"model": "graduated", "tiers": [{"up_to": "3", "unit_amount": "0", "flat_amount": "2"}, {"up_to": None, "unit_amount": "0.0333"}], "free_units": "1"},
    {"model": "matrix", "dimensions": ["region"], "cells": [{"values": ["eu"], "unit_amount": "2"}], "default_unit_amount": "0.5"},
    {"model": "per_unit", "unit_amount": "3.333", "maximum_amount": "20"},
]  # fmt: skip


@pytest.mark.parametrize("price", ODD_PRICES, ids=lambda price: price["model"])
def test_every_price_model_is_calculated_again(
    price: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = {"key": "sized", "name": "Sized", "event_type": "sized", "dimensions": ["region"]}
    load_catalog(document={"meters": [meter]}, at=JULY, actor="test", reason="set up")
    terms = {"key": "sized", "name": "Sized", "meter": "sized", "currency": "USD", **price}
    a_plan("pro", usd_fee("10"), terms)
    # From the eleventh on: fees by their share of the month.
    a_subscription(a_customer(), started_at=JULY + timedelta(days=10))
    for place, (quantity, region) in enumerate(
        [("1", "eu"), ("5.25", "us"), ("8.2", "eu"), ("0.5", "asia"), ("40", None)]
    ):
        use(
            "cust_acme",
            quantity,
            at=JULY + timedelta(days=12, hours=place),
            event_type="sized",
            **({"region": region} if region else {}),
        )

    files = downloaded(billed(), tmp_path)

    assert files.checked(capsys)[0] == 0
    rated = next(line for line in files.document["lines"] if line["events"])
    rated["amount"]["amount"] = "1.00"
    assert files.checked(capsys)[0] == 1


def test_tax_on_top_is_added_up_and_its_rates_are_said_not_to_be_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    germany()
    a_plan()
    customer = a_customer()
    set_customer_tax(customer=customer, country="DE", actor="test", reason="set up")
    a_subscription(customer)
    use("cust_acme", "100", at=JULY)

    status, said = downloaded(billed(), tmp_path).checked(capsys)

    assert status == 0, said
    assert "tax on top of the lines: 5.70, its rates are not checked" in said


def test_late_usage_has_a_root_of_its_own_with_its_correction(
    july: Invoice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use("cust_acme", "1000000", at=JULY + timedelta(hours=2))
    settle_late_changes(at=AUGUST + timedelta(days=2))
    august = billed(SEPTEMBER)

    [correction] = UsageCorrection.objects.filter(cause__isnull=True)
    line = august.lines.get(kind="correction")
    original = correction.original

    assert line.events_root == correction.events_root != original.events_root
    files = downloaded(august, tmp_path)
    status, said = files.checked(capsys)
    assert status == 0, said
    assert f"6 events, 3500002.5 sum, root {correction.events_root}" in said
    files.events.pop()
    assert files.checked(capsys)[0] == 1
    assert verify() == []


def test_one_event_is_proved_with_a_few_hashes(
    july: Invoice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, caller = downloaded(july, tmp_path), Caller("invoices:read", customer="cust_acme")
    (tmp_path / "invoice.json").write_text(json.dumps(files.document))
    number = json.loads(files.events[3])["id"]
    proof = caller.get(f"/api/v1/invoices/{july.number}/inclusion?line=2&event={number}").json()

    def checked(changes: dict[str, Any]) -> int:
        (tmp_path / "proof.json").write_text(json.dumps(proof | changes))
        return main([str(tmp_path / "invoice.json"), "--inclusion", str(tmp_path / "proof.json")])

    assert checked({}) == 0
    assert proof["event"].encode() + b"\n" == files.events[3]
    assert checked({"event": proof["event"].replace("quoted", "quotes")}) == 1
    assert checked({"index": 1}) == 1
    assert checked({"path": proof["path"][:-1]}) == 1
    # A node of the tree, or two of its leaves together, is no event.
    assert checked({"event": "".join(proof["path"][:1]), "path": proof["path"][1:], "index": 1, "count": 3}) == 1
    for query, status in (
        ("line=2&event=999999", 404),
        ("line=1&event=1", 404),
        ("line=x&event=1", 422),
        ("line=2", 422),
    ):
        assert caller.get(f"/api/v1/invoices/{july.number}/inclusion?{query}").status_code == status


def test_the_hours_of_a_line_are_counted_again_for_whoever_asks(july: Invoice) -> None:
    caller = Caller("invoices:read", customer="cust_acme")

    answer = caller.get(f"/api/v1/invoices/{july.number}/windows?line=2").json()

    assert (answer["meter"], answer["quantity"], answer["count"]) == ("actions", "2500002.5", 5)
    assert answer["windows"][0] == {
        "start": "2026-07-01T01:00:00.000000Z",
        "quantity": "100000.5",
        "events": 1,
        "group": None,
    }
    assert sum(Decimal(window["quantity"]) for window in answer["windows"]) == Decimal("2500002.5")
    assert caller.get(f"/api/v1/invoices/{july.number}/windows?line=1").status_code == 404
    assert caller.get(f"/api/v1/invoices/{july.number}/windows?line=").status_code == 422


def test_only_who_may_see_an_invoice_gets_its_events(july: Invoice) -> None:
    a_customer("cust_other")
    others = Caller("invoices:read", customer="cust_other")

    for path in ("proof", "events", "windows?line=2", "inclusion?line=2&event=1"):
        assert others.get(f"/api/v1/invoices/{july.number}/{path}").status_code == 404
        assert Caller("usage:read").get(f"/api/v1/invoices/{july.number}/{path}").status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        'properties = properties || \'{"note": "another"}\'',
        "event_id = 'another'",
        "received_at = received_at + interval '1 microsecond'",
        "idempotency_key = idempotency_key || '-'",
    ],
)
def test_a_stored_event_that_was_changed_without_changing_any_sum_is_found(july: Invoice, change: str) -> None:
    behind_the_triggers(f"UPDATE metering_usageevent SET {change} WHERE id = (SELECT max(id) FROM metering_usageevent)")

    proofs = prove_invoice(invoice=july)

    assert [proof.equal for proof in proofs] == [True, False]
    assert "an event was changed, or another took its place" in proofs[1].differences[0]
    assert any(finding.check == "lines rate again" and "root" in finding.message for finding in verify())
    explained = Caller("invoices:read").get(f"/api/v1/invoices/{july.number}/explain").json()
    assert not explained["equal"]
    assert explained["lines"][1]["events"]["root"] != explained["lines"][1]["events"]["digest"]


def test_the_root_of_an_issued_line_is_carved_in_stone(july: Invoice) -> None:
    for table in ("invoicing_invoice", "invoicing_invoiceline"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET events_root = %s WHERE events_root <> ''", ["0" * 64])
    behind_the_triggers(f"UPDATE invoicing_invoice SET events_root = '{'0' * 64}'")

    assert "seals hold" in {finding.check for finding in verify()}


def test_many_events_are_hashed_before_the_customer_is_locked(
    july: Invoice, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_roots, "HASHED_LOCKED_MAX", 3)
    for hour in range(7):
        use("cust_acme", "1", at=AUGUST + timedelta(hours=hour))

    august = billed(SEPTEMBER)

    assert EventTree.objects.get().leaf_count == 7
    assert downloaded(august, tmp_path).checked(capsys)[0] == 0


def test_a_draft_of_before_there_were_roots_is_not_issued_but_made_again() -> None:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "5", at=JULY)
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices
    InvoiceLine.objects.update(events_root="")
    Invoice.objects.update(events_root="")
    known = {"invoice_id": draft.pk, "at": AUGUST, "actor": "test", "reason": "a test"}

    with pytest.raises(Exception, match="does not say which events it counts: refresh the draft"):
        issue_invoice(**known)
    refresh_draft(**known)

    assert len(issue_invoice(**known).events_root) == 64


def test_usage_of_which_windows_and_raw_events_disagree_is_not_billed() -> None:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "5", at=JULY, key="one")
    use("cust_acme", "5", at=JULY, key="two")
    draft_billing(as_of=JULY, at=JULY)
    behind_the_triggers("DELETE FROM metering_usageevent WHERE event_id = 'two'")

    report = issue_billing(as_of=AUGUST, at=AUGUST)

    assert not report.invoices
    assert "2 events in its windows, and 1 raw events" in report.failures[0].message
