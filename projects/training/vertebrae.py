"""Trains the vertebra detector: one sagittal slice in, body centres and boxes out.

A small U-shaped network predicts, on a grid of 4 mm cells, the probability of a body centre, of the L5 centre and of
the S1 centre, and the box around it ("Objects as Points", arXiv 1904.07850). Grouping slices into vertebrae and naming
levels is left to the pipeline.
"""
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import command_line
import data
import export
from layers import block
from vertebra_scores import evaluate
from vertebra_tiles import STRIDE, TileSampler


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
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in ((96, 64), (64, 48), (48, 32)))
        self.merge = nn.ModuleList(block(2 * width, width) for width in (64, 48, 32))
        self.centre_head = nn.Sequential(block(32, 32), nn.Conv2d(32, 3, 1))
        self.box_head = nn.Sequential(block(32, 32), nn.Conv2d(32, 4, 1))
        # Rare positives: starting near "no centre anywhere" keeps the first steps stable.
        nn.init.constant_(self.centre_head[1].bias, -3.5)
        self.box_head[1].bias.data = torch.tensor([3.6, 3.2, 0.0, 0.0])

    def maps(self, image):
        """Returns (centre logits [N,3,h,w], size in mm [N,2,h,w], offset in pixels [N,2,h,w])."""
        features, skips = self.stem(image), []
        for stage in self.down:
            features = stage(features)
            skips.append(features)
        features = self.middle(features)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1])):
            features = merge(torch.cat([up(features), skip], 1))
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


def train(volumes, held_out, epochs, seed, batch_size=8, batches_per_epoch=30, report_every=10):
    """Returns the trained Detector; one epoch is `batch_size * batches_per_epoch` tiles."""
    torch.manual_seed(seed)
    network, sampler = Detector(), TileSampler(volumes, seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=3e-3, total_steps=epochs * batches_per_epoch, pct_start=0.15)
    started = time.monotonic()
    for epoch in range(1, epochs + 1):
        network.train()
        sums = np.zeros(2)
        for _ in range(batches_per_epoch):
            images, targets = sampler.batch(batch_size)
            losses = detection_loss(network.maps(images), targets)
            optimiser.zero_grad()
            sum(losses).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            sums += [float(loss) for loss in losses]
        print(f"epoch {epoch} centre {sums[0] / batches_per_epoch:.3f} box {sums[1] / batches_per_epoch:.3f} "
              f"{time.monotonic() - started:.0f} s", flush=True)
        if held_out and (epoch % report_every == 0 or epoch == epochs):
            print(json.dumps(evaluate(network, held_out)), flush=True)
    return network


def main():
    arguments = command_line.parse(__doc__, epochs=70)
    torch.set_num_threads(arguments.threads)
    volumes, held_out = data.load_split(arguments.data, use_all=arguments.split == "all")
    started = time.monotonic()
    network = train(volumes, held_out if arguments.split == "validation" else [], int(arguments.epochs),
                    int(arguments.seed))
    scores = {"split": arguments.split, "seconds": round(time.monotonic() - started),
              data.scored_set(arguments.split): evaluate(network, held_out)}
    print(json.dumps(scores, indent=1))
    export.write_model(network, export.VERTEBRAE, Path(arguments.output), scores)


if __name__ == "__main__":
    main()
