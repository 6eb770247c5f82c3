//! What is true of a phantom: the patient, the bone, the fractures, and the circumstances of the image.
//!
//! Invariants: drawn from the seed before anything is rendered. Bone density depends on age alone; fractures depend on bone
//! density alone; sex, site, scanner, polarity and facing depend on nothing, so that none of them can predict a label.

use super::sampling::{Dice, Stream};

/// Sites that an ordinary phantom comes from: `0..SITES`.
pub const SITES: u8 = 4;
/// A further site that only [`super::Recipe::site`] can ask for: darker gamma, fewer quanta, more blur.
pub const EXTERNAL_SITE: u8 = SITES;
/// Scanners of one site; scanner `n` stands at site `n / SCANNERS_PER_SITE`.
pub const SCANNERS_PER_SITE: u8 = 2;
/// T-score at or below which bone is osteoporotic (WHO 1994, technical report 843).
pub const OSTEOPOROSIS_T_SCORE: f32 = -2.5;

/// Mean T-score at 50 years. With the two constants below, about 40% of phantoms are osteoporotic.
const T_SCORE_AT_50: f32 = -1.45;
/// T-score lost per year after 50.
const T_SCORE_LOSS_PER_YEAR: f32 = 0.035;
/// Spread of the T-score among people of one age: wide, so that few phantoms lie at the threshold.
const T_SCORE_DEVIATION: f32 = 1.45;
/// Log odds of a fracture at T-score 0, and their rise per unit of T-score lost.
const FRACTURE_LOG_ODDS: f32 = -1.40;
const FRACTURE_LOG_ODDS_PER_T_SCORE: f32 = -0.45;

/// Sex as a DICOM header knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sex {
    /// `F`.
    Female,
    /// `M`.
    Male,
}

/// Semiquantitative grade of a vertebral fracture (Genant 1993), by the largest loss of height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Genant {
    /// Under 20% lost; the phantoms' unfractured bodies vary by 8% at most.
    Normal,
    /// 20 to 25% lost.
    Mild,
    /// 25 to 40% lost.
    Moderate,
    /// Over 40% lost; the phantoms stop at 60%.
    Severe,
}

impl Genant {
    /// The grade as the number readers write down, `0..=3`.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Mild => 1,
            Self::Moderate => 2,
            Self::Severe => 3,
        }
    }

    /// The grade of a body that lost `loss` (`0.0..=1.0`) of its height where it lost most.
    #[must_use]
    pub fn of_height_loss(loss: f32) -> Self {
        match loss {
            loss if loss > 0.40 => Self::Severe,
            loss if loss > 0.25 => Self::Moderate,
            loss if loss >= 0.20 => Self::Mild,
            _ => Self::Normal,
        }
    }

    /// The share of height lost, lowest and highest, that a phantom of this grade may have.
    pub(super) fn height_loss(self) -> (f32, f32) {
        match self {
            Self::Normal => (0.0, 0.08),
            // A margin at each end keeps rounding from moving a body into the next grade.
            Self::Mild => (0.202, 0.248),
            Self::Moderate => (0.255, 0.395),
            Self::Severe => (0.405, 0.60),
        }
    }
}

/// Where a fractured body lost most of its height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deformity {
    /// The anterior height.
    Wedge,
    /// The middle height.
    Biconcave,
    /// The posterior height, and the others nearly as much.
    Crush,
}

/// Everything that is true of a phantom. Labels come from here and never from the pixels or the header.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, two of them labels; none excludes another"
)]
pub struct Truth {
    /// Completed years, `50..=95`.
    pub age_years: u8,
    /// Men are about 7% larger; nothing else follows from it.
    pub sex: Sex,
    /// T-score of the phantom's bone, as DXA of the lumbar spine would give it; `-5.5..=2.5`.
    pub t_score: f32,
    /// `t_score <= -2.5` (WHO 1994).
    pub osteoporosis: bool,
    /// Grades of L1, L2, L3.
    pub grades: [Genant; 3],
    /// Shapes of L1, L2, L3; `None` where not fractured.
    pub deformities: [Option<Deformity>; 3],
    /// Whether any grade is [`Genant::Mild`] or worse.
    pub fracture: bool,
    /// `0..SITES`, or [`EXTERNAL_SITE`].
    pub site: u8,
    /// Unique over the sites.
    pub scanner: u8,
    /// Whether the header says MONOCHROME1 (the pixels of a [`super::Phantom`] are in display sense either way).
    pub monochrome1: bool,
    /// Whether the patient faces the left edge of the image.
    pub facing_left: bool,
}

