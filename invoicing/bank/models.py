"""What each line of a bank statement is: allocations and their reversals, and what becomes of customers' money that is on account."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field
from invoicing.bank.statements import BankAccount, BankFile, BankLine, BankStatement
from invoicing.core.posting import BANK, ON_ACCOUNT, UNIDENTIFIED
from invoicing.customers.models import Customer
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import Payment
from invoicing.payments.payout import Payout
from invoicing.payments.reversal import PaymentReversal

__all__ = [
    "AccountUse",
    "AllocationKind",
    "AllocationReversal",
    "BankAccount",
    "BankAllocation",
    "BankFile",
    "BankLine",
    "BankStatement",
    "UseKind",
]
# Entries that come from statements themselves: no line is "known" by one of them.
OWN_ENTRIES = ("bank_line", "bank_allocation", "bank_reversal")


def used_sql(allocation: str) -> str:
    """Return which uses of money on account count, as SQL after FROM: what an invoice gave back, whose payment was a mistake, is there again."""
    return f"""invoicing_accountuse spent WHERE spent.allocation_id = {allocation} AND NOT EXISTS (
                   SELECT 1 FROM invoicing_paymentreversal undone
                    WHERE undone.payment_id = spent.payment_id AND undone.account = '{ON_ACCOUNT}')"""


class AllocationKind(models.TextChoices):
    """What a line, or a part of it, is."""

    PAYMENT = "payment", "Payment of an invoice"
    ON_ACCOUNT = "on_account", "Customer's money on account"
    KNOWN = "known", "Recorded already"
    RETURN = "return", "Payment that was returned"
    PAYOUT = "payout", "Payout of Stripe"
    FEE = "fee", "Fee of the bank"
    SET_ASIDE = "set_aside", "Not a customer's payment"


class UseKind(models.TextChoices):
    """What becomes of money on account."""

    APPLIED = "applied", "Applied to an invoice"
    PAID_BACK = "paid_back", "Paid back"


def _names(*, kinds: list[str], only: str, **amount: int) -> Q:
    """Return the condition by which allocations of some kinds name one thing and no other."""
    named = {f"{name}__isnull": name != only for name in ("payment", "customer", "entry", "returned", "payout")}
    return Q(kind__in=kinds, **named, **amount)


class BankAllocation(models.Model):
    """What a line, or a part of it, is; signed as the line. What no allocation names is left, and stands as unidentified in the books."""

    line = models.ForeignKey(BankLine, on_delete=models.PROTECT, related_name="allocations")
    number = models.PositiveIntegerField(help_text="Counts the allocations of a line.")
    reference = models.CharField(max_length=60, unique=True, help_text="BL-000123-4f0a9c1d22/1")
    kind = models.CharField(max_length=20, choices=AllocationKind)
    currency = models.CharField(max_length=3)
    amount = money_field()
    payment = models.OneToOneField(
        Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="bank_allocation"
    )
    customer = models.ForeignKey(
        Customer, null=True, blank=True, on_delete=models.PROTECT, related_name="money_on_account"
    )
    entry = models.ForeignKey(
        JournalEntry,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="bank_allocations",
        help_text="By which the same money is in the books already.",
    )
    returned = models.OneToOneField(
        PaymentReversal,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="bank_allocation",
        help_text="Of the payment whose money went back by this line.",
    )
    payout = models.ForeignKey(
        Payout,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="bank_allocations",
        help_text="Of Stripe, which this line is.",
    )
    allocated_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["BankAllocation"]()

    class Meta:
        verbose_name = "allocation of a bank line"
        verbose_name_plural = "allocations of bank lines"
        constraints = [
            models.UniqueConstraint(fields=["line", "number"], name="allocations_of_a_line_are_numbered"),
            models.CheckConstraint(condition=~Q(amount=0), name="allocation_is_of_something"),
            models.CheckConstraint(
                condition=_names(kinds=["payment"], only="payment", amount__gt=0)
                | _names(kinds=["on_account"], only="customer", amount__gt=0)
                | _names(kinds=["known"], only="entry")
                | _names(kinds=["return"], only="returned", amount__lt=0)
                | _names(kinds=["payout"], only="payout")
                # Before payouts were mirrored a line was one of Stripe's without saying which.
                | _names(kinds=["payout", "fee", "set_aside"], only=""),
                name="allocation_says_what_it_is",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="allocation_is_made_by_somebody_with_reason"
            ),
            fits_currency("amount", name="allocation_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="allocations of bank lines"),
            Guard(
                name="spends_what_is_left",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[
                    ("line", "invoicing_bankline%ROWTYPE"),
                    ("before", "record"),
                    ("booked", "numeric"),
                    ("matched", "numeric"),
                    ("paid_out", "record"),
                ],
                # Under the lock of the line's row: who allocates at the same moment is seen, or sees this.
                func=f"""
                    SELECT * INTO line FROM invoicing_bankline WHERE id = NEW.line_id FOR NO KEY UPDATE;
                    SELECT coalesce(sum(amount) FILTER (WHERE NOT EXISTS (
                               SELECT 1 FROM invoicing_allocationreversal WHERE allocation_id = allocation.id)), 0) AS amount,
                           count(*) AS number
                      INTO before FROM invoicing_bankallocation allocation WHERE line_id = NEW.line_id;
                    IF line.id IS NULL OR NEW.currency <> line.currency OR sign(NEW.amount) <> sign(line.amount)
                       OR abs(before.amount + NEW.amount) > abs(line.amount) OR NEW.number <> before.number + 1
                       OR NEW.reference <> line.reference || '/' || NEW.number
                       OR NEW.kind = 'payment' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_payment WHERE id = NEW.payment_id AND channel = 'manual'
                               AND reference = NEW.reference AND amount = NEW.amount AND currency = NEW.currency)
                       OR NEW.kind = 'return' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_paymentreversal WHERE id = NEW.returned_id AND cause = 'returned'
                               AND account = '{UNIDENTIFIED}' AND amount = -NEW.amount AND currency = NEW.currency)
                    THEN
                        RAISE EXCEPTION '% % cannot be allocated of bank line %, of which % are left', NEW.amount, NEW.currency,
                            NEW.line_id, line.amount - before.amount USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF NEW.kind = 'payout' THEN
                        SELECT amount, currency INTO paid_out FROM invoicing_payout WHERE id = NEW.payout_id FOR NO KEY UPDATE;
                        SELECT coalesce(sum(amount), 0) + NEW.amount INTO matched FROM invoicing_bankallocation allocation
                         WHERE payout_id = NEW.payout_id AND NOT EXISTS (
                               SELECT 1 FROM invoicing_allocationreversal WHERE allocation_id = allocation.id);
                        IF paid_out.amount IS NULL OR paid_out.currency <> NEW.currency
                           OR sign(matched) NOT IN (0, sign(paid_out.amount)) OR abs(matched) > abs(paid_out.amount) THEN
                            RAISE EXCEPTION '% % are not what is left of a payout', NEW.amount, NEW.currency
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                    END IF;
                    IF NEW.kind = 'known' THEN
                        PERFORM pg_advisory_xact_lock(hashtextextended('bank entry ' || NEW.entry_id, 0));
                        SELECT coalesce(sum(posting.amount), 0) INTO booked FROM invoicing_posting posting
                          JOIN invoicing_account account ON account.id = posting.account_id AND account.code = '{BANK}'
                          JOIN invoicing_journalentry entry ON entry.id = posting.entry_id
                         WHERE entry.id = NEW.entry_id AND posting.currency = NEW.currency
                           AND entry.kind NOT IN ({", ".join(f"'{kind}'" for kind in OWN_ENTRIES)});
                        SELECT coalesce(sum(amount), 0) INTO matched FROM invoicing_bankallocation allocation
                         WHERE entry_id = NEW.entry_id AND NOT EXISTS (
                               SELECT 1 FROM invoicing_allocationreversal WHERE allocation_id = allocation.id);
                        IF sign(booked) <> sign(NEW.amount) OR abs(matched + NEW.amount) > abs(booked) THEN
                            RAISE EXCEPTION 'journal entry % moved % at the bank, of which % are matched: % are not', NEW.entry_id,
                                booked, matched, NEW.amount USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.reference


