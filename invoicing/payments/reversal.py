"""Reversals of payments: money that was returned, or never was for this invoice; the payment stays as it was recorded, and counts no more."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field
from invoicing.approvals.models import Approval, ApprovedDeed, is_approved
from invoicing.core.dispute_life import RETURNED_DEBITS_IN_SQL
from invoicing.core.posting import BANK, DISPUTE_LOSSES, ON_ACCOUNT, UNIDENTIFIED
from invoicing.payments.models import Payment


class ReversalCause(models.TextChoices):
    """Why a payment is taken back: the money went back, or it was recorded wrongly."""

    RETURNED = "returned", "Returned by the bank"
    MISTAKE = "mistake", "Recorded by mistake"


def standing_sql(invoice: str) -> str:
    """Return what payments of an invoice come to that nobody has reversed, as an SQL expression."""
    return f"""(SELECT coalesce(sum(amount), 0) FROM invoicing_payment payment WHERE payment.invoice_id = {invoice}
                   AND NOT EXISTS (SELECT 1 FROM invoicing_paymentreversal WHERE payment_id = payment.id))"""


class PaymentReversal(models.Model):
    """A payment that counts no more, all of it, once. `account` is where its money is from then on, or on which it left."""

    payment = models.OneToOneField(Payment, on_delete=models.PROTECT, related_name="reversal")
    cause = models.CharField(max_length=10, choices=ReversalCause)
    account = models.CharField(
        max_length=20,
        help_text="Of the books, that takes the money: bank, unidentified, the customer's on account, or the loss of a dispute that is owed again.",
    )
    currency = models.CharField(max_length=3)
    amount = money_field()
    reversed_at = models.DateTimeField(help_text="When the money went back, or when somebody found the mistake.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    approval = models.OneToOneField(
        Approval,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="payment_reversal",
        help_text="By which a second person approved it; empty where one is enough.",
    )

    objects = models.Manager["PaymentReversal"]()

    class Meta:
        verbose_name = "reversal of a payment"
        verbose_name_plural = "reversals of payments"
        constraints = [
            models.CheckConstraint(
                condition=Q(cause="returned", account__in=[BANK, UNIDENTIFIED, DISPUTE_LOSSES])
                | Q(cause="mistake", account__in=[BANK, UNIDENTIFIED, ON_ACCOUNT]),
                name="payment_reversal_says_where_the_money_is",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="payment_is_reversed_by_somebody_with_reason"
            ),
            fits_currency("amount", name="payment_reversal_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["reversed_at"], name="payment_reversal_by_time")]
        triggers = [
            *append_only(noun="reversals of payments"),
            # What a line of the bank says, or Stripe of a direct debit, is no deed of anybody: it takes no second person.
            is_approved(
                deed=ApprovedDeed.PAYMENT_REVERSAL,
                amount=f"CASE WHEN NEW.cause = 'returned' AND NEW.account IN ('{UNIDENTIFIED}', '{DISPUTE_LOSSES}') THEN -1 ELSE NEW.amount END",
                alone="0",
                subject="'payment ' || NEW.payment_id",
                figures="(approval.asked ->> 'amount')::numeric = NEW.amount AND approval.asked ->> 'cause' = NEW.cause",
            ),
            Guard(
                name="takes_back_what_was_paid",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[
                    ("paid", "invoicing_payment%ROWTYPE"),
                    ("owed", "invoicing_invoice%ROWTYPE"),
                    ("held_on", "text"),
                ],
                # Under the lock of the invoice's row, as payments and credit notes of it are.
                func=f"""
                    SELECT * INTO paid FROM invoicing_payment WHERE id = NEW.payment_id;
                    SELECT * INTO owed FROM invoicing_invoice WHERE id = paid.invoice_id FOR NO KEY UPDATE;
                    held_on := CASE
                        WHEN EXISTS (SELECT 1 FROM invoicing_accountuse WHERE payment_id = NEW.payment_id) THEN '{ON_ACCOUNT}'
                        WHEN EXISTS (SELECT 1 FROM invoicing_bankallocation WHERE payment_id = NEW.payment_id) THEN '{UNIDENTIFIED}'
                        -- It stands for a return that was a mistake itself: its money never came by itself.
                        WHEN EXISTS (SELECT 1 FROM invoicing_bankallocation WHERE reference = paid.reference) THEN ''
                        ELSE '{BANK}' END;
                    IF paid.id IS NULL OR (paid.channel = 'manual') = (NEW.account = '{DISPUTE_LOSSES}')
                       OR NEW.account = '{DISPUTE_LOSSES}' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_dispute WHERE payment_id = paid.id AND status = 'lost' AND amount = paid.amount
                               AND reason IN ({RETURNED_DEBITS_IN_SQL}))
                       OR (paid.amount, paid.currency) <> (NEW.amount, NEW.currency)
                       OR NEW.reversed_at < paid.received_at OR owed.status NOT IN ('issued', 'paid')
                       OR owed.amount_paid < NEW.amount OR NEW.cause = 'mistake' AND NEW.account <> held_on
                       OR NEW.cause = 'mistake' AND held_on = '{BANK}' AND EXISTS (
                            SELECT 1 FROM invoicing_bankallocation allocation
                              JOIN invoicing_journalentry entry ON entry.id = allocation.entry_id AND entry.kind = 'payment'
                             WHERE entry.reference = 'manual:' || paid.reference AND NOT EXISTS (
                                   SELECT 1 FROM invoicing_allocationreversal WHERE allocation_id = allocation.id))
                    THEN
                        RAISE EXCEPTION 'payment % cannot be taken back so: % % on %', paid.reference, NEW.amount, NEW.currency,
                            NEW.account USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="is_what_its_invoice_says",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                declare=[("owner", "bigint")],
                func=f"""
                    owner := (SELECT invoice_id FROM invoicing_payment WHERE id = NEW.payment_id);
                    IF NOT EXISTS (SELECT 1 FROM invoicing_invoice WHERE id = owner AND amount_paid = {standing_sql("owner")})
                       OR NEW.account = '{UNIDENTIFIED}' AND NOT (CASE NEW.cause
                            WHEN 'returned' THEN EXISTS (
                                SELECT 1 FROM invoicing_bankallocation WHERE returned_id = NEW.id)
                            ELSE EXISTS (
                                SELECT 1 FROM invoicing_allocationreversal undone
                                  JOIN invoicing_bankallocation allocation ON allocation.id = undone.allocation_id
                                 WHERE allocation.payment_id = NEW.payment_id) END)
                    THEN
                        RAISE EXCEPTION 'payment % is taken back, and its invoice or its bank line do not say so', NEW.payment_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"reversal of {self.payment.reference}"
