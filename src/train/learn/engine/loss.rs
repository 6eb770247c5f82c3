//! The terms of an [`Objective`] by libtorch.
//!
//! Targets may lie between 0 and 1, as mixup makes them. Unknown ones (NaN) weigh nothing.

use tch::{Kind, Reduction, TchError, Tensor};

use super::super::objective::{Form, Objective, Term};

/// The loss of `[batch, width]` logits against as many targets, row-major. `known` is [`Objective::known`] of the whole batch, of which
/// these rows may be a share.
pub(super) fn loss(
    objective: &Objective,
    logits: &Tensor,
    targets: &[f32],
    [batch, width]: [usize; 2],
    known: &[f64],
) -> Result<Tensor, TchError> {
    let terms = objective.terms.iter().zip(known).map(|(term, known)| {
        let mut own = Vec::with_capacity(batch * term.logits.len());
        for row in targets.chunks_exact(width.max(1)) {
            own.extend_from_slice(row.get(term.logits.clone()).unwrap_or_default());
        }
        let columns = term.logits.len() as i64;
        let logits = logits.f_narrow(1, term.logits.start as i64, columns)?;
        let sum = of_term(term, objective.focal, &logits, &own, [batch as i64, columns])?;
        let mean = sum.f_div_scalar(known.max(1.0))?;
        // a factor of 1 is left out, so that one plain head costs nothing
        if (term.weight - 1.0).abs() < f64::EPSILON {
            Ok(mean)
        } else {
            mean.f_mul_scalar(term.weight)
        }
    });
    terms
        .reduce(|sum: Result<Tensor, TchError>, term| sum?.f_add(&term?))
        .unwrap_or_else(|| Tensor::f_zeros([1], (Kind::Float, logits.device())))
}

/// The sum over what is known.
fn of_term(
    term: &Term,
    focal: f64,
    logits: &Tensor,
    targets: &[f32],
    size: [i64; 2],
) -> Result<Tensor, TchError> {
    let matrix = |one: &dyn Fn(usize, f32) -> f32| {
        let values: Vec<f32> = targets
            .iter()
            .enumerate()
            .map(|(place, target)| one(place, *target))
            .collect();
        Tensor::f_from_slice(&values)?
            .f_view(size)?
            .f_to_device(logits.device())
    };
    let columns = size[1].max(1) as usize;
    let positive = |place: usize| {
        term.positive
            .as_ref()
            .map_or(1.0, |positive| positive[place % columns])
    };
    let target = matrix(&|_, target| if target.is_nan() { 0.0 } else { target })?;
    let known = |place: usize, target: f32, weight: &dyn Fn(usize) -> f32| {
        if target.is_nan() { 0.0 } else { weight(place) }
    };
    match term.form {
        Form::Sigmoid => {
            let known = matrix(&|place, target| known(place, target, &|_| 1.0))?;
            // of a soft target, too, only what is true of it weighs more
            let positive = match &term.positive {
                Some(positive) => Some(Tensor::f_from_slice(positive)?.f_to_device(logits.device())?),
                None => None,
            };
            let entropy = |positive: Option<&Tensor>, reduction| {
                logits.f_binary_cross_entropy_with_logits(&target, Some(&known), positive, reduction)
            };
            if focal > 0.0 {
                // the entropy of a soft target keeps exp(-loss) below 1, which is as sure as one can be of it
                let right = entropy(None, Reduction::None)?.f_neg()?.f_exp()?;
                hard(&right, focal)?
                    .f_mul(&entropy(positive.as_ref(), Reduction::None)?)?
                    .f_sum(Kind::Float)
            } else {
                entropy(positive.as_ref(), Reduction::Sum)
            }
        }
        Form::Softmax => {
            let weight = matrix(&|place, target| known(place, target, &positive))?;
            let log = logits.f_log_softmax(1, Kind::Float)?;
            let each = log.f_mul(&target)?.f_mul(&weight)?.f_neg()?;
            let each = if focal > 0.0 {
                hard(&log.f_exp()?, focal)?.f_mul(&each)?
            } else {
                each
            };
            each.f_sum(Kind::Float)
        }
        Form::Huber => {
            let weight = matrix(&|place, target| known(place, target, &|_| 1.0))?;
            let each = logits.f_smooth_l1_loss(&target, Reduction::None, 1.0)?;
            each.f_mul(&weight)?.f_sum(Kind::Float)
        }
    }
}

