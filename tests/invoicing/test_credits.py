"""Credit grants: drawn by issued invoices, given back by void ones, expired into breakage, never below nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict
from invoicing.credits.models import CreditEntry, CreditGrant
from invoicing.credits.operations import GrantTerms, grant_credit, void_credit
from invoicing.credits.queries import last_entry
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.ledger.queries import trial_balance
from invoicing.workflows.credit_balance import credit_balance
from invoicing.workflows.expire_credits import expire_credits
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, settle_constraints, use
from tests.invoicing.late import BILLED_AT, lines_of, use_late
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_discounts import a_coupon, redeem

pytestmark = pytest.mark.django_db

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


def grant(customer: Customer, amount: str, key: str = "welcome", **terms: Any) -> CreditGrant:
    known = {"kind": "promotional", "name": key.capitalize(), "effective_at": JULY}
    return grant_credit(
        customer=customer,
        terms=GrantTerms(key=key, amount=Money(amount, customer.currency), **(known | terms)),
        at=JULY,
        actor="test",
        reason="set up",
    )


def left(grant: CreditGrant) -> str:
    return f"{last_entry(grant=grant).balance.amount:.2f}"


def books() -> dict[str, str]:
    return {one.account: f"{one.amount.amount:.2f}" for one in trial_balance() if one.amount.amount}


def bill(as_of: datetime) -> list[Invoice]:
    return issue_billing(as_of=as_of, at=as_of).invoices


@pytest.fixture
def acme() -> Customer:
    """Owes USD 29.00 a month, and USD 15.00 for July's actions."""
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    return customer


@pytest.mark.requirement("S0-011")
def test_credit_pays_for_what_discounts_have_left_line_by_line_and_the_books_follow(acme: Customer) -> None:
    gift, paid = grant(acme, "10"), grant(acme, "100", "prepaid", kind="prepaid")
    a_coupon()
    redeem(acme)

    [invoice] = bill(AUGUST)

    assert lines_of(invoice)[2:] == [
        ("Discount LAUNCH20", "-8.80"),
        ("Promotional credit: Welcome", "-10.00"),
        ("Prepaid credit: Prepaid", "-25.20"),
    ]
    assert (invoice.status, f"{invoice.total.amount:.2f}") == ("paid", "0.00")
    assert (left(gift), left(paid)) == ("0.00", "74.80")
    assert explain_invoice(number=invoice.number or "")["equal"]
    # Earned: 35.20, of which 10.00 were given away; owed in advance: what is left.
    assert books() == {"1000": "100.00", "2110": "-74.80", "4000": "-35.20", "4200": "10.00"}
    settle_constraints()
    assert verify() == []


def test_credit_for_a_meter_leaves_the_fee_and_the_next_month_takes_the_rest(acme: Customer) -> None:
    gift = grant(acme, "20", meters=["actions"], plans=["pro"])
    use("cust_acme", "300", at=AUGUST + timedelta(days=1))

    [july], [august] = bill(AUGUST), bill(SEPTEMBER)

    assert [lines_of(one)[-1][1] for one in (july, august)] == ["-15.00", "-3.00"]
    assert left(gift) == "2.00"
    assert [(entry.kind, entry.reference) for entry in gift.entries.order_by("sequence")] == [
        ("grant", ""),
        ("draw", july.number),
        ("draw", august.number),
    ]
    assert verify() == []


def test_credit_for_a_meter_pays_its_share_of_what_a_maximum_spend_leaves() -> None:
    # Of 15.00 for actions and 29.00 for the fee a maximum leaves 11.00: 3.75 and 7.25.
    a_plan(spend=[{"currency": "USD", "maximum_spend": "11"}])
    acme = a_customer()
    a_subscription(acme)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    gift = grant(acme, "20", meters=["actions"])

    [invoice] = bill(AUGUST)

    assert lines_of(invoice)[2:] == [
        ("Reduction to the maximum spend", "-33.00"),
        ("Promotional credit: Welcome", "-3.75"),
    ]
    assert left(gift) == "16.25"
    assert explain_invoice(number=invoice.number or "")["equal"]
    settle_constraints()
    assert verify() == []


