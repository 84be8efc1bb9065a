"""Trains the classifier of Schmorl's nodes: one endplate on three neighbouring slices in, probability and box out.

Positives are painted (nodes.py). Where the endplates are comes from the vertebra detector at run time and from the
masks here; joining the slices of an endplate is left to the pipeline.
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
from schmorl_patches import PatchSampler
from schmorl_scores import calibrate, examined_endplates, summary

BEST_CUT = 0.11
"""Logit with the best sensitivity + specificity on the validation volumes in a run with `--split validation`."""


class NodeClassifier(nn.Module):
    """`[N, 3, 64, 64]`, f32, 0..1 to (probability `[N, 1]`, box `[N, 4]` in patch pixels)."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            block(3, 16), block(16, 24, 2), block(24, 24), block(24, 40, 2), block(40, 40), block(40, 64, 2),
            block(64, 64))
        # The place on the patch matters (a node of the opposite endplate is not this one's), so no global pooling.
        self.squeeze = nn.Sequential(nn.Conv2d(64, 12, 1), nn.ReLU(inplace=True), nn.Flatten())
        self.hidden = nn.Sequential(nn.Dropout(0.3), nn.Linear(12 * 64, 64), nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.node = nn.Linear(64, 1)
        self.place = nn.Linear(64, 4)
        self.register_buffer("usual_box", torch.tensor([31.5, 35.0, 11.0, 6.5]))
        self.register_buffer("bias_shift", torch.zeros(1))
        """Added to the logit after training so that 0.5 is the decision."""

    def logits(self, patch):
        """Returns (node logit [N,1], box [N,4] as centre x, centre y, width, height in patch pixels)."""
        # Tissue contrast counts, not the scanner's grey scale: every patch gets mean 0 and deviation about 1.
        centred = patch - patch.mean((1, 2, 3), keepdim=True)
        scaled = centred / ((centred * centred).mean((1, 2, 3), keepdim=True).sqrt() + 0.05)
        hidden = self.hidden(self.squeeze(self.features(scaled)))
        return self.node(hidden) + self.bias_shift, self.place(hidden) * 8 + self.usual_box

    def forward(self, patch):
        """Returns the exported outputs: probability and box."""
        logit, box = self.logits(patch)
        return torch.sigmoid(logit), box


def node_loss(logit, box, labels, boxes, weights):
    """Returns (classification loss, box loss in units of 4 patch pixels)."""
    soft = labels * 0.97 + 0.015
    classification = F.binary_cross_entropy_with_logits(logit[:, 0], soft, reduction="none")
    error = F.smooth_l1_loss(box / 4, boxes / 4, reduction="none").mean(1)
    return (classification * weights).mean(), (error * labels).sum() / labels.sum().clamp(min=1)


def train(volumes, held_out, epochs, seed, batch_size=32, batches_per_epoch=40, report_every=10):
    """Returns the trained NodeClassifier; one epoch is `batch_size * batches_per_epoch` patches."""
    torch.manual_seed(seed)
    network, sampler = NodeClassifier(), PatchSampler(volumes, seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=3e-3, total_steps=epochs * batches_per_epoch, pct_start=0.15)
    started = time.monotonic()
    for epoch in range(1, epochs + 1):
        network.train()
        sums = np.zeros(2)
        for _ in range(batches_per_epoch):
            images, labels, boxes, weights = sampler.batch(batch_size)
            losses = node_loss(*network.logits(images), labels, boxes, weights)
            optimiser.zero_grad()
            (losses[0] + 0.5 * losses[1]).backward()
            optimiser.step()
            schedule.step()
            sums += [float(loss) for loss in losses]
        print(f"epoch {epoch} node {sums[0] / batches_per_epoch:.3f} box {sums[1] / batches_per_epoch:.3f} "
              f"{time.monotonic() - started:.0f} s", flush=True)
        if held_out and (epoch % report_every == 0 or epoch == epochs):
            print(json.dumps(summary(examined_endplates(network, held_out, rounds=2))["all"]), flush=True)
    return network


def main():
    arguments = command_line.parse(__doc__, epochs=60)
    torch.set_num_threads(arguments.threads)
    volumes, held_out = data.load_split(arguments.data, use_all=arguments.split == "all")
    started = time.monotonic()
    network = train(volumes, held_out if arguments.split == "validation" else [], int(arguments.epochs),
                    int(arguments.seed))
    if arguments.split == "validation":
        shift = calibrate(network, examined_endplates(network, held_out, seed=8))
    else:
        # Volumes that were trained on look easier than new ones: the cut comes from the run that kept some out.
        shift = BEST_CUT
        network.bias_shift -= shift
    records = examined_endplates(network, held_out, seed=9)
    scores = {"split": arguments.split, "seconds": round(time.monotonic() - started), "logit_shift": -shift,
              data.scored_set(arguments.split): {rule: summary(records, rule) for rule in ("max", "mean_top2")}}
    print(json.dumps(scores, indent=1))
    export.write_model(network, export.SCHMORL, Path(arguments.output), scores)


if __name__ == "__main__":
    main()
