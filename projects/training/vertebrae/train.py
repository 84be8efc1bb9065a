"""Trains the vertebra detector: one sagittal slice in, body centres and boxes out.

A small U-shaped network predicts, on a grid of 4 mm cells, the probability of a body centre, of the L5 centre and of
the S1 centre, and the box around it ("Objects as Points", arXiv 1904.07850). Grouping slices into vertebrae and naming
levels is left to the pipeline.
"""
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

import command_line
import data
import export
from fitting import fit
from layers import block
from tiles import STRIDE, TileSampler

BATCH, BATCHES_PER_EPOCH = 8, 30


class Detector(nn.Module):
    """`[N, 1, H, W]`, f32, 0..1 to four maps on the cell grid; H and W are multiples of 32."""

    WIDTHS = (16, 32, 48, 64, 96)

    def __init__(self):
        super().__init__()
        first, *rest = self.WIDTHS
        self.stem = block(1, first, 2)
        self.down = nn.ModuleList()
        for inputs, outputs in zip(self.WIDTHS, rest):
            self.down.append(nn.Sequential(block(inputs, outputs, 2), block(outputs, outputs)))
        self.middle = block(96, 96)
        # Doubling what a 3x3 convolution made, and adding instead of joining: a transposed convolution and twice the
        # channels took half of the training's time and gained nothing.
        self.up = nn.ModuleList(block(a, b) for a, b in ((96, 64), (64, 48), (48, 32)))
        self.merge = nn.ModuleList(block(width, width) for width in (64, 48, 32))
        self.shared = block(32, 32)
        self.centre_head = nn.Conv2d(32, 3, 3, padding=1)
        self.box_head = nn.Conv2d(32, 4, 3, padding=1)
        # Rare positives: starting near "no centre anywhere" keeps the first steps stable.
        nn.init.constant_(self.centre_head.bias, -3.5)
        self.box_head.bias.data = torch.tensor([3.6, 3.2, 0.0, 0.0])

    def maps(self, image):
        """Returns (centre logits [N,3,h,w], size in mm [N,2,h,w], offset in pixels [N,2,h,w])."""
        features, skips = self.stem(image), []
        for stage in self.down:
            features = stage(features)
            skips.append(features)
        features = self.middle(features)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1])):
            features = merge(F.interpolate(up(features), scale_factor=2.0, mode="nearest") + skip)
        features = self.shared(features)
        box = self.box_head(features)
        return self.centre_head(features), box[:, :2].clamp(max=5.0).exp(), box[:, 2:] * STRIDE

    def forward(self, image):
        """Returns the exported outputs: heatmap (body, L5), size, offset, sacrum."""
        centre, size, offset = self.maps(image)
        probability = torch.sigmoid(centre)
        return probability[:, :2], size, offset, probability[:, 2:]


def detection_loss(maps, targets):
    """Returns (centre loss, box loss): focal loss of arXiv 1904.07850 eq. 1, and L1 in pixels relative to 10 mm."""
    centre, size, offset = maps
    heat, weight, box, box_weight = targets
    log_yes, log_no, yes = F.logsigmoid(centre), F.logsigmoid(-centre), torch.sigmoid(centre)
    positive = (heat == 1).float()
    loss = -positive * (1 - yes) ** 2 * log_yes - (1 - positive) * (1 - heat) ** 4 * yes ** 2 * log_no
    channel_weight = torch.tensor([1.0, 1.5, 1.0]).view(1, 3, 1, 1)
    count = positive[:, 0].sum().clamp(min=1)
    centre_loss = (loss * weight * channel_weight).sum() / count
    error = (torch.cat([size, offset], 1) - box).abs().sum(1) / 10
    return centre_loss, (error * box_weight).sum() / box_weight.sum().clamp(min=1)


def train(volumes, epochs, seed, strength):
    """Returns the trained Detector."""
    torch.manual_seed(seed)
    network, sampler = Detector(), TileSampler(volumes, seed, strength)
    losses = lambda images, targets: detection_loss(network.maps(images), targets)
    fit(network, epochs, BATCHES_PER_EPOCH, lambda: losses(*sampler.batch(BATCH)), ["centre", "box"], max_lr=3e-3,
        weight_decay=1e-4, most_gradient=5.0)
    return network


def main():
    parser = command_line.parser(__doc__)
    parser.add_argument("--strength", type=float, default=1.0, help="how far grey values are changed; 1: far")
    given = command_line.parsed(parser)
    network = train(data.training_volumes(given.data, given.fold), given.epochs, given.seed, given.strength)
    export.write_model(network, export.VERTEBRAE, Path(given.output))


if __name__ == "__main__":
    main()
