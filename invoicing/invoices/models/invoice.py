"""Invoices: drafts that may change, and issued documents carved in stone."""

import pgtrigger
from django.db import models
from moneyed import Money

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import carved, fits_currency, money_field, stays
from invoicing.core.invoice_life import InvoiceStage, stage_of
from invoicing.core.languages import ENGLISH, LANGUAGES
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer
from invoicing.invoices.models.held import is_not_held
from invoicing.invoices.models.life import follows_its_lifecycle, is_void_by_two, life_constraints
from invoicing.invoices.models.paid_ahead import paid_ahead_guards
from invoicing.invoices.models.series import InvoiceSeries, numbered_guards
from invoicing.invoices.models.sums import sums_up
from invoicing.invoices.models.taking_off import progressive_guards


class InvoiceStatus(models.TextChoices):
    """What is stored of the life of an invoice; `core/invoice_life.py` says which may follow which, and what is derived."""

    DRAFT = "draft", "Draft"
    ISSUED = "issued", "Issued"
    PAID = "paid", "Paid"
    WRITTEN_OFF = "written_off", "Written off"
    VOID = "void", "Void"


class InvoiceKind(models.TextChoices):
    """What an invoice bills: a period, what somebody stated once, or what was used so far of a period that runs."""

    PERIOD = "period", "Billing period"
    ONE_OFF = "one_off", "One-off"
    PROGRESSIVE = "progressive", "Progressive"


# A root as it is stored.
ROOT = r"^[0-9a-f]{64}$"


class TaxState(models.TextChoices):
    """Whether an invoice is taxed: a draft whose customer's tax data is missing is never issued."""

    NONE = "", "No tax is charged"
    TAXED = "taxed", "Taxed"
    MISSING = "missing", "Tax data is missing"


