"""Credit that tops itself up: below the threshold one invoice sells more, once, within the cap, and who is stuck is listed."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict
from invoicing.customers.models import Customer
from invoicing.payments.operations import record_failure
from invoicing.top_ups.models import TopUp
from invoicing.top_ups.operations import RuleTerms, retire_rule, set_rule
from invoicing.top_ups.queries import rules_that_need_somebody
from invoicing.top_ups.rules import TopUpRule
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.top_up_automatically import sweep_top_ups
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, usd_per_action, use
from tests.invoicing.disputing import decided, disputed, paid_by_card
from tests.invoicing.selling import books, once, owed_for_credit, paid
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_credits import grant

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def acme() -> Customer:
    """Pays USD 1.00 an action."""
    a_plan("pro", usd_per_action("1"))
    customer = a_customer()
    a_subscription(customer)
    return customer


def rule(customer: Customer, key: str = "rule", **changes: Any) -> TopUpRule:
    known = {"threshold": "20", "amount": "50", "max_per_month": 3, "valid_days": None} | changes
    terms = RuleTerms(
        threshold=Money(known["threshold"], customer.currency),
        amount=Money(known["amount"], customer.currency),
        max_per_month=known["max_per_month"],
        valid_days=known["valid_days"],
    )
    return set_rule(customer=customer, key=key, terms=terms, at=JULY, actor="test", reason="agreed")


def state() -> str:
    return TopUpRule.objects.get(retired_at=None).state


def test_months_of_low_bought_paid_drawn_and_low_again(acme: Customer) -> None:
    """The clock turns from July to September: each crossing buys once, the books follow every step."""
    rule(acme)
    grant(acme, "60", "prepaid", kind="prepaid")
    bought, owed = [], []
    for week in range(10):
        at = JULY + week * 7 * DAY
        use("cust_acme", "15", at=at)
        made = sweep_top_ups(at=at + timedelta(hours=1)).made
        owed.append(owed_for_credit())
        if made:
            assert sweep_top_ups(at=at + timedelta(hours=2)).made == []
            bought.append(f"{at:%m-%d}")
            paid(made[0].invoice, at=at + timedelta(hours=3))
        issue_billing(as_of=at, at=at)
        owed.append(owed_for_credit())

    # 60 − 3 × 15 = 15 is low; 65 − 4 × 15 = 5 is again; 55 − 3 × 15 = 10 too.
    assert bought == ["07-15", "08-12", "09-02"]
    assert all(one == other for one, other in owed)
    assert acme.credit_grants.count() == 4
    settle_constraints()
    assert verify() == []


def test_at_the_threshold_nothing_is_bought_and_a_cent_below_it_is(acme: Customer) -> None:
    rule(acme)
    grant(acme, "60", "prepaid", kind="prepaid")
    use("cust_acme", "40", at=JULY)
    at_it = sweep_top_ups(at=JULY + DAY).made
    use("cust_acme", "0.01", at=JULY + DAY)

    [below] = sweep_top_ups(at=JULY + DAY + timedelta(minutes=1)).made

    assert at_it == []
    assert below.reason == "USD 19.99 are left, less than 20.00"
    assert books() == {"1000": "60.00", "1200": "50.00", "2110": "-110.00"}


def test_usage_of_a_month_that_is_over_and_not_invoiced_counts_too(acme: Customer) -> None:
    rule(acme)
    grant(acme, "60", "prepaid", kind="prepaid")
    use("cust_acme", "41", at=JULY)

    assert len(sweep_top_ups(at=AUGUST + timedelta(minutes=5)).made) == 1


def test_while_one_is_open_there_is_no_second_and_what_is_not_paid_is_listed(acme: Customer) -> None:
    rule(acme)
    [top_up] = sweep_top_ups(at=JULY).made

    waiting = (sweep_top_ups(at=JULY + DAY).made, state())
    overdue = (sweep_top_ups(at=JULY + 15 * DAY).made, state())
    paid(top_up.invoice, at=JULY + 15 * DAY)

    assert waiting == ([], "waiting")
    assert overdue == ([], "unpaid")
    assert "was due on 2026-07-15" in TopUpRule.objects.get().problem
    assert rules_that_need_somebody().count() == 1
    assert sweep_top_ups(at=JULY + 16 * DAY).made == []
    assert (state(), rules_that_need_somebody().count()) == ("enough", 0)


def test_a_declined_card_is_listed_with_the_banks_words(acme: Customer) -> None:
    rule(acme)
    [top_up] = sweep_top_ups(at=JULY).made
    record_failure(
        invoice_id=top_up.invoice_id, reference="ch_1", code="card_declined", message="No funds.", occurred_at=JULY
    )

    sweep_top_ups(at=JULY + DAY)

    assert (state(), TopUpRule.objects.get().problem) == ("unpaid", f"{top_up.invoice}: No funds.")


def test_the_cap_of_the_month_holds_and_is_listed_until_the_next_month(acme: Customer) -> None:
    rule(acme, max_per_month=2)
    for number in range(3):
        use("cust_acme", "60", at=JULY + number * DAY)
        for top_up in sweep_top_ups(at=JULY + number * DAY).made:
            paid(top_up.invoice, at=JULY + number * DAY)

    assert (TopUp.objects.count(), state()) == (2, "capped")
    assert sweep_top_ups(at=AUGUST - timedelta(seconds=1)).made == []
    assert len(sweep_top_ups(at=AUGUST).made) == 1


def test_another_rule_does_not_begin_the_month_anew(acme: Customer) -> None:
    rule(acme, max_per_month=1)
    [first] = sweep_top_ups(at=JULY).made
    paid(first.invoice)
    use("cust_acme", "60", at=JULY)
    rule(acme, "another", max_per_month=1, amount="70")

    assert sweep_top_ups(at=JULY + DAY).made == []
    assert state() == "capped"


def test_one_that_was_declared_void_stops_the_rule_until_it_is_set_again(acme: Customer) -> None:
    rule(acme)
    [top_up] = sweep_top_ups(at=JULY).made
    void_invoice(invoice_id=top_up.invoice_id, at=JULY, actor="test", reason="not wanted")

    stopped = (sweep_top_ups(at=JULY + DAY).made, state())
    rule(acme, "again")

    assert stopped == ([], "stopped")
    assert len(sweep_top_ups(at=JULY + DAY).made) == 1


def test_a_retired_rule_buys_nothing_and_a_quiet_customer_is_not_looked_at_again(acme: Customer) -> None:
    one = rule(acme, threshold="1")
    grant(acme, "60")
    looked = [sweep_top_ups(at=JULY + timedelta(minutes=minute)).looked_at for minute in (1, 2, 61)]
    retire_rule(rule=one, at=JULY, actor="test", reason="over")
    use("cust_acme", "60", at=JULY)

    assert looked == [1, 0, 1]
    assert sweep_top_ups(at=JULY + DAY).looked_at == 0


def test_the_same_rule_twice_is_one_and_a_new_one_replaces_it(acme: Customer) -> None:
    assert rule(acme) == rule(acme)
    with pytest.raises(Conflict):
        rule(acme, amount="51")
    rule(acme, "other")
    with pytest.raises(Conflict):
        rule(acme)
    assert TopUpRule.objects.filter(retired_at=None).count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"threshold": "0"}, "threshold"),
        ({"threshold": "1.005"}, "threshold"),
        ({"amount": "0"}, "amount"),
        ({"max_per_month": 0}, "max_per_month"),
        ({"max_per_month": 1001}, "max_per_month"),
        ({"valid_days": 0}, "valid_days"),
        ({"key": "two words"}, "key"),
    ],
)
def test_what_cannot_be_agreed_is_refused_by_its_field(acme: Customer, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BillingError) as refused:
        rule(acme, **changes)

    assert [error.field for error in refused.value.field_errors] == [field]


RULE = (
    "INSERT INTO invoicing_topuprule (key, customer_id, currency, threshold, amount, max_per_month, set_at, actor, reason,"
    " retired_by, retired_because, state, state_since, seen_through, problem) SELECT 'forged', id, '{currency}', 1, 1, 1,"
    " now(), 'x', 'x', '', '', 'new', now(), 0, '' FROM invoicing_customer"
)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_topuprule SET max_per_month = 9",
        "UPDATE invoicing_topuprule SET amount = 9",
        "UPDATE invoicing_topuprule SET retired_at = now()",
        "DELETE FROM invoicing_topuprule",
        RULE.format(currency="USD"),
        RULE.format(currency="EUR"),
        # a second one that is open; one beyond the cap; another amount than agreed
        "UPDATE invoicing_topup SET rule_id = NULL",
        "INSERT INTO invoicing_topup (invoice_id, customer_id, status, name, currency, amount, rule_id, made_at, actor, reason)"
        " SELECT invoice_id, customer_id, 'open', 'x', currency, 50, rule_id, made_at, 'x', 'x' FROM invoicing_topup",
    ],
)
def test_raw_sql_buys_nothing_that_was_not_agreed(acme: Customer, statement: str) -> None:
    rule(acme)
    sweep_top_ups(at=JULY)
    settle_constraints()

    with pytest.raises(DatabaseError):
        run_sql(statement)


@pytest.mark.requirement("S0-047")
def test_nothing_is_sold_by_itself_while_a_payment_is_disputed(acme: Customer) -> None:
    rule(acme)
    dispute = disputed(paid_by_card(once(acme)))

    assert sweep_top_ups(at=AUGUST + 4 * DAY).made == []
    assert (state(), rules_that_need_somebody().count()) == ("frozen", 1)
    decided(dispute, "won")
    assert len(sweep_top_ups(at=AUGUST + 40 * DAY).made) == 1
    settle_constraints()
