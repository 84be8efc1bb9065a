"""Random changes that imitate other scanners: tone, shading, resolution, noise and field of view.

Every function takes and returns a torch batch `[sample, channel, row, column]`, f32, 0..1, and draws from the generator
it is given, so that a seed fixes a training run. The channels of a sample (neighbouring slices) get the same change.
"""
import math

import torch
import torch.nn.functional as F

KNOTS = 6
"""Points of a random tone curve."""


def uniform(generator, low, high, *shape):
    """Returns f32 numbers drawn evenly from low..high."""
    return low + (high - low) * torch.rand(*shape, generator=generator)


def some(generator, count, probability):
    """Returns a `[count]` mask that is true with the given probability."""
    return torch.rand(count, generator=generator) < probability


def changed(images, chosen, change):
    """Returns the batch with `change(images[chosen])` in the place of the chosen samples."""
    if chosen.any():
        images = images.clone()
        images[chosen] = change(images[chosen])
    return images


def tone_curve(images, heights):
    """Sends grey values through a curve that keeps 0 at 0 (air stays dark) and may reverse tissue contrast.

    heights  `[sample, knot]`, 0..1, of knots that lie evenly over 0..1
    """
    knots = heights.shape[1]
    heights = heights.clone()
    heights[:, 0] = 0
    position = images.clamp(0, 1) * (knots - 1)
    left = position.floor().clamp(max=knots - 2).long()
    flat = left.flatten(1)
    low = heights.gather(1, flat).view_as(images)
    high = heights.gather(1, flat + 1).view_as(images)
    return low + (high - low) * (position - left)


def shading(images, field):
    """Multiplies by a smooth field, as a surface coil does; its logarithm is given on a coarse grid `[sample, 1, 3, 3]`."""
    field = F.interpolate(field, size=tuple(images.shape[2:]), mode="bicubic", align_corners=True)
    return images * field.exp()


def coarser(images, factors):
    """Lowers the resolution along rows and columns by two factors, then goes back to the grid."""
    rows, columns = images.shape[2:]
    size = (max(8, round(rows * factors[0])), max(8, round(columns * factors[1])))
    small = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(small, size=(rows, columns), mode="bilinear", align_corners=False)


def sharper(images, amount):
    """Adds back what a 3x3 mean takes away, as scanner filters do."""
    return images + amount * (images - F.avg_pool2d(images, 3, 1, 1, count_include_pad=False))


def scanner_shift(images, generator, strength=1.0, lowest_resolution=0.4):
    """Applies a random mixture of all intensity changes; values are clipped to 0..1."""
    count = images.shape[0]
    gamma = torch.exp(uniform(generator, -0.6, 0.6, count, 1, 1, 1) * strength)
    images = images.clamp(min=0) ** gamma
    # What is random is drawn for all samples, what is dear is done to the chosen ones.
    chosen, heights = some(generator, count, 0.25 * strength), torch.rand(count, KNOTS, generator=generator)
    images = changed(images, chosen, lambda those: tone_curve(those, heights[chosen]))
    images = changed(images, some(generator, count, 0.04 * strength), lambda those: 1 - those)
    shaded, field = some(generator, count, 0.5), torch.randn(count, 1, 3, 3, generator=generator) * 0.35 * strength
    images = changed(images, shaded, lambda those: shading(those, field[shaded]))
    # One resolution per call: resampling sizes cannot differ within a batch.
    blurred, factors = some(generator, count, 0.4), uniform(generator, lowest_resolution, 1.0, 2).tolist()
    images = changed(images, blurred, lambda those: coarser(those, factors))
    images = changed(images, some(generator, count, 0.25), lambda those: sharper(those, 0.8))
    low = uniform(generator, -0.06, 0.06, count, 1, 1, 1) * strength
    high = 1 + uniform(generator, -0.3, 0.35, count, 1, 1, 1) * strength
    images = (images - low) / (high - low)
    noise = torch.randn(images.shape, generator=generator) * uniform(generator, 0, 0.06, count, 1, 1, 1) * strength
    return (images + noise).abs().clamp(0, 1)


def affine(angle_degrees, scale, mirrored):
    """Returns the 2x2 matrix that takes an offset in the output (x, y) to one in the source."""
    angle = math.radians(angle_degrees)
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    sign = -1.0 if mirrored else 1.0
    return torch.tensor([[sign * cosine, -sine], [sign * sine, cosine]])


def sample_affine(source, matrix, centre_xy, size, mode):
    """Samples a square of `size` pixels around a source point.

    source     `[channel, row, column]`
    matrix     2x2, from output offsets to source offsets, in pixels (x, y)
    centre_xy  source pixel that lands in the middle of the output
    Returns `[channel, size, size]`; 0 outside the source.
    """
    rows, columns = source.shape[1:]
    offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    grid = torch.stack(torch.meshgrid(offset, offset, indexing="xy"), -1) @ matrix.T
    grid = grid + torch.tensor(centre_xy, dtype=torch.float32)
    grid = (grid * 2 + 1) / torch.tensor([columns, rows], dtype=torch.float32) - 1
    return F.grid_sample(source[None], grid[None], mode=mode, padding_mode="zeros", align_corners=False)[0]
