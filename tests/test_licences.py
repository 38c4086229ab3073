import pytest

from tests.licences import known, licences


def test_packages_scripts_weights_and_samples_have_licences_that_are_known() -> None:
    found = list(licences())
    assert {kind for kind, _, _ in found} == {"package", "script", "weights", "sample"}
    assert len(found) > 60
    assert not [each for each in found if not known(each[2])]


@pytest.mark.parametrize(
    "licence", ["GPLv2", "none", "MIT AND GPL-3.0", "CC BY-NC 4.0", "", "MITx"]
)
def test_a_licence_that_asks_for_more_is_not_among_them(licence: str) -> None:
    assert not known(licence)
