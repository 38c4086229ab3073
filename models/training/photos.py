"""Photos of a folder as batches of pixels, in an order that only seed and epoch decide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from models.errors import InvalidChoice
from models.networks.preprocessing import Preprocessing, framed, to_pixels
from models.training.config import TrainingConfig
from models.training.processes import rank, world_size

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder


def read_photo(file: Path | str) -> Image.Image:
    """Read a photo of a data set upright, as RGB on white; 16-bit grey is scaled, not clipped.

    Raises what Pillow does for what is none.
    """
    with Image.open(file) as opened:
        photo = ImageOps.exif_transpose(opened)
        if photo.mode.startswith("I;16"):
            photo = Image.fromarray(np.rint(np.asarray(photo) / 257).astype(np.uint8))
        if photo.has_transparency_data:
            white = Image.new("RGBA", photo.size, "white")
            photo = Image.alpha_composite(white, photo.convert("RGBA"))
        return photo.convert("RGB")


def open_folders(data: Path) -> tuple[ImageFolder, ImageFolder | None]:
    """Open the photos to learn, and those to test on if there are any; raise InvalidChoice."""
    from torchvision.datasets import ImageFolder  # here, since it takes longer than torch itself

    parts = [data / "train", data / "val"] if (data / "train").is_dir() else [data]
    try:
        folders = [ImageFolder(part, loader=read_photo) for part in parts if part.is_dir()]
    except FileNotFoundError as error:
        raise InvalidChoice("no_class_folders", folder=str(data), cause=error) from error
    if not folders:
        raise InvalidChoice("no_folder", folder=str(data))
    learned, tested = folders[0], folders[1] if len(folders) > 1 else None
    if tested is not None and tested.classes != learned.classes:
        raise InvalidChoice("folders_disagree", folder=str(parts[1]), other=str(parts[0]))
    return learned, tested


class Photos(Dataset[tuple[Tensor, int]]):
    """The photos of a folder as pixels (C, H, W) and class; with a config, cropped at random."""

    def __init__(
        self, folder: ImageFolder, preprocessing: Preprocessing, config: TrainingConfig | None
    ) -> None:
        from torchvision.transforms import v2

        self.folder, self.preprocessing, self.config = folder, preprocessing, config
        self.epoch = 0
        self.vary = v2.Compose(
            [
                v2.Resize(preprocessing.resize),
                v2.RandomCrop(preprocessing.size, pad_if_needed=True),
                v2.RandomHorizontalFlip(),
            ]
        )

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        photo, label = self.folder[number]
        picture = self._vary(photo, number) if self.varies else framed(photo, self.preprocessing)
        return to_pixels(picture, self.preprocessing)[0], label

    @property
    def varies(self) -> bool:
        """Is each photo cropped and flipped by chance?"""
        return self.config is not None and self.config.augment

    def _vary(self, photo: Image.Image, number: int) -> Image.Image:
        assert self.config is not None
        photo = photo.convert("L" if self.preprocessing.channel_order == "L" else "RGB")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.config.seed, self.epoch, number)))
            picture: Image.Image = self.vary(photo)
        return picture


class Batches:
    """This process's share of every batch, in an order that only seed and epoch decide."""

    def __init__(self, photos: Photos, config: TrainingConfig, workers: int) -> None:
        if config.batch % world_size() or len(photos) < config.batch:
            raise InvalidChoice(
                "batch_cannot_be_had",
                batch=config.batch,
                photos=len(photos),
                processes=world_size(),
            )
        self.photos, self.workers, self.size = photos, workers, config.batch // world_size()
        self.sampler: DistributedSampler[Any] = DistributedSampler(
            photos, world_size(), rank(), seed=config.seed, drop_last=True
        )

    def __len__(self) -> int:
        return len(self.sampler) // self.size

    def of(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pixels (N, C, H, W) and labels (N,) from the epoch's batch ``start`` on."""
        self.photos.epoch = epoch
        self.sampler.set_epoch(epoch)
        left = list(self.sampler)[start * self.size :]
        yield from DataLoader(
            self.photos, self.size, sampler=left, drop_last=True, num_workers=self.workers
        )
