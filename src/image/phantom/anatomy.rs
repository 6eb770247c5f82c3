//! The spine of a phantom: seven vertebral bodies stacked on their discs, in millimetres.
//!
//! Invariants: only L1 to L3 are ever fractured; the heights of a body depend on its grade, deformity and natural variation, never
//! on bone density; the same seed gives the same geometry whatever the T-score, so that density can be varied alone.
//! Sizes: Panjabi 1992 (lumbar bodies about 34 mm deep, 43 mm wide, 25 to 28 mm high), Frobin 1997 (discs of 8 to 11 mm).

use super::body::{BODIES, Body, FIRST_LUMBAR};
use super::geometry::{Pose, Quadratic};
use super::sampling::{Dice, Stream};
use super::stack::stack;
use super::truth::{Deformity, Genant, Sex, Truth};

const MIDDLE_HEIGHTS: [f32; BODIES] = [22.5, 24.0, 25.6, 26.6, 27.2, 27.4, 27.4];
const DEPTHS: [f32; BODIES] = [29.0, 30.5, 31.5, 33.0, 34.0, 34.5, 35.0];
const WIDTHS: [f32; BODIES] = [35.0, 38.0, 40.0, 42.0, 44.0, 46.0, 48.0];

/// The mineral of the phantom's bone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mineral {
    /// Trabecular density, mg/cm3, as quantitative CT measures it (80 is the osteoporotic threshold, ACR 2008).
    pub(super) trabecular: f32,
    /// Cortical thickness of the body walls, mm.
    pub(super) cortex: f32,
    /// Thickness of the bony endplates, mm.
    pub(super) endplate: f32,
    /// Relative contrast of the vertical trabeculae.
    pub(super) striation: f32,
    /// Relative contrast of the horizontal trabeculae, which are lost first.
    pub(super) mesh: f32,
}

impl Mineral {
    /// The bone of somebody with this T-score and age.
    pub(super) fn new(t_score: f32, age_years: f32) -> Self {
        let years = age_years - 50.0;
        Self {
            trabecular: (157.0 + 31.0 * t_score).max(12.0),
            cortex: (0.62 + 0.055 * t_score - 0.002 * years).max(0.24),
            endplate: (0.62 + 0.035 * t_score - 0.0015 * years).max(0.34),
            striation: 0.08 - 0.11 * t_score.min(0.0),
            mesh: (0.15 + 0.036 * t_score).clamp(0.01, 0.22),
        }
    }
}

/// Everything bony, without the surroundings that are not attached to the spine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spine {
    pub(super) bodies: Vec<Body>,
    pub(super) mineral: Mineral,
    /// Size of this person over the reference, around 1.
    pub(super) scale: f32,
}

impl Spine {
    /// The spine of the phantom `seed`, with L2 near the origin.
    pub(super) fn new(seed: u64, truth: &Truth) -> Self {
        let dice = &mut Dice::new(seed, Stream::Anatomy, 0);
        let age = f32::from(truth.age_years);
        let size = if truth.sex == Sex::Male { 1.06 } else { 0.985 };
        let scale = size * dice.normal(1.0, 0.03).clamp(0.92, 1.08);
        let mut bodies: Vec<Body> = (0..BODIES)
            .map(|level| {
                let lumbar = level
                    .checked_sub(FIRST_LUMBAR)
                    .filter(|lumbar| *lumbar < truth.grades.len());
                let grade = lumbar.map_or(Genant::Normal, |lumbar| truth.grades[lumbar]);
                let deformity = lumbar.and_then(|lumbar| truth.deformities[lumbar]);
                body(dice, level, scale, age, grade, deformity)
            })
            .collect();
        stack(dice, &mut bodies, scale, age);
        Self {
            bodies,
            mineral: Mineral::new(truth.t_score, age),
            scale,
        }
    }
}

