"""Progressive invoices: usage is invoiced at once from an amount on, and the invoice of the period takes that off, once and whole."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction
from moneyed import Money

from billing_site.backoffice.progressive_queues import progressive_queues
from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.customers.operations import change_customer
from invoicing.invoices.models import Invoice, InvoiceLine, ProgressiveInvoice
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.progressive.operations import retire_threshold
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.snapshot import periods_running
from invoicing.workflows.bill_progressively import _bill_period, _Seen, bill_progressively, sweep_progressive
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from invoicing.workflows.offboarding import customers_to_close, offboarding_of
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.progressive_rest import left_of_progressive
from invoicing.workflows.reissue_invoice import reissue_invoice
from invoicing.workflows.run_billing import draft_billing
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from metering.correcting import cancel_event
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.late import lines_of
from tests.invoicing.progressive import DAY, billed, subtotals, swept, taken_off, threshold, used
from tests.invoicing.selling import books, paid
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_credits import grant, left

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_held(db: None) -> None:
    """Whatever is used here, months without usage among it, is issued."""
    nothing_is_checked_before_issue()


@pytest.fixture
def acme() -> Customer:
    """Pays USD 29 a month and USD 1 an action."""
    a_plan("pro", usd_fee("29"), usd_per_action("1"))
    customer = a_customer()
    a_subscription(customer)
    return customer


def void(invoice: Invoice) -> Invoice:
    return void_invoice(invoice_id=invoice.pk, at=JULY + 20 * DAY, actor="test", reason="wrong")


def test_nobody_is_invoiced_before_the_period_ends_without_a_threshold(acme: Customer) -> None:
    assert used("100000", day=3) == []
    assert taken_off(billed()) == {}


def test_two_months_of_usage_are_paid_as_they_come_and_come_to_what_they_would(acme: Customer) -> None:
    """The clock turns through two months: below the amount nothing, at it an invoice, each further step another, and the month takes them off."""
    threshold(acme, "100", "50")

    below = used("99", day=3)
    [first] = used("1", day=4)
    left_then = ProgressiveThreshold.objects.get().seen_amount
    between = used("49.99", day=5)
    [second] = used("10", day=6)
    again = swept(JULY + 7 * DAY)
    use("cust_acme", "5", at=JULY + 20 * DAY)
    july = billed()
    [third] = used("100", day=2, month=AUGUST)
    august = billed(SEPTEMBER)

    assert (below, between, again, left_then) == ([], [], [], 0)
    assert subtotals(first, second, july, third, august) == ["100.00", "59.99", "34.00", "100.00", "29.00"]
    assert lines_of(july) == [
        ("Base fee", "29.00"),
        ("Actions", "164.99"),
        (f"Already invoiced with {first.number}", "-100.00"),
        (f"Already invoiced with {second.number}", "-59.99"),
    ]
    assert books() == {"1200": "322.99", "4000": "-322.99"}
    assert [row.ordinal for row in ProgressiveInvoice.objects.order_by("id")] == [1, 2, 1]
    assert all(explain_invoice(number=str(one.number))["equal"] for one in (first, second, july, third, august))
    assert verify() == []


def test_without_a_step_it_is_once_a_period_and_the_next_period_begins_anew(acme: Customer) -> None:
    threshold(acme, "100")

    made = [len(used("150", day=day)) for day in (3, 4, 5)] + [len(used("100", day=2, month=AUGUST))]

    assert made == [1, 0, 0, 1]


def test_free_units_discounts_fees_and_minimum_spend_are_no_usage_that_is_charged(acme: Customer) -> None:
    a_plan("free", usd_fee("1000"), usd_per_action("1", free_units="100", minimum_amount="500"))
    other = a_customer("cust_acme2")
    a_subscription(other, plan="free", key="sub_2")
    threshold(other, "50", key="other")
    use("cust_acme2", "149", at=JULY)
    below = swept(JULY + DAY)
    use("cust_acme2", "1", at=JULY)

    [invoice] = swept(JULY + DAY + timedelta(minutes=1))

    assert below == []
    assert subtotals(invoice) == ["50.00"]


def test_of_a_volume_price_only_what_no_further_usage_makes_cheaper_is_charged() -> None:
    tiers = [{"up_to": "100", "unit_amount": "2"}, {"up_to": None, "unit_amount": "1"}]
    price = {name: told for name, told in usd_per_action().items() if name != "unit_amount"}
    a_plan("volume", price | {"model": "volume", "tiers": tiers})
    customer = a_customer()
    a_subscription(customer, plan="volume")
    threshold(customer, "60")

    [invoice] = used("90", day=2)
    use("cust_acme", "20", at=JULY + 5 * DAY)
    july = billed()

    assert subtotals(invoice, july) == ["100.00", "10.00"]
    assert verify() == []


def test_credit_pays_first_and_only_the_rest_is_charged(acme: Customer) -> None:
    threshold(acme, "100")
    gift = grant(acme, "60", "gift")

    below = used("150", day=3)
    [invoice] = used("10", day=4)
    july = billed()

    # Of 60 the fee, which is not due yet, has its share: 160 less 60 × 160/189.
    assert below == [] and subtotals(invoice) == ["109.21"]
    assert (f"{july.total.amount:.2f}", left(gift)) == ("19.79", "0.00")
    assert verify() == []


def test_what_is_cancelled_later_comes_off_the_next_invoices(acme: Customer) -> None:
    threshold(acme, "100")
    use("cust_acme", "150", at=JULY, key="wrong")
    [invoice] = swept(JULY + DAY)
    cancel_event(customer_id="cust_acme", idempotency_key="wrong", actor="test", reason="counted twice")

    july = billed()
    use("cust_acme", "200", at=AUGUST + DAY)
    august = billed(SEPTEMBER)

    number = str(invoice.number)
    assert (taken_off(july), taken_off(august)) == ({number: "-29.00"}, {number: "-121.00"})
    assert subtotals(july, august) == ["0.00", "108.00"]
    assert verify() == []


def test_what_no_invoice_takes_off_any_more_stands_in_a_queue_until_it_is_credited(acme: Customer) -> None:
    """Usage that was charged is cancelled before its customer's last invoice: 121 of it are owed to nobody."""
    Customer.objects.update(created_at=JULY)
    sweep_life_cycles(at=JULY)
    threshold(acme, "100")
    use("cust_acme", "150", at=JULY + DAY, key="wrong")
    [invoice] = swept(JULY + 2 * DAY)
    cancel_event(customer_id="cust_acme", idempotency_key="wrong", actor="test", reason="counted twice")
    before_the_end = left_of_progressive().exists()
    billed()
    paid(invoice)
    still_runs = left_of_progressive().exists()
    end_subscription(subscription=acme.subscriptions.get(), ended_at=AUGUST, actor="test", reason="cancelled")
    sweep_life_cycles(at=AUGUST + DAY)

    [row] = left_of_progressive()
    queue = {one.name: one for one in progressive_queues()}["Charged progressively, to be credited"]
    offboarding = offboarding_of(customer=acme)
    to_close = list(customers_to_close())
    credited(invoice, of_line(1, amount="121"), disposition="balance", at=AUGUST + 2 * DAY)

    assert (before_the_end, still_runs) == (False, False)
    assert (row.invoice, row.left) == (invoice, 121)
    assert (queue.count, queue.money, queue.why) == (1, (Money("121", "USD"),), acme.name)
    assert (offboarding.held, to_close) == (((invoice, Money("121", "USD")),), [acme])
    assert not left_of_progressive().exists()
    assert not offboarding_of(customer=acme).held
    settle_constraints()


