from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("DECONVNET_")]:
        monkeypatch.delenv(name)


def test_the_promised_defaults_hold() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.allowed_hosts == ("127.0.0.1", "localhost", "::1")
    assert settings.max_upload_bytes == 16 * 2**20
    assert (settings.max_pixels, settings.max_side, settings.max_aspect) == (50e6, 16_384, 32)
    assert (settings.max_scans, settings.decode_seconds, settings.decode_bytes) == (100, 5, 2**30)
    assert (settings.max_projections, settings.device) == (256, "auto")
    assert not settings.offline and not settings.random_weights and settings.api_token is None


def test_every_setting_is_explained_in_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description and field.description.endswith("."), name


def test_settings_come_from_prefixed_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECONVNET_ALLOWED_HOSTS", "example.org, *")
    monkeypatch.setenv("DECONVNET_NETWORKS", "zfnet,vgg16")
    monkeypatch.setenv("DECONVNET_UPLOAD_TTL", "3600")
    monkeypatch.setenv("DECONVNET_OFFLINE", "1")
    monkeypatch.setenv("DECONVNET_DATA_DIR", "~/photos")
    settings = Settings()
    assert settings.allowed_hosts == ("example.org", "*")
    assert settings.networks == ("zfnet", "vgg16")
    assert settings.upload_ttl == 3600
    assert settings.offline is True
    assert settings.data_dir == Path.home() / "photos"


def test_an_empty_token_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECONVNET_API_TOKEN", "")
    assert Settings().api_token is None


def test_a_token_is_never_printed() -> None:
    assert "hush" not in repr(Settings(api_token="hush"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("DEVICE", "tpu"), ("MAX_PIXELS", "0"), ("QUEUE_LIMIT", "-1")],
)
def test_a_setting_that_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"DECONVNET_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
