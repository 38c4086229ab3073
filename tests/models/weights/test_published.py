"""What is written down of published weights, held against those who publish them."""

import subprocess
import sys

import pytest
from torchvision.models import get_model_weights, list_models

from models.networks.catalogue import ARCHITECTURES
from models.weights.published import PUBLISHED, TORCHVISION, error_rates


def test_every_network_that_torchvision_publishes_is_written_down() -> None:
    assert set(TORCHVISION) == set(ARCHITECTURES) & set(list_models())


@pytest.mark.parametrize("name", TORCHVISION)
def test_what_is_written_down_is_what_torchvision_says(name: str) -> None:
    theirs, offer = get_model_weights(name)["IMAGENET1K_V1"], PUBLISHED[name]
    assert offer.url == theirs.url
    assert theirs.url.endswith(f"-{offer.digest}.pth") and len(offer.digest) == 8
    assert offer.nbytes == round(theirs.meta["_file_size"] * 2**20)
    accuracy = theirs.meta["_metrics"]["ImageNet-1K"]
    (said,) = (each for each in error_rates(name) if each.source == "torchvision")
    assert said.top1 == pytest.approx(100 - accuracy["acc@1"], abs=0.005)
    assert said.top5 == pytest.approx(100 - accuracy["acc@5"], abs=0.005)


def test_neither_a_server_nor_a_command_waits_for_torchvisions_models() -> None:
    program = "import sys, app.main, models.weights.published; print('torchvision' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout == "False\n", answer.stderr
