"""Several legal entities sell: each under its own numbers, with its own name on its documents, and its own taxes."""

import io
from datetime import date, timedelta
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as house
from django.db import DatabaseError, connection, transaction
from pypdf import PdfReader

from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.queries import credit_note_by_number
from invoicing.customers.models import Customer
from invoicing.customers.operations import change_customer
from invoicing.e_invoices.statement import e_invoice_of
from invoicing.entities.models import LegalEntity
from invoicing.entities.operations import first_entity
from invoicing.evidence.anchors import make_anchor
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.numbering import locked_series
from invoicing.reports.asking import Question
from invoicing.reports.catalogue import report_kind
from invoicing.tax.operations import add_rate, add_registration, set_customer_tax, set_seller_tax
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.render_documents import page_of
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify, verify_chains
from tests.factories import AUGUST, SEPTEMBER, a_customer, a_plan, a_subscription, settle_constraints, usd_fee
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.selling_entities import AMERICAN, an_entity, changed
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql
from tests.invoicing.test_credits import grant
from tests.invoicing.test_invoice_document import a_logo
from tests.invoicing.test_taxes import BY, YEAR, germany
from tests.races import at_once

pytestmark = pytest.mark.django_db


def two_customers() -> None:
    """Acme buys from the first legal entity, Globex from the American one; both pay USD 29 a month."""
    an_entity()
    a_plan("pro", usd_fee("29"))
    a_subscription(a_customer())
    a_subscription(a_customer("cust_globex", name="Globex Corp.", legal_entity="us"))


def issued(at: Any = AUGUST) -> tuple[Invoice, Invoice]:
    """What both are invoiced: Acme's, Globex's."""
    found = {invoice.customer.key: invoice for invoice in issue_billing(as_of=at, at=at).invoices}
    settle_constraints()
    return found["cust_acme"], found["cust_globex"]


def printed(document: Invoice | CreditNote) -> str:
    pages = PdfReader(io.BytesIO(page_of(document=document).pdf())).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def test_each_legal_entity_issues_under_its_own_numbers_and_its_name_stands_on_what_it_issues() -> None:
    two_customers()

    of_acme, of_globex = issued()
    note = credited(of_globex, of_line(1, amount="5"))

    assert (of_acme.number, of_globex.number, note.number) == ("INV-2026-00001", "US-2026-00001", "US-CN-2026-00001")
    assert of_acme.seller == house.SELLER
    assert of_globex.seller == {
        name: AMERICAN[name] for name in ("name", "address", "email", "registration", "bank")
    } | {"tax_id": ""}
    for document in (of_globex, credit_note_by_number(number=note.number)):
        text = printed(document)
        assert "Example Inc." in text and "Delaware corporation 1234567" in text
        assert house.SELLER["name"] not in text
    assert house.SELLER["name"] in printed(of_acme) and "Example Inc." not in printed(of_acme)
    settle_constraints()
    assert verify() == []


def test_what_is_issued_keeps_what_its_seller_was_called_and_the_next_says_what_it_is_called_now() -> None:
    two_customers()
    _, july = issued()
    before = printed(july)

    changed(LegalEntity.objects.get(key="us"), name="Example Holdings Inc.", logo=a_logo())
    _, august = issued(SEPTEMBER)

    july.refresh_from_db()
    assert (july.seller["name"], august.seller["name"]) == ("Example Inc.", "Example Holdings Inc.")
    assert printed(july) == before
    assert "logo" not in july.seller and len(page_of(document=august).logo) == len(a_logo())
    assert august.number == "US-2026-00002"
    assert verify() == []


