//! Which model scores stored studies. It never changes because a model was unloaded or failed: then studies wait.

use serde::Serialize;

/// The model that scores stored studies, whether it is served or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyModel {
    /// Its name.
    pub name: String,
    /// How it came to be this one.
    pub basis: Basis,
}

/// How a model came to score stored studies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// It is named by the setting, and the models folder has it.
    Set,
    /// It is named by the setting, and the models folder has no package of it.
    Missing,
    /// It is the only one of the models folder.
    Only,
    /// There are others, and none is named.
    Unset,
}

impl StudyModel {
    /// The one that is `named`; otherwise the one of `before` while the folder has it, or else the first of `models` by name.
    pub(super) fn choose(named: Option<&str>, models: &[String], before: Option<&Self>) -> Option<Self> {
        let has = |name: &str| models.iter().any(|model| model == name);
        if let Some(name) = named {
            let basis = if has(name) { Basis::Set } else { Basis::Missing };
            let name = name.to_owned();
            return Some(Self { name, basis });
        }
        let kept = before.map(|before| &before.name).filter(|name| has(name));
        Some(Self {
            name: kept.or_else(|| models.iter().min())?.clone(),
            basis: if models.len() == 1 {
                Basis::Only
            } else {
                Basis::Unset
            },
        })
    }

    /// What whoever runs the server should look at, if there is something.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        match self.basis {
            Basis::Set | Basis::Only => None,
            Basis::Missing => Some(format!(
                "--study-model names {}, and the models folder has no such model: studies wait until it has",
                self.name
            )),
            Basis::Unset => Some(format!(
                "there are several models and none is named to score studies: {} does; name the right one with --study-model",
                self.name
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_one_that_is_named_or_the_only_one_scores_studies() {
        let both = names(&["ankle", "spine"]);
        let set = StudyModel::choose(Some("spine"), &both, None).unwrap();
        assert_eq!((set.name.as_str(), &set.basis), ("spine", &Basis::Set));
        assert_eq!(set.doubt(), None);
        let missing = StudyModel::choose(Some("hip"), &both, Some(&set)).unwrap();
        assert_eq!((missing.name.as_str(), &missing.basis), ("hip", &Basis::Missing));
        assert!(missing.doubt().unwrap().contains("studies wait"));
        let only = StudyModel::choose(None, &names(&["spine"]), None).unwrap();
        assert_eq!((only.name.as_str(), &only.basis), ("spine", &Basis::Only));
        assert_eq!(StudyModel::choose(None, &[], Some(&only)), None);
    }

    #[test]
    fn a_model_that_joins_takes_nothing_over_and_one_that_is_gone_is_replaced() {
        let only = StudyModel::choose(None, &names(&["spine"]), None);
        let both = StudyModel::choose(None, &names(&["ankle", "spine"]), only.as_ref()).unwrap();
        assert_eq!((both.name.as_str(), &both.basis), ("spine", &Basis::Unset));
        assert!(both.doubt().unwrap().contains("--study-model"));
        let fresh = StudyModel::choose(None, &names(&["spine", "ankle"]), None).unwrap();
        assert_eq!(fresh.name, "ankle");
        let left = StudyModel::choose(None, &names(&["hip"]), Some(&both)).unwrap();
        assert_eq!((left.name.as_str(), &left.basis), ("hip", &Basis::Only));
    }
}
