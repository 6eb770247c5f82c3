//! A training's log as charts: losses, measures with their intervals, the learning rate.

use super::super::plot::{Chart, Series};
use super::log::Line;
use super::progress::StepReport;

/// Memory of the training loss that is drawn.
const SMOOTH: f64 = 0.9;
/// More points than this of a curve are not told apart.
const MOST_POINTS: usize = 2000;

/// The charts of a log; `names` are those of [`names`](super::progress::names). The horizontal axis is in epochs.
#[must_use]
pub fn charts(lines: &[Line], names: &[(String, Option<&'static str>)]) -> Vec<Chart> {
    let steps = steps(lines);
    let ends = Some((0.0, steps.last().map_or(1.0, |(x, _)| *x)));
    let chart = |title: &str, vertical: &str, series| Chart {
        title: title.to_owned(),
        horizontal: "epoch".to_owned(),
        vertical: vertical.to_owned(),
        series,
        ends,
        ..Chart::default()
    };
    let epochs = || {
        lines.iter().filter_map(|line| match line {
            Line::Epoch(report) => Some((report.epoch as f64 + 1.0, report)),
            Line::Step(_) => None,
        })
    };
    let measures = names.iter().enumerate().filter_map(|(place, (label, name))| {
        let known = || epochs().filter_map(move |(x, report)| Some((x, (*report.measures.get(place)?)?)));
        Some(Series {
            name: format!("{label} {}", (*name)?),
            points: known().map(|(x, estimate)| (x, estimate.value)).collect(),
            band: known()
                .map(|(x, estimate)| (x, estimate.lower, estimate.upper))
                .collect(),
        })
    });
    vec![
        chart(
            "Loss",
            "loss",
            vec![
                Series {
                    name: "training, smoothed".to_owned(),
                    points: thinned(smoothed(&steps)),
                    band: Vec::new(),
                },
                Series {
                    name: "validation".to_owned(),
                    points: epochs().map(|(x, report)| (x, report.validation_loss)).collect(),
                    band: Vec::new(),
                },
            ],
        ),
        chart(
            "Validation, with patient-level 95% intervals",
            "measure",
            measures.collect(),
        ),
        chart(
            "Learning rate",
            "rate",
            vec![Series {
                name: "rate".to_owned(),
                points: thinned(
                    steps
                        .iter()
                        .map(|(x, report)| (*x, report.learning_rate))
                        .collect(),
                ),
                band: Vec::new(),
            }],
        ),
    ]
}

/// Every step with its place in epochs.
fn steps(lines: &[Line]) -> Vec<(f64, &StepReport)> {
    let steps = || {
        lines.iter().filter_map(|line| match line {
            Line::Step(report) => Some(report),
            Line::Epoch(_) => None,
        })
    };
    let of_epoch = steps().map(|report| report.step + 1).max().unwrap_or(1) as f64;
    steps()
        .map(|report| (report.epoch as f64 + (report.step + 1) as f64 / of_epoch, report))
        .collect()
}

fn smoothed(steps: &[(f64, &StepReport)]) -> Vec<(f64, f64)> {
    let (mut mean, mut weight) = (0.0, 0.0);
    let next = |(x, report): &(f64, &StepReport)| {
        mean = SMOOTH * mean + (1.0 - SMOOTH) * report.loss;
        weight = SMOOTH * weight + (1.0 - SMOOTH);
        (*x, mean / weight)
    };
    steps.iter().map(next).collect()
}

fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MOST_POINTS).max(1);
    points.into_iter().step_by(every).collect()
}

#[cfg(test)]
mod tests {
    use super::super::progress::EpochReport;
    use super::*;
    use crate::evaluation::interval::Estimate;

    #[test]
    fn steps_and_epochs_share_one_axis() {
        let step = |epoch, step, loss| {
            Line::Step(StepReport {
                epoch,
                step,
                images: 4,
                loss,
                learning_rate: 1e-3,
            })
        };
        let estimate = Estimate {
            value: 0.8,
            lower: 0.7,
            upper: 0.9,
        };
        let epoch = Line::Epoch(EpochReport {
            epoch: 0,
            learning_rate: 1e-3,
            train_loss: 0.5,
            validation_loss: 0.6,
            measures: vec![Some(estimate), None],
            mean_measure: 0.8,
            images_per_second: 1.0,
            waiting: 0.0,
        });
        let lines = [step(0, 0, 1.0), step(0, 1, 1.0), epoch, step(1, 0, 1.0)];
        let names = [("a".to_owned(), Some("AUROC")), ("none".to_owned(), None)];
        let charts = charts(&lines, &names);
        let points = &charts[0].series[0].points;
        assert_eq!(
            points.iter().map(|point| point.0).collect::<Vec<_>>(),
            [0.5, 1.0, 1.5]
        );
        assert!(points.iter().all(|point| (point.1 - 1.0).abs() < 1e-12));
        assert_eq!(charts[0].series[1].points, [(1.0, 0.6)]);
        assert_eq!(charts[1].series.len(), 1);
        assert_eq!(charts[1].series[0].band, [(1.0, 0.7, 0.9)]);
        assert!(thinned((0..9000).map(|x| (f64::from(x), 0.0)).collect()).len() <= MOST_POINTS);
    }
}
