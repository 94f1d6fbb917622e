"""Stripe's payouts: mirrored with what they are made of, in the books, on the bank statement; what nothing explains waits for people."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.sandbox.stripe import store
from invoicing.bank.models import BankLine
from invoicing.bank.queries import left_of
from invoicing.payments.intake import replay_notices
from invoicing.payments.models import StripeNotice
from invoicing.payments.patience import GAPS
from invoicing.payments.payout import Payout, StripeTransaction, TransactionExplanation
from invoicing.payments.remote import GatewayRefused
from invoicing.payments.remote_payouts import RemoteBalanceTransaction, RemotePayout
from invoicing.workflows import explain_payouts, mirror_payouts
from invoicing.workflows import unexplained as unexplained_module
from invoicing.workflows.allocate_bank_line import Share, take_back_allocation
from invoicing.workflows.explain_payouts import explain_transaction, look_again, with_transactions
from invoicing.workflows.follow_stripe import follow_notice, sweep_open_invoices
from invoicing.workflows.match_bank_lines import propose
from invoicing.workflows.match_payouts import payouts_on_way, settle_payout_lines
from invoicing.workflows.mirror_payouts import follow_payout, look_at_payouts, record_payout, record_transactions
from invoicing.workflows.payout_faults import open_payouts, payout_faults, stripe_standings
from invoicing.workflows.settle_payment import settle_payment
from invoicing.workflows.unexplained import unexplained, unexplained_sums
from invoicing.workflows.verify import verify
from tests.factories import a_customer, settle_constraints
from tests.invoicing.bank.statements import Entry, allocate, import_camt
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.payments.building import an_issued_invoice, deliver, run_queued_jobs
from tests.invoicing.selling import books, item, once
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql

WHO = {"actor": "ann", "reason": "as the dashboard says"}
DAY = datetime(2026, 7, 10, 3, tzinfo=UTC)
AT = DAY + timedelta(days=10)


def usd(amount: str) -> Money:
    return Money(amount, "USD")


def settled(sandbox, listener):
    run_queued_jobs()
    deliver(sandbox, listener)
    run_queued_jobs()


def paid_out(sandbox, listener, status="paid"):
    payout = sandbox.post("/_sandbox/payouts", {"currency": "usd"})
    if status != "pending":
        payout = sandbox.post(f"/_sandbox/payouts/{payout['id']}/decide", {"status": status})
    settled(sandbox, listener)
    return payout


def lines(*entries: Entry, opening: str = "1000.00", number: str = "7") -> list[BankLine]:
    imported = import_camt(*entries, opening=opening, number=number, name=f"{number}.xml", at=now() + timedelta(days=9))
    return list(imported.lines)


@pytest.mark.requirement("S3-034")
def test_a_payout_is_explained_by_our_books_and_found_on_the_bank_statement(sandbox, listener):
    invoice = an_issued_invoice()
    settled(sandbox, listener)
    credited(invoice, of_line(1, amount="80"), disposition="refund", at=now())
    settled(sandbox, listener)
    paid = paid_out(sandbox, listener)

    payout = Payout.objects.get()
    assert (payout.status, payout.amount, payout.is_listed) == ("paid", usd("191.58"), True)
    # Of one second, and so in no order of their own.
    there = sorted(
        with_transactions(payout=payout), key=lambda one: ("charge", "refund", "payout").index(one.transaction.kind)
    )
    assert [(one.transaction.kind, one.difference, one.by) for one in there] == [
        ("charge", usd("0"), ("payment of invoice INV-2026-00001", "Stripe's fee")),
        ("refund", usd("0"), ("refund of credit note CN-2026-00001",)),
        ("payout", usd("0"), (f"payout {payout}",)),
    ]
    assert books() == {"1110": "191.58", "4000": "-200.00", "6210": "8.42"}
    outcomes = set(StripeNotice.objects.filter(event_type__startswith="payout").values_list("outcome", flat=True))
    assert any("payout of USD 191.58" in one for one in outcomes), outcomes
    [line, other] = lines(
        Entry("191.58", f"{payout.descriptor} {paid['trace_id']['value']}", day=payout.arrival_date, name="STRIPE"),
        Entry("7.00", "else", day=payout.arrival_date),
    )
    assert settle_payout_lines(file_id=None, at=now() + timedelta(days=9)) == 1
    assert settle_payout_lines(file_id=None, at=now() + timedelta(days=9)) == 0
    assert left_of(line=line) == usd("0") and left_of(line=other) == usd("7") and not payouts_on_way()
    assert books() == {"1000": "198.58", "2500": "-7.00", "4000": "-200.00", "6210": "8.42"}
    [standing] = stripe_standings()
    assert (standing.booked, standing.stated, standing.unheard, standing.open) == (usd("0"),) * 4
    assert verify() == []


def test_a_payout_that_fails_goes_back_and_is_paid_out_again_with_the_next(sandbox, listener):
    an_issued_invoice()
    settled(sandbox, listener)
    first = paid_out(sandbox, listener)
    payout = Payout.objects.get()
    [came, went] = lines(
        Entry("271.58", first["trace_id"]["value"], day=payout.arrival_date),
        Entry("-271.58", "returned", day=payout.arrival_date + timedelta(days=1)),
    )
    [one] = propose(line=came).payouts
    allocate(came, Share("payout", usd("271.58"), payout_id=one.payout.pk))

    sandbox.post(f"/_sandbox/payouts/{first['id']}/decide", {"status": "failed"})
    settled(sandbox, listener)

    payout.refresh_from_db()
    assert (payout.status, payout.failure_code) == ("failed", "account_closed")
    assert books()["1110"] == "-271.58" and books()["1100"] == "271.58"
    [back] = propose(line=went).payouts
    allocate(went, Share("payout", usd("-271.58"), payout_id=back.payout.pk))
    assert "1110" not in books()
    again = paid_out(sandbox, listener, "in_transit")
    assert [one.transaction.kind for one in with_transactions(payout=Payout.objects.get(stripe_id=again["id"]))] == [
        "payout_failure",
        "payout",
    ]
    assert unexplained() == [] and books()["1110"] == "271.58"
    assert verify() == []


def test_what_is_paid_out_on_schedule_is_found_without_any_news_and_what_nothing_explains_is_said_by_a_person(
    sandbox, monkeypatch
):
    assert look_at_payouts(at=now()) == "nobody has paid through Stripe"
    an_issued_invoice()
    run_queued_jobs()
    sandbox.wait_until_delivered()
    later = int(now().timestamp()) + 4 * 86_400
    an_adjustment(-500, available_on=later - 86_400 * 2)
    monkeypatch.setattr(store, "timestamp", lambda: later)
    night = now() + timedelta(days=4, hours=1)

    sweep_open_invoices(at=now() + timedelta(hours=2))
    run_queued_jobs()
    assert look_at_payouts(at=night) == "3 transactions and 1 payouts looked at, 0 more explained"
    assert look_at_payouts(at=night) == "1 transactions and 1 payouts looked at, 0 more explained"

    payout = Payout.objects.get()
    assert (payout.amount, payout.status, payout.transactions.count()) == (usd("266.58"), "pending", 3)
    [open_] = unexplained()
    assert (open_.difference, open_.by) == (usd("-5"), ())
    assert [one for one in open_payouts(before=now() + timedelta(days=1)) if "unexplained" in one]
    asked = {"transaction_id": open_.transaction.pk, "difference": usd("-5"), "at": now()} | WHO
    for wrong in (asked | {"account": "4000"}, asked | {"account": "6210", "reason": " "}):
        with pytest.raises(InvalidInput):
            explain_transaction(**wrong)
    with pytest.raises(Conflict):
        explain_transaction(**(asked | {"account": "6210", "difference": usd("-4")}))
    with pytest.raises(NotFound):
        explain_transaction(**(asked | {"account": "6210", "transaction_id": -1}))
    explain_transaction(account="6210", **asked)
    with pytest.raises(Conflict):
        explain_transaction(account="6210", **asked)
    assert unexplained() == [] and books() == {"1110": "266.58", "4000": "-280.00", "6210": "13.42"}
    assert verify() == []


def test_the_look_goes_on_where_it_ended_whatever_notices_brought_meanwhile_and_whoever_was_away(
    sandbox, listener, monkeypatch
):
    def at_day(number: int) -> datetime:
        monkeypatch.setattr(store, "timestamp", lambda: int((start + timedelta(days=number)).timestamp()))
        return start + timedelta(days=number, hours=1)

    def told_by_a_notice(at: datetime) -> str:
        made = an_adjustment(500, available_on=2_000_000_000)
        told = sandbox.post("/_sandbox/payouts", {"currency": "usd"})
        follow_payout(stripe_id=told["id"], at=at)
        return str(made["id"])

    start = now()
    an_issued_invoice()
    settled(sandbox, listener)
    lost = sandbox.post("/_sandbox/payouts", {"currency": "usd"})
    otherwise = an_adjustment(-100, status="available")
    a_transaction(otherwise["id"], net="1")
    told_by_a_notice(at_day(40))

    first = look_at_payouts(at=at_day(40))
    at_day(42)
    missed = an_adjustment(-300, status="available")
    told_by_a_notice(at_day(45))
    second = look_at_payouts(at=at_day(45))

    assert first == "4 transactions and 2 payouts looked at, 0 more explained"
    assert Payout.objects.get(stripe_id=lost["id"]).transactions.filter(kind="charge").exists()
    assert second == "5 transactions and 2 payouts looked at, 0 more explained"
    assert StripeTransaction.objects.get(stripe_id=missed["id"]).net == usd("-3")


def an_adjustment(cents: int, **fields) -> dict:
    """What somebody moved by hand at Stripe; `status` available is in no payout."""
    told = {
        "amount": cents, "available_on": store.timestamp(), "balance_type": "payments", "created": store.timestamp(),
        "currency": "usd", "description": "Correction", "exchange_rate": None, "fee": 0, "fee_details": [], "net": cents,
        "reporting_category": "other_adjustment", "source": None, "status": "pending", "type": "adjustment",
    } | fields  # fmt: skip
    return store.create("balance_transaction", told)


def remote(name: str = "po_1", amount: str = "50", **fields) -> RemotePayout:
    told = {
        "status": "paid", "arrival_date": DAY.date(), "descriptor": "STRIPE", "trace": f"T-{name}", "failure_code": "",
        "failure_message": "", "is_automatic": True, "is_listed": False, "created_at": DAY - timedelta(days=2),
    } | fields  # fmt: skip
    return RemotePayout(id=name, amount=usd(amount), **told)


def a_payout(name: str = "po_1", amount: str = "50", **fields) -> Payout:
    return record_payout(present=remote(name, amount, **fields), listed=False, at=AT)[0]


def a_transaction(name: str = "txn_1", net: str = "50", payout: Payout | None = None, **fields) -> StripeTransaction:
    told = {
        "kind": "charge", "category": "charge", "amount": usd(net), "fee": usd("0"), "source": "ch_1", "description": "",
        "created_at": DAY - timedelta(days=3),
    } | fields  # fmt: skip
    made = RemoteBalanceTransaction(id=name, net=usd(net), **told)
    return record_transactions(remote=[made], payout=payout, at=AT)[0]


@pytest.mark.django_db
def test_nothing_in_doubt_is_matched_by_itself():
    a_payout("po_1")
    a_payout("po_2", "70")
    twin = [a_payout("po_3", "90"), a_payout("po_4", "90", arrival_date=DAY.date() + timedelta(days=1))]
    a_payout("po_5", "60", status="failed")
    plain, named, both, failed, late = import_camt(
        Entry("50.00", "Stripe says hello"),
        Entry("70.00", "STRIPE T-po_2"),
        Entry("90.00", "T-po_3"),
        Entry("60.00", "T-po_5"),
        Entry("70.01", "T-po_2"),
        at=AT,
    ).lines

    assert settle_payout_lines(file_id=None, at=AT) == 1

    assert [left_of(line=one).amount for one in (plain, named, both, failed, late)] == [50, 0, 90, 60, Decimal("70.01")]
    assert [one.payout for one in propose(line=both).payouts] == twin and propose(line=both).payouts[0].is_named
    assert (
        "it is from Stripe" in propose(line=plain).payouts[0].reasons[1]
        or "it says STRIPE" in propose(line=plain).payouts[0].reasons
    )
    assert propose(line=failed).payouts[0].payout.status == "failed" and propose(line=late).payouts == ()
    [allocation] = named.allocations.all()
    with pytest.raises(Conflict, match="on lines already"):
        allocate(late, Share("payout", usd("70"), payout_id=allocation.payout_id))
    with pytest.raises(NotFound):
        allocate(plain, Share("payout", usd("50")))
    take_back_allocation(allocation_id=allocation.pk, at=AT, **WHO)
    settle_constraints()
    assert verify() == []


@pytest.mark.django_db
def test_a_line_that_was_a_payout_before_payouts_were_here_is_said_until_it_is_matched_with_one():
    [line] = import_camt(Entry("50.00"), at=AT).lines
    behind_the_triggers(
        "INSERT INTO invoicing_bankallocation (line_id, number, reference, kind, currency, amount, allocated_at, actor, reason)"
        f" SELECT id, 1, reference || '/1', 'payout', 'USD', 50, '{AT.isoformat()}', 'x', 'x' FROM invoicing_bankline WHERE id = {line.pk}"
    )

    [said] = open_payouts(before=AT)
    assert f"USD 50.00 of bank line {line}" in said and said.endswith("take it back, then match it")
    assert list(open_payouts(before=line.booked_at - timedelta(days=1))) == []
    take_back_allocation(allocation_id=line.allocations.get().pk, at=AT, **WHO)
    payout = a_payout()
    allocate(line, Share("payout", usd("50"), payout_id=payout.pk))
    assert list(open_payouts(before=AT)) == []


@pytest.mark.django_db
def test_what_a_person_explained_waits_again_once_a_document_of_ours_says_it_too(monkeypatch):
    monkeypatch.setattr(explain_payouts, "CHUNK", 1)
    invoice = once(a_customer(settlement_channel="stripe"), item("50"))
    one = a_transaction(payout=a_payout())
    explain_transaction(transaction_id=one.pk, account="1900", difference=usd("50"), at=AT, **WHO)
    paid_by_card = {"channel": "stripe", "reference": "ch_1", "amount": usd("50"), "received_at": invoice.issued_at}
    settle_payment(invoice_id=invoice.pk, **paid_by_card)

    assert look_again(at=AT) == 0
    [again] = unexplained()
    assert again.difference == usd("-50")
    explain_transaction(transaction_id=one.pk, account="1900", difference=usd("-50"), at=AT, **WHO)

    assert (look_again(at=AT), unexplained(), books()["1110"]) == (0, [], "50.00") and "1900" not in books()
    settle_constraints()
    assert verify() == []


@pytest.mark.django_db
def test_what_nothing_explains_is_counted_and_summed_by_the_database_however_much_there_is(
    django_assert_num_queries, monkeypatch
):
    invoice = once(a_customer(settlement_channel="stripe"), item("50"))
    paid_by_card = {"channel": "stripe", "reference": "ch_0", "amount": usd("50"), "received_at": invoice.issued_at}
    settle_payment(invoice_id=invoice.pk, **paid_by_card)
    payout = a_payout("po_1", "70", status="failed")

    def more(start: int) -> None:
        # In part booked: of a payment the fee beside it is, of a payout the other amount, of an adjustment what somebody said.
        a_transaction(f"txn_{start}", "47", amount=usd("48"), fee=usd("1"), source="ch_0")
        a_transaction(f"txn_{start + 1}", "-69", kind="payout", source="po_1", payout=payout)
        a_transaction(f"txn_{start + 2}", "69", kind="payout_failure", source="po_1")
        a_transaction(f"txn_{start + 3}", "-7", kind="adjustment", source="")
        a_transaction(f"txn_{start + 4}", "9.5", amount=usd("10"), fee=usd("0.5"), kind="refund", source="re_1")

    def asked() -> tuple[list, int]:
        with django_assert_num_queries(1):
            sums = unexplained_sums()
        with django_assert_num_queries(6):
            named = unexplained()
        return sums, len(named)

    more(0)
    each = unexplained()
    monkeypatch.setattr(unexplained_module, "NAMED_MAX", 3)
    [few], named = asked()
    for start in range(10, 60, 10):
        more(start)
    [many], named_of_many = asked()

    assert (named, named_of_many, len(each)) == (3, 3, 5)
    assert (few.count, many.count, many.oldest) == (5, 30, each[0].transaction.created_at)
    assert many.kinds == ("adjustment", "charge", "payout", "payout_failure", "refund")
    assert few.difference == sum((one.difference for one in each), usd("0"))
    assert many.difference == few.difference * 6
    told = [one for one in open_payouts(before=AT) if "unexplained" in one]
    assert (len(told), told[-1]) == (4, "27 more transactions of Stripe are unexplained")


def test_a_payout_that_stripe_lists_and_refuses_to_show_waits_for_people_until_it_is_here_or_dismissed(
    sandbox, listener, monkeypatch
):
    an_issued_invoice()
    settled(sandbox, listener)
    name = sandbox.post("/_sandbox/payouts", {"currency": "usd"})["id"]
    later, show = now() + timedelta(days=90), mirror_payouts.transactions_of_payout

    def refused(payout: str) -> list:
        raise GatewayRefused(f"No such payout: {payout}", code="resource_missing")

    monkeypatch.setattr(mirror_payouts, "transactions_of_payout", refused)
    for _ in range(2):
        look_at_payouts(at=now())
        run_queued_jobs()
    StripeNotice.objects.update(attempt_count=len(GAPS))
    [waiting] = StripeNotice.objects.filter(object_id=name, processed_at=None)
    parked = follow_notice(notice_id=waiting.pk, at=later)
    look_at_payouts(at=later)

    assert (waiting.delivery_count, waiting.last_error) == (0, f"No such payout: {name}")
    assert (parked.parked_at, StripeNotice.objects.filter(object_id=name).count()) == (later, 1)
    assert not Payout.objects.exists()
    monkeypatch.setattr(mirror_payouts, "transactions_of_payout", show)
    replay_notices(notice_ids=[parked.pk], at=later)
    run_queued_jobs()
    assert Payout.objects.get().stripe_id == name
    parked.refresh_from_db()
    assert (parked.outcome, parked.last_error) == ("payout of USD 271.58: pending, of 2 transactions", "")


@pytest.mark.django_db
def test_payouts_and_transactions_keep_to_their_rules_by_raw_sql_either():
    payout = a_payout(is_listed=False)
    other = a_payout("po_2", "60")
    line, out = import_camt(Entry("50.00"), Entry("-50.00"), at=AT).lines
    one = a_transaction(payout=payout)
    explain_transaction(transaction_id=one.pk, account="1900", difference=usd("50"), at=AT, **WHO)
    settle_constraints()
    allocation = (
        "INSERT INTO invoicing_bankallocation (line_id, number, reference, kind, currency, amount, payout_id, allocated_at, actor, reason)"
        " SELECT id, 1, reference || '/1', 'payout', 'USD', {amount}, {payout}, now(), 'x', 'x' FROM invoicing_bankline WHERE id = {line}"
    )
    for statement in (
        "UPDATE invoicing_payout SET amount = 51",
        "UPDATE invoicing_payout SET status = 'pending'",
        "UPDATE invoicing_payout SET status = 'failed'",
        "UPDATE invoicing_payout SET status = 'canceled', returned_at = now()",
        "DELETE FROM invoicing_payout",
        "TRUNCATE invoicing_payout CASCADE",
        "UPDATE invoicing_stripetransaction SET net = 1, amount = 1",
        f"UPDATE invoicing_stripetransaction SET payout_id = {other.pk}",
        "DELETE FROM invoicing_stripetransaction",
        "UPDATE invoicing_transactionexplanation SET amount = 1",
        "DELETE FROM invoicing_transactionexplanation",
        f"INSERT INTO invoicing_transactionexplanation (transaction_id, number, reference, account, currency, amount, explained_at, actor, reason)"
        f" VALUES ({one.pk}, 3, 'txn_1/3', '6210', 'USD', 1, now(), 'x', 'x')",
        allocation.format(amount="50", payout="NULL", line=line.pk),
        allocation.format(amount="-50", payout=payout.pk, line=out.pk),
        allocation.format(amount="50.01", payout=payout.pk, line=line.pk),
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    with pytest.raises(Conflict):
        a_payout(amount="51")
    with pytest.raises(Conflict):
        a_payout(status="pending")
    assert verify() == [] and TransactionExplanation.objects.count() == 1

    behind_the_triggers("UPDATE invoicing_payout SET amount = 49, is_listed = TRUE WHERE stripe_id = 'po_1'")
    said = " ".join(message for _, message in payout_faults())
    assert "its transactions come to 50" in said and "the books say something else" in said and "in transit" in said
