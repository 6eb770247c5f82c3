//! What a step makes small, as plain numbers: one term for each head.
//!
//! Findings and the thresholds between grades: binary cross-entropy. Classes: cross-entropy. Numbers: the Huber loss, squared near
//! 0 and straight from 1 on. A term is the mean over what is known; what is unknown counts nothing.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::heads::Heads;
use crate::finding::Task;

/// How rare and hard cases count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// Whether rare findings and classes weigh more: a present finding as often as it is absent, a class by the inverse of its
    /// share, both counted over the training images.
    pub balanced: bool,
    /// The focal loss's exponent (Lin 2017, arXiv 1708.02002): a case that is right with probability p counts `(1 - p)^focal`; 0
    /// counts all alike, 2 is usual.
    pub focal: f64,
}

/// The form of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One logistic function for each logit.
    Sigmoid,
    /// Logits that exclude each other.
    Softmax,
    /// Numbers.
    Huber,
}

/// The loss of one head.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Its logits among those of all heads.
    pub logits: Range<usize>,
    /// Its form.
    pub form: Form,
    /// Its share of the whole.
    pub weight: f64,
    /// For each logit what a true one counts, where not all count 1.
    pub positive: Option<Vec<f32>>,
}

/// The sum of the terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// One for each head.
    pub terms: Vec<Term>,
    /// The focal loss's exponent.
    pub focal: f64,
}

impl Objective {
    /// For `width` findings that do not exclude each other.
    #[must_use]
    pub fn findings(width: usize) -> Self {
        let term = Term {
            logits: 0..width,
            form: Form::Sigmoid,
            weight: 1.0,
            positive: None,
        };
        Self {
            terms: vec![term],
            focal: 0.0,
        }
    }

    /// For the heads of a recipe; `labels` are those of the training images.
    #[must_use]
    pub fn new(heads: &Heads, loss: Loss, labels: &[Vec<f32>]) -> Self {
        let targets: Vec<Vec<f32>> = if loss.balanced {
            labels.iter().map(|labels| heads.targets(labels)).collect()
        } else {
            Vec::new()
        };
        let terms = heads.placed().map(|placed| {
            let form = match placed.head.task {
                Task::Binary | Task::Multilabel | Task::Ordinal => Form::Sigmoid,
                Task::Multiclass => Form::Softmax,
                Task::Regression => Form::Huber,
            };
            let positive = (loss.balanced && form != Form::Huber).then(|| {
                placed
                    .logits
                    .clone()
                    .map(|logit| balance(form, &targets, logit, placed.logits.len()))
                    .collect()
            });
            Term {
                logits: placed.logits,
                form,
                weight: placed.head.weight,
                positive,
            }
        });
        Self {
            terms: terms.collect(),
            focal: loss.focal,
        }
    }

    /// What a true one of each logit counts, where not all count 1: the logits of least loss are too large by its logarithm.
    #[must_use]
    pub fn positive_weights(&self) -> Option<Vec<f32>> {
        if self.terms.iter().all(|term| term.positive.is_none()) {
            return None;
        }
        let of_term = |term: &Term| {
            let plain = || vec![1.0; term.logits.len()];
            term.positive.clone().unwrap_or_else(plain)
        };
        Some(self.terms.iter().flat_map(of_term).collect())
    }

    /// For each term how much of `targets`, rows of `width`, is known, which its mean is over: single values, of classes rows.
    #[must_use]
    pub fn known(&self, targets: &[f32], width: usize) -> Vec<f64> {
        let of_term = |term: &Term| {
            let rows = targets.chunks_exact(width.max(1));
            let own = rows.flat_map(|row| row.get(term.logits.clone()).unwrap_or_default());
            let known = own.filter(|target| !target.is_nan()).count() as f64;
            match term.form {
                Form::Softmax => known / term.logits.len().max(1) as f64,
                Form::Sigmoid | Form::Huber => known,
            }
        };
        self.terms.iter().map(of_term).collect()
    }
}

/// What a true `logit` counts, from how often it is true; 1 where it never or always is, since nothing can be learned there.
fn balance(form: Form, targets: &[Vec<f32>], logit: usize, classes: usize) -> f32 {
    let known = targets
        .iter()
        .map(|row| row[logit])
        .filter(|target| !target.is_nan());
    let (mut present, mut absent) = (0.0_f32, 0.0_f32);
    for target in known {
        if target > 0.5 {
            present += 1.0;
        } else {
            absent += 1.0;
        }
    }
    if present == 0.0 || absent == 0.0 {
        return 1.0;
    }
    match form {
        Form::Softmax => (present + absent) / (classes as f32 * present),
        Form::Sigmoid | Form::Huber => absent / present,
    }
}

#[cfg(test)]
mod tests {
    use super::super::heads::Head;
    use super::*;

    #[test]
    fn balanced_weights_are_the_inverse_of_the_share() {
        let classes = Head::new("part", Task::Multiclass, &["hip", "hand"]);
        let finding = Head::new("fracture", Task::Binary, &["fracture"]);
        let heads = Heads::new(&[classes, finding], &[]);
        // three hips, one hand, one unknown; one fracture in four, one unknown
        let mut labels = vec![vec![1.0, 0.0, 0.0]; 3];
        labels.push(vec![0.0, 1.0, 1.0]);
        labels.push(vec![f32::NAN; 3]);
        let objective = Objective::new(
            &heads,
            Loss {
                balanced: true,
                focal: 0.0,
            },
            &labels,
        );
        // as scikit-learn's compute_class_weight("balanced"): n / (classes * count)
        assert_eq!(
            objective.terms[0].positive.as_deref(),
            Some([4.0 / 6.0, 2.0].as_slice())
        );
        assert_eq!(objective.terms[1].positive.as_deref(), Some([3.0].as_slice()));
        assert_eq!(objective.positive_weights(), Some(vec![4.0 / 6.0, 2.0, 3.0]));
        let plain = Objective::new(&heads, Loss::default(), &labels);
        assert_eq!(plain.positive_weights(), None);
        assert!(plain.terms.iter().all(|term| term.positive.is_none()));
    }
}
