"""What a billing run would make: the total of every invoice that is due, without making or writing any."""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel.period import Period
from invoicing.core.correction import corrections_after
from invoicing.core.figures import CompiledPrices
from invoicing.core.tax import TaxMissing
from invoicing.customers.models import Customer
from invoicing.workflows.compute_invoice import Measure, compute_figures, ground_of, measure_for_billing
from invoicing.workflows.run_report import (
    DueBatch,
    InvoicePreview,
    RunReport,
    due_in_batches,
    failures_told,
    note_grace,
    note_missing_tax,
    settle_first,
)
from metering.queries import MeterUsage
from metering.rollup import roll_up

# How the meters of a customer are read for a period.
Measures = Callable[[Customer, Period], Measure]


def preview_billing(*, as_of: datetime, customer_key: str = "") -> RunReport:
    """Compute what a run would make of the periods that ended by `as_of`; keeps nothing but usage windows.

    Late usage is settled as the run would settle it, and taken back.
    """
    roll_up()
    report = RunReport()
    with transaction.atomic():
        settle_first(report, at=as_of, customer_key=customer_key)
        for batch in due_in_batches(as_of=as_of, customer_key=customer_key, report=report):
            preview_batch(batch=batch, report=report, as_of=as_of, measures=_as_billed)
        transaction.set_rollback(True)
    report.previews.sort(key=lambda preview: (preview.period.end, preview.customer.pk))
    return report


def preview_batch(*, batch: DueBatch, report: RunReport, as_of: datetime, measures: Measures) -> None:
    """Put the previews of a batch into the report; beside reading usage, as many queries as of one customer."""
    prices = CompiledPrices()
    ground = ground_of(customers=[customer for customer, _ in batch.due], agreements=batch.agreements)
    # By reference, which names one lot or correction among those of all customers.
    drawn: dict[str, Money] = {}
    carried: dict[str, Money] = {}
    for customer, period in sorted(batch.due, key=lambda pair: (pair[1].end, pair[1].start)):
        with failures_told(report, customer.key, period):
            contract = ground.contract(customer=customer, period=period)
            lots = ground.lots(customer=customer, contract=contract)
            corrections = ground.corrections(customer=customer, period=period)
            tax = ground.tax(customer=customer, contract=contract, corrections=corrections)
            figures = compute_figures(
                contract=contract,
                measure=measures(customer, period),
                prices=prices,
                # What an earlier period of the same preview takes is gone.
                corrections=corrections_after(corrections=corrections, carried=carried),
                lots=[lot.after(drawn=drawn.get(lot.reference)) for lot in lots],
                tax=tax,
            )
            for sums, parts in ((drawn, figures.drawn), (carried, figures.carried)):
                for reference, amount in parts.items():
                    sums[reference] = sums[reference] + amount if reference in sums else amount
            batch.agreements.note_computed(customer=customer, period=period, amounts=figures.amounts)
            report.previews.append(InvoicePreview(customer, period, figures.total))
            note_grace(report, customer, period, charges=contract.snapshot.charges, known_at=as_of)
            if isinstance(tax, TaxMissing):
                note_missing_tax(report, customer, period, missing=tax.problems)


def _as_billed(customer: Customer, period: Period) -> Measure:
    measure = measure_for_billing(until=period.end)

    def measured(consumer: str, keys: list[str], service: Period) -> dict[str, MeterUsage]:
        # What the database refuses to read of one customer does not end the transaction of all.
        with transaction.atomic():
            return measure(consumer, keys, service)

    return measured
