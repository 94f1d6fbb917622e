"""Carry objections over to invoicing, where standing and access read them; each was checked when it was written down."""

from django.db import migrations

COLUMNS = (
    "id, invoice_id, currency, amount, opened_at, actor, reason, ended_at, ended_by, ended_because, recorded_at"
)


def carried(source: str, target: str) -> str:
    """Return the statements that copy every row, without asking its invoice of today what was open then.

    Its foreign keys are asked before the triggers are on again: PostgreSQL alters no table that has a deferred check before it.
    """
    return f"""
        ALTER TABLE {target} DISABLE TRIGGER USER;
        INSERT INTO {target} ({COLUMNS}) SELECT {COLUMNS} FROM {source};
        SET CONSTRAINTS ALL IMMEDIATE;
        SELECT setval(pg_get_serial_sequence('{target}', 'id'), coalesce(max(id), 0) + 1, false) FROM {target};
        ALTER TABLE {target} ENABLE TRIGGER USER;
    """


class Migration(migrations.Migration):
    dependencies = [
        ("dunning", "0002_chase_what_is_overdue"),
        ("invoicing", "0072_objections_are_facts_about_invoices"),
    ]

    operations = [
        migrations.RunSQL(
            carried("dunning_objection", "invoicing_objection"),
            carried("invoicing_objection", "dunning_objection"),
            elidable=True,
        ),
    ]
