import asyncio
import threading
from collections.abc import Coroutine, Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import models
from app.engine.cache import ByteLRU
from app.engine.engine import Answer, ClientLeft, Engine, Overdue, Stopping
from app.engine.places import QueueFull
from app.engine.registry import NetworkRegistry
from app.engine.single_flight import SingleFlight
from app.photos.store import Photo
from tests.refusals import refused
from tests.serving import settings_in


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def first_of(key: Hashable) -> Any:
    assert isinstance(key, tuple)
    return key[0]


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = Engine(settings_in(tmp_path, random_weights=True, networks="lenet5,alexnet2012"))
    yield engine
    engine.close()


def square(name: str = "a", colour: int = 90) -> Photo:
    picture = Image.new("RGB", (40, 40), (colour, 20, 20))
    picture.paste((250, 250, 250), (10, 10, 30, 20))
    return Photo(name, name, "PNG", picture)


def test_what_was_used_least_recently_leaves_first() -> None:
    held: ByteLRU[str, int] = ByteLRU(10)
    held.put("a", 1, 4)
    held.put("b", 2, 4)
    assert held.get("a") == 1
    held.put("c", 3, 4)
    assert held.keys() == ("a", "c") and held.nbytes == 8


def test_a_value_beyond_the_budget_is_not_held() -> None:
    held: ByteLRU[str, int] = ByteLRU(10)
    held.put("a", 1, 4)
    held.put("b", 2, 40)
    assert held.keys() == () and held.nbytes == 0


def test_where_the_last_value_always_stays_it_is_held_alone_beyond_the_budget() -> None:
    held: ByteLRU[str, int] = ByteLRU(10, always_last=True)
    held.put("a", 1, 4)
    held.put("b", 2, 40)
    assert held.keys() == ("b",) and held.nbytes == 40


def test_a_value_put_again_is_counted_once() -> None:
    held: ByteLRU[str, int] = ByteLRU(10)
    held.put("a", 1, 4)
    held.put("a", 2, 6)
    assert held.get("a") == 2 and held.nbytes == 6
    held.forget("a")
    assert held.get("a") is None and held.nbytes == 0


def test_the_same_work_asked_for_by_many_is_done_once() -> None:
    async def work() -> None:
        flights, begun = SingleFlight(), 0

        async def compute() -> int:
            nonlocal begun
            begun += 1
            await asyncio.sleep(0.01)
            return begun

        assert await asyncio.gather(*(flights.join("key", compute) for _ in range(50))) == [1] * 50
        assert await flights.join("key", compute) == 2
        assert "key" not in flights

    run(work())


def test_a_failure_reaches_all_who_asked_and_is_not_kept() -> None:
    async def work() -> None:
        flights = SingleFlight()

        async def fail() -> int:
            await asyncio.sleep(0.01)
            raise ValueError("no")

        results = await asyncio.gather(
            *(flights.join("key", fail) for _ in range(3)), return_exceptions=True
        )
        assert [type(each) for each in results] == [ValueError] * 3
        assert "key" not in flights

    run(work())