def test_each_seller_charges_its_own_tax_by_its_own_registrations() -> None:
    two_customers()
    germany()
    set_seller_tax(legal_entity="us", valid_from=YEAR, country="US", **BY)
    add_registration(legal_entity="us", jurisdiction="US-NY", number="98-7654321", valid_from=YEAR, **BY)
    # Both may be registered in one place on one day.
    add_registration(legal_entity="us", jurisdiction="DE", number="DE811569869", valid_from=YEAR, **BY)
    add_rate(jurisdiction="US-NY", name="Sales tax", rate=Decimal("0.08"), valid_from=YEAR, **BY)
    set_customer_tax(customer=Customer.objects.get(key="cust_acme"), country="DE", **BY)
    set_customer_tax(customer=Customer.objects.get(key="cust_globex"), country="US", region="NY", **BY)

    of_acme, of_globex = issued()

    assert of_acme.tax is not None and of_globex.tax is not None
    assert (of_acme.tax["seller"]["country"], of_acme.tax["seller"]["number"]) == ("DE", "DE136695976")
    assert of_globex.tax["seller"]["country"] == "US"
    assert (f"{of_acme.total.amount:.2f}", f"{of_globex.total.amount:.2f}") == ("34.51", "31.32")
    assert e_invoice_of(invoice=of_acme).seller.name == house.SELLER["name"]
    august = Question(as_of=date(2026, 8, 31), start=date(2026, 8, 1), end=date(2026, 8, 31))
    report = report_kind(name="tax").answer(question=august)
    told = [(row.cells["seller"], row.cells["registration"]) for section in report.sections for row in section.rows]
    assert report.is_tied and told == [("main", "DE136695976"), ("us", "US-NY 98-7654321")]
    assert verify() == []


def test_a_seller_that_charges_no_tax_issues_without_although_another_charges_it() -> None:
    two_customers()
    germany()
    set_customer_tax(customer=Customer.objects.get(key="cust_acme"), country="DE", **BY)

    of_acme, of_globex = issued()

    assert of_acme.tax is not None and of_globex.tax is None
    with pytest.raises(InvalidFields) as refused:
        set_seller_tax(legal_entity="nobody", valid_from=YEAR, country="US", **BY)
    assert [error.field for error in refused.value.errors] == ["legal_entity"]


NOW_ISSUED = (
    "UPDATE invoicing_invoice SET status = 'issued', number = '{number}', issued_at = now(), due_date = current_date,"
    " seal = 'forged', seller = seller || '{seller}', series_id = (SELECT id FROM invoicing_invoiceseries WHERE prefix = '{prefix}'),"
    " previous_seal = (SELECT last_seal FROM invoicing_invoiceseries WHERE prefix = '{prefix}')"
    " WHERE status = 'draft' AND customer_name = 'Globex Corp.'"
)
COUNTED = (
    "UPDATE invoicing_invoiceseries SET next_number = next_number + 1, last_seal = 'forged' WHERE prefix = '{prefix}'"
)
NEW_SERIES = "INSERT INTO invoicing_invoiceseries (prefix, legal_entity_id, next_number, last_seal) VALUES ('{prefix}', '{entity}', 1, '')"


def forged(prefix: str, ordinal: int, seller: str = "{}") -> tuple[str, str]:
    number = f"{prefix}-{ordinal:05d}"
    return NOW_ISSUED.format(number=number, prefix=prefix, seller=seller), COUNTED.format(prefix=prefix)


@pytest.mark.parametrize(
    ("statements", "refusal"),
    [
        ((NEW_SERIES.format(prefix="INV-2027", entity="us"),), "us numbers nothing as INV-2027"),
        ((NEW_SERIES.format(prefix="US-26", entity="us"),), "us numbers nothing as US-26"),
        (("UPDATE invoicing_invoiceseries SET legal_entity_id = 'us'",), "counts upwards and stays"),
        (
            ("UPDATE invoicing_customer SET legal_entity_id = 'us' WHERE key = 'cust_acme'",),
            "cust_acme stays with its seller main",
        ),
        (
            ("UPDATE invoicing_customer SET legal_entity_id = 'main' WHERE key = 'cust_globex'",),
            "cust_globex stays with its seller us",
        ),
        (
            ("UPDATE invoicing_legalentity SET invoice_prefix = 'RE' WHERE key = 'main'",),
            "has issued under its prefixes",
        ),
        (
            ("UPDATE invoicing_legalentity SET credit_note_prefix = 'inv' WHERE key = 'us'",),
            "a prefix of legal entity us",
        ),
        (
            ("UPDATE invoicing_legalentity SET credit_note_prefix = 'us' WHERE key = 'us'",),
            "a prefix of legal entity us",
        ),
        (("UPDATE invoicing_legalentity SET invoice_prefix = 'U S' WHERE key = 'us'",), "prefix_can_begin_a_number"),
        (("UPDATE invoicing_legalentity SET key = 'other' WHERE key = 'us'",), "the key of legal entity us stays"),
        (("DELETE FROM invoicing_legalentity WHERE key = 'us'",), "legal entity us is kept"),
        (("TRUNCATE invoicing_legalentity CASCADE",), "cannot be truncated"),
        # Globex's draft under a number of Acme's seller, under one of credit notes, and in another's name.
        (forged("INV-2026", 2), "is not a new number of its seller"),
        (
            (NEW_SERIES.format(prefix="US-CN-2026", entity="us"), *forged("US-CN-2026", 1)),
            "not a new number of its seller",
        ),
        (
            (
                NEW_SERIES.format(prefix="US-2026", entity="us"),
                *forged("US-2026", 1, '{"name": "Example Inference GmbH"}'),
            ),
            "not a new number of its seller",
        ),
    ],
)
def test_raw_sql_moves_no_number_no_name_and_no_customer_from_one_seller_to_another(
    statements: tuple[str, ...], refusal: str
) -> None:
    two_customers()
    issue_billing(as_of=AUGUST, at=AUGUST, customer_key="cust_acme")
    draft_billing(as_of=AUGUST, at=AUGUST, customer_key="cust_globex")
    settle_constraints()

    with pytest.raises(DatabaseError, match=refusal):
        run_sql(*statements)


