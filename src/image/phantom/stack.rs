//! Stacks vertebral bodies on their discs: where each one lies and how it is turned.
//!
//! Invariants: L2 lies at the origin and everything else follows from it, so that a wedged body bends the column as it does in a
//! patient; discs narrow with age, never with bone density.

use super::body::{BODIES, Body, FIRST_LUMBAR};
use super::geometry::{Point, Pose};
use super::sampling::Dice;

/// Disc heights below each of the first six bodies.
const DISC_HEIGHTS: [f32; BODIES - 1] = [5.8, 7.0, 8.2, 9.4, 10.4, 11.0];
/// How far each of those discs opens forward, in radians.
const DISC_WEDGES: [f32; BODIES - 1] = [0.02, 0.05, 0.08, 0.11, 0.15, 0.22];

/// Places the bodies one on another, starting from L2.
pub(super) fn stack(dice: &mut Dice, bodies: &mut [Body], scale: f32, age: f32) {
    let lordosis = dice.between(0.35, 1.15);
    let (heights, wedges): (Vec<f32>, Vec<f32>) = (0..BODIES - 1)
        .map(|index| {
            let narrowing = 1.0 - 0.005 * (age - 50.0);
            let worn = dice.between(0.35, 0.75);
            let worn = if dice.chance(0.004 * (age - 40.0)) {
                worn
            } else {
                1.0
            };
            let height = DISC_HEIGHTS[index] * scale * narrowing * worn * dice.normal(1.0, 0.06);
            (
                height.max(2.2),
                DISC_WEDGES[index] * lordosis + dice.normal(0.0, 0.02),
            )
        })
        .unzip();
    let start = FIRST_LUMBAR + 1;
    if let Some(body) = bodies.get_mut(start) {
        body.pose = Pose {
            centre: Point::default(),
            angle: dice.within(0.08),
        };
    }
    for level in (0..start).rev() {
        let [below, body] = [level + 1, level].map(|level| bodies.get(level).cloned());
        if let (Some(below), Some(body)) = (below, body) {
            bodies[level].pose = attached(&below, &body, heights[level], wedges[level], true);
        }
    }
    for level in start + 1..BODIES {
        let [above, body] = [level - 1, level].map(|level| bodies.get(level).cloned());
        if let (Some(above), Some(body)) = (above, body) {
            bodies[level].pose = attached(&above, &body, heights[level - 1], wedges[level - 1], false);
        }
    }
}

/// Where `body` lies above (or below) `neighbour`, across a disc of a height that opens forward by an angle.
fn attached(neighbour: &Body, body: &Body, disc: f32, wedge: f32, above: bool) -> Pose {
    let [front, back] = neighbour
        .corners(!above)
        .map(|corner| neighbour.pose.place(corner));
    let facing = body.corners(above);
    let direction = if above { 1.0 } else { -1.0 };
    let angle = back.minus(front).angle();
    // The far side of the disc is turned by its wedge: up in front for the body above, down for the body below.
    let turned = angle + direction * wedge;
    let across = Point::new(0.0, -direction * disc).rotated(angle + direction * wedge / 2.0);
    let middle = front.toward(back, 0.5).plus(across);
    let pose_angle = turned - facing[1].minus(facing[0]).angle();
    let local_middle = facing[0].toward(facing[1], 0.5);
    Pose {
        centre: middle.minus(local_middle.rotated(pose_angle)),
        angle: pose_angle,
    }
}

#[cfg(test)]
mod tests {
    use super::super::anatomy::Spine;
    use super::super::truth::Truth;

    #[test]
    fn bodies_follow_one_another_downwards_without_overlap() {
        for seed in 0..200 {
            let spine = Spine::new(seed, &Truth::draw(seed, None));
            for pair in spine.bodies.windows(2) {
                let bottoms = pair[0].corners(true).map(|corner| pair[0].pose.place(corner));
                let tops = pair[1].corners(false).map(|corner| pair[1].pose.place(corner));
                assert!(
                    (0..2).all(|end| tops[end].y > bottoms[end].y - 2.5),
                    "seed {seed}: {bottoms:?} {tops:?}"
                );
            }
        }
    }
}