def test_work_goes_on_while_one_of_those_who_asked_still_waits() -> None:
    async def work() -> None:
        flights, ended = SingleFlight(), []

        async def compute() -> int:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                ended.append("dropped")
                raise
            return 7

        first, second = (asyncio.create_task(flights.join("key", compute)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == 7 and not ended
        alone = asyncio.create_task(flights.join("key", compute))
        await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.sleep(0.01)
        assert ended == ["dropped"]

    run(work())


def test_work_cancelled_in_the_queue_never_runs(engine: Engine) -> None:
    async def work() -> None:
        release, ran = threading.Event(), []
        running = asyncio.create_task(engine.on_device(release.wait))
        waiting = asyncio.create_task(engine.on_device(lambda: ran.append(1)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.sleep(0.05)
        release.set()
        await running
        await engine.on_device(lambda: None)
        assert not ran

    run(work())


def test_a_full_queue_says_when_to_ask_again(tmp_path: Path) -> None:
    engine = Engine(settings_in(tmp_path, queue_limit=2))
    with engine.places.one(), engine.places.one():
        with refused(QueueFull, match=r"again in [1-9]\d* s"), engine.places.one():
            pass
    with engine.places.one():
        pass
    engine.close()


def test_the_time_to_ask_again_follows_the_measured_time(engine: Engine) -> None:
    async def work() -> None:
        for _ in range(30):
            await engine.on_device(lambda: None)

    engine._service_seconds = 60.0
    with engine.places.one():
        assert engine.retry_after() == 60
        run(work())
        assert engine.retry_after() == 1


def test_a_request_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    engine = Engine(settings_in(tmp_path, request_seconds=0.05))
    with refused(Overdue, match=r"longer than 0.05 s"):
        run(engine.with_deadline(asyncio.sleep(5)))
    engine.close()


def test_the_event_loop_is_free_while_the_device_computes(engine: Engine) -> None:
    async def work() -> None:
        release = threading.Event()
        running = asyncio.create_task(engine.on_device(release.wait))
        for _ in range(10):
            await asyncio.sleep(0)
        release.set()
        assert await running

    run(asyncio.wait_for(work(), 5))


def test_a_forward_pass_is_recorded_once_for_every_layer(engine: Engine) -> None:
    async def work() -> None:
        network = await engine.network("lenet5")
        for layer in ("c1", "c2"):
            view = await engine.see(square(), network, models.Choice(layer=layer, top=2))
            assert view.layer == layer
        assert len(engine.records) == 1
        assert engine.records.nbytes > 0

    run(work())


def test_the_same_view_is_the_same_object(engine: Engine) -> None:
    async def work() -> None:
        network = await engine.network("lenet5")
        choice = models.Choice(top=2)
        assert await engine.see(square(), network, choice) is await engine.see(
            square(), network, models.Choice(top=2)
        )

    run(work())


def test_networks_leave_within_the_memory_budget(tmp_path: Path) -> None:
    engine = Engine(
        settings_in(tmp_path, random_weights=True, networks="lenet5,alexnet", network_bytes=10**6)
    )

    async def work() -> None:
        await engine.network("alexnet")
        assert len(engine.networks) == 1
        small = await engine.network("lenet5")
        assert [first_of(key) for key in engine.networks.keys()] == ["lenet5"]
        assert engine.networks.nbytes == small.nbytes < 10**6

    run(work())
    engine.close()


def test_a_network_asked_for_by_many_is_loaded_once(engine: Engine) -> None:
    async def work() -> None:
        first, *rest = await asyncio.gather(*(engine.network("lenet5") for _ in range(8)))
        assert all(each is first for each in rest)

    run(work())


def test_networks_are_kept_by_their_weights(tmp_path: Path) -> None:
    engine = Engine(settings_in(tmp_path))

    async def work() -> None:
        starter, random = await engine.network("lenet5"), await engine.network("lenet5", "random")
        assert starter.provenance.trained and not random.provenance.trained
        assert await engine.network("lenet5", "starter") is starter
        assert await engine.network("lenet5", "random") is random
        assert await engine.network("lenet5", starter.provenance.sha256[:8]) is starter
        seen = [
            await engine.see(square(), each, models.Choice(top=2)) for each in (starter, random)
        ]
        assert [each.provenance.source for each in seen] == ["starter", "random"]
        assert len(engine.records) == 2

    run(work())
    engine.close()


def test_random_weights_do_not_stand_for_those_that_are_missing(tmp_path: Path) -> None:
    engine = Engine(settings_in(tmp_path))

    async def work() -> None:
        await engine.network("alexnet2012", "random")
        with refused(models.WeightsMissing, match="alexnet2012"):
            await engine.network("alexnet2012")

    run(work())
    engine.close()


def test_the_network_used_by_default_is_the_first_ready_favourite(tmp_path: Path) -> None:
    ready = NetworkRegistry(settings_in(tmp_path))
    assert ready.default() == "zfnet"
    without = NetworkRegistry(settings_in(tmp_path, networks="vgg11,vgg19"))
    assert without.default() == "vgg11"


def test_only_networks_on_offer_are_known(engine: Engine) -> None:
    assert tuple(engine.registry.architectures) == ("lenet5", "alexnet2012")
    with refused(models.UnknownNetwork, match="lenet5, alexnet2012"):
        run(engine.network("zfnet"))


def test_missing_weights_are_said_with_the_way_out(tmp_path: Path) -> None:
    engine = Engine(settings_in(tmp_path))
    with refused(models.WeightsMissing, match="vgg19"):
        run(engine.network("vgg19"))
    engine.close()


def test_all_that_came_from_a_photo_is_forgotten_with_it(engine: Engine) -> None:
    async def work() -> None:
        network = await engine.network("lenet5")
        for photo in (square("a"), square("b", 200)):
            await engine.see(photo, network, models.Choice(top=1))
        engine.forget("a")
        held = [*engine.records.keys(), *engine.answers.keys()]
        assert held
        for key in held:
            assert isinstance(key, tuple) and "b" in key and "a" not in key

    run(work())


def test_who_leaves_is_noticed() -> None:
    from app.web.dependencies import until_disconnect

    class Gone:
        async def receive(self) -> dict[str, str]:
            await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

    with pytest.raises(ClientLeft):
        run(until_disconnect(Gone(), asyncio.sleep(5)))  # type: ignore[arg-type]


def test_the_device_s_thread_computes_on_every_core(engine: Engine) -> None:
    # a thread that has said nothing runs torch's pooling on one core
    assert run(engine.on_device(torch.get_num_threads)) == torch.get_num_threads()


def test_what_runs_beside_the_device_leaves_it_the_cores(engine: Engine) -> None:
    assert run(engine.beside(torch.get_num_threads)) == 1


def test_views_answers_and_maps_share_one_budget(tmp_path: Path) -> None:
    budget = 60_000
    engine = Engine(settings_in(tmp_path, random_weights=True, answer_bytes=budget))

    async def encoded() -> Answer:
        return Answer(bytes(20_000))

    async def work() -> None:
        network = await engine.network("lenet5")
        for number in range(6):
            photo = square(f"photo {number}", 40 * number)
            view = await engine.see(photo, network, models.Choice(layer="c1", top=6))
            await engine.overlay(photo, network, "c1", "crop", view.projections[0].feature)
            await engine.answer(("answer", photo.id), encoded)
            assert engine.answers.nbytes <= budget

    run(work())
    kinds = [first_of(key) for key in engine.answers.keys()]
    assert set(kinds) == {"view", "walk", "maps", "answer"}
    held = [engine.answers.get(key) for key in engine.answers.keys()]
    assert engine.answers.nbytes == sum(each.nbytes for each in held if each)
    engine.close()


def test_a_photo_is_framed_and_pictures_are_drawn_while_the_device_is_busy(engine: Engine) -> None:
    photo, released = square(), threading.Event()

    async def work() -> None:
        network = await engine.network("lenet5")
        record = await engine.record(photo, network, "crop")
        found = await engine.on_device(lambda: models.reconstruct(record, models.Choice(top=2)))
        busy = asyncio.ensure_future(engine.on_device(released.wait))
        await engine.beside(lambda: models.frame_photo(photo.picture, network.preprocessing))
        view = await engine.beside(lambda: models.draw(record, models.Choice(top=2), found))
        assert len(view.projections) == 2 and not busy.done()
        released.set()
        await busy

    run(asyncio.wait_for(work(), 60))


def test_a_click_reads_only_the_framed_photo(engine: Engine) -> None:
    class Unreadable(Image.Image):
        """A photo of which nothing but the size may be read."""

        def convert(self, *args: Any, **options: Any) -> Image.Image:
            raise AssertionError("the full photo was read again")

    async def work() -> None:
        network = await engine.network("lenet5")
        first = await engine.see(square(), network, models.Choice(layer="c1"))
        gone = replace(square(), picture=Unreadable())
        again = await engine.see(gone, network, models.Choice(layer="c2"))
        await engine.overlay(gone, network, "c2", "crop", again.projections[0].feature)
        assert again.frame == first.frame

    run(work())


def test_long_work_takes_turns_on_the_device_with_what_is_quick(engine: Engine) -> None:
    order: list[str] = []

    def long() -> Iterator[str]:
        for number in range(3):
            order.append(f"step {number}")
            yield f"result {number}"

    async def work() -> None:
        run = asyncio.ensure_future(engine.in_turns(long()))
        await asyncio.sleep(0)
        quick = asyncio.ensure_future(engine.on_device(lambda: order.append("quick")))
        assert await run == "result 2"
        await quick

    asyncio.run(work())
    assert order.index("quick") < order.index("step 2")


def test_work_that_needs_no_device_leaves_it_to_others(engine: Engine) -> None:
    threads: list[str] = []

    def long() -> Iterator[models.Progress | str]:
        for beside in (False, True, False):
            threads.append(threading.current_thread().name.partition("_")[0])
            yield models.Progress(0, 3, beside=beside)
        threads.append(threading.current_thread().name.partition("_")[0])
        yield "result"

    assert asyncio.run(engine.in_turns(long())) == "result"
    assert threads == ["device", "device", "encoder", "device"]


def test_stopping_ends_what_would_take_longer_than_the_drain(engine: Engine) -> None:
    async def work() -> None:
        running = asyncio.ensure_future(engine.with_deadline(asyncio.sleep(60)))
        await asyncio.sleep(0.01)
        engine.stop_within(0.05)
        with refused(Stopping, match="The server is stopping"):
            await running
        with pytest.raises(Stopping):
            await engine.with_deadline(asyncio.sleep(60))

    run(asyncio.wait_for(work(), 20))
