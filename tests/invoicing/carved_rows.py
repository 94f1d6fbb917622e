"""A busy house for attacks on what is carved in stone, and the attacks: tables and columns come from the catalog."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from random import Random

import pgtrigger
from django.db import connection
from moneyed import Money

from billing_site.kernel.guard import Guard
from dunning.arrangements.operations import NewInstalment, promise_to_pay
from dunning.cases.operations import hand_over, open_case
from dunning.handover.operations import make_files, take_file
from dunning.notices.models import Notice
from dunning.notices.sending import send_notice
from dunning.notices.template_operations import install_built_ins
from dunning.overdue.models import OverdueTerms
from dunning.overdue.operations import charge_late_payment, set_terms
from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.approvals.operations import set_limit
from invoicing.core.gate import Check
from invoicing.credit_notes.operations import CreditAsked
from invoicing.customers.models import Customer
from invoicing.evidence.tables import PROVEN_ELSEWHERE
from invoicing.gate.operations import set_check
from invoicing.payments.dispute import DecisionKind
from invoicing.payments.disputes import decide_about_dispute
from invoicing.payments.models import Payment
from invoicing.payments.refund import Refund
from invoicing.spend.operations import set_budget
from invoicing.tax.operations import set_customer_tax
from invoicing.workflows.allocate_bank_line import Share, take_back_allocation
from invoicing.workflows.approve import decide
from invoicing.workflows.bill_progressively import sweep_progressive
from invoicing.workflows.credit_invoice import credit_invoice
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from invoicing.workflows.pay_refund import settle_refund
from invoicing.workflows.propose_run import ask_to_issue, issue_proposed, propose_run, show_run
from invoicing.workflows.recognise_revenue import recognise_due
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.settle_payment import settle_payment
from invoicing.workflows.use_money_on_account import pay_money_back
from invoicing.workflows.watch_spend import sweep_spend
from invoicing.workflows.write_off_invoice import write_off_invoice
from metering.correcting import cancel_event
from tests.dunning.chasing import advance_case
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.bank.statements import Entry, allocate, import_camt, one_line
from tests.invoicing.disputing import decided, disputed, paid_by_card
from tests.invoicing.progressive import threshold
from tests.invoicing.selling import once, paid
from tests.invoicing.test_credits import bill, grant
from tests.invoicing.test_discounts import a_coupon, redeem
from tests.invoicing.test_taxes import BY, germany
from tests.invoicing.what_ifs import ask, in_place

CARVING = ("append_only", "carved_in_stone", "frozen_with_parent", "only_marks_change")
TIERED = {
    "key": "tiered",
    "name": "Tiered",
    "meter": "actions",
    "currency": "USD",
    "model": "graduated",
    "tiers": [{"up_to": "10", "unit_amount": "0.5"}, {"up_to": None, "unit_amount": "0.25"}],
}


@dataclass(frozen=True)
class Column:
    """One column of a carved table."""

    table: str
    key: str
    name: str
    kind: str


@dataclass(frozen=True)
class Attack:
    """A statement against one row."""

    table: str
    row: int
    statement: str

    @property
    def subject(self) -> str:
        """What a finding calls the row."""
        return f"{self.table} {self.row}"


def a_busy_house() -> None:
    """Two months of two customers: fees, tiers, tax, credit, a discount, a payment, late usage, budgets, moves, a what-if."""
    a_plan("pro", usd_fee(), usd_per_action())
    a_plan("steps", TIERED, spend=[{"currency": "USD", "minimum_spend": "5"}])
    germany()
    acme, second = a_customer(), a_customer("cust_two")
    set_customer_tax(customer=acme, country="DE", **BY)
    set_customer_tax(customer=second, country="FR", vat_id="FR40303265045", **BY)
    a_subscription(acme)
    a_subscription(second, plan="steps")
    a_plan("yearly", usd_fee("365") | {"in_advance": True}, cadence="year")
    yearly = a_customer("cust_year")
    set_customer_tax(customer=yearly, country="DE", **BY)
    a_subscription(yearly, plan="yearly", started_at=JULY, anchor="anniversary")
    use("cust_acme", "1500", at=JULY + timedelta(days=3), key="counted")
    use("cust_acme", "7", at=JULY + timedelta(days=3), key="cancelled")
    use("cust_two", "25", at=JULY + timedelta(days=3))
    cancel_event(customer_id="cust_acme", idempotency_key="cancelled", actor="test", reason="sent by mistake")
    grant(acme, "10")
    grant(acme, "20", "prepaid", kind="prepaid")
    a_coupon()
    redeem(acme)
    set_budget(customer=acme, name="July", amount=Money("1", "USD"), actor="test", reason="set up")
    sweep_spend(at=JULY + timedelta(days=20))
    issued = bill(AUGUST)
    for number, invoice in enumerate(issued):
        rest = invoice.total - invoice.amount_paid
        if rest.amount:
            settle_payment(
                invoice_id=invoice.pk,
                channel="manual",
                reference=f"transfer-{number}",
                amount=rest,
                received_at=AUGUST + timedelta(days=2),
            )
    credit_invoice(
        invoice_id=next(one.pk for one in issued if one.customer == second), key="half", asked=[CreditAsked(1, amount=Money("3", "USD"))], disposition="refund", at=AUGUST + timedelta(days=3),
        actor="test", reason="half of it did not work",
    )  # fmt: skip
    settle_refund(
        refund_id=Refund.objects.get().pk,
        channel="manual",
        reference="back",
        paid_at=AUGUST + timedelta(days=3),
        actor="ann",
    )
    lost = once(second, key="lost", at=AUGUST)
    write_off_invoice(invoice_id=lost.pk, at=AUGUST + timedelta(days=3), actor="test", reason="insolvency")
    paid(lost, "20", at=AUGUST + timedelta(days=4))
    bought = once(second, key="bought", at=AUGUST)
    questioned = disputed(paid_by_card(bought, at=AUGUST))
    decide_about_dispute(
        dispute_id=questioned.pk,
        kind=DecisionKind.UNFREEZE,
        at=AUGUST + timedelta(days=4),
        actor="ann",
        reason="called",
    )
    decided(questioned, "lost")
    use("cust_two", "5", at=JULY + timedelta(days=5))
    settle_late_changes(at=AUGUST + timedelta(days=3))
    bill(SEPTEMBER)
    assert recognise_due(at=SEPTEMBER + timedelta(days=1)) == 1
    bank_lines_of(second)
    threshold(second, "5")
    use("cust_two", "40", at=SEPTEMBER + timedelta(days=1))
    assert sweep_progressive(at=SEPTEMBER + timedelta(days=2)).made
    sweep_life_cycles(at=SEPTEMBER)
    set_check(
        check=Check.FIRST_BILL,
        is_on=True,
        threshold=None,
        takes_two=False,
        at=SEPTEMBER,
        actor="test",
        reason="new house",
    )
    set_limit(deed=ApprovedDeed.RELEASE, currency="USD", amount=None, at=SEPTEMBER, actor="test", reason="set up")
    a_signed_run()
    a_chased_customer()
    ask(cards=in_place(usd_fee("20"), usd_per_action("0.02")))
    settle_constraints()
    assert Payment.objects.count() >= 1


def bank_lines_of(customer: Customer) -> None:
    """A statement whose lines pay an invoice, stand on account, are paid back from there, and are taken for something else by mistake; another returns the payment."""
    invoice = once(customer, key="by-bank", at=AUGUST)
    line = one_line(Entry("500.00"))
    over = Money("50", "USD")
    *_, lot, wrong = allocate(
        line,
        Share("payment", Money("120", "USD"), invoice_id=invoice.pk),
        Share("on_account", over, customer_id=customer.pk),
        Share("set_aside", over),
        at=SEPTEMBER,
    )
    [out] = import_camt(
        Entry("-500.00", "returned"), opening="1500.00", number="8", name="returned.xml", at=SEPTEMBER
    ).lines
    returned = Share("return", Money("-120", "USD"), payment_id=invoice.payments.get().pk)
    allocate(out, returned, at=SEPTEMBER)
    pay_money_back(lot_id=lot.pk, amount=over / 2, rest=over, at=SEPTEMBER, actor="ann", reason="asked for it")
    take_back_allocation(allocation_id=wrong.pk, at=SEPTEMBER, actor="ann", reason="not what it is")


def a_chased_customer() -> None:
    """Somebody who was late, was reminded, and has promised to pay."""
    customer = a_customer("cust_late")
    set_customer_tax(customer=customer, country="FR", vat_id="FR40303265045", **BY)
    late = once(customer, key="late", at=JULY)
    at = AUGUST + timedelta(hours=12)
    install_built_ins(at=at)
    case = open_case(customer_id=late.customer_id, at=at)
    assert case is not None and advance_case(case_id=case.pk, at=at) is not None
    assert send_notice(notice_id=Notice.objects.get(customer=customer).pk, at=at).state == "sent"
    instalments = [NewInstalment(AUGUST.date() + timedelta(days=90), late.total)]
    promise_to_pay(case_id=case.pk, instalments=instalments, at=at, actor="test", reason="called")
    terms = OverdueTerms(
        valid_from=JULY.date(),
        base_rate=Decimal("1.27"),
        points=Decimal(8),
        currency=late.currency,
        lump_sum=Money("40", late.currency),
        reminder_fee=Money("0", late.currency),
    )
    set_terms(terms=terms, at=at, actor="test", reason="as the law has it")
    charge_late_payment(customer_id=customer.pk, at=at, actor="test", reason="month's end")
    hand_over(case_id=case.pk, at=at, actor="test", reason="the collector asks")
    assert make_files(at=at) == 1
    take_file(case_id=case.pk, at=at, actor="test")


def a_signed_run() -> None:
    """A billing run that one proposed, another signed, and that was issued; nothing is due any more."""
    proposal = propose_run(as_of=SEPTEMBER, at=SEPTEMBER, actor="test", reason="the month is over")
    proposal = show_run(proposal_id=proposal.pk, at=SEPTEMBER)
    asked = Approval.objects.get()
    digest = proposal.figures_digest
    decide(
        approval_id=asked.pk,
        digest=digest,
        decision=Decision.APPROVED,
        at=SEPTEMBER,
        actor="another",
        reason="nothing is due",
    )
    ask_to_issue(proposal_id=proposal.pk, digest=digest, at=SEPTEMBER, actor="test")
    issue_proposed(proposal_id=proposal.pk, at=SEPTEMBER)


def carved_columns() -> list[Column]:
    """Every column of every table that a guard carves in stone, as the catalog says; without those that may move."""
    free = {
        model._meta.db_table: trigger.carving.free_columns
        for model, trigger in pgtrigger.registered()
        if isinstance(trigger, Guard) and trigger.carving
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT relname, keyed.attname, a.attname, format_type(a.atttypid, NULL)
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid AND c.relkind IN ('r', 'p')
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
            JOIN pg_attribute keyed ON keyed.attrelid = c.oid AND keyed.attnum = i.indkey[0]
            WHERE substring(tgname FROM 'pgtrigger_(.+)_[0-9a-f]{5}$') = ANY(%s) ORDER BY 1, 3
            """,
            [list(CARVING)],
        )
        return [Column(*row) for row in cursor.fetchall() if row[2] not in free[row[0]]]


