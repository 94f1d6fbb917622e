"""An API key is written so wherever people read it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("api", "0001_initial")]

    operations = [migrations.AlterModelOptions(name="apikey", options={"verbose_name": "API key"})]
