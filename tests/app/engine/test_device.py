"""A device that hangs, fails or is full: a request fails or is done again, the service goes on."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import models
from app.engine.device import MOST_HUNG, DeviceHung
from app.engine.engine import Engine
from tests.app.engine.test_engine import square
from tests.refusals import refused
from tests.serving import client_in, photo, sent, settings_in, state_of


def failed_kernel() -> None:
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Engine]:
    """An engine that gives a step up after a moment."""
    chosen: dict[str, Any] = {"networks": "lenet5", "random_weights": True, "step_seconds": 0.2}
    engine = Engine(settings_in(tmp_path, **chosen))
    yield engine
    engine.close()


def test_a_step_that_hangs_is_given_up_and_the_next_one_runs(impatient: Engine) -> None:
    release = threading.Event()

    async def work() -> None:
        hangs = asyncio.create_task(impatient.on_device(release.wait))
        waits = asyncio.create_task(impatient.on_device(lambda: 7))
        with refused(DeviceHung, match="more than 0.2 s"):
            await hangs
        assert await waits == 7 and impatient.device.hung == 1
        impatient.device.seconds = 60.0
        view = await impatient.see(square(), await impatient.network("lenet5"), models.Choice())
        assert view.projections
        release.set()
        while impatient.device.hung:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(work(), 30))


def test_where_everything_hangs_nothing_more_is_begun_until_something_ends(
    impatient: Engine,
) -> None:
    release = threading.Event()
    before = threading.active_count()  # other tests' threads may still be ending

    async def work() -> None:
        for _ in range(MOST_HUNG):
            with refused(DeviceHung, match="given up"):
                await impatient.on_device(release.wait)
        for asked in (impatient.on_device(lambda: 7), impatient.check()):
            with refused(DeviceHung, match="given up"):
                await asked
        assert threading.active_count() < before + 20
        release.set()
        impatient.device.seconds = 60.0
        while impatient.device.hung == MOST_HUNG:
            await asyncio.sleep(0.01)
        assert await impatient.on_device(lambda: 7) == 7
        await impatient.check()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_steps_below_the_limit_are_never_given_up_however_long_they_waited(
    impatient: Engine,
) -> None:
    impatient.device.seconds = 2.0

    async def work() -> list[int]:
        def step(number: int) -> int:
            time.sleep(0.1)
            return number

        asked = [impatient.on_device(lambda n=number: step(n)) for number in range(25)]  # type: ignore[misc]
        return await asyncio.gather(*asked)

    assert asyncio.run(work()) == list(range(25)) and not impatient.device.given_up


def test_a_server_that_closes_waits_for_no_step_that_was_given_up(impatient: Engine) -> None:
    release = threading.Event()

    async def work() -> None:
        with refused(DeviceHung, match="given up"):
            await impatient.on_device(release.wait)

    asyncio.run(work())
    start = time.monotonic()
    impatient.close()
    assert time.monotonic() - start < 5
    release.set()


def test_a_device_that_was_not_asked_for_by_name_is_left_when_it_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(settings_in(tmp_path, networks="lenet5", random_weights=True, device="auto"))

    async def work() -> None:
        network = await engine.network("lenet5")
        await engine.see(square(), network, models.Choice())
        engine.registry.device = "cuda"  # as if there had been one
        with refused(models.DeviceLost, match="goes on with the processor: ask again"):
            await engine.on_device(failed_kernel)
        assert engine.registry.device == "cpu" and not engine.networks and not engine.records
        again = await engine.network("lenet5")
        assert again is not network
        assert (await engine.see(square(), again, models.Choice())).projections
        await engine.check()

    asyncio.run(work())
    engine.close()
    assert "illegal memory access" in caplog.text and caplog.records[0].levelno == logging.ERROR


def test_a_device_that_was_asked_for_by_name_is_not_replaced_behind_ones_back(
    tmp_path: Path,
) -> None:
    with client_in(tmp_path, networks="lenet5", random_weights=True, device="cpu") as client:
        assert client.get("/readyz").status_code == 200
        engine: Engine = state_of(client).engine
        engine.device.proven = -1000.0

        def fail(device: str) -> None:
            failed_kernel()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(models, "try_device", fail)
            told = client.get("/readyz")
            assert told.status_code == 503 and "must be started again" in told.text
            assert client.get("/healthz").status_code == 200
            assert b"deconvnet_device_failures_total 1.0" in client.get("/metrics").content
        assert client.get("/readyz").status_code == 200


def test_memory_that_is_full_is_freed_and_the_work_done_once_more(impatient: Engine) -> None:
    tries: list[int] = []

    def work() -> int:
        tries.append(len(impatient.records))
        if impatient.records:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return 7

    async def ask() -> int:
        impatient.device.seconds = 60.0
        await impatient.see(square(), await impatient.network("lenet5"), models.Choice())
        return await impatient.on_device(work)

    assert asyncio.run(ask()) == 7 and tries == [1, 0]


def test_what_never_fits_is_503_and_the_next_request_is_fine(tmp_path: Path) -> None:
    with client_in(tmp_path, networks="lenet5", random_weights=True) as client:

        def full(*arguments: object, **named: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(models, "record_photo", full)
            told = client.post("/visualize", **sent(photo()))
        assert told.status_code == 503 and int(told.headers["Retry-After"]) > 0
        assert "did not suffice" in told.json()["detail"]
        assert client.post("/visualize", **sent(photo())).status_code == 200


def test_a_busy_device_is_ready_and_is_not_tried_while_it_works(impatient: Engine) -> None:
    impatient.device.seconds = 60.0

    async def work() -> None:
        release = threading.Event()
        busy = asyncio.create_task(impatient.on_device(release.wait))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.engine.engine.TRIAL_SECONDS", 0.05)
            await impatient.check()
        release.set()
        assert await busy

    asyncio.run(asyncio.wait_for(work(), 10))


@pytest.mark.parametrize("stage", ["frame", "forward", "walk", "draw", "encode", "decode", "wait"])
def test_the_time_of_every_stage_is_measured(tmp_path: Path, stage: str) -> None:
    with client_in(tmp_path, networks="lenet5", random_weights=True) as client:
        assert client.post("/visualize", **sent(photo())).status_code == 200
        assert f'deconvnet_stage_seconds_count{{stage="{stage}"}} ' in client.get("/metrics").text
