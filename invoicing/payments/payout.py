"""Stripe's payouts and the transactions of its balance as Stripe has them, and what people said of those that nothing of ours explains."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field, never_deleted, never_truncated, stays
from invoicing.core.posting import ELSEWHERE, PAYMENT_FEES


class PayoutStatus(models.TextChoices):
    """How far a payout is, in Stripe's words."""

    PENDING = "pending", "Pending"
    IN_TRANSIT = "in_transit", "In transit"
    PAID = "paid", "Paid"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


# Of these the money is on Stripe's balance again.
GONE_BACK = (PayoutStatus.FAILED, PayoutStatus.CANCELED)
# Stripe may tell of none of the steps between, and what was paid may still fail (docs.stripe.com/api/payouts/object).
PAYOUT_MOVES = frozenset(
    {
        ("pending", "in_transit"),
        ("pending", "paid"),
        ("pending", "failed"),
        ("pending", "canceled"),
        ("in_transit", "paid"),
        ("in_transit", "failed"),
        ("in_transit", "canceled"),
        ("paid", "failed"),
    }
)
_MOVES_IN_SQL = ", ".join(f"('{start}', '{to}')" for start, to in sorted(PAYOUT_MOVES))


class Payout(models.Model):
    """Money that Stripe sent to our bank, or, below zero, took from there: how much and when stays, its status moves by the table."""

    stripe_id = models.CharField(max_length=100, unique=True)
    status = models.CharField(max_length=20, choices=PayoutStatus)
    currency = models.CharField(max_length=3)
    amount = money_field()
    is_automatic = models.BooleanField(
        default=True, help_text="By Stripe's schedule: only then it says what it is made of."
    )
    is_listed = models.BooleanField(
        "transactions are here", default=False, help_text="Stripe has named what it is made of."
    )
    arrival_date = models.DateField(help_text="When Stripe expects it at the bank.")
    descriptor = models.CharField(max_length=200, blank=True, help_text="What Stripe writes on the statement.")
    trace = models.CharField(max_length=200, blank=True, help_text="The bank's number of it, once Stripe knows it.")
    failure_code = models.CharField(max_length=100, blank=True)
    failure_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(help_text="When it left Stripe's balance.")
    returned_at = models.DateTimeField(null=True, blank=True, help_text="When it was heard that it failed.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["Payout"]()

    class Meta:
        verbose_name = "payout of Stripe"
        verbose_name_plural = "payouts of Stripe"
        constraints = [
            models.CheckConstraint(condition=~Q(amount=0), name="payout_is_of_something"),
            models.CheckConstraint(condition=Q(status__in=PayoutStatus.values), name="payout_status_is_known"),
            models.CheckConstraint(
                condition=Q(status__in=GONE_BACK, returned_at__isnull=False)
                | ~Q(status__in=GONE_BACK) & Q(returned_at__isnull=True),
                name="payout_that_went_back_did_at_a_moment",
            ),
            fits_currency("amount", name="payout_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["currency", "amount", "arrival_date"], name="payout_by_amount")]
        triggers = [
            stays(noun="payout", columns=["stripe_id", "currency", "amount", "is_automatic", "created_at"]),
            never_deleted(noun="payouts"),
            never_truncated(noun="payouts"),
            Guard(
                name="follows_its_table",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func=f"""
                    IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN ({_MOVES_IN_SQL})
                       OR OLD.is_listed AND NOT NEW.is_listed
                       OR OLD.returned_at IS NOT NULL AND NEW.returned_at IS DISTINCT FROM OLD.returned_at THEN
                        RAISE EXCEPTION 'payout % cannot go from % to %', OLD.stripe_id, OLD.status, NEW.status
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class StripeTransaction(models.Model):
    """One movement of Stripe's balance, as Stripe has it, once; in which payout it went, and since when it is explained by our books."""

    payout = models.ForeignKey(
        Payout,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="transactions",
        help_text="That paid it out.",
    )
    stripe_id = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=100, help_text="Stripe's word: charge, refund, adjustment, payout ...")
    category = models.CharField(max_length=100, help_text="What Stripe's reports call it.")
    currency = models.CharField(max_length=3)
    amount = money_field()
    fee = money_field(help_text="What Stripe kept of it.")
    net = money_field(help_text="What the balance moved by.")
    source = models.CharField(max_length=100, blank=True, help_text="The charge, refund, dispute or payout behind it.")
    description = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    explained_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when the books say the same; empty: somebody has to look."
    )
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["StripeTransaction"]()

    class Meta:
        verbose_name = "transaction of Stripe's balance"
        verbose_name_plural = "transactions of Stripe's balance"
        constraints = [
            models.CheckConstraint(condition=Q(net=F("amount") - F("fee")), name="stripe_transaction_adds_up"),
            fits_currency("amount", "fee", "net", name="stripe_transaction_fits_its_currency"),
        ]
        indexes = [
            models.Index(fields=["source"], name="stripe_transaction_by_source"),
            models.Index(fields=["created_at"], name="stripe_transaction_by_time"),
            models.Index(fields=["id"], condition=Q(explained_at__isnull=True), name="stripe_transaction_unexplained"),
        ]
        triggers = [
            stays(
                noun="transaction at Stripe",
                columns=[
                    "stripe_id",
                    "kind",
                    "category",
                    "currency",
                    "amount",
                    "fee",
                    "net",
                    "source",
                    "description",
                    "created_at",
                ],
            ),
            never_deleted(noun="transactions at Stripe"),
            never_truncated(noun="transactions at Stripe"),
            Guard(
                name="is_paid_out_once",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func="""
                    IF TG_OP = 'UPDATE' AND OLD.payout_id IS NOT NULL AND NEW.payout_id IS DISTINCT FROM OLD.payout_id
                       OR NEW.payout_id IS NOT NULL AND NOT EXISTS (
                            SELECT 1 FROM invoicing_payout WHERE id = NEW.payout_id AND currency = NEW.currency)
                    THEN
                        RAISE EXCEPTION 'transaction % is paid out once, in its currency', NEW.stripe_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class TransactionExplanation(models.Model):
    """What somebody said that a transaction is, as far as nothing of ours explains it: booked to an account, with the reason."""

    transaction = models.ForeignKey(StripeTransaction, on_delete=models.PROTECT, related_name="explanations")
    number = models.PositiveIntegerField(help_text="Counts the explanations of a transaction.")
    reference = models.CharField(max_length=120, unique=True, help_text="txn_.../1")
    account = models.CharField(max_length=20, choices=[(PAYMENT_FEES, "Payment fees"), (ELSEWHERE, "Booked elsewhere")])
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="What of the balance's movement it explains, signed as that.")
    explained_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["TransactionExplanation"]()

    class Meta:
        verbose_name = "explanation of a transaction of Stripe's balance"
        verbose_name_plural = "explanations of transactions of Stripe's balance"
        constraints = [
            models.CheckConstraint(condition=~Q(amount=0), name="explanation_is_of_something"),
            models.CheckConstraint(
                condition=Q(account__in=[PAYMENT_FEES, ELSEWHERE]), name="explanation_names_an_account"
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="explanation_is_given_by_somebody_with_reason"
            ),
            fits_currency("amount", name="explanation_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="explanations of transactions"),
            Guard(
                name="explains_its_transaction",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("subject", "invoicing_stripetransaction%ROWTYPE")],
                func="""
                    SELECT * INTO subject FROM invoicing_stripetransaction WHERE id = NEW.transaction_id FOR NO KEY UPDATE;
                    IF subject.id IS NULL OR NEW.currency <> subject.currency
                       OR NEW.number <> (SELECT count(*) + 1 FROM invoicing_transactionexplanation
                                          WHERE transaction_id = NEW.transaction_id)
                       OR NEW.reference <> subject.stripe_id || '/' || NEW.number
                    THEN
                        RAISE EXCEPTION 'explanation % is not the next of transaction %', NEW.reference, subject.stripe_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.reference
