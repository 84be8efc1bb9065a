"""A painter of nodes that no training uses: it shares no recipe with ../painting, only the places of the endplates.

A node is a polygon in millimetres, drawn on a grid four times as fine and then blurred to the pixels, so that borders have
the width of the scanner's and not of a formula. Its content is smooth noise between the disc's grey value and another, its
rim a second, larger polygon.
"""
import numpy as np

FINE = 4
"""Points of the fine grid per pixel."""


def smooth_noise(random, shape, grain):
    """Returns noise of deviation about 1 with structures of `grain` pixels."""
    coarse = random.normal(0, 1, (shape[0] // grain + 3, shape[1] // grain + 3))
    rows = np.linspace(0, coarse.shape[0] - 1.01, shape[0])
    columns = np.linspace(0, coarse.shape[1] - 1.01, shape[1])
    r, c = rows.astype(int), columns.astype(int)
    fr, fc = (rows - r)[:, None], (columns - c)[None, :]
    corner = lambda dr, dc: coarse[np.ix_(r + dr, c + dc)]
    return (corner(0, 0) * (1 - fr) + corner(1, 0) * fr) * (1 - fc) + (corner(0, 1) * (1 - fr) + corner(1, 1) * fr) * fc


def blurred(picture, times):
    """Returns a picture after so many passes of a 1-2-1 filter."""
    for _ in range(times):
        for axis in (0, 1):
            picture = (np.roll(picture, 1, axis) + 2 * picture + np.roll(picture, -1, axis)) / 4
    return picture


def polygon_area(points, u, v):
    """Returns 1 inside a polygon of (u, v) points, 0 outside (even-odd rule)."""
    inside = np.zeros(u.shape, bool)
    for (u0, v0), (u1, v1) in zip(points, points[1:] + points[:1]):
        crosses = (v0 > v) != (v1 > v)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (u < (u1 - u0) * (v - v0) / (v1 - v0) + u0)
    return inside.astype(np.float32)


class OtherPainter:
    """Draws nodes and look-alikes as polygons."""

    def node(self, slabs, row, random):
        """Paints a node; returns what pits.paint_node does."""
        visible = [slab for slab, plate in enumerate(row) if plate]
        half_width = row[visible[0]].half_width
        width, depth = random.uniform(5, 12), random.uniform(3, 8)
        reach = max(0.5, 0.75 * half_width - width / 2)
        centre, corners = random.uniform(-reach, reach), int(random.integers(4, 9))
        angles = np.linspace(0, np.pi, corners)
        radii = random.uniform(0.75, 1.1, corners)
        look, middle = self.look(random), random.choice(visible) + random.uniform(-0.4, 0.4)
        extent, result = random.uniform(1.1, 2.2), [None] * len(row)
        for slab in visible:
            size = 1 - abs(slab - middle) / extent
            if size <= 0.15:
                continue
            scale = min(1.0, 0.35 + 0.8 * size)
            points = [(centre + width / 2 * scale * r * np.cos(a), depth * scale * r * np.sin(a))
                      for r, a in zip(radii, angles)]
            points = [(points[0][0], -2.0), *points, (points[-1][0], -2.0)]
            u, v = self.fill(slabs[slab], row[slab], points, look, random, cover=min(1.0, 0.5 + size))
            if u is None or v.max() < 2.2:
                result[slab] = "faint"
                continue
            result[slab] = self.measured(row[slab], u, v)
        return result

    def look_alike(self, slabs, row, random):
        """Paints a corner defect, a wide bowl, a band below the plate or a spot in the body."""
        kind = random.choice(["corner_defect", "wide_concavity", "modic_band", "spot"])
        half = next(plate for plate in row if plate).half_width
        look, side = self.look(random), random.choice([-1, 1])
        a, b, place = random.uniform(4, 10), random.uniform(4, 10), random.uniform(-0.5, 0.5) * half
        shape = {
            "corner_defect": [(side * (half + 1), -2.0), (side * (half - a), -2.0), (side * (half - a), 0.5),
                              (side * (half - 0.4 * a), 0.5 * b), (side * (half + 1), b)],
            "wide_concavity": [(-0.8 * half, -2.0)] + [(0.8 * half * np.sin(t), 0.5 * b * np.cos(t))
                                                       for t in np.linspace(-1.5, 1.5, 9)] + [(0.8 * half, -2.0)],
            "modic_band": [(place - a - 6, 1.2), (place + a + 6, 1.2), (place + a + 4, b), (place, 1.2 * b),
                           (place - a - 5, b)],
            "spot": [(place + 0.5 * a * np.cos(t), 7 + 0.5 * a + 0.5 * a * np.sin(t)) for t in np.linspace(0, 6, 10)],
        }[kind]
        if kind in ("modic_band", "spot"):
            look = {**look, "level": "marrow", "rim": 0.0, "soft": random.integers(4, 12)}
        if kind == "wide_concavity":
            look["rim"] *= 0.5
        for slab, plate in enumerate(row):
            if plate:
                self.fill(slabs[slab], plate, shape, look, random)
        return kind

    @staticmethod
    def look(random):
        """Returns how content and rim of a node are drawn."""
        return {"level": random.choice(["disc", "disc", "disc", "other"]), "mix": random.uniform(0.6, 1.0),
                "offset": random.uniform(0.12, 0.35) * random.choice([-1, 1]), "noise": random.uniform(0.01, 0.05),
                "rim": random.choice([0.0, random.uniform(0.2, 0.7), random.uniform(0.2, 0.7)]),
                "rim_mm": random.uniform(0.7, 2.0), "soft": int(random.integers(1, 5))}

    @staticmethod
    def fill(picture, plate, points, look, random, cover=1.0):
        """Paints a polygon in place; returns (u, v) of the pixels that are mostly inside it, or (None, None)."""
        x, y = (int(value) for value in plate.midpoint)
        x0, y0 = max(0, x - 26), max(0, y - 26)
        x1, y1 = min(picture.shape[1], x + 27), min(picture.shape[0], y + 27)
        region = picture[y0:y1, x0:x1]
        u, v = plate.coordinates((x0, y0, x1, y1))
        fine = lambda plane: np.repeat(np.repeat(plane, FINE, 0), FINE, 1)
        step = (np.arange(FINE) - (FINE - 1) / 2) / FINE
        down, across = np.tile(step, len(u))[:, None], np.tile(step, u.shape[1])[None, :]
        fine_u = fine(u) + across * plate.along[0] + down * plate.along[1]
        fine_v = fine(v) + across * plate.inward[0] + down * plate.inward[1]
        pixels = lambda plane: plane.reshape(len(u), FINE, u.shape[1], FINE).mean((1, 3))
        inner = polygon_area(points, fine_u, fine_v)
        middle = np.mean(points, 0)
        grown = [tuple(middle + (np.array(p) - middle) * (1 + look["rim_mm"] / max(np.hypot(*(np.array(p) - middle)), 1)))
                 for p in points]
        rim = polygon_area(grown, fine_u, fine_v) * (1 - inner) * (fine_v > 0.3)
        area = pixels(inner)
        inner, rim = pixels(blurred(inner, look["soft"])), pixels(blurred(rim, look["soft"]))
        marrow = np.median(region[(v > 3) & (v < 11)]) if ((v > 3) & (v < 11)).any() else 0.4
        disc_pixels = region[(v < -2) & (v > -5) & (np.abs(u) < plate.half_width)]
        disc = np.median(disc_pixels) if disc_pixels.size else 0.3
        level = marrow + look["offset"]
        if look["level"] == "disc" and abs(disc - marrow) > 0.1:
            level = look["mix"] * disc + (1 - look["mix"]) * marrow
        noise = look["noise"] * smooth_noise(random, region.shape, 3)
        region += np.clip(inner * cover, 0, 1) * (level + noise - region)
        region += 0.9 * rim * cover * (marrow * (1 - look["rim"]) - region) * (look["rim"] > 0)
        np.clip(region, 0, 1, out=region)
        seen = (area > 0.5) & (v > 0)
        return (u[seen], v[seen]) if seen.sum() >= 4 else (None, None)

    @staticmethod
    def measured(plate, u, v):
        """Returns (centre x, centre y, width mm, depth mm) of a node's pixels."""
        middle_u, middle_v = (u.min() + u.max()) / 2, (v.min() + v.max()) / 2
        down = middle_v + np.polyval(plate.curve, np.clip(middle_u, -plate.half_width, plate.half_width))
        x = plate.origin[0] + middle_u * plate.along[0] + down * plate.inward[0]
        y = plate.origin[1] + middle_u * plate.along[1] + down * plate.inward[1]
        return float(x), float(y), float(np.ptp(u) + 0.6), float(v.max() + 0.3)
