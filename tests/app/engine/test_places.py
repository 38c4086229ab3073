import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from app.engine.places import AT_ONCE, PROMISES, Places, QueueFull
from tests.refusals import refused

VIEW = ("photo", "zfnet", "conv5")


@pytest.fixture
def places() -> Iterator[Places]:
    places = Places(2, 100, lambda: 7)
    yield places
    assert places.taken == 0 and places.idle.is_set()


def test_all_pictures_of_a_view_share_one_place(places: Places) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(64):
            held.enter_context(places.of_view(VIEW))
        assert places.taken == 1
        held.enter_context(places.one())
        with refused(QueueFull, match="again in 7 s"), places.one():
            pass
        held.enter_context(places.of_view(VIEW))


def test_pictures_of_a_view_that_nobody_answered_find_no_place_in_a_full_queue(
    places: Places,
) -> None:
    with places.one(), places.one():
        with refused(QueueFull, match="again in 7 s"), places.of_view(VIEW):
            pass
        places.promise(VIEW)
        with places.of_view(VIEW):
            assert places.taken == 3
            with refused(QueueFull, match="busy"), places.one():
                pass


def test_too_many_pictures_of_one_view_are_refused(places: Places) -> None:
    places.promise(VIEW)
    with contextlib.ExitStack() as held:
        for _ in range(100):
            held.enter_context(places.of_view(VIEW))
        with refused(QueueFull, match="busy"), places.of_view(VIEW):
            pass


def test_old_promises_are_forgotten(places: Places) -> None:
    places.promise(VIEW)
    places.promise(*((str(number),) for number in range(PROMISES)))
    with places.one(), places.one(), refused(QueueFull, match="busy"), places.of_view(VIEW):
        pass


def test_a_view_that_asks_for_much_leaves_turns_to_others(places: Places) -> None:
    """However many pictures one asks for, no more than its share of them runs at a time."""
    running, most = 0, 0

    async def picture() -> None:
        nonlocal running, most
        with places.of_view(VIEW) as turns:
            async with turns:
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

    async def work() -> None:
        await asyncio.gather(*(picture() for _ in range(50)))

    asyncio.run(work())
    assert most == AT_ONCE


def test_who_leaves_gives_the_place_to_the_others_of_the_view(places: Places) -> None:
    with places.of_view(VIEW):
        with contextlib.suppress(ValueError), places.of_view(VIEW):
            raise ValueError
        assert places.taken == 1