def test_a_draft_reserves_nothing_and_is_outdated_once_the_credit_is_gone(acme: Customer) -> None:
    gift = grant(acme, "10")
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices
    assert (f"{draft.total.amount:.2f}", left(gift)) == ("34.00", "10.00")

    void_credit(key="welcome", at=AUGUST, actor="test", reason="given by mistake")

    with pytest.raises(Conflict, match="it says USD 34, today it would be USD 44"):
        issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="now")
    assert [f"{one.total.amount:.2f}" for one in bill(AUGUST)] == ["44.00"]


def test_a_preview_of_two_months_takes_the_credit_once(acme: Customer) -> None:
    grant(acme, "50")

    previews = preview_billing(as_of=SEPTEMBER).previews

    assert [f"{one.total.amount:.2f}" for one in previews] == ["0.00", "23.00"]
    assert [f"{one.total.amount:.2f}" for one in [*bill(AUGUST), *bill(SEPTEMBER)]] == ["0.00", "23.00"]


def test_a_void_invoice_gives_the_credit_back_whoever_declares_it_void(acme: Customer) -> None:
    gift = grant(acme, "10")
    [invoice] = bill(AUGUST)

    run_sql(f"UPDATE invoicing_invoice SET status = 'void' WHERE id = {invoice.pk}")

    assert [(entry.kind, f"{entry.amount.amount:.2f}") for entry in gift.entries.order_by("sequence")] == [
        ("grant", "10.00"),
        ("draw", "-10.00"),
        ("restore", "10.00"),
    ]


@pytest.mark.requirement("S0-108")
def test_every_movement_of_credit_says_who_when_and_why(acme: Customer) -> None:
    lots = [
        grant(acme, "10"),
        grant(acme, "5", "spring", expires_at=AUGUST),
        grant(acme, "90", "sorry", plans=["pro"], priority=0),
    ]
    [invoice] = bill(AUGUST)
    void_credit(key="welcome", at=SEPTEMBER, actor="fiona", reason="given twice")
    expire_credits(at=OCTOBER)

    trail = [entry for lot in lots for entry in lot.entries.order_by("sequence")]

    assert [(entry.kind, entry.actor, entry.reason, entry.occurred_at) for entry in trail] == [
        ("grant", "test", "set up", JULY),
        ("void", "fiona", "given twice", SEPTEMBER),
        ("grant", "test", "set up", JULY),
        ("expire", "expiry", "expired 2026-08-01 00:00 UTC", OCTOBER),
        ("grant", "test", "set up", JULY),
        ("draw", "billing run", f"pays for invoice {invoice.number}", AUGUST),
    ]
    with pytest.raises(DatabaseError):
        run_sql(f"UPDATE invoicing_creditentry SET reason = 'other' WHERE id = {trail[1].pk}")


def test_the_live_balance_counts_what_is_used_and_not_billed_yet(acme: Customer) -> None:
    grant(acme, "40")

    balance = credit_balance(customer=acme, at=JULY + timedelta(days=10))

    assert [f"{money.amount:.2f}" for money in (balance.booked, balance.live)] == ["40.00", "0.00"]


def test_credit_expires_once_every_period_that_it_may_pay_for_is_billed(acme: Customer) -> None:
    paid = grant(acme, "60", "prepaid", kind="prepaid", expires_at=AUGUST)
    at = AUGUST + timedelta(hours=1)

    before = expire_credits(at=at)
    bill(AUGUST)
    after, again = expire_credits(at=at), expire_credits(at=at)

    assert (before, after, again) == (0, 1, 0)
    assert left(paid) == "0.00"
    assert books() == {"1000": "60.00", "4000": "-44.00", "4110": "-16.00"}
    assert [f"{one.total.amount:.2f}" for one in bill(SEPTEMBER)] == ["29.00"]
    assert verify() == []


def test_late_usage_of_an_invoice_that_credit_paid_is_owed_by_the_next_and_credit_pays_for_it_too(
    acme: Customer,
) -> None:
    gift = grant(acme, "80")
    issue_billing(as_of=AUGUST, at=BILLED_AT)
    use_late("1000")
    settle_late_changes(at=BILLED_AT)

    [august] = bill(SEPTEMBER)

    assert [amount for _, amount in lines_of(august)] == ["29.00", "0.00", "10.00", "-36.00"]
    assert left(gift) == "0.00"
    assert explain_invoice(number=august.number or "")["equal"]
    settle_constraints()
    assert verify() == []


