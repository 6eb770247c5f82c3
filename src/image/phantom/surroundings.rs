//! What surrounds the spine: soft tissue, bowel gas, lung, ribs, iliac crests and a calcified aorta.
//!
//! Invariants: independent of every label; soft tissue is water; gas displaces it and therefore subtracts.

use super::anatomy::Spine;
use super::body::FIRST_LUMBAR;
use super::geometry::{Affine, Point};
use super::plane::Plane;
use super::rod::Rod;
use super::sampling::{Dice, Stream};
use super::texture::{Texture, ramp};
use super::truth::Truth;
use super::vertebra::{COMPACT, MINERAL};

/// Attenuation of water per mm at about 65 keV (NIST XCOM).
pub(super) const WATER: f32 = 0.0193;

/// The shapes around the spine, in the patient's frame.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    tissue: Tissue,
    /// Solids, each made of rods.
    solids: Vec<Vec<Rod>>,
}

/// Thickness of the soft tissue along the beam.
#[derive(Clone, Debug)]
struct Tissue {
    thickness: f32,
    /// Where the patient is widest, and the distance over which the width falls to nothing.
    widest: f32,
    reach: f32,
    /// Relative growth towards the feet, per mm.
    downward: f32,
    /// Depth of the mottling, mm of water.
    mottle: f32,
    /// Height of the lung's lower border, its steepness, and the air it adds in mm.
    lung: Option<[f32; 4]>,
    /// Height of the iliac crests' tops, and where they stand.
    crest: Option<[f32; 2]>,
}

impl Surroundings {
    pub(super) fn new(seed: u64, truth: &Truth, spine: &Spine) -> Self {
        let dice = &mut Dice::new(seed, Stream::Surroundings, 0);
        let tissue = Tissue {
            thickness: dice.normal(300.0, 40.0).clamp(210.0, 420.0),
            widest: dice.between(-15.0, 25.0),
            reach: dice.between(140.0, 220.0),
            downward: dice.between(0.0002, 0.0016),
            mottle: dice.between(1.5, 5.0),
            lung: dice.chance(0.4).then(|| {
                [
                    dice.between(-92.0, -58.0),
                    dice.between(-0.4, 0.6),
                    dice.between(15.0, 45.0),
                    dice.between(3.0, 9.0),
                ]
            }),
            crest: dice
                .chance(0.6)
                .then(|| [dice.between(52.0, 78.0), dice.between(-20.0, 25.0)]),
        };
        let mut solids = ribs(dice, spine);
        solids.extend(gas(dice));
        solids.extend(aorta(dice, truth, spine).into_iter().map(|fleck| vec![fleck]));
        Self { tissue, solids }
    }

    pub(super) fn paint(&self, plane: &mut Plane, frame: Affine, texture: &Texture) {
        self.tissue.paint(plane, frame, texture);
        self.solids
            .iter()
            .for_each(|rods| Rod::paint_joined(rods, plane, frame));
    }
}

impl Tissue {
    fn paint(&self, plane: &mut Plane, frame: Affine, texture: &Texture) {
        // Nothing here is finer than a millimetre: a quarter of the pixels, interpolated, is enough.
        let mut coarse = Plane::zeros(plane.rows.div_ceil(2), plane.columns.div_ceil(2));
        for (row, line) in coarse.values.chunks_exact_mut(coarse.columns).enumerate() {
            for (column, pixel) in line.iter_mut().enumerate() {
                let at = Point::new(2.0 * column as f32 + 0.5, 2.0 * row as f32 + 0.5);
                *pixel = self.at(frame.apply(at), texture);
            }
        }
        let tissue = coarse.stretched(plane.rows, plane.columns, 2);
        plane
            .values
            .iter_mut()
            .zip(&tissue.values)
            .for_each(|(pixel, tissue)| *pixel += tissue);
    }

