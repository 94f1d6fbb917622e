"""Invoices: drafts that may change, and issued documents carved in stone."""

import pgtrigger
from django.db import models

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import (
    carved,
    fits_currency,
    money_field,
    never_truncated,
)
from invoicing.customers.models import Customer


class InvoiceStatus(models.TextChoices):
    """The life of an invoice; `invoices/lifecycle.py` says which may follow which."""

    DRAFT = "draft", "Draft"
    ISSUED = "issued", "Issued"
    PAID = "paid", "Paid"
    VOID = "void", "Void"


def number_sql(prefix: str, ordinal: str) -> str:
    """Return the invoice number as an SQL expression; `numbering.number_of` writes the same."""
    return f"{prefix} || '-' || lpad(({ordinal})::text, greatest(5, length(({ordinal})::text)), '0')"


class InvoiceSeries(models.Model):
    """A gapless sequence of invoice numbers; its row is locked while a number is taken."""

    prefix = models.CharField(max_length=30, unique=True, help_text="INV-2026")
    next_number = models.PositiveIntegerField(default=1)
    last_seal = models.CharField(max_length=64, blank=True, help_text="The seal of the newest invoice of the series.")

    objects = models.Manager["InvoiceSeries"]()

    class Meta:
        verbose_name_plural = "invoice series"
        triggers = [
            Guard(
                name="counts_by_one",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                func="""
                    IF TG_OP = 'INSERT' THEN
                        IF NEW.next_number <> 1 OR NEW.last_seal <> '' THEN
                            RAISE EXCEPTION 'invoice series % begins with 1', NEW.prefix
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                        RETURN NEW;
                    END IF;
                    IF TG_OP = 'DELETE' OR NEW.id <> OLD.id OR NEW.prefix <> OLD.prefix
                       OR (NEW.next_number, NEW.last_seal) <> (OLD.next_number, OLD.last_seal)
                          AND (NEW.next_number <> OLD.next_number + 1 OR NEW.last_seal = OLD.last_seal) THEN
                        RAISE EXCEPTION 'invoice series % counts by one and stays', OLD.prefix
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="counts_an_invoice",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                timing=pgtrigger.Deferred,
                func=f"""
                    IF NEW.next_number > 1 AND NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice
                         WHERE series_id = NEW.id AND number = {number_sql("NEW.prefix", "NEW.next_number - 1")}
                           AND seal = NEW.last_seal
                    ) THEN
                        RAISE EXCEPTION 'invoice series % counts an invoice that does not exist', NEW.prefix
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
            never_truncated(noun="invoice series"),
        ]

    def __str__(self) -> str:
        return self.prefix


