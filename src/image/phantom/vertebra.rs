//! Draws one vertebra: the body's shell, endplates and trabeculae, its osteophytes, and the posterior elements.
//!
//! Invariants: everything is a line integral in units of attenuation (natural logarithm) and is added to the plane; mineral is
//! counted over the soft tissue that it displaces.

use super::anatomy::Mineral;
use super::body::Body;
use super::geometry::{Affine, Bounds, Point, Quadratic};
use super::plane::Plane;
use super::rod::Rod;
use super::texture::{Texture, ramp};

/// Attenuation of 1 mg/cm3 of bone mineral over 1 mm, at about 65 keV (NIST XCOM, less the water displaced).
pub(super) const MINERAL: f32 = 4.5e-5;
/// Mineral of compact bone, mg/cm3, as thin porous cortices show it.
pub(super) const COMPACT: f32 = 700.0;
/// Exponent of the superellipse that a body's transverse section follows.
const SECTION_EXPONENT: f32 = 2.5;
/// Steps of the tables of path lengths.
const STEPS: usize = 256;

/// Draws `body` and what belongs to it; `frame` maps pixels to the patient, `offset` moves the texture.
pub(super) fn paint(
    plane: &mut Plane,
    frame: Affine,
    body: &Body,
    mineral: Mineral,
    texture: &Texture,
    offset: f32,
) {
    let frame = frame.into_frame(body.pose);
    paint_body(plane, frame, body, mineral, texture, offset);
    for rod in osteophytes(body, mineral) {
        rod.paint(plane, frame);
    }
    for rods in posterior_elements(body, mineral) {
        Rod::paint_joined(&rods, plane, frame);
    }
}

/// Path lengths through a transverse section: whole, and inside the cortex, by distance from the middle.
struct Section {
    whole: Vec<f32>,
    inner: Vec<f32>,
}

impl Section {
    fn new(body: &Body, cortex: f32) -> Self {
        let path = |share: f32| {
            (1.0 - share.min(1.0).powf(SECTION_EXPONENT))
                .max(0.0)
                .powf(1.0 / SECTION_EXPONENT)
        };
        let shrunk = body.half_depth / (body.half_depth - cortex);
        let places = (0..=STEPS).map(|step| step as f32 / STEPS as f32);
        Self {
            whole: places.clone().map(|share| body.width * path(share)).collect(),
            inner: places
                .map(|share| (body.width - 2.0 * cortex) * path(share * shrunk))
                .collect(),
        }
    }

    #[inline]
    fn at(&self, share: f32) -> (f32, f32) {
        let place = share.min(1.0) * STEPS as f32;
        let low = (place as usize).min(STEPS - 1);
        let rest = place - low as f32;
        let mix = |table: &[f32]| table[low] + (table[low + 1] - table[low]) * rest;
        (mix(&self.whole), mix(&self.inner))
    }
}

/// One endplate: where its middle and its side rims run, and how sharply the beam sees them.
struct Endplate {
    middle: Quadratic,
    chord: Quadratic,
    rim_share: f32,
    spread: f32,
    /// 1 where the bone lies at larger y (upper endplate), -1 where at smaller.
    inward: f32,
}

impl Endplate {
    /// The share of the beam's path inside the body, and the endplate's own weight per mm.
    #[inline]
    fn at(&self, x: f32, y: f32, rounding: f32) -> (f32, f32) {
        let middle = self.middle.at(x);
        let rim = self.chord.at(x) + (middle - self.chord.at(x)) * self.rim_share;
        let to_middle = (y - middle) * self.inward - rounding;
        let to_rim = (y - rim) * self.inward - rounding;
        let fill =
            0.6 * ramp(to_middle, -self.spread, self.spread) + 0.4 * ramp(to_rim, -self.spread, self.spread);
        (
            fill,
            0.62 * bump(to_middle, self.spread + 0.35) + 0.38 * bump(to_rim, self.spread + 0.5),
        )
    }
}

/// A bell of area 1 that ends at `reach` to either side.
#[inline]
fn bump(distance: f32, reach: f32) -> f32 {
    let share = distance / reach;
    let rest = (1.0 - share * share).max(0.0);
    rest * rest * (15.0 / 16.0) / reach
}

