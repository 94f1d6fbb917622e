"""Guards of the database as they stand: each trigger there, switched on, and with the body that the code gives it."""

from collections.abc import Iterator

import pgtrigger
from django.apps import apps
from django.db import connection

from billing_site.kernel.guard import Guard

GUARDED_APPS = ("invoicing", "metering", "dunning")


def guard_faults() -> Iterator[tuple[str, str]]:
    """Yield (what, how it is) of triggers that are missing, off or not what the code says, and constraints that are missing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, tgname, tgenabled IN ('O', 'A') AND tgqual IS NULL, prosrc,"
            " (tgtype, array_length(tgattr::int[], 1), tginitdeferred)::text,"
            " proconfig IS NOT NULL OR prosecdef OR prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')"
            " FROM pg_trigger"
            " JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid"
            " WHERE NOT tgisinternal AND tgname LIKE 'pgtrigger_%'"
        )
        installed = {
            (table, name): (enabled, source, fires, is_bent)
            for table, name, enabled, source, fires, is_bent in cursor.fetchall()
        }
    for model, trigger in pgtrigger.registered():
        subject = f"trigger {trigger.name} on {model._meta.db_table}"
        known = installed.get((model._meta.db_table, trigger.get_pgid(model)), (None, "", "", False))
        enabled, source, fires, is_bent = known
        if enabled is None:
            yield subject, "is missing"
        elif not enabled:
            yield subject, "is switched off"
        elif isinstance(trigger, Guard) and source != trigger.source(model):
            yield subject, "does something else than the code says"
        elif isinstance(trigger, Guard) and fires != trigger.fires(model):
            yield subject, "fires at other times than the code says"
        elif is_bent:
            yield subject, "runs with settings, rights or a language of its own, which the code does not give it"
    yield from _missing_constraints()


def _missing_constraints() -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE convalidated AND conrelid <> 0"
            " UNION SELECT indrelid::regclass::text, indexrelid::regclass::text FROM pg_index WHERE indisvalid"
        )
        standing = set(cursor.fetchall())
    for label in GUARDED_APPS:
        for model in apps.get_app_config(label).get_models():
            for constraint in model._meta.constraints:
                if (model._meta.db_table, constraint.name) not in standing:
                    subject = f"constraint {constraint.name} on {model._meta.db_table}"
                    yield subject, "is missing"