def test_what_a_superuser_moved_to_another_seller_is_found_and_both_are_named() -> None:
    two_customers()
    issued()
    anchor = make_anchor(at=SEPTEMBER)
    assert anchor is not None
    behind_the_triggers("UPDATE invoicing_customer SET legal_entity_id = 'main' WHERE key = 'cust_globex'")
    behind_the_triggers("UPDATE invoicing_invoiceseries SET legal_entity_id = 'us' WHERE prefix = 'INV-2026'")

    found = {(finding.subject, finding.message) for finding in verify(anchors=[anchor.document])}

    assert ("invoice US-2026-00001", "its customer buys from main, its number is of us") in found
    assert ("invoice INV-2026-00001", "its customer buys from main, its number is of us") in found
    assert any(message == "series INV-2026 was of legal entity main, and is of us" for _, message in found)


def test_an_anchor_of_before_there_were_several_sellers_still_holds() -> None:
    two_customers()
    issued()
    anchor = make_anchor(at=SEPTEMBER)
    assert anchor is not None
    series = [{name: one[name] for name in ("prefix", "count", "seal")} for one in anchor.document["series"]]

    assert {one["legal_entity"] for one in anchor.document["series"]} == {"main", "us"}
    assert verify_chains(anchors=[{**anchor.document, "series": series}]) == []


def test_a_customer_changes_its_seller_only_before_anything_is_invoiced_or_credited() -> None:
    an_entity()
    a_plan("pro", usd_fee("29"))
    fresh, drafted, credit = (a_customer(f"cust_{name}") for name in ("fresh", "drafted", "credit"))
    a_subscription(drafted)
    draft_billing(as_of=AUGUST, at=AUGUST)
    grant(credit, "10")

    def move(customer: Customer, to: str) -> str:
        try:
            moved = change_customer(customer=customer, changes={"legal_entity": to}, actor="test", reason="sold")
        except InvalidFields as problem:
            [error] = problem.errors
            return f"{error.field} {error.code}"
        return str(moved.legal_entity.name)

    assert move(fresh, "us") == "Example Inc."
    assert (move(drafted, "us"), move(credit, "us")) == ("legal_entity invoiced",) * 2
    assert (move(fresh, "nobody"), move(drafted, "main")) == ("legal_entity unknown", house.SELLER["name"])
    assert verify() == []


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"key": "US!"}, ("key", "invalid")),
        ({"name": " "}, ("name", "required")),
        ({"email": "nobody"}, ("email", "invalid")),
        ({"bank": "x" * 2001}, ("bank", "too_long")),
        ({"invoice_prefix": "U/S"}, ("invoice_prefix", "invalid")),
        ({"invoice_prefix": "inv"}, ("invoice_prefix", "taken")),
        ({"credit_note_prefix": "US"}, ("credit_note_prefix", "taken")),
        ({"logo": b"GIF89a"}, ("logo", "unknown_format")),
    ],
)
def test_a_legal_entity_is_refused_by_the_name_of_the_field(fields: dict[str, Any], complaint: tuple[str, str]) -> None:
    with pytest.raises(InvalidFields) as refused:
        an_entity(**fields)

    assert [(error.field, error.code) for error in refused.value.errors] == [complaint]
    assert not LegalEntity.objects.exclude(key="main").exists()