/// One body, still at the origin.
fn body(
    dice: &mut Dice,
    level: usize,
    scale: f32,
    age: f32,
    grade: Genant,
    deformity: Option<Deformity>,
) -> Body {
    let middle = MIDDLE_HEIGHTS[level] * scale * dice.normal(1.0, 0.012);
    // Thoracolumbar bodies are a little lower in front, the lowest lumbar ones behind.
    let slope = [0.012, 0.014, 0.010, 0.0, -0.015, -0.03, -0.07][level];
    let expected = [middle * (1.06 - slope), middle, middle * (1.06 + slope)];
    let losses = losses(dice, grade, deformity);
    let heights = [0, 1, 2].map(|index| expected[index] * (1.0 - losses[index]));
    let broken = deformity.is_some();
    let worst = losses.into_iter().fold(0.0, f32::max);
    let half_depth = DEPTHS[level] * scale * dice.normal(1.0, 0.02) / 2.0;
    // A broken upper endplate gives way more than the lower one, in the biconcave shape both do.
    let share = match deformity {
        Some(Deformity::Wedge) => dice.between(0.70, 0.95),
        Some(Deformity::Biconcave) => dice.between(0.45, 0.65),
        Some(Deformity::Crush) => dice.between(0.5, 0.75),
        None => 0.5,
    };
    let upper = [0, 1, 2].map(|index| -expected[index] / 2.0 + (expected[index] - heights[index]) * share);
    let lower = [0, 1, 2].map(|index| upper[index] + heights[index]);
    let spread = dice.between(0.30, 0.65) * if broken { 1.2 } else { 1.0 };
    let osteophytes = [(); 2].map(|()| {
        let length = dice.between(1.0, 2.5) * dice.between(1.0, 2.4) * scale;
        if dice.chance(0.0065 * (age - 46.0)) {
            length
        } else {
            0.0
        }
    });
    Body {
        pose: Pose::default(),
        expected,
        heights,
        half_depth: half_depth
            * if deformity == Some(Deformity::Crush) {
                1.0 + 0.10 * worst
            } else {
                1.0
            },
        width: WIDTHS[level] * scale * dice.normal(1.0, 0.03),
        upper: Quadratic::through(half_depth, upper[0], upper[1], upper[2]),
        lower: Quadratic::through(half_depth, lower[0], lower[1], lower[2]),
        rim_share: dice.between(0.65, 1.0),
        endplate_spread: spread,
        waists: [dice.between(1.6, 3.2) * scale, dice.between(0.8, 2.0) * scale],
        osteophytes,
        arch: [
            dice.normal(scale, 0.06),
            dice.normal(0.0, 0.05),
            dice.normal(scale, 0.06),
        ],
        relative_density: dice.normal(1.0, 0.03),
        compaction: dice.between(0.0, 1.1) * if broken { worst } else { 0.0 },
    }
}

/// The share of height lost in front, in the middle and behind; the largest lies within the grade.
fn losses(dice: &mut Dice, grade: Genant, deformity: Option<Deformity>) -> [f32; 3] {
    let (low, high) = grade.height_loss();
    let natural = [(); 3].map(|()| dice.between(0.0, 0.06));
    let worst = dice.between(low, high);
    let [first, second] = [dice.unit(), dice.unit()];
    match deformity {
        None => natural,
        Some(Deformity::Wedge) => [worst, worst * (0.40 + 0.25 * first), natural[2]],
        Some(Deformity::Biconcave) => [worst * 0.28 * first, worst, worst * 0.18 * second],
        Some(Deformity::Crush) => [
            worst * (0.85 + 0.1 * first),
            worst * (0.88 + 0.12 * second),
            worst,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of the expected height lost where most was lost.
    fn height_loss(body: &Body) -> f32 {
        body.heights
            .iter()
            .zip(body.expected)
            .map(|(height, expected)| 1.0 - height / expected)
            .fold(0.0, f32::max)
    }

    #[test]
    fn heights_reflect_grades_and_deformities() {
        let mut seen = [0; 4];
        for seed in 0..600 {
            let truth = Truth::draw(seed, None);
            let spine = Spine::new(seed, &truth);
            for (level, body) in spine.bodies.iter().enumerate() {
                let lumbar = level.checked_sub(FIRST_LUMBAR).filter(|lumbar| *lumbar < 3);
                let grade = lumbar.map_or(Genant::Normal, |lumbar| truth.grades[lumbar]);
                seen[usize::from(grade.number())] += 1;
                assert_eq!(
                    Genant::of_height_loss(height_loss(body)),
                    grade,
                    "seed {seed} level {level}"
                );
                let drawn = [-1.0, 0.0, 1.0].map(|end| body.lower.at(end * 15.0) - body.upper.at(end * 15.0));
                assert!(
                    drawn.iter().all(|height| (8.0..34.0).contains(height)),
                    "seed {seed} heights {drawn:?}"
                );
                if grade == Genant::Normal {
                    assert!(height_loss(body) <= 0.08);
                }
                let lowest = (0..3).min_by(|one, other| {
                    (body.heights[*one] / body.expected[*one])
                        .total_cmp(&(body.heights[*other] / body.expected[*other]))
                });
                match lumbar.and_then(|lumbar| truth.deformities[lumbar]) {
                    Some(Deformity::Wedge) => assert_eq!(lowest, Some(0)),
                    Some(Deformity::Biconcave) => assert_eq!(lowest, Some(1)),
                    Some(Deformity::Crush) => assert_eq!(lowest, Some(2)),
                    None => {}
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 60), "{seen:?}");
    }

    #[test]
    fn density_changes_mineral_and_not_geometry() {
        let mut truth = Truth::draw(3, None);
        truth.t_score = 0.0;
        let healthy = Spine::new(3, &truth);
        truth.t_score = -4.0;
        let porous = Spine::new(3, &truth);
        assert_eq!(healthy.bodies, porous.bodies);
        assert!(porous.mineral.trabecular < 0.4 * healthy.mineral.trabecular);
        assert!(porous.mineral.cortex < healthy.mineral.cortex);
    }
}
