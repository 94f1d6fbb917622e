"""Plan versions say from when and until when they are sold."""

import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0013_say_where_tiers_begin_on_a_change"),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='planversion',
            name='carved_in_stone',
        ),
        migrations.AddField(
            model_name='historicalplanversion',
            name='effective_from',
            field=models.DateTimeField(blank=True, help_text="New subscriptions take this version from then on. Empty: from its publication on, a plan's first since ever.", null=True),
        ),
        migrations.AddField(
            model_name='historicalplanversion',
            name='effective_to',
            field=models.DateTimeField(blank=True, help_text='It is sold until then; who has it keeps it. Empty: until another is sold.', null=True),
        ),
        migrations.AddField(
            model_name='planversion',
            name='effective_from',
            field=models.DateTimeField(blank=True, help_text="New subscriptions take this version from then on. Empty: from its publication on, a plan's first since ever.", null=True),
        ),
        migrations.AddField(
            model_name='planversion',
            name='effective_to',
            field=models.DateTimeField(blank=True, help_text='It is sold until then; who has it keeps it. Empty: until another is sold.', null=True),
        ),
    ]
