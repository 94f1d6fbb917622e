"""`manage.py backfill FILE`: what importing a file of any age would do to usage and money; --commit does it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.invoices.printed_text import money_text, quantity_text
from invoicing.workflows.backfill import commit_file, file_effect
from invoicing.workflows.backfill_figures import BackfillEffect, CustomerEffect, affected
from metering.collecting.arguments import add_mapping_arguments, mapping_of_options

SHOWN_MAX = 50


class Command(BaseCommand):
    """Backfill usage events, dry run first."""

    help = (
        "Say what importing a file would do: events, quantities, issued lines, drafts and running periods, in money. "
        "Nothing is kept without --commit. Exit 1 if any row was rejected or contradicts an accepted event."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--commit", action="store_true", help="Keep it, if every figure is still as it was shown.")
        add_mapping_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the dry run; with --commit import the file and say what happened."""
        console = Console()
        path: Path = options["file"]
        at = now()
        try:
            mapping = mapping_of_options(options)
            effect = file_effect(path=path, mapping=mapping, at=at)
            print_effect(console, effect)
            if options["commit"]:
                commit_file(path=path, mapping=mapping, digest=effect.digest, at=at)
        except BillingError as problem:
            raise CommandError(f"nothing was kept: {problem.message}") from problem
        except OSError as problem:
            raise CommandError(f"{path}: {problem.strerror or problem}") from problem
        if options["commit"]:
            console.print(f"[green]kept[/green]: {effect.accepted} events are accepted", soft_wrap=True)
        else:
            console.print("Nothing was kept: this was a dry run. --commit does it.", soft_wrap=True)
        if effect.rejected or effect.conflicts:
            sys.exit(1)


def print_effect(console: Console, effect: BackfillEffect) -> None:
    """Print what a backfill would do."""
    console.print(
        f"accepted {effect.accepted}, duplicates {effect.duplicates}, conflicts {effect.conflicts},"
        f" rejected {effect.rejected}",
        soft_wrap=True,
    )
    for refusal in effect.refusals:
        console.print(f"  [red]refused[/red]: {refusal}", soft_wrap=True, highlight=False)
    for line in effect.in_no_window:
        console.print(f"  [yellow]counted by no meter[/yellow]: {line}", soft_wrap=True, highlight=False)
    shown = affected(effect)
    table = Table(title="What it changes", title_justify="left")
    for heading in ("Customer", "Where", "What"):
        table.add_column(heading, overflow="fold")
    for heading in ("Before", "After", "Effect"):
        table.add_column(heading, justify="right", no_wrap=True)
    for customer in shown[:SHOWN_MAX]:
        _add_rows(table, customer)
    if shown:
        console.print(table)
    if len(shown) > SHOWN_MAX:
        console.print(f"and {len(shown) - SHOWN_MAX} more customers", soft_wrap=True)
    effects = ", ".join(money_text(money=money) for money in effect.effects) or "none"
    console.print(f"money effect: {effects}", soft_wrap=True, highlight=False)


def _add_rows(table: Table, customer: CustomerEffect) -> None:
    name = customer.name or "[red]unknown customer[/red]"
    for quantity in customer.quantities:
        table.add_row(
            f"{customer.customer_id} ({name})",
            "usage",
            quantity.meter,
            quantity_text(quantity=quantity.before),
            quantity_text(quantity=quantity.after),
            quantity_text(quantity=quantity.difference),
        )
    for money in customer.money:
        table.add_row(
            customer.customer_id,
            money.place,
            f"{money.what}: {money.note}" if money.note else money.what,
            money_text(money=money.before),
            money_text(money=money.after),
            money_text(money=money.effect),
        )
    for reason in customer.unbilled:
        table.add_row(customer.customer_id, "[yellow]on no invoice[/yellow]", reason, "", "", "")