def carved_rows() -> dict[str, list[int]]:
    """The keys of the rows that the chain of evidence knows, by table; and those of the chain itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT table_name, array_agg(row_id ORDER BY row_id) FROM invoicing_evidencerow e
            JOIN invoicing_evidenceshape s ON s.id = e.shape_id GROUP BY 1
            UNION ALL SELECT 'invoicing_evidencerow', array_agg(number ORDER BY number) FROM invoicing_evidencerow
            UNION ALL SELECT 'invoicing_evidenceblock', array_agg(number ORDER BY number) FROM invoicing_evidenceblock
            UNION ALL SELECT 'invoicing_evidenceshape', array_agg(s.id ORDER BY s.id) FROM invoicing_evidenceshape s
                WHERE EXISTS (SELECT FROM invoicing_evidencerow e WHERE e.shape_id = s.id)
            """
        )
        return dict(cursor.fetchall())


def another_value(column: Column) -> str:
    """An SQL expression of the column's type that differs from what stands there."""
    name = f'"{column.name}"'
    match column.kind:
        case "character varying" | "text" | "character":
            return f"CASE WHEN left({name}, 1) = 'J' THEN 'E' ELSE 'J' END || coalesce(substr({name}, 2), '')"
        case "jsonb":
            return f"jsonb_build_object('forged', {name})"
        case "boolean":
            return f"NOT coalesce({name}, FALSE)"
        case "bytea":
            return f"coalesce({name}, '') || '\\x00'::bytea"
        case "date":
            return f"coalesce({name}, current_date) + 1"
        case "timestamp with time zone":
            return f"coalesce({name}, now()) + interval '1 microsecond'"
        case "uuid":
            return "gen_random_uuid()"
        case kind if kind.endswith("[]"):
            return f"array_append({name}, 'forged')"
        case _ if column.name == column.key:
            return f"{name} + 1000000"
        case _:
            return f"coalesce({name}, 0) + 1"


def an_attack(*, chance: Random, columns: list[Column], rows: dict[str, list[int]]) -> Attack:
    """A random change of a column, or (one in six) the deletion of a row."""
    column = chance.choice(columns)
    row = chance.choice(rows[column.table])
    where = f'"{column.key}" = {row}'
    if chance.randrange(6) == 0:
        return Attack(column.table, row, f"DELETE FROM {column.table} WHERE {where}")
    return Attack(
        column.table, row, f'UPDATE {column.table} SET "{column.name}" = {another_value(column)} WHERE {where}'
    )


def attackable(*, rows: dict[str, list[int]]) -> list[Column]:
    """The columns of tables that have rows in the chain or belong to it."""
    return [column for column in carved_columns() if column.table in rows]


def proven_by_the_chain() -> set[str]:
    """The carved tables whose rows the chain knows."""
    return {column.table for column in carved_columns()} - set(PROVEN_ELSEWHERE)
