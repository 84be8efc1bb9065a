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
    """`[N, 3, 64, 64]`, f32, 0..1 to (probability `[N, 1]`, box `[N, 4]` in patch pixels).

    A map of where the node is (32 x 32) is learned on the way: probability and box are read off it, and a map that
    has to be right everywhere leaves less room for learning the brush that painted the nodes.
    """

    def __init__(self):
        super().__init__()
        # Halving the patch at once: a layer on all of its pixels costs as much as all others together.
        self.fine = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True), block(24, 24))
        self.middle = nn.Sequential(block(24, 40, 2), block(40, 40))
        self.coarse = nn.Sequential(block(40, 64, 2), block(64, 64))
        # The place on the patch matters (a node of the opposite endplate is not this one's).
        self.position = nn.Parameter(torch.zeros(1, 64, 8, 8))
        self.to_middle, self.joined_middle = nn.Conv2d(64, 40, 1), block(40, 32)
        self.to_fine, self.joined_fine = nn.Conv2d(32, 24, 1), block(24, 16)
        self.map = nn.Conv2d(16, 1, 1)
        nn.init.constant_(self.map.bias, -3.0)
        self.squeeze = nn.Sequential(nn.Conv2d(64, 12, 1), nn.ReLU(inplace=True), nn.Flatten())
        self.hidden = nn.Sequential(nn.Dropout(0.1), nn.Linear(12 * 64 + 64, 64), nn.ReLU(inplace=True))
        self.node = nn.Linear(64, 1)
        self.place = nn.Sequential(nn.Linear(16 * 16 + 4 * 32, 96), nn.ReLU(inplace=True), nn.Linear(96, 4))
        self.register_buffer("usual_box", torch.tensor([31.5, 35.0, 11.0, 6.5]))
        self.register_buffer("bias_shift", torch.zeros(1))
        """Added to the logit after training so that 0.5 is the decision."""

    def logits(self, patch):
        """Returns (node logit [N,1], box [N,4] as centre x, centre y, width, height in patch pixels, map logits
        [N,1,32,32])."""
        # Tissue contrast counts, not the scanner's grey scale: every patch gets mean 0 and deviation about 1.
        centred = patch - patch.mean((1, 2, 3), keepdim=True)
        fine = self.fine(centred / ((centred * centred).mean((1, 2, 3), keepdim=True).sqrt() + 0.05))
        middle = self.middle(fine)
        coarse = self.coarse(middle) + self.position
        middle = self.joined_middle(middle + F.interpolate(self.to_middle(coarse), scale_factor=2.0))
        node_map = self.map(self.joined_fine(fine + F.interpolate(self.to_fine(middle), scale_factor=2.0)))
        share = torch.sigmoid(node_map)
        hidden = self.hidden(torch.cat([self.squeeze(coarse), F.avg_pool2d(share, 4).flatten(1)], 1))
        profiles = torch.cat([share.amax(2), share.amax(3), share.mean(2) * 4, share.mean(3) * 4], 1).flatten(1)
        box = self.place(torch.cat([F.avg_pool2d(share, 2).flatten(1), profiles], 1)) * 8 + self.usual_box
        return self.node(hidden) + self.bias_shift, box, node_map

    def forward(self, patch):
        """Returns the exported outputs: probability and box."""
        logit, box, _ = self.logits(patch)
        return torch.sigmoid(logit), box


def node_losses(logit, box, node_map, labels, boxes, masks):
    """Returns the losses of the label, of the box in units of 4 patch pixels, and of the map."""
    label = F.binary_cross_entropy_with_logits(logit[:, 0], labels * 0.97 + 0.015)
    nodes = labels.sum().clamp(min=1)
    error = (F.smooth_l1_loss(box / 4, boxes / 4, reduction="none").mean(1) * labels).sum() / nodes
    shares = F.avg_pool2d(masks, 2)
    each = F.binary_cross_entropy_with_logits(node_map, shares)
    found = torch.sigmoid(node_map)
    overlap = 2 * (found * shares).sum((1, 2, 3)) / ((found + shares).sum((1, 2, 3)) + 1)
    return label, error, 10 * each + ((1 - overlap) * labels).sum() / nodes


def train(volumes, epochs, seed, recipes):
    """Returns the trained NodeClassifier."""
    torch.manual_seed(seed)
    network, sampler = NodeClassifier(), PatchSampler(volumes, seed, recipes)

    def losses():
        images, *truth = sampler.batch(BATCH)
        return node_losses(*network.logits(images), *truth)

    fit(network, epochs, BATCHES_PER_EPOCH, losses, ["node", "box", "map"], max_lr=3e-3, weight_decay=1e-2,
        weights=(1.0, 2.0, 0.5))
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
