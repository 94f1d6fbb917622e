"""What the application may do with each table: it owns none, and what guards carve in stone it can add to, not change.

The owner grants this after each migration. Guards refuse the same once more, whoever asks; a privilege that is missing
leaves nothing to talk out of its duty: no DDL, no TRUNCATE, no trigger to disable, no session_replication_role.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pgtrigger
from django.db import IntegrityError, ProgrammingError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from billing_site.database.errors import ApplicationRoleError
from billing_site.database.settings import EMBEDDED_ENGINE
from billing_site.kernel.guard import Guard

READ, ADD, CHANGE, REMOVE = "SELECT", "INSERT", "UPDATE", "DELETE"
EVERYTHING = (READ, ADD, CHANGE, REMOVE)
NEVER = "FALSE"
# Of append-only tables these are locked row by row (`FOR NO KEY UPDATE`), which takes the right to update one column at
# least; what the guard `append_only` refuses all the same.
LOCKED = {
    "invoicing_usagecorrection": "id",
    "invoicing_creditgrant": "id",
    "invoicing_bankaccount": "id",
    "invoicing_bankline": "id",
}
# Written by migrations and asked by everybody.
READ_ONLY = ("django_migrations",)
# Tables of ours without a carved row: their own guards and constraints decide.
ORDINARY = (
    "dunning_dunningcase",
    "dunning_escalation",
    "dunning_hold",
    "dunning_noticetemplate",
    "dunning_policyassignment",
    "dunning_promise",
    "invoicing_account",
    "invoicing_accountmapping",
    "invoicing_billingrun",
    "invoicing_books",
    "invoicing_budget",
    "invoicing_callbucket",
    "invoicing_chargeattempt",
    "invoicing_commitment",
    "invoicing_commitmenttranche",
    "invoicing_customer",
    "invoicing_customertax",
    "invoicing_failurestreak",
    "invoicing_invoicehold",
    "invoicing_invoiceseries",
    "invoicing_keyround",
    "invoicing_legalentity",
    "invoicing_lineedit",
    "invoicing_meterreport",
    "invoicing_meterreporting",
    "invoicing_objection",
    "invoicing_payout",
    "invoicing_plan",
    "invoicing_plan_add_on_to",
    "invoicing_priceoverride",
    "invoicing_product",
    "invoicing_progressivethreshold",
    "invoicing_pushintent",
    "invoicing_rendereddocument",
    "invoicing_renderingfailure",
    "invoicing_servicerestriction",
    "invoicing_repaircase",
    "invoicing_spendprogress",
    "invoicing_spendwatch",
    "invoicing_stripecustomer",
    "invoicing_stripelook",
    "invoicing_stripenotice",
    "invoicing_stripesubscription",
    "invoicing_stripetransaction",
    "invoicing_subscription",
    "invoicing_subscriptionmismatch",
    "invoicing_subscriptionphase",
    "invoicing_topup",
    "invoicing_topuprule",
    "invoicing_withdrawal",
    "metering_eventconflict",
    "metering_eventtree",
    "metering_keyhorizon",
    "metering_meter",
    "metering_rollupprogress",
    "metering_unappliedevent",
    "metering_uniquevalue",
    "metering_unsettledhour",
    "metering_usagewindow",
)
OWN_RELATIONS = """
    SELECT relname, relkind = 'S', relispartition FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'S')
      AND pg_has_role(relowner, 'MEMBER') ORDER BY relname
"""
# What the owner does for whoever may call it: months of events are made, and dropped once they are archived.
DEFINERS = """
    SELECT oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace AND prosecdef AND pg_has_role(proowner, 'MEMBER') ORDER BY 1
