//! How logits become probabilities that mean what they say: a slope for all of a question, and an offset for each of its answers.
//!
//! `logit / temperature - shift + offset`: a temperature above 1 tempers an over-confident network (Guo 2017), and an offset centres one
//! that says too much or too little of everybody. For a finding this is Platt's scaling (1999), for classes temperature scaling with
//! corrected bias (Alexandari 2020), for thresholds between grades one slope with an offset for each. The shift is what a loss that counted
//! some cases more than others is known to have added: it is taken off, not fitted.
//!
//! By a finding of one network, and by each threshold between grades by itself, cases keep their order: no AUROC changes, and what can be
//! reached by a threshold stays. Not so by classes: offsets move each against the rest, so that cases change their order. And which class is likeliest, or which
//! grade is the median, may be another afterwards: a rare one is answered less often when its offset is below that of others.
//!
//! Few cases may be told apart altogether, and the likeliest slope is then as steep as any. So a case is not taken for certain, but for as
//! likely as one more case of each kind makes it (Platt 1999); and an offset is held to 0 by a normal prior, as strongly as four more cases
//! of which as many are positive would hold it: its variance is 1 where half of the cases are, and larger the rarer they are. A prior of one variance
//! would be worth one positive case of a rare finding, and keep the mean probability above the share of positives for hundreds of cases.
//!
//! Several networks, or views of one image, may answer together with the mean of their probabilities. Then one slope and one offset are
//! fitted that each of them applies to its own logits, so that their mean means what it says.

use super::EvaluationError;

/// Temperatures outside say that the fit failed, not that the network is that far off.
pub const TEMPERATURE_RANGE: (f64, f64) = (0.05, 20.0);
/// Steps at most: fits take ten to thirty.
const STEPS: usize = 200;

/// What makes logits probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// What logits are divided by; nothing where the cases do not tell, so that the offsets are those beside 1.
    pub temperature: Option<f64>,
    /// What is added after that, one for each answer.
    pub offsets: Vec<f64>,
}

/// Fits findings, or thresholds between grades, of `kinds` kinds.
///
/// `logits` has for each case one of each view, `shifts` what is taken off each case's, `kind` which it is, from 0, and `labels` whether it
/// is present. Of n cases of a class and kind each counts as one of it with `(n + 1) / (n + 2)`. The temperature is nothing where that of
/// most likelihood is outside of [`TEMPERATURE_RANGE`], or where logits of no kind vary.
///
/// # Errors
/// [`EvaluationError`] for lists of different lengths, for what is no number, and for cases of one class only.
pub fn fit_findings(
    logits: &[Vec<f64>],
    shifts: &[f64],
    kind: &[usize],
    labels: &[bool],
    kinds: usize,
) -> Result<Scaling, EvaluationError> {
    for (others, what) in [
        (shifts.len(), "shifts"),
        (kind.len(), "kinds"),
        (labels.len(), "labels"),
    ] {
        same_length(logits.len(), others, what)?;
    }
    if let Some(index) = (0..logits.len())
        .find(|case| kind[*case] >= kinds || logits[*case].is_empty() || !finite(&logits[*case]))
    {
        return Err(EvaluationError::NotANumber { index });
    }
    let positive = labels.iter().filter(|label| **label).count();
    let negative = labels.len() - positive;
    if positive == 0 || negative == 0 {
        return Err(EvaluationError::OneClass { positive, negative });
    }
    let mut counts = vec![[0.0; 2]; kinds];
    for (kind, label) in kind.iter().zip(labels) {
        counts[*kind][usize::from(*label)] += 1.0;
    }
    let cases = (0..logits.len()).map(|case| {
        let [absent, present] = counts[kind[case]];
        let target = if labels[case] {
            (present + 1.0) / (present + 2.0)
        } else {
            1.0 / (absent + 2.0)
        };
        Case {
            // that it is absent has no logit of its own
            views: logits[case].iter().map(|logit| vec![0.0, *logit]).collect(),
            shifts: vec![0.0, shifts[case]],
            offsets: vec![None, Some(kind[case])],
            targets: vec![1.0 - target, target],
        }
    });
    Ok(Fit {
        cases: cases.collect(),
        offsets: kinds,
        precision: counts
            .iter()
            .map(|[absent, present]| precision(*present, absent + present, 2.0))
            .collect(),
    }
    .scaling())
}

