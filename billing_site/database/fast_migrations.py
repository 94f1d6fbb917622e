"""A new database gets the tables of some apps at once instead of through hundreds of migration operations (a minute of CPU).

The tables and their triggers are made as the migration graph ends, and the migrations recorded as applied. A test compares
what PostgreSQL then knows with what the migrations make. A database that has any of it migrates normally. A migration that
only moves data says `elidable=True`: a new database has none.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations import RunPython, RunSQL, SeparateDatabaseAndState

# What an app's tables refer to stands before it.
APPS = ("djstripe", "invoicing", "dunning")
MIGRATION_LOCK_KEY = 0x62696C6C  # "bill", in the database's space of advisory locks
MigrationKey = tuple[str, str]


@contextmanager
def migrating_alone(*, connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let one process at a time migrate the database; the next one finds nothing left to do."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(%s)", [MIGRATION_LOCK_KEY])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_unlock(%s)", [MIGRATION_LOCK_KEY])


def migrate_what_stands_apart(*, connection: BaseDatabaseWrapper, targets: list[MigrationKey]) -> None:
    """Migrate a new database as far as it goes without any of our apps that are made at once.

    Once those are there each step of another app makes the models of all of them anew in memory: half of the CPU of a new database.
    """
    executor = MigrationExecutor(connection)
    if executor.loader.applied_migrations:
        return
    graph = executor.loader.graph
    executor.migrate([key for key in targets if not any(app in APPS for app, _name in graph.forwards_plan(key))])


def create_tables_at_once(*, connection: BaseDatabaseWrapper, targets: list[MigrationKey], app: str) -> bool:
    """Make the tables of an app in their final state where migrating to the targets would; tell whether it was done.

    Not done where any of its migrations is applied, any of its tables exists, or a migration does more than change
    the schema: then the normal way is the right one.
    """
    executor = MigrationExecutor(connection)
    nodes = [key for key in executor.loader.graph.nodes if key[0] == app]
    planned = {(migration.app_label, migration.name) for migration, _backwards in executor.migration_plan(targets)}
    if not nodes or not planned.issuperset(nodes):
        return False
    if not all(_changes_only_the_schema(executor.loader.graph.nodes[key]) for key in nodes):
        return False
    with connection.cursor() as cursor:
        if any(table.startswith(f"{app}_") for table in connection.introspection.table_names(cursor)):
            return False

    _migrate_what_it_needs(executor=executor, nodes=nodes, app=app)
    leaves = [key for key in executor.loader.graph.leaf_nodes() if key[0] == app]
    models = executor.loader.project_state(leaves).apps.get_app_config(app).get_models()
    executor.recorder.ensure_schema()
    with connection.schema_editor(atomic=True) as editor:
        # A trigger, made with its table, may speak of one that comes later.
        editor.execute("SET LOCAL check_function_bodies = off")
        for model in models:
            if model._meta.managed and not model._meta.proxy and not model._meta.swapped:
                editor.create_model(model)
        for key in nodes:
            executor.recorder.record_applied(*key)
    return True


def _migrate_what_it_needs(*, executor: MigrationExecutor, nodes: list[MigrationKey], app: str) -> None:
    """Apply the migrations of other apps that those of an app depend on (contenttypes, auth, metering).

    What is applied is no target: Django would take back what came after it.
    """
    graph = executor.loader.graph
    parents = {parent.key for key in nodes for parent in graph.node_map[key].parents if parent.key[0] != app}
    executor.migrate(sorted(parents - executor.loader.applied_migrations.keys()))


def _changes_only_the_schema(migration: Migration) -> bool:
    """Tell whether the migration's effect on an empty database is fully described by the state that it ends in."""
    return not any(
        isinstance(operation, SeparateDatabaseAndState)
        or (isinstance(operation, RunPython | RunSQL) and not operation.elidable)
        for operation in migration.operations
    )
