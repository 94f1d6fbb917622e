"""`manage.py bill --as-of TIME`: one billing run."""

from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from billing_site.kernel import clock
from billing_site.kernel.arguments import moment
from billing_site.kernel.errors import BillingError
from invoicing.invoices.printed_text import money_text
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.run_report import RunReport

PROCESSES_MAX = 32


class Command(BaseCommand):
    """One billing run."""

    help = "Bill every period that ended by --as-of: drafts by default, issued with --issue. Running it again makes nothing new."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--as-of", type=moment, required=True, help="Periods that ended by then are billed.")
        parser.add_argument("--customer", default="", metavar="KEY", help="Only this customer.")
        parser.add_argument("--dry-run", action="store_true", help="Compute and print, write nothing.")
        parser.add_argument("--issue", action="store_true", help="Issue the invoices, not only drafts.")
        parser.add_argument(
            "--processes",
            type=int,
            choices=range(1, PROCESSES_MAX + 1),
            default=1,
            metavar="N",
            help="With --issue: bill in so many processes, which is faster from some thousand customers on (%(default)s).",
        )
        parser.add_argument("--at", type=moment, default=None, help="The moment of issue; default now.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the billing and print its invoices."""
        if options["dry_run"] and options["issue"]:
            raise CommandError("--dry-run and --issue contradict each other: choose one")
        if options["processes"] > 1 and not options["issue"]:
            raise CommandError("--processes goes with --issue: drafts and dry runs are made by one process")
        if options["issue"] and settings.BILLING_RUNS_NEED_APPROVAL:
            raise CommandError(
                "runs need a signature (BILLING_RUNS_NEED_APPROVAL): propose one in the back office or over the API"
            )
        now = clock.now()
        at = options["at"] or now
        if at > now:
            raise CommandError(
                f"--at lies in the future ({at:%Y-%m-%d %H:%M} UTC): nothing is issued ahead of its time"
            )
        console = Console()
        try:
            report = self._run(options, at)
        except BillingError as problem:
            raise CommandError(str(problem)) from problem
        if options["as_of"] > now and not options["dry_run"]:
            console.print("[yellow]--as-of lies in the future[/yellow]: drafts of periods that still run are estimates")
        if report.invoice_keys or report.previews:
            console.print(_table(report))
        elif not report.failures:
            console.print("Nothing to bill: every period that ended by then has its invoice.")
        for waiting in report.waiting:
            console.print(
                f"[yellow]waits for late usage[/yellow]: {waiting.customer}: the period that ended"
                f" {waiting.period.end:%Y-%m-%d %H:%M} UTC is issued from {waiting.until:%Y-%m-%d %H:%M} UTC on",
                soft_wrap=True,
            )
        for held in report.held:
            console.print(f"[yellow]held[/yellow]: {held.customer}: {held.reasons}", soft_wrap=True)
        for failure in report.failures:
            console.print(f"[red]not billed[/red]: {failure.customer}: {failure.message}", soft_wrap=True)
        if report.failures:
            raise CommandError(f"{len(report.failures)} could not be billed; the others are done")

    def _run(self, options: dict[str, Any], at: Any) -> RunReport:
        as_of, customer = options["as_of"], options["customer"]
        if options["dry_run"]:
            return preview_billing(as_of=as_of, customer_key=customer)
        if not options["issue"]:
            return draft_billing(as_of=as_of, at=at, customer_key=customer, asking=None)
        columns = TextColumn("billing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("billing", total=None)
            return issue_billing(
                as_of=as_of,
                at=at,
                customer_key=customer,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
                processes=options["processes"],
                asking=None,
            )


def _table(report: RunReport) -> Table:
    table = Table(title="Invoices", title_justify="left")
    for heading in ("Number", "Customer", "Period", "Status"):
        table.add_column(heading, no_wrap=heading != "Customer")
    table.add_column("Total", justify="right", no_wrap=True)
    for invoice in report.invoices:
        table.add_row(
            invoice.number or "-",
            invoice.customer_name,
            _days(invoice.period_start, invoice.period_end, zone=invoice.timezone),
            invoice.status,
            money_text(money=invoice.total),
        )
    for preview in report.previews:
        table.add_row(
            "-",
            preview.customer.name,
            _days(preview.period.start, preview.period.end, zone=preview.customer.timezone),
            "preview",
            money_text(money=preview.total),
        )
    return table


def _days(start: datetime, end: datetime, *, zone: str) -> str:
    """Write a period by its first and last day in the customer's zone."""
    local = ZoneInfo(zone)
    last = end.astimezone(local) - timedelta(microseconds=1)
    return f"{start.astimezone(local):%Y-%m-%d} .. {last:%Y-%m-%d}"