/// As [`fit_findings`], for classes that exclude each other: `logits` has for each case and view a row of one for each class, as `shifts`
/// has, and `classes` the one that is true. Of n cases of one of k classes each counts as one of it with `(n + 1) / (n + k)`.
///
/// # Errors
/// [`EvaluationError`] for lists of different lengths, for what is no number, and for no cases.
pub fn fit_classes(
    logits: &[Vec<Vec<f64>>],
    shifts: &[f64],
    classes: &[usize],
) -> Result<Scaling, EvaluationError> {
    same_length(logits.len(), classes.len(), "classes")?;
    let width = shifts.len();
    let usable = |(views, class): (&Vec<Vec<f64>>, &usize)| {
        *class < width && !views.is_empty() && views.iter().all(|row| row.len() == width && finite(row))
    };
    if let Some(index) = logits.iter().zip(classes).position(|case| !usable(case)) {
        return Err(EvaluationError::NotANumber { index });
    }
    if logits.is_empty() {
        return Err(EvaluationError::OneClass {
            positive: 0,
            negative: 0,
        });
    }
    let mut counts = vec![0.0; width];
    for class in classes {
        counts[*class] += 1.0;
    }
    let cases = logits.iter().zip(classes).map(|(views, class)| {
        let other = 1.0 / (counts[*class] + width as f64);
        let mut targets = vec![other; width];
        targets[*class] += counts[*class] * other;
        Case {
            views: views.clone(),
            shifts: shifts.to_vec(),
            offsets: (0..width).map(Some).collect(),
            targets,
        }
    });
    Ok(Fit {
        cases: cases.collect(),
        offsets: width,
        // twice, so that the difference of two has the deviation that the offset of a finding has
        precision: counts
            .iter()
            .map(|own| 2.0 * precision(*own, classes.len() as f64, width as f64))
            .collect(),
    }
    .scaling())
}

/// What four cases would tell of the offset of an answer that is true of `own` among `all` cases, with one more of each of its `kinds`.
fn precision(own: f64, all: f64, kinds: f64) -> f64 {
    let share = (own + 1.0) / (all + kinds);
    4.0 * share * (1.0 - share)
}

fn finite(logits: &[f64]) -> bool {
    logits.iter().all(|logit| logit.is_finite())
}

fn same_length(scores: usize, others: usize, what: &'static str) -> Result<(), EvaluationError> {
    if scores == others {
        return Ok(());
    }
    Err(EvaluationError::Length { scores, others, what })
}

/// One case: answers that exclude each other.
struct Case {
    /// For each view a logit of each answer.
    views: Vec<Vec<f64>>,
    /// What is taken off each answer's.
    shifts: Vec<f64>,
    /// Which offset each answer has.
    offsets: Vec<Option<usize>>,
    /// How likely each answer is taken to be, 1 together.
    targets: Vec<f64>,
}

/// Cases, and how strongly their offsets are held to 0. Parameters are the slope, then the offsets.
struct Fit {
    cases: Vec<Case>,
    offsets: usize,
    precision: Vec<f64>,
}

/// The loss at some parameters, its gradient, and a curvature that is no smaller.
struct Local {
    loss: f64,
    gradient: Vec<f64>,
    curvature: Vec<Vec<f64>>,
}

impl Fit {
    fn scaling(&self) -> Scaling {
        let offsets = |parameters: Vec<f64>| parameters[1..].to_vec();
        if self.varies() {
            let found = self.least(true);
            let temperature = 1.0 / found[0];
            let (low, high) = TEMPERATURE_RANGE;
            if temperature > low && temperature < high {
                return Scaling {
                    temperature: Some(temperature),
                    offsets: offsets(found),
                };
            }
        }
        Scaling {
            temperature: None,
            offsets: offsets(self.least(false)),
        }
    }