class AllocationReversal(models.Model):
    """An allocation that was wrong: what it named is left again. With a payment goes its reversal, with a returned one a payment in its place."""

    allocation = models.OneToOneField(BankAllocation, on_delete=models.PROTECT, related_name="reversal")
    reversed_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["AllocationReversal"]()

    class Meta:
        verbose_name = "reversal of an allocation"
        verbose_name_plural = "reversals of allocations"
        constraints = [
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="allocation_is_reversed_by_somebody_with_reason"
            )
        ]
        triggers = [
            *append_only(noun="reversals of allocations"),
            Guard(
                name="takes_back_what_is_unspent",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("wrong", "invoicing_bankallocation%ROWTYPE")],
                func=f"""
                    SELECT * INTO wrong FROM invoicing_bankallocation WHERE id = NEW.allocation_id;
                    PERFORM 1 FROM invoicing_bankline WHERE id = wrong.line_id FOR NO KEY UPDATE;
                    IF wrong.id IS NULL OR NEW.reversed_at < wrong.allocated_at
                       OR wrong.kind = 'payment' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_paymentreversal
                             WHERE payment_id = wrong.payment_id AND cause = 'mistake' AND account = '{UNIDENTIFIED}')
                       OR wrong.kind = 'return' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_paymentreversal undone
                              JOIN invoicing_payment gone ON gone.id = undone.payment_id
                              JOIN invoicing_payment again ON again.invoice_id = gone.invoice_id AND again.channel = 'manual'
                               AND again.reference = wrong.reference AND again.amount = gone.amount
                             WHERE undone.id = wrong.returned_id)
                       OR EXISTS (SELECT 1 FROM {used_sql("NEW.allocation_id")})
                    THEN
                        RAISE EXCEPTION 'allocation % cannot be taken back: it is a payment that stands, or its money is spent', wrong.reference
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.allocation_id} taken back"


class AccountUse(models.Model):
    """What became of a part of a customer's money on account: never more than there was. `reference` names its journal entry."""

    allocation = models.ForeignKey(BankAllocation, on_delete=models.PROTECT, related_name="uses")
    number = models.PositiveIntegerField(help_text="Counts the uses of an allocation.")
    reference = models.CharField(max_length=80, unique=True, help_text="BL-000123-4f0a9c1d22/1/1")
    kind = models.CharField(max_length=20, choices=UseKind)
    payment = models.OneToOneField(Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="account_use")
    currency = models.CharField(max_length=3)
    amount = money_field()
    used_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["AccountUse"]()

    class Meta:
        verbose_name = "use of money on account"
        verbose_name_plural = "uses of money on account"
        constraints = [
            models.UniqueConstraint(fields=["allocation", "number"], name="uses_of_an_allocation_are_numbered"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="account_use_is_of_something"),
            models.CheckConstraint(
                condition=Q(kind="applied", payment__isnull=False) | Q(kind="paid_back", payment__isnull=True),
                name="account_use_has_its_payment",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="account_use_is_made_by_somebody_with_reason"
            ),
            fits_currency("amount", name="account_use_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="uses of money on account"),
            Guard(
                name="uses_what_is_on_account",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("lot", "invoicing_bankallocation%ROWTYPE"), ("before", "record")],
                func=f"""
                    SELECT * INTO lot FROM invoicing_bankallocation WHERE id = NEW.allocation_id;
                    PERFORM 1 FROM invoicing_bankline WHERE id = lot.line_id FOR NO KEY UPDATE;
                    SELECT coalesce((SELECT sum(spent.amount) FROM {used_sql("NEW.allocation_id")}), 0) AS amount,
                           count(*) AS number INTO before FROM invoicing_accountuse WHERE allocation_id = NEW.allocation_id;
                    IF lot.id IS NULL OR lot.kind <> 'on_account' OR NEW.currency <> lot.currency
                       OR before.amount + NEW.amount > lot.amount OR NEW.number <> before.number + 1
                       OR NEW.reference <> lot.reference || '/' || NEW.number OR NEW.used_at < lot.allocated_at
                       OR EXISTS (SELECT 1 FROM invoicing_allocationreversal WHERE allocation_id = NEW.allocation_id)
                       OR NEW.kind = 'applied' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_payment WHERE id = NEW.payment_id AND channel = 'manual'
                               AND reference = NEW.reference AND amount = NEW.amount AND currency = NEW.currency
                               AND customer_id = lot.customer_id)
                    THEN
                        RAISE EXCEPTION '% % of % are not on account', NEW.amount, NEW.currency, lot.reference
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.reference
