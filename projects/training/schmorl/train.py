"""Trains the classifier of Schmorl's nodes: one endplate on three neighbouring slices in, probability and box out.

Positives are painted (pits.py). Where the endplates are comes from the vertebra detector at run time and from the
masks here; joining the slices of an endplate is left to the pipeline.
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
from patches import PatchSampler

BATCH, BATCHES_PER_EPOCH = 32, 40


class NodeClassifier(nn.Module):
    """`[N, 3, 64, 64]`, f32, 0..1 to (probability `[N, 1]`, box `[N, 4]` in patch pixels)."""

    def __init__(self):
        super().__init__()
        # Halving the patch at once: a layer on all of its pixels costs as much as all others together.
        first = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True))
        self.features = nn.Sequential(
            first, block(24, 24), block(24, 40, 2), block(40, 40), block(40, 64, 2), block(64, 64))
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


def train(volumes, epochs, seed, recipes):
    """Returns the trained NodeClassifier."""
    torch.manual_seed(seed)
    network, sampler = NodeClassifier(), PatchSampler(volumes, seed, recipes)

    def losses():
        images, labels, boxes, weights = sampler.batch(BATCH)
        return node_loss(*network.logits(images), labels, boxes, weights)

    fit(network, epochs, BATCHES_PER_EPOCH, losses, ["node", "box"], max_lr=3e-3, weight_decay=1e-2, weights=(1.0, 0.5))
    return network


def main():
    parser = command_line.parser(__doc__)
    parser.add_argument("--recipes", choices=["one", "several"], default="several", help="how nodes are painted")
    parser.add_argument("--logit-shift", type=float, default=0.0, help="added to the logit, so that 0.5 is the cut")
    given = command_line.parsed(parser)
    network = train(data.training_volumes(given.data, given.fold), given.epochs, given.seed, given.recipes)
    network.bias_shift += given.logit_shift
    export.write_model(network, export.SCHMORL, Path(given.output))


if __name__ == "__main__":
    main()