"""


@dataclass(frozen=True)
class Privileges:
    """What may be done with the rows of a table; `columns` are those that may be updated where not all may."""

    actions: tuple[str, ...]
    columns: tuple[str, ...] = ()


def stated_privileges() -> dict[str, Privileges]:
    """Return the privileges of every table of ours: what its guards carve in stone can be added to, not changed."""
    stated = {table: Privileges((READ,)) for table in READ_ONLY} | {table: Privileges(EVERYTHING) for table in ORDINARY}
    for model, trigger in pgtrigger.registered():
        if isinstance(trigger, Guard) and trigger.carving:
            table = model._meta.db_table
            is_open_at_times = trigger.carving.closed not in ("TRUE", f"NOT coalesce(({NEVER}), FALSE)")
            columns = (*trigger.carving.free_columns, *([LOCKED[table]] if table in LOCKED else []))
            stated[table] = Privileges(EVERYTHING) if is_open_at_times else Privileges((READ, ADD), columns)
    return stated


def grant_privileges(*, connection: BaseDatabaseWrapper, role: str) -> None:
    """Let the role do what the application needs, and nothing else; again changes nothing.

    For the owner's connection. The embedded server's role is made if it is missing; raises ApplicationRoleError where the role of
    another server is not there.
    """
    stated = stated_privileges()
    name = sql.Identifier(role)
    with connection.cursor() as cursor:
        _make_sure_of(role, cursor=cursor, is_embedded=connection.settings_dict["ENGINE"] == EMBEDDED_ENGINE)
        cursor.execute("SELECT current_database(), current_schema()")
        database, schema = (sql.Identifier(part) for part in cursor.fetchone())
        cursor.execute(OWN_RELATIONS)
        relations = cursor.fetchall()
    # In one transaction: who works meanwhile never finds a table closed.
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for statement in (
            "GRANT CONNECT ON DATABASE {database} TO {role}",
            # Guards read other tables by their names, and a table of the caller's own would stand in the place of ours.
            "GRANT TEMPORARY ON DATABASE {database} TO CURRENT_USER",
            "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {role}",
            "GRANT USAGE ON SCHEMA {schema} TO {role}",
            # What no migration has stated, the months of events among it, can be read and no more.
            "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}",
        ):
            cursor.execute(sql.SQL(statement).format(database=database, schema=schema, role=name))
        cursor.execute(DEFINERS)
        for (function,) in cursor.fetchall():
            cursor.execute(sql.SQL(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC"))
            cursor.execute(sql.SQL(f"GRANT EXECUTE ON FUNCTION {function} TO {{role}}").format(role=name))
        for relation, is_sequence, is_month in relations:
            privileges = Privileges((READ,)) if is_month else stated.get(relation, Privileges(EVERYTHING))
            for statement in _statements(privileges, is_sequence=is_sequence):
                cursor.execute(sql.SQL(statement).format(relation=sql.Identifier(relation), role=name))


def _statements(privileges: Privileges, *, is_sequence: bool) -> Iterator[str]:
    if is_sequence:
        yield "GRANT USAGE, SELECT ON SEQUENCE {relation} TO {role}"
        return
    yield "REVOKE ALL ON {relation} FROM {role}"
    yield f"GRANT {', '.join(privileges.actions)} ON {{relation}} TO {{role}}"
    if privileges.columns:
        yield f"GRANT UPDATE ({', '.join(privileges.columns)}) ON {{relation}} TO {{role}}"


def missing_privileges(*, connection: BaseDatabaseWrapper, role: str) -> list[str]:
    """Return what the role lacks, as "INSERT on invoicing_invoice"; all of it where there is no such role."""
    stated = stated_privileges()
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
        if not cursor.rowcount:
            return [f"everything: there is no role {role}"]
        cursor.execute(OWN_RELATIONS)
        wanted = [
            (relation, action)
            for relation, is_sequence, is_month in cursor.fetchall()
            if not is_sequence and not is_month
            for action in stated.get(relation, Privileges(EVERYTHING)).actions
        ]
        cursor.execute(
            "SELECT action || ' on ' || relation FROM unnest(%s::text[], %s::text[]) AS wanted(relation, action)"
            " WHERE NOT has_table_privilege(%s, relation, action)",
            [[relation for relation, _ in wanted], [action for _, action in wanted], role],
        )
        return [row[0] for row in cursor.fetchall()]


def may_shadow(*, connection: BaseDatabaseWrapper, role: str) -> bool:
    """Tell whether a role can make tables or functions, temporary ones too, that guards would find in the place of ours."""
    return _holds_of(
        role,
        """
        has_database_privilege(rolname, current_database(), 'TEMPORARY')
        OR has_database_privilege(rolname, current_database(), 'CREATE')
        OR has_schema_privilege(rolname, current_schema(), 'CREATE')
        """,
        connection=connection,
    )


def owns_nothing(*, connection: BaseDatabaseWrapper, role: str) -> bool:
    """Tell whether a role owns no table and cannot become one that does, or give itself more."""
    return _holds_of(
        role,
        """
        NOT (rolsuper OR rolcreaterole OR rolbypassrls) AND NOT EXISTS (
            SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
               AND pg_has_role(rolname, relowner, 'MEMBER')
        )
        """,
        connection=connection,
    )


def _holds_of(role: str, condition: str, *, connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a condition in SQL about a row of `pg_roles` holds of a role; of one that is not there nothing does."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {condition} FROM pg_roles WHERE rolname = %s", [role])
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def _make_sure_of(role: str, *, cursor: Any, is_embedded: bool) -> None:
    cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
    if cursor.rowcount:
        return
    if not is_embedded:
        raise ApplicationRoleError(role=role)
    # Databases of one server are migrated side by side by tests: the other one has made it then.
    with contextlib.suppress(ProgrammingError, IntegrityError):
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
