"""`manage.py migrate`: Django's own, which spares a new database the long way through the longest migrations."""

from typing import Any

from django.core.management.commands import migrate
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from billing_site.database.fast_migrations import APPS, create_tables_at_once, migrating_alone

# With any of these the command only looks, or changes the record instead of the database.
OTHER_ERRANDS = ("migration_name", "plan", "check_unapplied", "prune", "fake", "fake_initial")


class Command(migrate.Command):
    """Also used by Django's creation of test databases."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, one process at a time."""
        connection = connections[options["database"]]
        with migrating_alone(connection=connection):
            self.verbosity = options["verbosity"]
            if not any(options.get(errand) for errand in OTHER_ERRANDS):
                self._create_tables_at_once(connection=connection, app_label=options["app_label"])
            super().handle(*args, **options)

    def _create_tables_at_once(self, *, connection: BaseDatabaseWrapper, app_label: str | None) -> None:
        """Take the short way for each app that the targets of this run include, where the database is new."""
        leaves = MigrationLoader(connection).graph.leaf_nodes()
        targets = [key for key in leaves if app_label in (None, key[0])]
        for app in APPS:
            made = create_tables_at_once(connection=connection, targets=targets, app=app)
            if made and self.verbosity >= 1:
                self.stdout.write(f"The database is new: the tables of {app} were created at once.")