    /// Whether any answer's logit, beside the first answer's, is not the same for all cases: otherwise no slope can be told from offsets.
    fn varies(&self) -> bool {
        let mut seen: Vec<Option<f64>> = vec![None; self.offsets];
        let mut differs = false;
        for case in &self.cases {
            for view in &case.views {
                for (logit, offset) in view.iter().zip(&case.offsets) {
                    if let Some(offset) = offset {
                        let own = logit - view[0];
                        let first = *seen[*offset].get_or_insert(own);
                        differs |= (own - first).abs() > 1e-9 * (1.0 + first.abs());
                    }
                }
            }
        }
        differs
    }

    /// The parameters of least loss, with a slope of 1 unless that is `free`: steps of Newton's method, damped (Marquardt 1963). With one
    /// view the loss is convex.
    fn least(&self, free: bool) -> Vec<f64> {
        let mut found = vec![0.0; 1 + self.offsets];
        found[0] = if free { self.first_slope() } else { 1.0 };
        let mut at = self.local(&found);
        let mut damping = 1e-3;
        for _ in 0..STEPS {
            if !free {
                at.gradient[0] = 0.0;
                at.curvature[0].fill(0.0);
                at.curvature.iter_mut().for_each(|row| row[0] = 0.0);
            }
            let step = damped(&at, damping);
            let promised: f64 = step.iter().zip(&at.gradient).map(|(a, b)| a * b).sum();
            if promised.abs() < 1e-14 * (1.0 + at.loss.abs()) || damping > 1e12 {
                break;
            }
            let next: Vec<f64> = found.iter().zip(&step).map(|(own, step)| own - step).collect();
            let there = self.local(&next);
            if there.loss <= at.loss {
                (found, at, damping) = (next, there, damping / 10.0);
            } else {
                damping *= 10.0;
            }
        }
        found
    }

