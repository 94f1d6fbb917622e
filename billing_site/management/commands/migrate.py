"""`manage.py migrate`: Django's own, which spares a new database the long way through the longest migrations."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from billing_site.database.errors import ApplicationRoleError
from billing_site.database.fast_migrations import (
    APPS,
    create_tables_at_once,
    migrate_what_stands_apart,
    migrating_alone,
)
from billing_site.database.privileges import grant_privileges

# With any of these the command only looks, or changes the record instead of the database.
OTHER_ERRANDS = ("migration_name", "plan", "check_unapplied", "prune", "fake", "fake_initial")
LOOKS_ONLY = ("plan", "check_unapplied")


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
            # Tables that are new belong to the owner: web and worker may do nothing with them until it says so.
            if settings.DATABASE_APPLICATION_USER and not any(options.get(errand) for errand in LOOKS_ONLY):
                try:
                    grant_privileges(connection=connection, role=settings.DATABASE_APPLICATION_USER)
                except ApplicationRoleError as problem:
                    raise CommandError(str(problem)) from problem

    def _create_tables_at_once(self, *, connection: BaseDatabaseWrapper, app_label: str | None) -> None:
        """Take the short way for each app that the targets of this run include, where the database is new."""
        leaves = MigrationLoader(connection).graph.leaf_nodes()
        targets = [key for key in leaves if app_label in (None, key[0])]
        if app_label is None:
            migrate_what_stands_apart(connection=connection, targets=targets)
        for app in APPS:
            made = create_tables_at_once(connection=connection, targets=targets, app=app)
            if made and self.verbosity >= 1:
                self.stdout.write(f"The database is new: the tables of {app} were created at once.")
