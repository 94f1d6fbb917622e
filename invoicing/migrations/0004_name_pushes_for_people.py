"""A push intent is called a push to Stripe wherever people read of it, as in the menu."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0003_guards_that_no_session_switches_off")]

    operations = [
        migrations.AlterModelOptions(
            name="pushintent",
            options={"verbose_name": "push to Stripe", "verbose_name_plural": "pushes to Stripe"},
        )
    ]
