"""Backfill a file of events: its dry run, and its commit as long as every figure is still the one that was shown."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from django.db import transaction

from billing_site.kernel.errors import Conflict
from invoicing.workflows.backfill_effect import BackfillEffect, accept_found, backfill_effect
from metering.core.mapping import RowMapping, complete_mapping, refuse_without_required
from metering.importing import Found, find_events
from metering.partitions import open_present_month
from metering.reading import RowFile


def file_effect(*, path: Path, mapping: RowMapping, at: datetime) -> BackfillEffect:
    """Return what importing a file would do, with its money effect; keeps nothing. Raises BillingError, OSError."""
    return backfill_effect(found=lambda: found_in_file(path=path, mapping=mapping, received_at=at), at=at)


def commit_file(*, path: Path, mapping: RowMapping, digest: str, at: datetime) -> BackfillEffect:
    """Import a file in one transaction if its dry run has the digest that was shown; returns that dry run.

    Raises Conflict (code `outdated`) where one figure would differ now: then nothing is kept.
    """
    effect = file_effect(path=path, mapping=mapping, at=at)
    if effect.digest != digest:
        raise Conflict("a figure differs by now: look at the new dry run", code="outdated")
    open_present_month()
    with transaction.atomic():
        kept = accept_found(found=found_in_file(path=path, mapping=mapping, received_at=at))
        counts = (kept.accepted, kept.duplicates, kept.conflicts, kept.rejected)
        if counts != (effect.accepted, effect.duplicates, effect.conflicts, effect.rejected):
            raise Conflict("the same events came in meanwhile: look at the new dry run", code="outdated")
    return effect


def found_in_file(*, path: Path, mapping: RowMapping, received_at: datetime) -> Iterator[Found]:
    """Yield the events of a file as `import_events` reads them, and the refusals; raises InvalidInput, Malformed."""
    with RowFile(path, mapping.preset) as file:
        if file.columns is not None:
            mapping = complete_mapping(mapping=mapping, columns=file.columns)
            refuse_without_required(mapping=mapping, columns=file.columns)
        for row in file.rows():
            yield from find_events(
                row=row,
                mapping=mapping,
                is_object=file.columns is None,
                place=f"row-{row.number}",
                received_at=received_at,
            )
