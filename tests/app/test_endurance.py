"""Short forms of ``make soak`` and ``make chaos``."""

from pathlib import Path

from tests.app.test_serving import serving
from tests.chaos import HONEST, chaos
from tests.soak import GROWTH, settings, soak


def test_a_server_whose_caches_are_full_grows_no_more(tmp_path: Path) -> None:
    with serving(tmp_path, **settings()) as server:
        found = soak(server, requests=1500, clients=8)
    assert not found.tally.wrong and not found.tally.broken and found.tally.count > 1500
    assert set(found.tally.statuses) <= {200, 204, 303, 404, 415, 422}
    assert found.growth < GROWTH
    assert found.end.descriptors <= found.full.descriptors + 8
    assert found.end.threads <= found.full.threads + 4


def test_whatever_breaks_answers_stay_honest_and_nothing_is_left_behind(tmp_path: Path) -> None:
    found = chaos(tmp_path, seconds=5, clients=4, photos_of_ff=1_000_000)
    assert found.honest >= HONEST and found.tally.count > 10, (
        found.tally.wrong,
        found.tally.broken,
    )
    assert found.after == 200 and not found.orphans and not found.traceback
    assert all(found.faults.values()) and len(found.faults) >= 4