impl Truth {
    /// The truth of the phantom `seed`, at `site` where one is given.
    pub(super) fn draw(seed: u64, site: Option<u8>) -> Self {
        let dice = &mut Dice::new(seed, Stream::Truth, 0);
        let age_years = dice.normal(70.0, 10.5).clamp(50.0, 95.0).round() as u8;
        let sex = if dice.chance(0.7) { Sex::Female } else { Sex::Male };
        let mean = T_SCORE_AT_50 - T_SCORE_LOSS_PER_YEAR * (f32::from(age_years) - 50.0);
        let t_score = dice.normal(mean, T_SCORE_DEVIATION).clamp(-5.5, 2.5);
        let drawn_site = dice.pick(SITES);
        let site = site.unwrap_or(drawn_site).min(EXTERNAL_SITE);
        let scanner = site * SCANNERS_PER_SITE + dice.pick(SCANNERS_PER_SITE);
        let monochrome1 = dice.chance(0.5);
        let facing_left = dice.chance(0.5);
        let (grades, deformities) = fractures(dice, t_score);
        Self {
            age_years,
            sex,
            t_score,
            osteoporosis: t_score <= OSTEOPOROSIS_T_SCORE,
            grades,
            deformities,
            fracture: grades.iter().any(|grade| *grade >= Genant::Mild),
            site,
            scanner,
            monochrome1,
            facing_left,
        }
    }
}

/// Which bodies are broken, how badly, and how.
fn fractures(dice: &mut Dice, t_score: f32) -> ([Genant; 3], [Option<Deformity>; 3]) {
    let mut grades = [Genant::Normal; 3];
    let mut deformities = [None; 3];
    let log_odds = FRACTURE_LOG_ODDS + FRACTURE_LOG_ODDS_PER_T_SCORE * t_score;
    if !dice.chance(1.0 / (1.0 + (-log_odds).exp())) {
        return (grades, deformities);
    }
    let first = usize::from(dice.pick(3));
    for level in 0..3 {
        if level == first || dice.chance(0.22) {
            let grade = dice.unit();
            grades[level] = match grade {
                grade if grade < 0.22 => Genant::Mild,
                grade if grade < 0.62 => Genant::Moderate,
                _ => Genant::Severe,
            };
            let shape = dice.unit();
            deformities[level] = Some(match shape {
                shape if shape < 0.45 => Deformity::Wedge,
                shape if shape < 0.78 => Deformity::Biconcave,
                _ => Deformity::Crush,
            });
        }
    }
    (grades, deformities)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truths() -> Vec<Truth> {
        (0..4000).map(|seed| Truth::draw(seed, None)).collect()
    }

    fn share(truths: &[Truth], test: impl Fn(&Truth) -> bool) -> f32 {
        truths.iter().filter(|truth| test(truth)).count() as f32 / truths.len() as f32
    }

    #[test]
    fn prevalences_are_as_designed() {
        let truths = truths();
        let osteoporosis = share(&truths, |truth| truth.osteoporosis);
        assert!(
            (0.37..0.43).contains(&osteoporosis),
            "osteoporosis {osteoporosis}"
        );
        let fracture = share(&truths, |truth| truth.fracture);
        assert!((0.36..0.44).contains(&fracture), "fracture {fracture}");
        let (sick, well): (Vec<_>, Vec<_>) = truths.into_iter().partition(|truth| truth.osteoporosis);
        let normal: Vec<_> = well
            .iter()
            .filter(|truth| truth.t_score > -1.0)
            .cloned()
            .collect();
        let [sick, normal] = [sick, normal].map(|group| share(&group, |truth| truth.fracture));
        assert!(
            (0.48..0.62).contains(&sick) && (0.18..0.32).contains(&normal),
            "fracture {sick} and {normal}"
        );
    }

    #[test]
    fn circumstances_do_not_predict_labels() {
        let truths = truths();
        let circumstances: [fn(&Truth) -> bool; 5] = [
            |truth| truth.monochrome1,
            |truth| truth.facing_left,
            |truth| truth.site < 2,
            |truth| truth.scanner % 2 == 0,
            |truth| truth.sex == Sex::Female,
        ];
        let labels: [fn(&Truth) -> bool; 2] = [|truth| truth.osteoporosis, |truth| truth.fracture];
        for (index, circumstance) in circumstances.into_iter().enumerate() {
            let (with, without): (Vec<_>, Vec<_>) = truths.iter().cloned().partition(circumstance);
            if index < 4 {
                assert!(
                    (with.len() as f32 / truths.len() as f32 - 0.5).abs() < 0.03,
                    "circumstance {index}"
                );
            }
            for label in labels {
                let difference = share(&with, label) - share(&without, label);
                // Three standard errors of a difference of two shares of 1200 and 2800.
                assert!(
                    difference.abs() < 0.05,
                    "circumstance {index} moves a label by {difference}"
                );
            }
        }
    }

    #[test]
    fn an_asked_for_site_changes_nothing_else() {
        let (mut external, ordinary) = (Truth::draw(5, Some(EXTERNAL_SITE)), Truth::draw(5, None));
        assert_eq!(external.site, EXTERNAL_SITE);
        (external.site, external.scanner) = (ordinary.site, ordinary.scanner);
        assert_eq!(external, ordinary);
    }
}
