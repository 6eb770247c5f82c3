//! Which tensors of a pickle are the network's: `state_dict`, whatever stands around it.

use super::CheckpointError;
use super::pickle::{Id, Pickle, Tensor, Value};

/// Keys under which training programs put the weights that they recommend, the better ones first.
const KEYS: [&str; 7] = [
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "teacher",
    "network",
];

/// The tensors of a network by name, and the key under which they were.
pub(super) struct State<'a> {
    pub(super) within: Option<String>,
    pub(super) tensors: Vec<(String, &'a Tensor)>,
}

/// Finds them: the file's own dictionary, or the best of those inside.
pub(super) fn find(pickle: &Pickle) -> Result<State<'_>, CheckpointError> {
    let Value::Dictionary(pairs) = &pickle.values[pickle.root] else {
        return Err(CheckpointError::new(
            "it holds a whole program object and no dictionary of tensors; save it again with torch.save(model.state_dict(), file)",
        ));
    };
    let tensors = tensors(pickle, pairs);
    if !tensors.is_empty() {
        let within = None;
        return Ok(State { within, tensors });
    }
    let mut inside: Vec<State<'_>> = pairs
        .iter()
        .filter_map(|(key, value)| {
            let (Value::Text(key), Value::Dictionary(pairs)) = (&pickle.values[*key], &pickle.values[*value])
            else {
                return None;
            };
            let (within, tensors) = (Some(key.clone()), self::tensors(pickle, pairs));
            (!tensors.is_empty()).then_some(State { within, tensors })
        })
        .collect();
    let known = KEYS.iter().find_map(|key| {
        inside
            .iter()
            .position(|state| state.within.as_deref() == Some(*key))
    });
    match (known, inside.len()) {
        (Some(place), _) => Ok(inside.swap_remove(place)),
        (None, 1) => Ok(inside.swap_remove(0)),
        (None, 0) => Err(CheckpointError::new("it holds no tensors")),
        (None, _) => {
            let keys: Vec<String> = inside.into_iter().filter_map(|state| state.within).collect();
            Err(CheckpointError::new(format!(
                "it holds several networks: {}; save the wanted one alone",
                keys.join(", ")
            )))
        }
    }
}

fn tensors<'a>(pickle: &'a Pickle, pairs: &[(Id, Id)]) -> Vec<(String, &'a Tensor)> {
    let named = |(key, value): &(Id, Id)| match (&pickle.values[*key], &pickle.values[*value]) {
        (Value::Text(name), Value::Tensor(tensor)) => Some((name.clone(), tensor)),
        _ => None,
    };
    pairs.iter().filter_map(named).collect()
}