fn paint_body(
    plane: &mut Plane,
    frame: Affine,
    body: &Body,
    mineral: Mineral,
    texture: &Texture,
    offset: f32,
) {
    let half = body.half_depth;
    let section = Section::new(body, mineral.cortex);
    let endplate = |middle: Quadratic, inward: f32| Endplate {
        middle,
        chord: Quadratic::through(
            half,
            middle.at(-half),
            f32::midpoint(middle.at(-half), middle.at(half)),
            middle.at(half),
        ),
        rim_share: body.rim_share,
        spread: body.endplate_spread,
        inward,
    };
    let [upper, lower] = [endplate(body.upper, 1.0), endplate(body.lower, -1.0)];
    let reach = |curve: Quadratic, pick: fn(f32, f32) -> f32| {
        pick(pick(curve.at(-half), curve.at(0.0)), curve.at(half))
    };
    let bounds = Bounds::new(
        Point::new(-half - 0.5, reach(body.upper, f32::min) - 2.5),
        Point::new(half + 0.5, reach(body.lower, f32::max) + 2.5),
    );
    let density = mineral.trabecular * body.relative_density;
    plane.paint(frame, bounds, |x, y| {
        let (top, bottom) = (body.upper.at(x), body.lower.at(x));
        let tall = ((2.0 * y - top - bottom) / (bottom - top)).clamp(-1.0, 1.0);
        let waist = 1.0 - tall * tall;
        let (front, back) = (-half + body.waists[0] * waist, half - body.waists[1] * waist);
        let across = (2.0 * x - front - back) / (back - front);
        if across.abs() >= 1.0 {
            return 0.0;
        }
        // The corners are rounded by 1.7 mm over the last few millimetres.
        let rounding = 1.7 * across.powi(12);
        let (upper_fill, upper_plate) = upper.at(x, y, rounding);
        let (lower_fill, lower_plate) = lower.at(x, y, rounding);
        let fill = upper_fill * lower_fill;
        let (whole, inner) = section.at(across.abs());
        let striation = 0.6 * texture.at(x * 0.95 + offset, y * 0.14 + offset)
            + 0.6 * texture.at(x * 1.9 + offset, y * 0.3);
        let mesh = 0.6 * texture.at(x * 0.35, y * 0.9 + offset) + 0.7 * texture.at(x * 1.3 + offset, y * 1.3);
        let patch = texture.at(x * 0.12 + offset, y * 0.12);
        let compacted = 1.0 + body.compaction * ramp(5.5 - (y - top), 0.0, 5.0);
        let trabecular = density
            * compacted
            * (1.0 + mineral.striation * striation + mineral.mesh * mesh + 0.07 * patch).max(0.05);
        let cortical = COMPACT * (whole - inner);
        // Endplates are thicker at the rim and uneven along their course.
        let uneven =
            0.72 + 0.4 * across * across + 0.22 * texture.at(x * 0.3 + offset, offset + tall.signum());
        let plates = COMPACT * mineral.endplate * uneven.max(0.2) * whole * (upper_plate + lower_plate);
        MINERAL * (fill * (trabecular * inner + cortical) + plates)
    });
}

/// Beaks at the front corners.
fn osteophytes(body: &Body, mineral: Mineral) -> Vec<Rod> {
    let corners = [(body.upper, 1.0), (body.lower, -1.0)];
    let beak = |(length, (endplate, inward)): (&f32, (Quadratic, f32))| {
        let corner = Point::new(-body.half_depth, endplate.at(-body.half_depth));
        Rod {
            from: corner.plus(Point::new(0.9, 2.4 * inward)),
            to: corner.plus(Point::new(-length, -0.3 * length * inward + 0.8 * inward)),
            from_radius: 2.0,
            to_radius: 0.8,
            thickness: 14.0,
            core: MINERAL * (60.0 + 0.8 * mineral.trabecular),
            shell: MINERAL * COMPACT,
            shell_thickness: 0.3,
        }
    };
    body.osteophytes
        .iter()
        .zip(corners)
        .filter(|(length, _)| **length > 0.0)
        .map(beak)
        .collect()
}

/// Pedicles, articular processes, lamina, spinous and transverse processes, both sides one over the other.
fn posterior_elements(body: &Body, mineral: Mineral) -> Vec<Vec<Rod>> {
    // They hang on the posterior wall, whose height crush fractures alone reduce.
    let height = body.expected[2];
    let back = body.half_depth;
    let middle = f32::midpoint(body.upper.at(back), body.lower.at(back));
    let solidity = 0.55 + 0.45 * mineral.trabecular / 150.0;
    let shell_thickness = (0.6 + mineral.cortex) * 0.62;
    let [reach, droop, girth] = body.arch;
    let place = |(x, y): (f32, f32)| Point::new(back + x * reach, middle + y * height + droop * x);
    let rod = |from: (f32, f32), to: (f32, f32), radii: (f32, f32), thickness: f32, core: f32| Rod {
        from: place(from),
        to: place(to),
        from_radius: radii.0 * girth,
        to_radius: radii.1 * girth,
        thickness,
        core: MINERAL * core * solidity,
        shell: MINERAL * COMPACT * 0.8,
        shell_thickness,
    };
    // Both sides' arches project onto one outline; the spinous process in the midline is thinner; the transverse processes, seen
    // end on, lie over the pedicles.
    let arch = vec![
        rod((4.2, -0.20), (9.0, -0.19), (6.0, 5.4), 15.0, 190.0),
        rod((11.0, -0.16), (14.5, -0.60), (5.6, 3.6), 17.0, 210.0),
        rod((11.0, -0.14), (17.5, 0.26), (5.6, 4.8), 15.0, 220.0),
        rod((17.5, 0.26), (19.0, 0.84), (4.8, 3.4), 16.0, 210.0),
    ];
    let spinous = vec![
        rod((17.0, 0.10), (27.0, 0.16), (4.6, 6.4), 9.0, 200.0),
        rod((27.0, 0.16), (45.0, 0.26), (6.4, 7.6), 9.0, 180.0),
        rod((27.0, 0.28), (46.0, 0.46), (5.0, 7.2), 8.5, 170.0),
    ];
    let transverse = vec![rod((4.5, -0.12), (9.0, -0.05), (3.6, 3.0), 12.0, 110.0)];
    vec![arch, spinous, transverse]
}