def test_the_same_legal_entity_twice_is_one_and_another_under_its_key_is_a_conflict() -> None:
    assert an_entity(logo=a_logo()) == an_entity(logo=a_logo())

    with pytest.raises(Conflict, match="another logo, name"):
        an_entity(name="Other Inc.")


def test_prefixes_change_until_something_is_issued_under_them() -> None:
    two_customers()
    american = changed(LegalEntity.objects.get(key="us"), invoice_prefix="NY")
    _, of_globex = issued()

    with pytest.raises(InvalidFields) as refused:
        changed(american, invoice_prefix="US", bank="Other Bank")

    american.refresh_from_db()
    assert (of_globex.number, american.invoice_prefix, american.bank) == ("NY-2026-00001", "NY", AMERICAN["bank"])
    assert [(error.field, error.code) for error in refused.value.errors] == [("invoice_prefix", "issued")]


def test_the_settings_make_the_first_legal_entity_and_say_nothing_afterwards(settings: Any) -> None:
    settings.SELLER = {**house.SELLER, "name": "Founders GmbH"}
    settings.INVOICE_NUMBER_PREFIX = "RE"
    made = first_entity()

    settings.SELLER = {**house.SELLER, "name": "Somebody else"}

    assert (made.key, made.name, made.invoice_prefix) == ("main", "Founders GmbH", "RE")
    assert first_entity() == made and first_entity().name == "Founders GmbH"


def test_the_seller_of_an_installation_that_is_upgraded_becomes_its_first_legal_entity(settings: Any) -> None:
    settings.SELLER = {**house.SELLER, "name": "Founders GmbH"}
    settings.CREDIT_NOTE_NUMBER_PREFIX = "GS"
    migration = import_module("invoicing.migrations.0053_make_the_seller_the_first_legal_entity")

    migration.make_the_first(apps, SimpleNamespace(connection=connection))

    entity = LegalEntity.objects.get()
    assert (entity.key, entity.name, entity.credit_note_prefix) == ("main", "Founders GmbH", "GS")
    assert first_entity() == entity
    assert verify_chains() == []


@pytest.mark.django_db(transaction=True)
def test_two_legal_entities_issue_at_once_each_without_a_gap_and_neither_waits_for_the_other() -> None:
    an_entity()
    a_plan("pro", usd_fee("29"))
    for number in range(6):
        a_subscription(a_customer(f"cust_{number}", legal_entity=("main", "us")[number % 2]))
    drafts = draft_billing(as_of=AUGUST, at=AUGUST).invoices

    def issue(draft: Invoice) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10s'")
        return str(issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="now").number)

    first, *others = drafts
    american = next(draft for draft in others if draft.customer.legal_entity_id == "us")
    others.remove(american)
    with transaction.atomic():
        locked_series(legal_entity="main", name="INV", year=2026)
        alone = at_once(lambda: issue(american))
    together = at_once(*[lambda draft=draft: issue(draft) for draft in (first, *others)])

    assert alone == ["US-2026-00001"]
    assert sorted(together) == [
        *(f"INV-2026-{ordinal:05d}" for ordinal in (1, 2, 3)),
        *(f"US-2026-{ordinal:05d}" for ordinal in (2, 3)),
    ]
    assert Invoice.objects.filter(status=InvoiceStatus.ISSUED).count() == 6
    assert verify() == []


def test_at_new_year_each_seller_begins_a_series_of_its_own() -> None:
    two_customers()
    issued()
    new_year = AUGUST + timedelta(days=153)

    issue_billing(as_of=new_year, at=new_year)

    numbers = Invoice.objects.filter(issued_at=new_year).order_by("number").values_list("number", flat=True)
    assert list(numbers) == [f"{prefix}-2027-{ordinal:05d}" for prefix in ("INV", "US") for ordinal in (1, 2, 3, 4, 5)]
