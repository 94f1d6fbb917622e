"""The audit trail of rows that people may change: who, when, what and why (S0-113), and on which request, append-only."""

from collections.abc import Sequence
from typing import Any

import pgtrigger
from django.db import connection, models
from django.utils import timezone
from simple_history.models import HistoricalRecords

from billing_site.kernel.among import as_array
from billing_site.kernel.bulk import insert_rows, update_rows
from billing_site.kernel.model import append_only
from billing_site.kernel.requests import NAME_MAX, request_id


class Requested(models.Model):
    """The column of a history that says which request, job or command made the change; "" of before it was kept, and in a shell."""

    history_request_id = models.CharField(
        "request", max_length=NAME_MAX, blank=True, default=request_id, db_default=models.Value(""), editable=False
    )

    class Meta:
        abstract = True


def tracked(**options: Any) -> HistoricalRecords:
    """Return a history for a model: every save writes a row with actor, reason and request."""
    reason = models.TextField(null=True)
    return HistoricalRecords(history_change_reason_field=reason, bases=[Requested], **options)


def guard_history(*tracked_models: type[models.Model]) -> None:
    """Make the history tables of these models append-only in the database too."""
    for model in tracked_models:
        pgtrigger.register(*append_only(noun=f"history rows of {model._meta.verbose_name_plural}"))(
            model.history.model  # type: ignore[attr-defined]
        )


def save_with_reason(row: models.Model, *, actor: str, reason: str, fields: Sequence[str] | None = None) -> None:
    """Save a tracked row; its history says who did it and why. Of a carved row only the `fields` that may move are written."""
    assert actor and reason, "a change without actor and reason cannot be audited"
    row._change_reason = f"{actor}: {reason}"  # type: ignore[attr-defined]
    row.save(update_fields=fields)


def create_all_with_reason(rows: Sequence[models.Model], *, actor: str, reason: str) -> None:
    """Store new tracked rows of one model, as `insert_rows` does; the history of each, one more statement, says who did it and why."""
    if rows:
        insert_rows(rows)
        _note_all(rows, actor=actor, reason=reason, are_new=True)


def update_all_with_reason(rows: Sequence[models.Model], *, fields: Sequence[str], actor: str, reason: str) -> None:
    """Write these fields of tracked rows of one model, in two statements; the history of each says who did it and why."""
    if rows:
        update_rows(rows, fields=fields)
        _note_all(rows, actor=actor, reason=reason, are_new=False)


def _note_all(rows: Sequence[models.Model], *, actor: str, reason: str, are_new: bool) -> None:
    assert actor and reason, "a change without actor and reason cannot be audited"
    stored, kept = type(rows[0]), type(rows[0]).history.model  # type: ignore[attr-defined]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in kept.tracked_fields)
    user = kept.get_default_history_user(rows[0])
    with connection.cursor() as cursor:
        # As the database holds them: what it has filled in by itself is kept, too.
        cursor.execute(
            f"INSERT INTO {connection.ops.quote_name(kept._meta.db_table)}"
            f" ({columns}, history_date, history_change_reason, history_type, history_user_id, history_request_id)"
            f" SELECT {columns}, %s, %s, %s, %s, %s FROM {connection.ops.quote_name(stored._meta.db_table)}"
            " WHERE id = ANY(%s) ORDER BY id",
            [
                timezone.now(),
                f"{actor}: {reason}",
                "+" if are_new else "~",
                user and user.pk,
                request_id(),
                as_array([row.pk for row in rows]),
            ],
        )
        assert cursor.rowcount == len(rows), "each row is there, once"


def delete_with_reason(row: models.Model, *, actor: str, reason: str) -> None:
    """Delete a tracked row; its history says who did it and why."""
    assert actor and reason, "a change without actor and reason cannot be audited"
    row._change_reason = f"{actor}: {reason}"  # type: ignore[attr-defined]
    row.delete()