    /// The likeliest of slopes a quarter apart, so that no step begins where all probabilities are 0 or 1 and nothing shows the way.
    fn first_slope(&self) -> f64 {
        let slopes = (-12..=12).map(|power: i32| 1.28_f64.powi(power));
        let loss = |slope: f64| {
            let mut parameters = vec![0.0; 1 + self.offsets];
            parameters[0] = slope;
            self.loss(&parameters)
        };
        slopes
            .map(|slope| (slope, loss(slope)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(1.0, |(slope, _)| slope)
    }

    /// The negative logarithm of the likelihood and of the prior.
    fn loss(&self, parameters: &[f64]) -> f64 {
        let prior = parameters[1..].iter().zip(&self.precision);
        let prior: f64 = prior.map(|(own, precision)| precision * own * own).sum();
        let cases = self.cases.iter().map(|case| case.loss(&case.views(parameters)));
        0.5 * prior + cases.sum::<f64>()
    }

    fn local(&self, parameters: &[f64]) -> Local {
        let count = parameters.len();
        let mut local = Local {
            loss: self.loss(parameters),
            gradient: vec![0.0; count],
            curvature: vec![vec![0.0; count]; count],
        };
        for (place, (offset, precision)) in parameters[1..].iter().zip(&self.precision).enumerate() {
            local.gradient[1 + place] += precision * offset;
            local.curvature[1 + place][1 + place] += precision;
        }
        for case in &self.cases {
            case.add(parameters, &mut local);
        }
        local
    }
}

impl Case {
    /// For each view the logarithms of the probabilities of all answers.
    fn views(&self, parameters: &[f64]) -> Vec<Vec<f64>> {
        let of = |view: &Vec<f64>| -> Vec<f64> {
            let scaled = view.iter().zip(&self.shifts).zip(&self.offsets);
            let scaled: Vec<f64> = scaled
                .map(|((logit, shift), offset)| {
                    parameters[0] * logit - shift + offset.map_or(0.0, |own| parameters[1 + own])
                })
                .collect();
            let all = log_sum(scaled.iter().copied());
            scaled.into_iter().map(|own| own - all).collect()
        };
        self.views.iter().map(of).collect()
    }

    /// The logarithm of the mean probability of `answer`.
    fn mean(views: &[Vec<f64>], answer: usize) -> f64 {
        log_sum(views.iter().map(|view| view[answer])) - (views.len() as f64).ln()
    }

    fn loss(&self, views: &[Vec<f64>]) -> f64 {
        let targets = self.targets.iter().enumerate();
        -targets
            .map(|(answer, target)| target * Self::mean(views, answer))
            .sum::<f64>()
    }

    /// Adds gradient and curvature. Each view has as much of each answer's target as it says of the mean (the expectation of Dempster
    /// 1977): the gradient is exact, and the curvature that of the loss that these shares make, which bounds it.
    fn add(&self, parameters: &[f64], local: &mut Local) {
        let views = self.views(parameters);
        let answers = 0..self.targets.len();
        let means: Vec<f64> = answers.clone().map(|answer| Self::mean(&views, answer)).collect();
        for (logits, own) in self.views.iter().zip(&views) {
            let shares: Vec<f64> = answers
                .clone()
                .map(|answer| self.targets[answer] * (own[answer] - means[answer]).exp() / views.len() as f64)
                .collect();
            let whole: f64 = shares.iter().sum();
            let probabilities: Vec<f64> = own.iter().map(|own| own.exp()).collect();
            let mean: f64 = probabilities.iter().zip(logits).map(|(a, b)| a * b).sum();
            for one in answers.clone() {
                let (weight, off) = (
                    whole * probabilities[one],
                    whole * probabilities[one] - shares[one],
                );
                local.gradient[0] += off * logits[one];
                local.curvature[0][0] += weight * (logits[one] - mean).powi(2);
                let Some(place) = self.offsets[one].map(|own| 1 + own) else {
                    continue;
                };
                local.gradient[place] += off;
                let beside = weight * (logits[one] - mean);
                local.curvature[0][place] += beside;
                local.curvature[place][0] += beside;
                local.curvature[place][place] += weight;
                for other in answers.clone() {
                    if let Some(other_place) = self.offsets[other].map(|own| 1 + own) {
                        local.curvature[place][other_place] -= weight * probabilities[other];
                    }
                }
            }
        }
    }
}

/// `log(sum(exp(values)))` without overflow.
fn log_sum(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let highest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    highest + values.map(|own| (own - highest).exp()).sum::<f64>().ln()
}

/// The step `(curvature + damping of its diagonal)⁻¹ gradient`, by Cholesky's factors.
fn damped(local: &Local, damping: f64) -> Vec<f64> {
    let count = local.gradient.len();
    let mut factor = vec![vec![0.0_f64; count]; count];
    for row in 0..count {
        for column in 0..=row {
            let mut own = local.curvature[row][column];
            if row == column {
                // what nothing depends on has a gradient of 0 and stays
                own += damping * own + f64::MIN_POSITIVE.sqrt();
            }
            own -= (0..column)
                .map(|at| factor[row][at] * factor[column][at])
                .sum::<f64>();
            factor[row][column] = if row == column {
                own.max(f64::MIN_POSITIVE.sqrt()).sqrt()
            } else {
                own / factor[column][column]
            };
        }
    }
    let mut step = local.gradient.clone();
    for row in 0..count {
        let known: f64 = (0..row).map(|at| factor[row][at] * step[at]).sum();
        step[row] = (step[row] - known) / factor[row][row];
    }
    for row in (0..count).rev() {
        let known: f64 = (row + 1..count).map(|at| factor[at][row] * step[at]).sum();
        step[row] = (step[row] - known) / factor[row][row];
    }
    step
}

#[cfg(test)]
mod tests;
