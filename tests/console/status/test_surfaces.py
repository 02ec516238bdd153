from pathlib import Path

import pytest
import yaml
from django.conf import settings

from console.status import probes
from console.status.surfaces import FILE, all_surfaces, read, shown

# The words of parts and partners that visitors must never read.
NAMES = (
    "alpaca",
    "fidelity",
    "schwab",
    "tradier",
    "heroku",
    "redis",
    "valkey",
    "postgres",
    "celery",
    "django",
)


def test_the_file_is_sound_and_names_no_partner() -> None:
    assert len({surface.id for surface in all_surfaces()}) == len(all_surfaces()) >= 5
    for surface in all_surfaces():
        assert surface.partner_name is None
        assert surface.partner_status_url is None
        words = f"{surface.id} {surface.display_name} {surface.public_description}".lower()
        assert not [name for name in NAMES if name in words]


def test_every_probe_exists_and_is_used() -> None:
    named = {name for surface in all_surfaces() for name in surface.probes}
    assert named == {name for name, _ in probes}


def test_a_surface_with_a_flag_shows_with_the_flag() -> None:
    assert "broker-connectivity" not in [surface.id for surface in shown(())]
    assert "broker-connectivity" in [surface.id for surface in shown({"FLAG_LIVE_HANDOFF"})]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partner_name", "Somebody Inc"),
        ("category", "other"),
        ("id", "Not An Id"),
        ("surprise", 1),
        ("probes", None),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, field: str, value: object) -> None:
    known = yaml.safe_load((Path(settings.BASE_DIR) / FILE).read_text())
    known["surfaces"][0][field] = value
    file = tmp_path / "surfaces.yaml"
    file.write_text(yaml.safe_dump(known))
    with pytest.raises(ValueError, match=r"surfaces\.yaml"):
        read(file)


def test_a_surface_named_twice_is_refused(tmp_path: Path) -> None:
    known = yaml.safe_load((Path(settings.BASE_DIR) / FILE).read_text())
    known["surfaces"].append(known["surfaces"][0])
    file = tmp_path / "surfaces.yaml"
    file.write_text(yaml.safe_dump(known))
    with pytest.raises(ValueError, match="website is named twice"):
        read(file)
