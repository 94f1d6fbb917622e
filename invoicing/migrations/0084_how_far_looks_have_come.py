from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invoicing', '0083_page_of_a_push'),
    ]

    operations = [
        migrations.CreateModel(
            name='StripeLook',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='Which list.', max_length=50, unique=True)),
                ('looked_to', models.DateTimeField()),
            ],
        ),
    ]
