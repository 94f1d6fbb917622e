"""The seller that the settings name becomes the first legal entity: what was issued is its own, and so are its customers and taxes.

A new installation makes it at its first start (`entities.operations.first_entity`).
"""

from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.db import migrations
from django.utils import timezone

MAIN = "main"


def make_the_first(apps, schema_editor):
    """Write the row, and its history, of what is configured."""
    alias = schema_editor.connection.alias
    logo = None
    if settings.SELLER_LOGO:
        content = Path(settings.SELLER_LOGO).read_bytes()
        logo = sha256(content).hexdigest()
        kept = apps.get_model("invoicing", "SellerLogo").objects.using(alias)
        kept.get_or_create(digest=logo, defaults={"content": content})
    fields = {
        **settings.SELLER,
        "key": MAIN,
        "invoice_prefix": settings.INVOICE_NUMBER_PREFIX,
        "credit_note_prefix": settings.CREDIT_NOTE_NUMBER_PREFIX,
        "logo_id": logo,
    }
    entity = apps.get_model("invoicing", "LegalEntity").objects.using(alias).create(**fields)
    apps.get_model("invoicing", "HistoricalLegalEntity").objects.using(alias).create(
        id=entity.pk,
        **fields,
        history_date=timezone.now(),
        history_type="+",
        history_change_reason="migration: the seller that the settings name",
    )


class Migration(migrations.Migration):

    dependencies = [
        ("invoicing", "0052_keep_legal_entities"),
    ]

    operations = [
        migrations.RunPython(make_the_first, migrations.RunPython.noop, elidable=True),
    ]
