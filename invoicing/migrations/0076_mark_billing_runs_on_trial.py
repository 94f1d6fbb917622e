"""Let a billing run say of which proposed run it was the trial: the list of runs leaves trials out."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invoicing', '0075_find_invoices_by_their_numbers'),
    ]

    operations = [
        migrations.AddField(
            model_name='billingrun',
            name='trial_of',
            field=models.CharField(blank=True, db_default='', help_text='The proposed run of which it was the trial: it only drafts.', max_length=100),
        ),
    ]
