//! Schmorl's nodes: pits in an endplate through which disc material enters the body.

use super::anatomy::Disc;
use super::arithmetic::{Random, Vec3, mix};
use super::vertebra::Vertebra;

/// Which endplate of a vertebra.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Superior,
    Inferior,
}

impl Side {
    /// Both, from head to foot.
    pub(super) const BOTH: [Side; 2] = [Side::Superior, Side::Inferior];

    /// Returns the word used in result files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Side::Superior => "superior",
            Side::Inferior => "inferior",
        }
    }
}

/// How the floor of a pit is formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Floor {
    Bowl,
    Flat,
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Index of the vertebra.
    pub(super) vertebra: usize,
    pub(super) side: Side,
    /// Middle of the opening, local coordinates of the vertebra.
    pub(super) x: f64,
    pub(super) s: f64,
    /// Half of the width along the endplate.
    pub(super) half_width: f64,
    /// Half of the extent from left to right.
    pub(super) half_breadth: f64,
    pub(super) depth: f64,
    pub(super) floor: Floor,
    /// Signal of the content.
    pub(super) signal: f64,
    /// Thickness of the dark rim.
    pub(super) rim_mm: f64,
}

impl Node {
    /// Chooses two or three endplates, at most one per disc, and a pit for each: 6-11 mm wide, 4-7 mm deep, and broad
    /// enough to show on two to four slices.
    pub(super) fn place(
        vertebrae: &[Vertebra],
        discs: &[Disc],
        candidates: std::ops::Range<usize>,
        random: &mut Random,
    ) -> Vec<Node> {
        let count = 2 + random.index(2);
        let mut nodes: Vec<Node> = Vec::new();
        let mut used_discs = Vec::new();
        while nodes.len() < count {
            let vertebra = candidates.start + random.index(candidates.len());
            let side = Side::BOTH[random.index(2)];
            let disc = if side == Side::Inferior { vertebra } else { vertebra - 1 };
            if used_discs.contains(&disc) {
                continue;
            }
            used_discs.push(disc);
            nodes.push(Node::random(&vertebrae[vertebra], vertebra, side, &discs[disc], random));
        }
        nodes.sort_by_key(|node| (node.vertebra, node.side == Side::Inferior));
        nodes
    }

    fn random(body: &Vertebra, vertebra: usize, side: Side, disc: &Disc, random: &mut Random) -> Node {
        let bright = mix(0.85, 0.3, disc.degeneration);
        Node {
            vertebra,
            side,
            x: random.range(-8.0, 8.0),
            s: body.depth_at(0.0) * random.range(-0.16, 0.2),
            half_width: random.range(3.4, 5.5),
            half_breadth: random.range(5.5, 8.0),
            depth: random.range(4.4, 7.0),
            floor: if random.chance(0.4) { Floor::Flat } else { Floor::Bowl },
            signal: bright * random.range(0.85, 1.1),
            rim_mm: random.range(1.1, 1.7),
        }
    }

    /// Returns how far a point (local coordinates of the vertebra) lies below the intact endplate.
    pub(super) fn depth_below_plate(&self, body: &Vertebra, [_, s, t]: Vec3) -> f64 {
        let towards_plate = if self.side == Side::Superior { -t } else { t };
        body.half_height_at(s) - towards_plate
    }

    /// Returns the distance (local coordinates) from the surface of the pit: negative inside.
    pub(super) fn distance(&self, body: &Vertebra, local: Vec3) -> f64 {
        let along = (local[1] - self.s) / self.half_width;
        let across = (local[0] - self.x) / self.half_breadth;
        let down = self.depth_below_plate(body, local) / self.depth;
        let across2 = across * across;
        let radius = match self.floor {
            Floor::Bowl => (along * along + across2 + down * down).sqrt(),
            Floor::Flat => {
                let square = |v: f64| v * v * v * v;
                (square(along) + across2 * across2 + square(down)).sqrt().sqrt()
            }
        };
        (radius - 1.0) * self.half_width.min(self.depth)
    }
}
