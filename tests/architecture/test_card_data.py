"""No card data ever reaches us: no page asks for it and no table could hold it."""

import re
from pathlib import Path

import pytest
from django.apps import apps

ROOT = Path(__file__).parents[2]
OURS = ("metering", "invoicing", "dunning", "marketplaces", "backoffice", "portal", "api")
# What a field for a card would be called, or say to the browser.
ASKS_FOR_CARD = re.compile(r"cc-(number|csc|exp)|card[_-]?number|\bcvc\b|\bcvv\b|\bpan\b", re.IGNORECASE)


@pytest.mark.requirement("S2-038")
def test_no_page_asks_for_a_card_and_no_column_could_keep_one() -> None:
    pages = [path for path in (ROOT / "templates").rglob("*.*") if ASKS_FOR_CARD.search(path.read_text())]
    forms = [
        path
        for app in ("invoicing", "billing_site/portal", "billing_site/backoffice", "billing_site/api", "dunning")
        for path in (ROOT / app).rglob("*.py")
        if ASKS_FOR_CARD.search(path.read_text())
    ]
    columns = [
        f"{model._meta.label}.{field.name}"
        for model in apps.get_models()
        if model._meta.app_label in OURS
        for field in model._meta.get_fields()
        if ASKS_FOR_CARD.search(field.name)
    ]

    assert (pages, forms, columns) == ([], [], [])
    assert len(list((ROOT / "templates").rglob("*.html"))) > 50, "it has looked somewhere"