class BillingRun(models.Model):
    """One pass over the customers whose periods are due."""

    as_of = models.DateTimeField(help_text="Periods that ended by then are billed.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    drafted_count = models.PositiveIntegerField(default=0)
    issued_count = models.PositiveIntegerField(default=0)
    failures = models.JSONField(default=list, help_text="Customers that could not be billed, and why.")

    objects = models.Manager["BillingRun"]()

    def __str__(self) -> str:
        return f"as of {self.as_of:%Y-%m-%d %H:%M}"


class Invoice(models.Model):
    """What a customer owes for one period. From issue on only its settlement may change."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    billing_run = models.ForeignKey(BillingRun, null=True, on_delete=models.PROTECT, related_name="invoices")
    series = models.ForeignKey(InvoiceSeries, null=True, blank=True, on_delete=models.PROTECT, related_name="invoices")
    number = models.CharField(max_length=40, null=True, blank=True, unique=True)
    status = models.CharField(max_length=20, choices=InvoiceStatus, default=InvoiceStatus.DRAFT)
    currency = models.CharField(max_length=3)
    subtotal = money_field()
    total = money_field()
    amount_paid = money_field()
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    timezone = models.CharField(max_length=60, default="UTC")
    drafted_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True, blank=True)
    due_date = models.DateField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    # Copied at issue: an invoice does not change when the customer moves.
    customer_name = models.CharField(max_length=300)
    customer_email = models.EmailField(blank=True)
    customer_address = models.TextField(blank=True)
    customer_tax_id = models.CharField(max_length=50, blank=True)
    seller = models.JSONField(default=dict)
    settlement_channel = models.CharField(max_length=20)
    content_digest = models.CharField(max_length=64, help_text="SHA-256 of the assembled invoice.")
    previous_seal = models.CharField(
        max_length=64, blank=True, help_text="The seal of the invoice before it in the series."
    )
    seal = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the issued document and the previous seal."
    )
    history = tracked()

    objects = models.Manager["Invoice"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "period_start", "period_end"],
                condition=~models.Q(status="void"),
                name="invoice_is_one_per_customer_and_period",
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
                condition=models.Q(period_end__gt=models.F("period_start")), name="invoice_period_lasts"
            ),
            models.CheckConstraint(
                condition=~models.Q(status="paid")
                | models.Q(amount_paid__gte=models.F("total"), paid_at__isnull=False),
                name="invoice_is_paid_in_full",
            ),
            # To be loosened by what will stand between the two: taxes and credits.
            models.CheckConstraint(
                condition=models.Q(total=models.F("subtotal"), total__gte=0),
                name="invoice_total_is_its_subtotal_and_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(amount_paid=0)
                | models.Q(status__in=["issued", "paid"], amount_paid__gt=0, amount_paid__lte=models.F("total")),
                name="invoice_receives_at_most_its_total_and_only_while_owed",
            ),
            fits_currency("subtotal", "total", "amount_paid", name="invoice_amounts_fit_its_currency"),
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
                free_columns=["status", "amount_paid", "paid_at"],
            ),
            Guard(
                name="follows_its_lifecycle",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
                        ('draft', 'issued'), ('issued', 'paid'), ('issued', 'void')
                    ) THEN
                        RAISE EXCEPTION 'invoice % cannot go from % to %', OLD.id, OLD.status, NEW.status
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF NEW.paid_at IS DISTINCT FROM OLD.paid_at
                       AND (OLD.status, NEW.status) <> ('issued', 'paid') THEN
                        RAISE EXCEPTION 'invoice % is paid when it becomes paid', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF OLD.status <> 'draft' AND NEW.amount_paid < OLD.amount_paid THEN
                        RAISE EXCEPTION 'payments of invoice % cannot be taken back', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="takes_the_next_number",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func=f"""
                    IF OLD.status = 'draft' AND NEW.status <> 'draft' AND NOT EXISTS (
                        SELECT 1 FROM invoicing_invoiceseries series
                         WHERE id = NEW.series_id AND NEW.previous_seal = last_seal
                           AND NEW.number = {number_sql("prefix", "next_number")}
                    ) THEN
                        RAISE EXCEPTION '% is not the next number of its series', NEW.number
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="is_counted_by_its_series",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                timing=pgtrigger.Deferred,
                func=f"""
                    IF OLD.status = 'draft' AND NEW.status <> 'draft' AND EXISTS (
                        SELECT 1 FROM invoicing_invoiceseries
                         WHERE id = NEW.series_id AND NEW.number = {number_sql("prefix", "next_number")}
                    ) THEN
                        RAISE EXCEPTION 'its series does not count invoice %', NEW.number
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
            Guard(
                name="gives_back_credit_when_void",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                # Whoever declares it void: each lot gets back what the invoice drew, as a new entry of its chain.
                func="""
                    IF OLD.status = 'issued' AND NEW.status = 'void' THEN
                        PERFORM 1 FROM invoicing_creditgrant WHERE id IN (
                            SELECT grant_id FROM invoicing_creditentry WHERE kind = 'draw' AND reference = NEW.number
                        ) ORDER BY id FOR NO KEY UPDATE;
                        INSERT INTO invoicing_creditentry
                               (grant_id, sequence, kind, currency, amount, balance, reference, occurred_at, actor, reason)
                        SELECT draw.grant_id, last.sequence + 1, 'restore', draw.currency, -draw.amount,
                               last.balance - draw.amount, NEW.number, now(), 'void invoice', 'invoice ' || NEW.number || ' is void'
                          FROM invoicing_creditentry draw
                          JOIN LATERAL (SELECT sequence, balance FROM invoicing_creditentry
                                         WHERE grant_id = draw.grant_id ORDER BY sequence DESC LIMIT 1) last ON TRUE
                         WHERE draw.kind = 'draw' AND draw.reference = NEW.number;
                    END IF;
                    RETURN NULL;
                """,
            ),
            Guard(
                name="draws_the_credit_of_its_lines",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                timing=pgtrigger.Deferred,
                func="""
                    IF OLD.status = 'draft' AND NEW.status <> 'draft' AND EXISTS (
                        SELECT 1 FROM invoicing_invoiceline line
                         WHERE line.invoice_id = NEW.id AND line.credit_grant_id IS NOT NULL AND NOT EXISTS (
                            SELECT 1 FROM invoicing_creditentry entry
                             WHERE entry.grant_id = line.credit_grant_id AND entry.kind = 'draw'
                               AND entry.reference = NEW.number AND entry.amount = line.amount)
                    ) THEN
                        RAISE EXCEPTION 'invoice % does not draw the credit that its lines say', NEW.number
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
            Guard(
                name="settles_and_draws_what_is_there",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                timing=pgtrigger.Deferred,
                # A draft may have been made before an earlier one was made again: by its issue it is told.
                func="""
                    IF OLD.status <> 'draft' OR NEW.status = 'draft' OR NOT EXISTS (
                        SELECT 1 FROM invoicing_invoiceline WHERE invoice_id = NEW.id
                           AND adjustment IN ('invoiced_in_advance', 'advance_credit', 'commitment_drawdown')
                    ) THEN
                        RETURN NULL;
                    END IF;
                    PERFORM 1 FROM invoicing_subscription WHERE id IN (
                        SELECT subscription_id FROM invoicing_invoiceline WHERE invoice_id = NEW.id AND adjustment <> ''
                    ) ORDER BY id FOR NO KEY UPDATE;
                    IF EXISTS (
                        SELECT 1 FROM invoicing_invoiceline line
                          JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
                         WHERE line.subscription_id IN (SELECT subscription_id FROM invoicing_invoiceline
                                                         WHERE invoice_id = NEW.id AND adjustment IN ('invoiced_in_advance', 'advance_credit'))
                           AND line.adjustment IN ('in_advance', 'invoiced_in_advance', 'advance_credit')
                           AND (invoice.status <> 'draft'
                                OR (invoice.period_end, invoice.period_start) <= (NEW.period_end, NEW.period_start))
                         GROUP BY line.subscription_id HAVING sum(line.amount) < 0
                    ) OR EXISTS (
                        SELECT 1 FROM invoicing_invoiceline line
                          JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
                          JOIN invoicing_commitmenttranche tranche ON tranche.id = line.tranche_id
                         WHERE tranche.commitment_id IN (SELECT own.commitment_id FROM invoicing_commitmenttranche own
                                                           JOIN invoicing_invoiceline drawn ON drawn.tranche_id = own.id
                                                          WHERE drawn.invoice_id = NEW.id)
                           AND line.adjustment IN ('commitment_base', 'commitment_drawdown') AND line.kind = 'adjustment'
                           AND (invoice.status <> 'draft' OR invoice.period_start <= NEW.period_start)
                         GROUP BY tranche.commitment_id HAVING sum(line.amount) < 0
                    ) THEN
                        RAISE EXCEPTION 'invoice % settles or draws more than is there', NEW.number
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
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
            Guard(
                name="total_is_the_sum_of_its_lines",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                timing=pgtrigger.Deferred,
                declare=[("line_sum", "numeric"), ("stray", "integer")],
                func="""
                    SELECT coalesce(sum(amount), 0), count(*) FILTER (WHERE currency <> NEW.currency)
                      INTO line_sum, stray FROM invoicing_invoiceline WHERE invoice_id = NEW.id;
                    IF (line_sum <> NEW.subtotal OR stray > 0)
                       AND EXISTS (SELECT 1 FROM invoicing_invoice WHERE id = NEW.id AND total = NEW.total
                                      AND subtotal = NEW.subtotal) THEN
                        RAISE EXCEPTION 'invoice %: lines sum to %, subtotal says %', NEW.id, line_sum, NEW.subtotal
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.number or f"Draft for {self.customer_name}"
