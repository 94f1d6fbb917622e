"""What-ifs: price lists tried on closed periods, and what each invoice of them would have been."""

from django.db import models

from billing_site.kernel.model import carved, fits_currency, frozen_with_parent, money_field
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice


class WhatIf(models.Model):
    """One question: these price lists in place of those that were agreed, over the periods that ended in some months.

    The periods end after the day `first_date`, up to and with `last_date`, in the zones of their invoices.
    """

    title = models.CharField(max_length=300)
    cards = models.JSONField(help_text="The price lists: plan, where it comes from, and the plan as in a catalog file.")
    month_count = models.PositiveSmallIntegerField()
    first_date = models.DateField()
    last_date = models.DateField()
    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField()
    invoice_count = models.PositiveIntegerField(default=0, help_text="Invoices to compute.")
    done_count = models.PositiveIntegerField(default=0, help_text="Invoices that are computed.")
    done_through = models.BigIntegerField(
        default=0, help_text="The last invoice that is computed; they go by their ids."
    )
    finished_at = models.DateTimeField(null=True, blank=True)
    figures = models.JSONField(default=dict, help_text="Totals, months and groups by currency, once it is finished.")
    figures_digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 over the price lists, each invoice's seal, and each figure."
    )

    objects = models.Manager["WhatIf"]()

    class Meta:
        verbose_name = "what-if"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(finished_at__isnull=True, figures_digest="")
                | (
                    models.Q(finished_at__isnull=False, done_count=models.F("invoice_count"))
                    & ~models.Q(figures_digest="")
                ),
                name="what_if_is_finished_whole_and_with_its_digest",
            ),
            models.CheckConstraint(
                condition=models.Q(last_date__gt=models.F("first_date"), month_count__gt=0),
                name="what_if_looks_at_time",
            ),
        ]
        triggers = carved(noun="finished what-if", while_open="OLD.finished_at IS NULL", free_columns=[])

    def __str__(self) -> str:
        return self.title


class WhatIfFigure(models.Model):
    """One invoice: what was charged, and what would have been; `problem` says why that cannot be told."""

    what_if = models.ForeignKey(WhatIf, on_delete=models.PROTECT, related_name="rows")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="+")
    month = models.DateField(help_text="The month of the period's last day, by its first day.")
    currency = models.CharField(max_length=3)
    before = money_field()
    after = money_field(null=True, blank=True)
    problem = models.CharField(max_length=500, blank=True)

    objects = models.Manager["WhatIfFigure"]()

    class Meta:
        verbose_name = "what-if figure"
        constraints = [
            models.UniqueConstraint(fields=["what_if", "invoice"], name="what_if_computes_an_invoice_once"),
            models.CheckConstraint(
                condition=models.Q(after__isnull=False, problem="")
                | (models.Q(after__isnull=True) & ~models.Q(problem="")),
                name="what_if_figure_is_an_amount_or_a_problem",
            ),
            fits_currency("before", "after", name="what_if_amounts_fit_their_currency"),
        ]
        indexes = [models.Index(fields=["what_if", "currency", "customer"], name="what_if_by_customer")]
        triggers = frozen_with_parent(
            noun="figures of finished what-if",
            parent_column="what_if_id",
            open_parent="SELECT 1 FROM invoicing_whatif asked"
            " WHERE asked.id = {row}.what_if_id AND asked.finished_at IS NULL FOR SHARE",
        )

    def __str__(self) -> str:
        return f"{self.what_if_id} {self.invoice_id}"