    fn at(&self, at: Point, texture: &Texture) -> f32 {
        let aside = (at.x - self.widest) / self.reach;
        let mut water = self.thickness * (1.0 - aside * aside).max(0.1) * (1.0 + self.downward * at.y);
        // Bowel in front, muscle and fat behind: coarse folds everywhere, finer ones in the abdomen.
        let abdomen = ramp(at.x, 0.0, -45.0);
        water += (0.5 + 0.5 * abdomen) * self.mottle * texture.at(at.x * 0.045, at.y * 0.045 + 11.0);
        water += (0.25 + abdomen) * 0.5 * self.mottle * texture.at(at.x * 0.13 + 5.0, at.y * 0.12);
        water += (0.3 + 0.7 * abdomen) * 0.22 * self.mottle * texture.at(at.x * 0.4, at.y * 0.4 + 3.0);
        let mut attenuation = water * WATER;
        if let Some([border, slope, depth, softness]) = self.lung {
            let height = border + slope * at.x.max(-60.0) * 0.5 + 0.004 * at.x * at.x;
            attenuation -= WATER * depth * ramp(height - at.y, -softness, softness);
        }
        if let Some([top, centre]) = self.crest {
            for shift in [-3.5, 3.5] {
                let aside = at.x - centre - 2.0 * shift;
                let below = at.y - top - shift - aside * aside * 0.011;
                let inside = ramp(below, -0.8, 1.2);
                let edge = ramp(below, -0.8, 1.0) * ramp(9.0 - below, 0.0, 8.0);
                attenuation += inside * 0.07 + 0.11 * edge;
            }
        }
        attenuation
    }
}

/// The last two ribs of both sides, as faint oblique bands.
fn ribs(dice: &mut Dice, spine: &Spine) -> Vec<Vec<Rod>> {
    let mut ribs = Vec::new();
    let solidity = 0.5 + 0.5 * spine.mineral.trabecular / 150.0;
    for (level, length) in [(0, dice.between(70.0, 105.0)), (1, dice.between(25.0, 85.0))] {
        for _side in 0..2 {
            let head = spine.bodies[level]
                .pose
                .place(Point::new(14.0, -4.0 + dice.within(3.0)));
            let bend = head.plus(Point::new(
                dice.between(14.0, 26.0),
                length * dice.between(0.25, 0.4),
            ));
            let end = head.plus(Point::new(
                dice.between(-50.0, -12.0) + 10.0 * level as f32,
                length,
            ));
            let radius = dice.between(3.6, 5.0);
            let points: Vec<Point> = (0..=9)
                .map(|step| {
                    let share = step as f32 / 9.0;
                    head.toward(bend, share).toward(bend.toward(end, share), share)
                })
                .collect();
            let rib = points.windows(2).map(|pair| Rod {
                from: pair[0],
                to: pair[1],
                from_radius: radius,
                to_radius: radius,
                thickness: 5.0,
                core: MINERAL * 120.0 * solidity,
                shell: MINERAL * COMPACT,
                shell_thickness: 0.7,
            });
            ribs.push(rib.collect());
        }
    }
    ribs
}

/// Clusters of bowel gas in the front of the abdomen.
fn gas(dice: &mut Dice) -> Vec<Vec<Rod>> {
    let mut clusters = Vec::new();
    for _cluster in 0..dice.pick(5) {
        let mut at = Point::new(dice.between(-72.0, -30.0), dice.between(-50.0, 75.0));
        // One depth for the cluster, so that its bubbles merge without seams.
        let depth = dice.between(6.0, 17.0);
        let mut rods = Vec::new();
        for _bubble in 0..=dice.pick(5) {
            let next = at.plus(Point::new(dice.within(9.0), dice.within(11.0)));
            let radius = dice.between(3.5, 10.0);
            let mut rod = Rod::solid(at, at.toward(next, 0.6), radius, depth, -WATER);
            rod.to_radius = radius * dice.between(0.6, 1.0);
            rods.push(rod);
            at = next;
        }
        clusters.push(rods);
    }
    clusters
}

/// Flecks of calcium along the two walls of the aorta, more often with age.
fn aorta(dice: &mut Dice, truth: &Truth, spine: &Spine) -> Vec<Rod> {
    let mut rods = Vec::new();
    if !dice.chance(0.012 * (f32::from(truth.age_years) - 45.0)) {
        return rods;
    }
    let extent = dice.between(0.25, 0.8);
    let walls = [dice.between(5.0, 10.0), dice.between(21.0, 27.0)];
    let bodies = &spine.bodies[FIRST_LUMBAR..];
    for gap in walls {
        let line = |body: &super::body::Body| body.pose.place(Point::new(-body.half_depth - gap, 0.0));
        for pair in bodies.windows(2) {
            let (from, to) = (line(&pair[0]), line(&pair[1]));
            for step in 0..9 {
                let place = |step: f32| from.toward(to, step / 9.0);
                let wander = Point::new(dice.within(1.2), 0.0);
                let radius = dice.between(0.5, 1.2);
                let density = dice.between(200.0, 600.0);
                if dice.chance(extent) {
                    let (from, to) = (
                        place(step as f32).plus(wander),
                        place(step as f32 + 0.8).plus(wander),
                    );
                    rods.push(Rod::solid(from, to, radius, 6.0, MINERAL * density));
                }
            }
        }
    }
    rods
}