/// `(1 - right)^focal`; the small number keeps the slope finite where a case is surely right.
fn hard(right: &Tensor, focal: f64) -> Result<Tensor, TchError> {
    right
        .f_neg()?
        .f_add_scalar(1.0)?
        .f_clamp_min(1e-6)?
        .f_pow_tensor_scalar(focal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(
        form: Form,
        focal: f64,
        positive: Option<&[f32]>,
        logits: &[f32],
        targets: &[f32],
        width: usize,
    ) -> f64 {
        let term = |logits| Term {
            logits,
            form,
            weight: 1.0,
            positive: positive.map(<[f32]>::to_vec),
        };
        let objective = Objective {
            terms: vec![term(0..width)],
            focal,
        };
        let size = [(logits.len() / width) as i64, width as i64];
        let tensor = Tensor::f_from_slice(logits).unwrap().f_view(size).unwrap();
        let known = objective.known(targets, width);
        let loss = loss(
            &objective,
            &tensor,
            targets,
            [logits.len() / width, width],
            &known,
        )
        .unwrap();
        loss.f_double_value(&[]).unwrap()
    }

    fn entropy(logit: f64, target: f64) -> f64 {
        let right = 1.0 / (1.0 + (-logit).exp());
        -(target * right.ln() + (1.0 - target) * (1.0 - right).ln())
    }

    #[test]
    fn findings_weigh_and_focus_as_defined() {
        let (logits, targets) = ([1.0_f32, -2.0, 0.5, 3.0], [1.0_f32, 1.0, f32::NAN, 0.0]);
        let each = [entropy(1.0, 1.0), entropy(-2.0, 1.0), 0.0, entropy(3.0, 0.0)];
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        near(
            value(Form::Sigmoid, 0.0, None, &logits, &targets, 1),
            each.iter().sum::<f64>() / 3.0,
        );
        let weighted = (5.0 * (each[0] + each[1]) + each[3]) / 3.0;
        near(
            value(Form::Sigmoid, 0.0, Some(&[5.0]), &logits, &targets, 1),
            weighted,
        );
        // torch 2.11 binary_cross_entropy_with_logits(tensor([0.3]), tensor([0.5]), pos_weight=tensor([19.]))
        near(
            value(Form::Sigmoid, 0.0, Some(&[19.0]), &[0.3], &[0.5], 1),
            5.693_552_444_685,
        );
        // Lin 2017: (1 - p)^2 times the entropy, p the probability of what is true
        let focal = each
            .iter()
            .map(|loss| (1.0 - (-loss).exp()).powi(2) * loss)
            .sum::<f64>()
            / 3.0;
        near(value(Form::Sigmoid, 2.0, None, &logits, &targets, 1), focal);
    }

    #[test]
    fn classes_and_numbers_have_their_losses_and_what_is_unknown_has_none() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        let logits = [1.0_f32, 2.0, 3.0, 9.0, 9.0, 9.0];
        let targets = [0.0, 1.0, 0.0, f32::NAN, f32::NAN, f32::NAN];
        // scipy.special.log_softmax([1, 2, 3])[1] = -1.40760596
        near(
            value(Form::Softmax, 0.0, None, &logits, &targets, 3),
            1.407_605_96,
        );
        near(
            value(Form::Softmax, 0.0, Some(&[1.0, 2.0, 1.0]), &logits, &targets, 3),
            2.0 * 1.407_605_96,
        );
        let probability: f64 = (-1.407_605_96_f64).exp();
        near(
            value(Form::Softmax, 1.0, None, &logits, &targets, 3),
            (1.0 - probability) * 1.407_605_96,
        );
        // half the square up to 1, then the distance less one half
        near(
            value(Form::Huber, 0.0, None, &[0.5, 4.0, 7.0], &[1.0, 1.0, f32::NAN], 1),
            f64::midpoint(0.125, 2.5),
        );
        near(value(Form::Sigmoid, 2.0, None, &[1.0], &[f32::NAN], 1), 0.0);
    }
}