def test_of_several_the_oldest_is_taken_off_first_and_each_keeps_its_rest(acme: Customer) -> None:
    threshold(acme, "100", "50")
    use("cust_acme", "70", at=JULY, key="wrong")
    [first] = used("30", day=2)
    [second] = used("50", day=3)
    cancel_event(customer_id="cust_acme", idempotency_key="wrong", actor="test", reason="counted twice")
    credited(second, of_line(1, amount="10"), at=JULY + 5 * DAY)

    july = billed()
    use("cust_acme", "200", at=AUGUST + DAY)
    august = billed(SEPTEMBER)

    # Of 109 the first one leaves 9 to the second, which has 31 left for August.
    assert taken_off(july) == {str(first.number): "-100.00", str(second.number): "-9.00"}
    assert taken_off(august) == {str(second.number): "-31.00"}
    assert verify() == []


def test_the_preview_of_the_period_shows_what_was_invoiced_and_the_run_is_what_was_previewed(acme: Customer) -> None:
    threshold(acme, "100")
    [invoice] = used("120", day=3)

    shown = preview_invoice(customer_key="cust_acme", as_of=JULY + 4 * DAY).assembled
    expected = preview_billing(as_of=AUGUST).previews[0].total
    july = billed()

    assert shown.document_lines[-1].description == f"Already invoiced with {invoice.number}"
    assert f"{shown.total.amount:.2f}" == "29.00"
    assert july.total == expected


