"""Backfill a file of events: its dry run, and its commit as long as every figure is still the one that was shown."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from django.db import transaction

from billing_site.kernel.errors import Conflict, InvalidInput
from invoicing.backfills.models import Backfill
from invoicing.workflows.backfill_effect import accept_found, backfill_effect
from invoicing.workflows.backfill_figures import BackfillEffect, effect_document
from metering.collecting.arguments import mapping_of_words
from metering.core.mapping import RowMapping, complete_mapping, refuse_without_required
from metering.importing import Found, find_events
from metering.partitions import open_present_month
from metering.reading import RowFile
from metering.rollup import roll_up

CONTENT_BYTES_MAX = 20 * 1024**2


def file_effect(*, path: Path, mapping: RowMapping, at: datetime) -> BackfillEffect:
    """Return what importing a file would do, with its money effect; keeps nothing. Raises BillingError, OSError."""
    return backfill_effect(found=lambda: found_in_file(path=path, mapping=mapping, received_at=at), at=at)


def commit_file(
    *, path: Path, mapping: RowMapping, digest: str, at: datetime, record: Callable[[], None] = lambda: None
) -> BackfillEffect:
    """Import a file in one transaction if its dry run has the digest that was shown; returns that dry run.

    `record` is called in that transaction, to keep who did it. Raises Conflict (code `outdated`) where one figure would differ now: then nothing is kept.
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
        record()
    return effect


def propose_backfill(
    *, name: str, content: bytes, preset: str, rules: Sequence[str], timezone: str, at: datetime, actor: str
) -> Backfill:
    """Keep an uploaded file with its dry run, so that somebody may look at it and commit it; no event is accepted.

    Raises InvalidInput, Malformed where the file cannot be read or is too large.
    """
    if len(content) > CONTENT_BYTES_MAX:
        megabytes = CONTENT_BYTES_MAX // 1024**2
        message = f"is larger than {megabytes} MB: use `manage.py backfill` on the server, or split it"
        raise InvalidInput(message, field="file", code="too_large")
    backfill = Backfill(
        name=name[:200],
        content=content,
        content_digest=hashlib.sha256(content).hexdigest(),
        preset=preset,
        rules=list(rules),
        timezone=timezone,
        uploaded_by=actor,
        uploaded_at=at,
    )
    return _show(backfill, at=at)


def show_backfill_again(*, backfill_id: int, at: datetime) -> Backfill:
    """Make the dry run of a kept file again; raises Conflict where it is committed."""
    return _show(_open_backfill(backfill_id), at=at)


def commit_backfill(*, backfill_id: int, digest: str, at: datetime, actor: str, reason: str) -> Backfill:
    """Accept the events of a kept file if its dry run still has the digest that was shown; a second time changes nothing.

    Raises Conflict (code `outdated`) where one figure would differ now: then nothing is kept.
    """
    done = Backfill.objects.filter(pk=backfill_id, committed_at__isnull=False, figures_digest=digest).first()
    if done is not None:
        return done
    backfill = _open_backfill(backfill_id)

    def record() -> None:
        locked = Backfill.objects.select_for_update().get(pk=backfill_id)
        if locked.committed_at is not None or locked.figures_digest != digest:
            raise Conflict("somebody else has dealt with it meanwhile: look at it again", code="outdated")
        locked.content = b""
        locked.committed_at, locked.committed_by, locked.reason = at, actor, reason
        locked.save(update_fields=["content", "committed_at", "committed_by", "reason"])

    with _file_of(backfill) as path:
        commit_file(path=path, mapping=_mapping_of(backfill), digest=digest, at=at, record=record)
    roll_up()
    return Backfill.objects.get(pk=backfill_id)


def _open_backfill(backfill_id: int) -> Backfill:
    backfill = Backfill.objects.get(pk=backfill_id)
    if backfill.committed_at is not None:
        raise Conflict(f"{backfill.name} is committed already")
    return backfill


def _show(backfill: Backfill, *, at: datetime) -> Backfill:
    with _file_of(backfill) as path:
        effect = file_effect(path=path, mapping=_mapping_of(backfill), at=at)
    backfill.figures = effect_document(effect)
    backfill.figures_digest = effect.digest
    backfill.shown_at = at
    backfill.save()
    return backfill


def _mapping_of(backfill: Backfill) -> RowMapping:
    return mapping_of_words(preset=backfill.preset, rules=backfill.rules, zone_name=backfill.timezone)


@contextmanager
def _file_of(backfill: Backfill) -> Iterator[Path]:
    """Put the content where files are read from; what ends the name says how it is read."""
    with TemporaryDirectory(prefix="backfill-") as folder:
        path = Path(folder) / f"events{''.join(Path(backfill.name).suffixes[-2:])}"
        path.write_bytes(bytes(backfill.content))
        yield path


def found_in_file(*, path: Path, mapping: RowMapping, received_at: datetime) -> Iterator[tuple[int, Found]]:
    """Yield the events of a file as `import_events` reads them, and the refusals, with their rows; raises InvalidInput, Malformed."""
    with RowFile(path, mapping.preset) as file:
        if file.columns is not None:
            mapping = complete_mapping(mapping=mapping, columns=file.columns)
            refuse_without_required(mapping=mapping, columns=file.columns)
        for row in file.rows():
            for found in find_events(
                row=row,
                mapping=mapping,
                is_object=file.columns is None,
                place=f"row-{row.number}",
                received_at=received_at,
            ):
                yield row.number, found
