"""Credit grants and what became of them: an append-only chain of entries, whose last one says what is left."""

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field
from invoicing.core.adjustments.credits import CreditKind
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer

PRIORITY_DEFAULT, PRIORITY_MAX = 50, 1000

CREDIT_KINDS = [(kind.value, kind.value.capitalize()) for kind in CreditKind]


class EntryKind(models.TextChoices):
    """What changed what is left of a grant."""

    GRANT = "grant", "Granted"
    DRAW = "draw", "Paid for an invoice"
    RESTORE = "restore", "Given back by a void invoice"
    EXPIRE = "expire", "Expired"
    VOID = "void", "Taken back"


class CreditGrant(models.Model):
    """Value that a customer was given, or has paid for before using it; what is left of it is its lot."""

    key = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="credit_grants")
    kind = models.CharField(max_length=20, choices=CREDIT_KINDS)
    name = models.CharField(max_length=200, help_text="What stands on invoices.")
    currency = models.CharField(max_length=3)
    amount = money_field()
    priority = models.PositiveSmallIntegerField(
        default=PRIORITY_DEFAULT, help_text="The smaller number is drawn first."
    )
    effective_at = models.DateTimeField(help_text="It pays for periods that end after it.")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="It pays for periods that end then or before.")
    plans = ArrayField(
        models.CharField(max_length=100), default=list, blank=True, help_text="Keys of plans; none: all of them."
    )
    meters = ArrayField(
        models.CharField(max_length=100), default=list, blank=True, help_text="Keys of meters; none: fees too."
    )
    granted_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["CreditGrant"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in CreditKind]), name="credit_grant_kind_is_known"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="credit_grant_is_worth_something"),
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("effective_at")),
                name="credit_grant_expires_after_it_is_effective",
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="credit_grant_has_actor_and_reason"),
            fits_currency("amount", name="credit_grant_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["customer", "currency"], name="credit_grant_by_customer")]
        triggers = [
            *append_only(noun="credit grants"),
            is_of_who_pays(noun="credit"),
            Guard(
                name="begins_its_entries",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                func="""
                    IF NOT EXISTS (SELECT 1 FROM invoicing_creditentry WHERE grant_id = NEW.id AND sequence = 1)
                       OR NOT EXISTS (SELECT 1 FROM invoicing_customer
                                       WHERE id = NEW.customer_id AND currency = NEW.currency) THEN
                        RAISE EXCEPTION 'credit grant % has no first entry, or not the currency of its customer', NEW.key
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.key})"


class CreditEntry(models.Model):
    """One change of what is left of a grant, and what is left after it: never less than nothing."""

    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="entries")
    sequence = models.PositiveIntegerField(help_text="Counts the entries of the grant from 1.")
    kind = models.CharField(max_length=20, choices=EntryKind)
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="What is added; negative where it is taken.")
    balance = money_field(help_text="What is left after it.")
    reference = models.CharField(max_length=40, blank=True, help_text="The invoice, where one is paid for.")
    occurred_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["CreditEntry"]()

    class Meta:
        verbose_name_plural = "credit entries"
        constraints = [
            models.UniqueConstraint(fields=["grant", "sequence"], name="credit_entry_follows_one_entry"),
            models.UniqueConstraint(
                fields=["grant", "kind", "reference"],
                condition=Q(kind__in=["draw", "restore"]),
                name="credit_entry_is_one_per_invoice",
            ),
            models.CheckConstraint(condition=Q(balance__gte=0), name="credit_balance_is_never_negative"),
            models.CheckConstraint(
                condition=Q(kind__in=["grant", "restore"], amount__gt=0)
                | Q(kind__in=["draw", "expire", "void"], amount__lt=0),
                name="credit_entry_adds_or_takes_as_its_kind_says",
            ),
            models.CheckConstraint(
                condition=Q(kind="grant", sequence=1) | ~Q(kind="grant") & Q(sequence__gt=1),
                name="credit_entry_begins_with_the_grant",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["draw", "restore"]) & ~Q(reference="")
                | ~Q(kind__in=["draw", "restore"]) & Q(reference=""),
                name="credit_entry_names_the_invoice_it_paid_for",
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=["expire", "void"]) | Q(balance=0), name="credit_entry_expires_or_voids_all"
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="credit_entry_has_actor_and_reason"),
            fits_currency("amount", "balance", name="credit_entry_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="credit entries"),
            Guard(
                name="continues_from_the_entry_before",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("subject", "invoicing_creditgrant%ROWTYPE"), ("last", "invoicing_creditentry%ROWTYPE")],
                # The grant's row is locked: two that draw on it at once see each other's entries.
                func="""
                    SELECT * INTO subject FROM invoicing_creditgrant WHERE id = NEW.grant_id FOR NO KEY UPDATE;
                    SELECT * INTO last FROM invoicing_creditentry
                     WHERE grant_id = NEW.grant_id ORDER BY sequence DESC LIMIT 1;
                    IF NEW.currency <> subject.currency OR NEW.sequence <> coalesce(last.sequence, 0) + 1
                       OR NEW.balance <> coalesce(last.balance, 0) + NEW.amount
                       OR NEW.kind = 'grant' AND NEW.amount <> subject.amount
                       OR NEW.kind = 'void' AND subject.kind = 'prepaid'
                       OR NEW.kind = 'expire' AND (subject.expires_at IS NULL OR NEW.occurred_at < subject.expires_at)
                    THEN
                        RAISE EXCEPTION 'entry % of credit grant % does not continue from the one before: % % would leave %',
                            NEW.sequence, subject.key, NEW.kind, NEW.amount, NEW.balance
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF NEW.kind IN ('draw', 'restore') AND NOT EXISTS (
                        SELECT 1 FROM invoicing_invoiceline line
                          JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id
                         WHERE invoice.number = NEW.reference AND line.credit_grant_id = NEW.grant_id
                           AND line.amount = CASE NEW.kind WHEN 'draw' THEN NEW.amount ELSE -NEW.amount END
                           AND invoice.status = ANY (CASE NEW.kind WHEN 'draw' THEN '{issued,paid}'::text[] ELSE '{void}' END)
                    ) THEN
                        RAISE EXCEPTION 'invoice % has no line that a % of % on credit grant % could be about', NEW.reference,
                            NEW.kind, NEW.amount, subject.key USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount} of {self.grant_id}"