def test_a_void_one_is_not_taken_off_and_none_follows_until_the_threshold_is_set_again(acme: Customer) -> None:
    threshold(acme, "100")
    [invoice] = used("120", day=3)

    void(invoice)
    stopped = used("1", day=4)
    state = ProgressiveThreshold.objects.get().problem
    threshold(acme, "100", key="again")
    [anew] = swept(JULY + 5 * DAY)
    july = billed()

    assert (stopped, state.partition(":")[0]) == ([], "its last invoice was declared void")
    assert subtotals(anew, july) == ["121.00", "29.00"]
    assert taken_off(july) == {str(anew.number): "-121.00"}
    assert verify() == []


def test_once_it_is_taken_off_it_stays_until_the_invoice_that_takes_it_off_is_void(acme: Customer) -> None:
    threshold(acme, "100")
    [invoice] = used("120", day=3)
    july = billed()

    with pytest.raises(Conflict, match=r"takes .* off"):
        void(invoice)
    again = reissue_invoice(invoice_id=july.pk, at=AUGUST + DAY, actor="test", reason="wrong name")
    void(invoice)

    assert again.draft is not None
    final = billed()
    assert (taken_off(final), subtotals(final)) == ({}, ["149.00"])
    assert verify() == []


@pytest.mark.parametrize("amount", ["50", "120"])
def test_what_is_credited_before_the_period_ends_is_charged_by_its_invoice(acme: Customer, amount: str) -> None:
    threshold(acme, "100")
    [invoice] = used("120", day=3)
    paid(invoice, at=JULY + 4 * DAY)

    credited(invoice, of_line(1, amount=amount), disposition="refund", at=JULY + 5 * DAY)
    july = billed()

    taken = Decimal(120) - Decimal(amount)
    assert taken_off(july) == ({str(invoice.number): f"{-taken:.2f}"} if taken else {})
    assert verify() == []


def test_a_credit_note_of_after_the_end_gives_back_what_was_charged_for_good(acme: Customer) -> None:
    threshold(acme, "100")
    [invoice] = used("120", day=3)
    july = billed()

    credited(invoice, of_line(1, amount="20"))

    assert taken_off(july) == {str(invoice.number): "-120.00"}
    invoice.refresh_from_db()
    assert f"{invoice.amount_credited.amount:.2f}" == "20.00"
    assert verify() == []
    # Made again, the invoice of the period would charge the 20 once more.
    with pytest.raises(Conflict, match="credit note CN-2026-00001 builds on INV-2026-00002") as refused:
        reissue_invoice(invoice_id=july.pk, at=AUGUST + DAY, actor="test", reason="wrong address")
    assert refused.value.code == "built_on"


def test_late_usage_is_the_matter_of_the_periods_invoice(acme: Customer) -> None:
    threshold(acme, "100")
    used("120", day=3)
    july = billed()
    use("cust_acme", "10", at=JULY + 9 * DAY)
    use("cust_acme", "1", at=AUGUST + DAY)

    august = billed(SEPTEMBER)

    assert subtotals(july, august) == ["29.00", "40.00"]
    assert verify() == []