@pytest.mark.parametrize(
    ("amount", "terms", "field"),
    [
        ("0", {}, "amount"),
        ("1.005", {}, "amount"),
        ("5", {"kind": "borrowed"}, "kind"),
        ("5", {"key": "two words"}, "key"),
        ("5", {"name": " "}, "name"),
        ("5", {"priority": 1001}, "priority"),
        ("5", {"expires_at": JULY}, "expires_at"),
        ("5", {"effective_at": datetime(2026, 7, 1)}, "effective_at"),
        ("5", {"effective_at": datetime(1999, 12, 31, tzinfo=UTC)}, "effective_at"),
        ("5", {"expires_at": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)}, "expires_at"),
        ("5", {"plans": ["nowhere"]}, "plans"),
        ("5", {"meters": ["nothing"]}, "meters"),
    ],
)
def test_what_cannot_be_granted_is_refused_by_its_field(amount: str, terms: dict[str, Any], field: str) -> None:
    customer = a_customer()

    with pytest.raises(BillingError) as refused:
        grant(customer, amount, **terms)

    assert [error.field for error in refused.value.field_errors] == [field]
    assert not CreditGrant.objects.exists()


def test_the_same_grant_twice_is_one_and_other_terms_are_refused(acme: Customer) -> None:
    assert grant(acme, "10") == grant(acme, "10")
    with pytest.raises(Conflict, match="amount"):
        grant(acme, "11")
    assert CreditEntry.objects.count() == 1


ENTRY = "INSERT INTO invoicing_creditentry (grant_id, sequence, kind, currency, amount, balance, reference, occurred_at, actor, reason)"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_creditgrant SET amount = 1000",
        "DELETE FROM invoicing_creditentry",
        "UPDATE invoicing_creditentry SET balance = 1000",
        "TRUNCATE invoicing_creditentry",
        # more than is left; a step left out; another balance; a draw of no invoice; a second grant; too early
        f"{ENTRY} SELECT id, 3, 'void', 'USD', -100, -60, '', now(), 'x', 'x' FROM invoicing_creditgrant",
        f"{ENTRY} SELECT id, 9, 'void', 'USD', -6, 0, '', now(), 'x', 'x' FROM invoicing_creditgrant",
        f"{ENTRY} SELECT id, 3, 'restore', 'USD', 44, 50, 'INV-2026-00001', now(), 'x', 'x' FROM invoicing_creditgrant",
        f"{ENTRY} SELECT id, 3, 'draw', 'USD', -6, 0, 'INV-2026-00002', now(), 'x', 'x' FROM invoicing_creditgrant",
        f"{ENTRY} SELECT id, 3, 'grant', 'USD', 50, 56, '', now(), 'x', 'x' FROM invoicing_creditgrant",
        f"{ENTRY} SELECT id, 3, 'expire', 'USD', -6, 0, '', now(), 'x', 'x' FROM invoicing_creditgrant",
        # a grant without entries
        "INSERT INTO invoicing_creditgrant (key, customer_id, kind, name, currency, amount, priority, effective_at,"
        " plans, meters, granted_at, actor, reason) SELECT 'forged', id, 'prepaid', 'x', 'USD', 5, 1, now(), '{}', '{}',"
        " now(), 'x', 'x' FROM invoicing_customer",
    ],
)
def test_raw_sql_finds_no_way_around_what_is_left_of_a_grant(acme: Customer, statement: str) -> None:
    grant(acme, "50")
    bill(AUGUST)
    settle_constraints()

    with pytest.raises(DatabaseError):
        run_sql(statement)


def test_an_invoice_cannot_be_issued_without_drawing_what_its_lines_say(acme: Customer) -> None:
    grant(acme, "50")
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices

    with pytest.raises(DatabaseError, match="does not draw the credit"):
        run_sql(
            "INSERT INTO invoicing_invoiceseries (prefix, next_number, last_seal) VALUES ('INV-2026', 1, '')",
            f"UPDATE invoicing_invoice SET status = 'issued', number = 'INV-2026-00001', issued_at = now(),"
            f" due_date = current_date, seal = 'forged', series_id = (SELECT id FROM invoicing_invoiceseries) WHERE id = {draft.pk}",
            "UPDATE invoicing_invoiceseries SET next_number = 2, last_seal = 'forged'",
        )
