"""pgtrigger's list of triggers, as ours stands in for it, still refuses a name that is taken."""

import pgtrigger
import pytest
from pgtrigger import registry

from billing_site.database.triggers import NamedTriggers
from invoicing.invoices.models import Invoice
from metering.models import Meter


def a_trigger(name: str, **options: str) -> pgtrigger.Trigger:
    return pgtrigger.Trigger(
        name=name, when=pgtrigger.Before, operation=pgtrigger.Delete, func=options.get("func", "RETURN NULL;")
    )


def test_our_list_knows_the_names_that_pgtriggers_own_would_list() -> None:
    ours = registry._registry

    assert isinstance(ours, NamedTriggers) and len(ours) > 400
    assert ours.by_db_table == registry._Registry.by_db_table.fget(ours)
    assert ours.pg_function_names == registry._Registry.pg_function_names.fget(ours)


def test_a_name_that_is_taken_is_refused_and_one_that_was_given_back_is_free() -> None:
    first, second = a_trigger("told_once"), a_trigger("told_once", func="RETURN OLD;")
    first.register(Meter)
    try:
        with pytest.raises(KeyError, match="already used"):
            second.register(Meter)
        second.register(Invoice)
        second.unregister(Invoice)
    finally:
        first.unregister(Meter)

    second.register(Meter)
    second.unregister(Meter)
    assert "told_once" not in {name for _table, name in registry._registry.by_db_table}
    assert not any("told_once" in name for name in registry._registry.pg_function_names)