def test_a_change_of_plan_in_mid_period_takes_off_what_was_invoiced_under_the_old_one(acme: Customer) -> None:
    threshold(acme, "100")
    a_plan("max", usd_fee("62"), usd_per_action("2"))
    [invoice] = used("120", day=3)
    change_plan(
        subscription=acme.subscriptions.get(),
        plan_version=published_version(plan_key="max"),
        at=JULY + 15 * DAY,
        actor="test",
        reason="agreed",
    )
    use("cust_acme", "10", at=JULY + 20 * DAY)

    july = billed()

    assert taken_off(july) == {str(invoice.number): "-120.00"}
    assert verify() == []


def test_a_threshold_is_in_the_customers_currency_has_a_reason_and_replaces_the_one_before(acme: Customer) -> None:
    first = threshold(acme, "100")
    second = threshold(acme, "200", "50", key="second")

    first.refresh_from_db()
    assert (first.retired_because, second.retired_at) == ("replaced by second", None)
    assert threshold(acme, "200", "50", key="second") == second
    with pytest.raises(Conflict, match="another threshold"):
        threshold(acme, "300", key="second")
    with pytest.raises(InvalidFields, match="amount"):
        threshold(acme, "0", key="nothing")
    with pytest.raises(InvalidFields, match="step"):
        threshold(acme, "1", "0.001", key="fine")
    retire_threshold(threshold=second, at=JULY, actor="test", reason="over")
    assert used("1000", day=3) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_progressiveinvoice SET period_end = period_end + interval '1 day'",
        "DELETE FROM invoicing_progressiveinvoice",
        "TRUNCATE invoicing_progressiveinvoice CASCADE",
        "UPDATE invoicing_progressivethreshold SET amount = 1",
        "DELETE FROM invoicing_progressivethreshold",
        "INSERT INTO invoicing_progressiveinvoice (invoice_id, customer_id, threshold_id, period_start, period_end, ordinal, currency, reached, made_at)"
        " SELECT invoice_id, customer_id, threshold_id, period_start, period_end, 2, currency, reached, made_at FROM invoicing_progressiveinvoice",
        "UPDATE invoicing_invoice SET kind = 'one_off' WHERE kind = 'progressive'",
    ],
)
def test_raw_sql_changes_no_progressive_invoice_and_no_threshold(acme: Customer, statement: str) -> None:
    threshold(acme, "100")
    used("120", day=3)

    with pytest.raises(DatabaseError):
        run_sql(statement)


@pytest.mark.parametrize(
    "forgery",
    [
        # Nothing is taken off.
        "DELETE FROM invoicing_taxline WHERE line_id IN (SELECT id FROM invoicing_invoiceline WHERE progressive_id IS NOT NULL);"
        " DELETE FROM invoicing_invoiceline WHERE progressive_id IS NOT NULL",
        # Less than it charged.
        "UPDATE invoicing_invoiceline SET amount = amount + 1 WHERE progressive_id IS NOT NULL",
        # More than it charged.
        "UPDATE invoicing_invoiceline SET amount = amount - 1 WHERE progressive_id IS NOT NULL",
    ],
)
def test_raw_sql_issues_no_invoice_that_takes_another_amount_off(acme: Customer, forgery: str) -> None:
    threshold(acme, "100")
    used("120", day=3)
    draft_billing(as_of=AUGUST, at=AUGUST)
    draft = Invoice.objects.get(status="draft")

    run_sql_of_draft = f"""
        UPDATE invoicing_invoice SET subtotal = (SELECT sum(amount) FROM invoicing_invoiceline WHERE invoice_id = {draft.pk}),
               total = (SELECT sum(amount) FROM invoicing_invoiceline WHERE invoice_id = {draft.pk}) WHERE id = {draft.pk}
    """
    with pytest.raises(DatabaseError, match="does not take off what INV-"):
        run_sql(*forgery.split(";"), run_sql_of_draft, issue_sql(draft))


