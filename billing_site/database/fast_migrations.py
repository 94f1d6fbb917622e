"""A new database gets dj-stripe's tables at once instead of through its 520 migration operations (a minute of CPU).

The tables are made as the migration graph ends, and the migrations recorded as applied. A test compares the columns,
indexes and constraints with those that the migrations make. A database that has any of it migrates normally.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations import RunPython, RunSQL, SeparateDatabaseAndState

APP = "djstripe"
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


def create_tables_at_once(*, connection: BaseDatabaseWrapper, targets: list[MigrationKey]) -> bool:
    """Make dj-stripe's tables in their final state where migrating to the targets would; tell whether it was done.

    Not done where any of its migrations is applied, any of its tables exists, or a migration does more than change
    the schema: then the normal way is the right one.
    """
    executor = MigrationExecutor(connection)
    nodes = [key for key in executor.loader.graph.nodes if key[0] == APP]
    planned = {(migration.app_label, migration.name) for migration, _backwards in executor.migration_plan(targets)}
    if not nodes or not planned.issuperset(nodes):
        return False
    if not all(_changes_only_the_schema(executor.loader.graph.nodes[key]) for key in nodes):
        return False
    with connection.cursor() as cursor:
        if any(table.startswith(f"{APP}_") for table in connection.introspection.table_names(cursor)):
            return False

    _migrate_what_it_needs(executor=executor, nodes=nodes)
    leaves = [key for key in executor.loader.graph.leaf_nodes() if key[0] == APP]
    models = executor.loader.project_state(leaves).apps.get_app_config(APP).get_models()
    executor.recorder.ensure_schema()
    with connection.schema_editor(atomic=True) as editor:
        for model in models:
            if model._meta.managed and not model._meta.proxy and not model._meta.swapped:
                editor.create_model(model)
        for key in nodes:
            executor.recorder.record_applied(*key)
    return True


def _migrate_what_it_needs(*, executor: MigrationExecutor, nodes: list[MigrationKey]) -> None:
    """Apply the migrations of other apps that dj-stripe's depend on (contenttypes, auth)."""
    graph = executor.loader.graph
    parents = {parent.key for key in nodes for parent in graph.node_map[key].parents if parent.key[0] != APP}
    executor.migrate(sorted(parents))


def _changes_only_the_schema(migration: Migration) -> bool:
    """Tell whether the migration's effect is fully described by the state that it ends in."""
    beyond = (RunPython, RunSQL, SeparateDatabaseAndState)
    return not any(isinstance(operation, beyond) for operation in migration.operations)
