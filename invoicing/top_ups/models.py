"""Top-ups: prepaid credit that an invoice sells, and that is granted when the invoice is paid."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import fits_currency, money_field, never_deleted, never_truncated, stays
from invoicing.credits.models import CreditGrant
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment
from invoicing.top_ups.rules import VALID_DAYS_MAX, TopUpRule


class TopUpStatus(models.TextChoices):
    """The life of a top-up; it is that of its invoice."""

    OPEN = "open", "Waits for its payment"
    PAID = "paid", "Paid, the credit is granted"
    CLOSED = "closed", "Void, nothing was granted"


class TopUp(models.Model):
    """Prepaid credit that a one-off invoice sells: a grant when, and only when, that invoice is paid in full."""

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="top_up")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="top_ups")
    status = models.CharField(max_length=10, choices=TopUpStatus, default=TopUpStatus.OPEN)
    name = models.CharField(max_length=200, help_text="What the credit is called on later invoices.")
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="What is sold, and granted.")
    valid_days = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="For how many days after its payment it lasts; empty: until it is used up."
    )
    grant = models.OneToOneField(
        CreditGrant,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="top_up",
        help_text="Once it is paid.",
    )
    payment = models.OneToOneField(
        Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="top_up", help_text="What completed it."
    )
    rule = models.ForeignKey(
        TopUpRule,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="top_ups",
        help_text="Which made it; empty: somebody did.",
    )
    made_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["TopUp"]()

    class Meta:
        verbose_name = "top-up"
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="top_up_is_worth_something"),
            models.UniqueConstraint(
                fields=["customer", "currency"],
                condition=Q(status="open", rule__isnull=False),
                name="one_automatic_top_up_is_open",
            ),
            models.CheckConstraint(
                condition=Q(valid_days__isnull=True) | Q(valid_days__gte=1, valid_days__lte=VALID_DAYS_MAX),
                name="top_up_is_valid_for_some_days",
            ),
            models.CheckConstraint(
                condition=Q(status="paid", grant__isnull=False, payment__isnull=False)
                | Q(status__in=["open", "closed"], grant__isnull=True, payment__isnull=True),
                name="top_up_is_granted_when_it_is_paid",
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="top_up_has_actor_and_reason"),
            fits_currency("amount", name="top_up_fits_its_currency"),
        ]
        indexes = [
            models.Index(fields=["customer", "made_at"], name="top_up_by_customer"),
            models.Index(fields=["made_at"], condition=Q(status="open"), name="top_up_open"),
        ]
        triggers = [
            stays(
                noun="top-up",
                columns=[
                    "invoice_id",
                    "customer_id",
                    "name",
                    "currency",
                    "amount",
                    "valid_days",
                    "rule_id",
                    "made_at",
                    "actor",
                    "reason",
                ],
            ),
            never_truncated(noun="top-ups"),
            never_deleted(noun="top-ups"),
            Guard(
                name="begins_open_with_its_invoice",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NEW.status <> 'open' OR NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice invoice
                         WHERE id = NEW.invoice_id AND kind = 'one_off' AND status = 'draft'
                           AND (customer_id, currency, total) = (NEW.customer_id, NEW.currency, NEW.amount)
                    ) THEN
                        RAISE EXCEPTION 'a top-up begins with the draft of an invoice over it'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="keeps_to_its_rule",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("asked", "record"), ("made", "integer")],
                # The rule's row is locked, so that two workers never make one more than it allows.
                func="""
                    IF NEW.rule_id IS NULL THEN RETURN NEW; END IF;
                    SELECT rule.*, customer.timezone INTO asked FROM invoicing_topuprule rule
                      JOIN invoicing_customer customer ON customer.id = rule.customer_id
                     WHERE rule.id = NEW.rule_id FOR NO KEY UPDATE OF rule;
                    SELECT count(*) INTO made FROM invoicing_topup
                     WHERE customer_id = NEW.customer_id AND currency = NEW.currency AND rule_id IS NOT NULL
                       AND date_trunc('month', made_at AT TIME ZONE asked.timezone)
                           = date_trunc('month', NEW.made_at AT TIME ZONE asked.timezone);
                    IF (asked.customer_id, asked.currency, asked.amount, asked.valid_days, asked.retired_at)
                       IS DISTINCT FROM (NEW.customer_id, NEW.currency, NEW.amount, NEW.valid_days, NULL::timestamptz)
                       OR made >= asked.max_per_month
                    THEN
                        RAISE EXCEPTION 'top-up rule % sells no such credit, or no more this month', asked.key
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="follows_its_invoice",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    IF OLD.status = NEW.status AND (OLD.grant_id, OLD.payment_id) IS NOT DISTINCT FROM
                       (NEW.grant_id, NEW.payment_id) THEN RETURN NEW; END IF;
                    IF OLD.status <> 'open' OR NEW.status = 'open'
                       OR NEW.status = 'closed' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_invoice WHERE id = NEW.invoice_id AND status = 'void')
                       OR NEW.status = 'paid' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_invoice invoice
                              JOIN invoicing_payment payment ON payment.id = NEW.payment_id
                               AND payment.invoice_id = invoice.id
                              JOIN invoicing_creditgrant subject ON subject.id = NEW.grant_id AND subject.kind = 'prepaid'
                               AND (subject.customer_id, subject.currency, subject.amount)
                                   = (NEW.customer_id, NEW.currency, NEW.amount)
                             WHERE invoice.id = NEW.invoice_id AND invoice.status = 'paid'
                               AND NOT EXISTS (SELECT 1 FROM invoicing_journalentry
                                                WHERE kind = 'credit_sale' AND reference = subject.key))
                    THEN
                        RAISE EXCEPTION 'top-up % cannot become % while its invoice is not', OLD.id, NEW.status
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.invoice})"