def issue_sql(draft: Invoice) -> str:
    series = "SELECT id FROM invoicing_invoiceseries ORDER BY id LIMIT 1"
    return f"""
        UPDATE invoicing_invoice SET status = 'issued', series_id = ({series}), number = 'INV-2026-00002', issued_at = '2026-08-01',
               due_date = '2026-08-15', seal = repeat('0', 64), previous_seal = repeat('0', 64) WHERE id = {draft.pk}
    """


def test_raw_sql_takes_a_progressive_invoice_off_once_for_its_own_customer_and_never_voids_it_then(
    acme: Customer,
) -> None:
    threshold(acme, "100")
    [invoice] = used("120", day=3)
    draft_billing(as_of=AUGUST, at=AUGUST)
    line = InvoiceLine.objects.get(progressive__isnull=False)
    columns = ", ".join(
        f'"{field.column}"' for field in InvoiceLine._meta.concrete_fields if field.column not in ("id", "position")
    )

    with pytest.raises(DatabaseError, match="takes_a_progressive_invoice_off_once"), transaction.atomic():
        run_sql(
            f"INSERT INTO invoicing_invoiceline (position, {columns}) SELECT 99, {columns} FROM invoicing_invoiceline WHERE id = {line.pk}"
        )
    billed()
    with pytest.raises(DatabaseError, match="it stays"), transaction.atomic():
        run_sql(f"UPDATE invoicing_invoice SET status = 'void', voided_at = now() WHERE id = {invoice.pk}")


def test_nothing_progressive_is_issued_once_the_period_is_invoiced(
    acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threshold(acme, "100")
    use("cust_acme", "150", at=JULY + DAY)
    billed()
    settle_constraints()

    known = ProgressiveThreshold.objects.get()
    late = AUGUST - timedelta(seconds=1)

    # A sweep that was begun before the end and comes late.
    assert bill_progressively(threshold_id=known.pk, at=late) == []
    monkeypatch.setattr("invoicing.workflows.bill_progressively.is_invoiced", lambda **_: False)
    with pytest.raises(DatabaseError, match="of no period that runs"), transaction.atomic():
        bill_progressively(threshold_id=known.pk, at=late)


def test_whose_payment_is_disputed_is_not_charged_by_itself(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    threshold(acme, "100")
    monkeypatch.setattr("invoicing.workflows.bill_progressively.is_frozen", lambda **_: True)

    assert used("150", day=3) == []
    assert ProgressiveThreshold.objects.get().problem == "nothing is charged by itself while a payment is disputed"


def test_who_pays_for_other_accounts_is_invoiced_when_the_period_ends(acme: Customer) -> None:
    known = threshold(acme, "100")
    change_customer(
        customer=a_customer("cust_east"), changes={"billed_to": "cust_acme"}, actor="test", reason="one company"
    )

    assert used("150", day=3) == []
    assert ProgressiveThreshold.objects.get().problem.startswith("it pays for other accounts")
    with pytest.raises(Conflict, match="pays for other accounts"):
        threshold(acme, "90", key="another")

    at = JULY + 3 * DAY
    [july] = periods_running(customer=acme, moment=at)
    with pytest.raises(DatabaseError, match="is of no period that runs"), transaction.atomic():
        _bill_period(known, acme, july, _Seen(), at=at)
    assert subtotals(billed()) == ["179.00"]


def test_who_did_not_move_is_not_computed(acme: Customer) -> None:
    threshold(acme, "100")

    first = sweep_progressive(at=JULY + DAY).looked_at
    calm = sweep_progressive(at=JULY + DAY + timedelta(minutes=1)).looked_at
    use("cust_acme", "1", at=JULY + DAY)
    moved = sweep_progressive(at=JULY + DAY + timedelta(minutes=2)).looked_at

    assert (first, calm, moved) == (1, 0, 1)
    assert ProgressiveThreshold.objects.get().seen_amount == Money("1", "USD").amount
