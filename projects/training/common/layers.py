"""The building block both networks share."""
import torch.nn as nn


def block(inputs, outputs, stride=1):
    """Returns a 3x3 convolution with normalisation and rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