class BillingRun(models.Model):
    """One pass over the customers whose periods are due."""

    as_of = models.DateTimeField(help_text="Periods that ended by then are billed.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    drafted_count = models.PositiveIntegerField(default=0)
    issued_count = models.PositiveIntegerField(default=0)
    held_count = models.PositiveIntegerField(default=0, db_default=0)
    failures = models.JSONField(default=list, help_text="Customers that could not be billed, and why.")
    trial_of = models.CharField(
        max_length=100,
        blank=True,
        db_default="",
        help_text="The proposed run of which it was the trial: it only drafts.",
    )

    objects = models.Manager["BillingRun"]()

    def __str__(self) -> str:
        return f"as of {self.as_of:%Y-%m-%d %H:%M}"


class Invoice(models.Model):
    """What a customer owes for one period, or for what was stated once. From issue on only its settlement may change.

    A one-off invoice bills no period: its period is the empty one `[t, t)` at the moment at which it was made. So is that of a
    progressive one: `ProgressiveInvoice` says of which period it is, and the invoice of that takes it off.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    billing_run = models.ForeignKey(BillingRun, null=True, on_delete=models.PROTECT, related_name="invoices")
    # Its invoices are found by their numbers.
    series = models.ForeignKey(
        InvoiceSeries, null=True, blank=True, on_delete=models.PROTECT, related_name="invoices", db_index=False
    )
    number = models.CharField(max_length=40, null=True, blank=True)
    kind = models.CharField(
        max_length=20, choices=InvoiceKind, default=InvoiceKind.PERIOD, db_default=models.Value("period")
    )
    key = models.CharField(max_length=100, null=True, blank=True, help_text="Of an invoice of no period.")
    status = models.CharField(max_length=20, choices=InvoiceStatus, default=InvoiceStatus.DRAFT)
    currency = models.CharField(max_length=3)
    subtotal = money_field()
    tax_state = models.CharField(max_length=10, choices=TaxState, blank=True, default="", db_default=models.Value(""))
    tax_amount = money_field(null=True, blank=True, help_text="All tax of its lines.")
    tax_added = money_field(null=True, blank=True, help_text="The tax that its lines do not contain.")
    tax = models.JSONField(null=True, blank=True, help_text="What was decided about its tax, and the sum of each rate.")
    total = money_field()
    amount_paid = money_field()
    amount_credited = money_field(
        db_default=models.Value(0), help_text="What credit notes have taken off what was open of it."
    )
    amount_written_off = money_field(
        db_default=models.Value(0), help_text="What was given up of it, less what was recovered of that."
    )
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    timezone = models.CharField(max_length=60, default="UTC")
    language = models.CharField(
        max_length=2, default=ENGLISH.code, db_default=models.Value(ENGLISH.code), help_text="Of the printed document."
    )
    drafted_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True, blank=True)
    due_date = models.DateField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    # Copied at issue: an invoice does not change when the customer moves.
    customer_name = models.CharField(max_length=300)
    customer_email = models.EmailField(blank=True)
    customer_address = models.TextField(blank=True)
    customer_tax_id = models.CharField(max_length=50, blank=True)
    accounts = models.JSONField(
        null=True, blank=True, help_text="Names of the accounts that are billed to the customer, by their keys."
    )
    seller = models.JSONField(default=dict)
    settlement_channel = models.CharField(max_length=20)
    content_digest = models.CharField(max_length=64, help_text="SHA-256 of the assembled invoice.")
    events_root = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default=models.Value(""),
        help_text="Merkle root over the roots of its lines.",
    )
    previous_seal = models.CharField(
        max_length=64, blank=True, help_text="The seal of the invoice before it in the series."
    )
    seal = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the issued document and the previous seal."
    )
    # Nobody asks for history rows by these.
    history = tracked(no_db_index=["customer", "series", "billing_run", "number", "key"])

    objects = models.Manager["Invoice"]()

    class Meta:
        constraints = [
            *(
                # Most have no key, and none a number at first: an index of those that have it is enough.
                models.UniqueConstraint(
                    fields=[name], condition=models.Q(**{f"{name}__isnull": False}), name=f"invoice_{name}_is_its_own"
                )
                for name in ("number", "key")
            ),
            models.UniqueConstraint(
                fields=["customer", "period_start", "period_end"],
                condition=~models.Q(status="void") & models.Q(kind="period"),
                name="invoice_is_one_per_customer_and_period",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="period", key__isnull=True)
                | models.Q(kind__in=["one_off", "progressive"], key__isnull=False, billing_run__isnull=True),
                name="invoice_is_of_a_period_or_has_a_key",
            ),
            models.CheckConstraint(condition=models.Q(status__in=InvoiceStatus.values), name="invoice_status_is_known"),
            models.CheckConstraint(
                condition=models.Q(
                    status="draft", number__isnull=True, issued_at__isnull=True, series__isnull=True, seal=""
                )
                | (
                    ~models.Q(status="draft")
                    & models.Q(
                        number__isnull=False, issued_at__isnull=False, due_date__isnull=False, series__isnull=False
                    )
                    & ~models.Q(seal="")
                ),
                name="invoice_is_issued_with_number_dates_and_seal",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="period", period_end__gt=models.F("period_start"))
                | models.Q(kind__in=["one_off", "progressive"], period_end=models.F("period_start")),
                name="invoice_period_lasts",
            ),
            models.CheckConstraint(
                condition=models.Q(total__gte=0)
                & (
                    models.Q(tax_added__isnull=True, total=models.F("subtotal"))
                    | models.Q(tax_added__isnull=False, total=models.F("subtotal") + models.F("tax_added"))
                ),
                name="invoice_total_is_its_subtotal_with_tax_and_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(tax_state="", tax_amount__isnull=True, tax_added__isnull=True, tax__isnull=True)
                | models.Q(tax_state="missing", tax_amount__isnull=True, tax_added__isnull=True, tax__isnull=False)
                | models.Q(tax_state="taxed", tax_amount__isnull=False, tax_added__isnull=False, tax__isnull=False),
                name="invoice_tax_is_computed_missing_or_not_charged",
            ),
            models.CheckConstraint(
                condition=models.Q(status="draft") | ~models.Q(tax_state="missing"),
                name="invoice_is_issued_with_its_tax",
            ),
            *life_constraints(),
            models.CheckConstraint(
                condition=models.Q(events_root="") | models.Q(events_root__regex=ROOT), name="invoice_root_is_a_digest"
            ),
            models.CheckConstraint(condition=models.Q(language__in=[*LANGUAGES]), name="invoice_language_is_known"),
            fits_currency(
                "subtotal",
                "tax_amount",
                "tax_added",
                "total",
                "amount_paid",
                "amount_credited",
                "amount_written_off",
                name="invoice_amounts_fit_its_currency",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "due_date"], name="invoice_by_status"),
            models.Index(fields=["period_end"], name="invoice_by_period"),
            models.Index(fields=["issued_at"], name="invoice_by_issue"),
        ]
        triggers = [
            *carved(
                noun="issued invoice",
                while_open="OLD.status = 'draft'",
                free_columns=[
                    "status",
                    "amount_paid",
                    "amount_credited",
                    "amount_written_off",
                    "paid_at",
                    "voided_at",
                ],
            ),
            stays(noun="invoice", columns=["kind", "key", "customer_id"]),
            follows_its_lifecycle(),
            is_void_by_two(),
            *numbered_guards(),
            *paid_ahead_guards(),
            *progressive_guards(),
            is_not_held(),
            is_of_who_pays(noun="an invoice"),
            Guard(
                name="begins_as_a_draft",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NEW.status <> 'draft' THEN
                        RAISE EXCEPTION 'an invoice begins as a draft'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            *sums_up(),
        ]

    @property
    def amount_unpaid(self) -> Money:
        """What money may still arrive for: what is due, and what was given up."""
        if self.status == InvoiceStatus.VOID:
            return Money(0, self.currency)
        return self.total - self.amount_paid - self.amount_credited

    @property
    def amount_due(self) -> Money:
        """What is still to pay as far as the books expect it: nothing of a void one, nor of one that is written off."""
        return self.amount_unpaid - self.amount_written_off

    @property
    def is_credited_alone(self) -> bool:
        """Say whether credit notes took something off it, and nobody has paid anything."""
        return bool(self.amount_credited.amount) and not self.amount_paid.amount

    @property
    def stage(self) -> InvoiceStage:
        """Where it stands in its life; held and ready are known where `gate.queries.with_gate_state` asked for it."""
        return stage_of(
            status=self.status,
            is_touched=bool(self.amount_paid.amount or self.amount_credited.amount),
            gate_state=getattr(self, "gate_state", None) or "",
        )

    def __str__(self) -> str:
        return self.number or f"Draft for {self.customer_name}"
