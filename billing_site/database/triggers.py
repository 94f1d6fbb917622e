"""pgtrigger's list of triggers, which is told whether a name is taken instead of being searched for it.

For each trigger that is registered pgtrigger lists the names of all that are there; with five hundred of them that was a third of
the CPU of each start of a process.
"""

from typing import Any

from django.db.models import Model
from pgtrigger import Trigger, registry
from pgtrigger.apps import PGTriggerConfig

Registered = tuple[type[Model], Trigger]


class NamedTriggers(registry._Registry):
    """The triggers by their names in the code, and beside them by those that PostgreSQL knows."""

    def __init__(self, *given: Any) -> None:
        self._by_table: dict[tuple[str, str], Trigger] = {}
        self._functions: set[str] = set()
        super().__init__(*given)

    @property
    def by_db_table(self) -> dict[tuple[str, str], Trigger]:
        """Return each trigger by its table and name."""
        return self._by_table

    @property
    def pg_function_names(self) -> set[str]:
        """Return the names of the functions of all triggers."""
        return self._functions

    def __setitem__(self, uri: str, registered: Registered) -> None:
        """Add a trigger; pgtrigger refuses a name that is taken."""
        super().__setitem__(uri, registered)
        model, trigger = registered
        self._by_table[model._meta.db_table, trigger.name] = trigger
        self._functions.add(trigger.get_pgid(model))

    def __delitem__(self, uri: str) -> None:
        """Take a trigger out, and give its names free."""
        model, trigger = self[uri]
        super().__delitem__(uri)
        del self._by_table[model._meta.db_table, trigger.name]
        self._functions.discard(trigger.get_pgid(model))


class TriggersConfig(PGTriggerConfig):
    """pgtrigger with our list; it stands before the apps whose models have triggers."""

    name = "pgtrigger"

    def import_models(self) -> None:
        """Put our list in the place of pgtrigger's before the first model registers a trigger."""
        registry._registry = NamedTriggers(registry._registry.data)
        super().import_models()
