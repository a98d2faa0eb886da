"""Views of an image by random augmentation, whole batches at a time, on the device where the images are.

Like all augmentation it runs inside the training step, after the generators were seeded for this very batch (nn.augment).
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..tasks.spec import Spec

Images = Float[Tensor, "samples channels height width"]
RATIO = (3 / 4, 4 / 3)
"""Between the sides of a crop."""


class SimCLRViews(nn.Module):
    """Two views of every image: crop, reflection, colours, grey, blur (SimCLR, arXiv:2002.05709, appendix A).

    A batch with one view a sample, `images` (samples, 1, channels, height, width), comes back with two, and the images
    themselves as `source` (samples, channels, height, width), for papers that transform them otherwise too.

    Args:
        spec: the benchmark's; its samples come in one view, in colour.
        scale: least and greatest part of the area that a crop takes.
        flip: the probability of exchanging left and right.
        jitter: how far brightness, contrast, saturation and hue may change; `jitter_chance` is the probability that they do.
        gray: the probability of taking the colours away.
        blur: the probability of a Gaussian blur, whose kernel is a tenth of the image.
        sigma: least and greatest deviation of the blur, in pixels.
    """

    def __init__(
        self,
        spec: Spec,
        scale: Sequence[float],
        flip: float,
        jitter: Sequence[float],
        jitter_chance: float,
        gray: float,
        blur: float,
        sigma: Sequence[float],
    ):
        super().__init__()
        views = spec.fields.get("images")
        if views is None or views.shape[0] != 1:
            raise UserError(
                f"augment={type(self).__name__} makes views of single images for papers that learn from views, and "
                f"{spec.benchmark} gives this paper none: leave it out"
            )
        self.size: tuple[int, int] = views.shape[-2:]
        self.scale, self.flip, self.jitter, self.jitter_chance = tuple(scale), flip, tuple(jitter), jitter_chance
        self.gray, self.blur, self.sigma = gray, blur, tuple(sigma)
        self.pipelines: dict[tuple[int, int], nn.Module] = {}

    def forward(self, batch: Any) -> Any:
        source = batch["images"][:, 0]
        batch = batch.clone()
        batch["images"] = torch.stack([self.view(source) for _ in range(2)], 1)
        batch["source"] = source
        return batch

    def view(
        self, images: Images, size: tuple[int, int] | None = None, share: int = 1
    ) -> Float[Tensor, "samples channels new_height new_width"]:
        """One random view of every image.

        Args:
            images: from 0 to 1.
            size: of the view; that of the images if left out.
            share: so many consecutive images are changed alike; it must divide their number.
        """
        groups = images.unflatten(0, (-1, share))
        return self.pipeline(size or self.size)(groups).flatten(0, 1)

    def pipeline(self, size: tuple[int, int]) -> nn.Module:
        """From (groups, share, channels, height, width) to views of a size; kept once it was made."""
        if size not in self.pipelines:
            import kornia.augmentation as kornia  # most of a second that only an augmented run should pay

            kernel = int(0.1 * min(size)) // 2 * 2 + 1
            self.pipelines[size] = kornia.VideoSequential(
                kornia.RandomResizedCrop(size, scale=self.scale, ratio=RATIO),
                kornia.RandomHorizontalFlip(p=self.flip),
                kornia.ColorJitter(*self.jitter, p=self.jitter_chance),
                kornia.RandomGrayscale(p=self.gray),
                kornia.RandomGaussianBlur((kernel, kernel), self.sigma, p=self.blur),
                data_format="BTCHW",
                same_on_frame=True,  # the images of a group are the "frames"
            )
        return self.pipelines[size]
