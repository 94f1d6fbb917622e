"""The pages of the reports: empty, filled, asked for strictly, downloaded, and seen by whoever may see postings."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from moneyed import Money

from billing_site.backoffice import reports
from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.customers.models import Customer
from invoicing.ledger.models import Account
from invoicing.reports.catalogue import REPORTS
from invoicing.reports.models import AccountMapping
from tests.invoicing.reports.building import OCTOBER, a_quarter

pytestmark = pytest.mark.django_db


def address(name: str) -> str:
    return reverse(f"admin:backoffice_{name.replace('-', '_')}")


@pytest.mark.parametrize("kind", REPORTS, ids=lambda kind: kind.name)
def test_a_report_opens_over_empty_books_and_says_what_will_fill_it(administrator: Client, kind: object) -> None:
    page = administrator.get(address(kind.name))  # type: ignore[attr-defined]

    assert page.status_code == 200
    assert kind.empty in page.content.decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", REPORTS, ids=lambda kind: kind.name)
def test_a_report_is_shown_with_its_ties_and_handed_out_as_files(support: Client, kind: object) -> None:
    a_quarter()
    terms = GrantTerms("paid", "prepaid", "Paid", Money("5.00", "USD"), OCTOBER)
    acme = Customer.objects.get(key="cust_acme")
    grant_credit(customer=acme, terms=terms, at=OCTOBER, actor="test", reason="paid")
    asked = {"as_of": "2026-10-31", "start": "2026-07-01", "end": "2026-10-31", "customer_id": "cust_acme"}
    asked = {name: asked[name] for name in kind.asks if name in asked}  # type: ignore[attr-defined]
    where = address(kind.name)  # type: ignore[attr-defined]

    page = support.get(where, asked).content.decode()
    as_csv = support.get(where, {**asked, "format": "csv"})
    as_xlsx = support.get(where, {**asked, "format": "xlsx"})

    assert "ties" in page
    assert "does not tie" not in page
    assert as_csv["Content-Disposition"] == f'attachment; filename="{kind.name}.csv"'  # type: ignore[attr-defined]
    assert b"Tie: " in as_csv.content
    assert as_xlsx.content.startswith(b"PK")


def test_figures_lead_to_what_they_are_made_of(administrator: Client) -> None:
    a_quarter()

    owed = administrator.get(address("aged-receivables"), {"as_of": "2026-10-31"}).content.decode()
    statement = administrator.get(
        address("statement"), {"customer_id": "cust_acme", "start": "2026-09-01", "end": "2026-09-30"}
    ).content.decode()
    balance = administrator.get(address("trial-balance"), {"as_of": "2026-10-31"}).content.decode()

    assert "statement/?customer_id=cust_acme&amp;start=2026-10-01&amp;end=2026-10-31" in owed
    assert "/invoicing/invoice/number/INV-2026-00003/" in statement
    assert "/invoicing/journalentry/" in statement
    assert "general-ledger/?account=1200&amp;currency=USD&amp;start=2026-10-01&amp;end=2026-10-31" in balance


def test_what_cannot_be_asked_is_told_beside_its_field(administrator: Client) -> None:
    page = administrator.get(address("statement"), {"customer_id": "cust_nobody", "start": "soon", "format": "csv"})

    assert page.status_code == 422
    text = page.content.decode()
    assert "There is no customer &#x27;cust_nobody&#x27;." in text
    assert "Must be a day such as 2026-08-31." in text


def test_a_long_report_shows_its_beginning_and_says_so(administrator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    a_quarter()
    monkeypatch.setattr(reports, "ROWS_SHOWN_MAX", 1)

    page = administrator.get(address("open-invoices"), {"as_of": "2026-10-31", "currency": "USD"}).content.decode()

    assert "2 more rows" in page
    assert "82.00" in page


def test_reports_take_a_bounded_number_of_queries(administrator: Client, django_assert_max_num_queries: object) -> None:
    a_quarter()
    for kind in REPORTS:
        with django_assert_max_num_queries(28):  # type: ignore[operator]
            administrator.get(address(kind.name), {"as_of": "2026-10-31", "customer_id": "cust_acme"})


def test_reports_are_for_those_who_may_see_postings(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))

    for kind in REPORTS:
        assert client.get(address(kind.name)).status_code == 403


def test_the_journal_is_exported_and_a_refusal_is_told_beside_its_field(finance: Client) -> None:
    a_quarter()
    where = address("journal-export")
    span = {"start": "2026-09-01", "end": "2026-09-30"}

    page = finance.get(where, span).content.decode()
    file = finance.get(where, {**span, "form": "csv", "download": "1"})
    refused = finance.get(where, {**span, "form": "datev", "download": "1"})

    assert "Debits <span" in page
    assert "not said yet" in page
    assert file["Content-Disposition"] == 'attachment; filename="journal-2026-09-01-2026-09-30.csv"'
    assert len(b"".join(file.streaming_content).splitlines()) == 7  # type: ignore[attr-defined]
    assert refused.status_code == 422
    assert "the span has JPY, USD" in refused.content.decode()


def test_finance_maps_an_account_with_a_reason_and_support_does_not(finance: Client, support: Client) -> None:
    a_quarter()
    account = Account.objects.get(code="1200")
    add = reverse("admin:invoicing_accountmapping_add")
    typed = {"system": "datev", "account": account.pk, "code": "1210"}

    assert finance.post(add, typed).status_code == 200
    assert finance.post(add, {**typed, "code": "Kunden", "reason": "chart"}).status_code == 200
    assert not AccountMapping.objects.exists()
    assert finance.post(add, {**typed, "reason": "chart"}).status_code == 302
    assert support.post(add, {**typed, "reason": "chart"}).status_code == 403

    row = AccountMapping.objects.get()
    change = reverse("admin:invoicing_accountmapping_change", args=[row.pk])
    assert finance.post(change, {"code": "1400", "reason": "SKR 03"}).status_code == 302
    row.refresh_from_db()
    assert (row.code, row.history.count()) == ("1400", 2)
    assert "1400" in finance.get(address("journal-export")).content.decode()
