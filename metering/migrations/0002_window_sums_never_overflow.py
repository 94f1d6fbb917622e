from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='usagewindow',
            name='value',
            field=models.DecimalField(decimal_places=12, max_digits=60),
        ),
    ]
