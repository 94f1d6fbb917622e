"""What may be asked of legal entities: which to choose from, where there are several."""

from invoicing.entities.models import LegalEntity


def choices_of_entities(*, all_of_them: str = "") -> list[tuple[str, str]]:
    """Return key and name of each legal entity, the first first, after what no choice is called; nothing where there is one: nobody is asked."""
    entities = list(LegalEntity.objects.order_by("pk").values_list("key", "name"))
    if len(entities) < 2:
        return []
    return [("", all_of_them), *entities] if all_of_them else entities
