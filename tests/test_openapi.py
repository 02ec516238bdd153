"""docs/openapi.yaml is what the code says."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

COMMITTED = Path(__file__).resolve().parent.parent / "docs" / "openapi.yaml"


@pytest.mark.django_db
def test_the_committed_api_description_is_the_code_s_own() -> None:
    out = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=out)
    assert out.getvalue().strip() == COMMITTED.read_text().strip(), (
        "the API changed: write the new description with `manage.py spectacular --file docs/openapi.yaml`"
    )
