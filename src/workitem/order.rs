//! What a workitem orders of this server: the score of one study.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::attributes::{items_of, tag, text_of};
use super::{Attributes, invalid};
use crate::dicom::{InstanceUid, StudyUid};
use crate::fault::Fault;

/// The Code Value (0008,0100) by which a Scheduled Station Name Code Sequence (0040,4025) means this server.
const STATION: &str = "osteon";
/// No study of radiographs has more instances.
const MOST_INSTANCES: usize = 20_000;

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The study that is to be scored.
    pub study: StudyUid,
    /// The instances that it is complete with; none where the workitem does not list them.
    pub instances: BTreeSet<InstanceUid>,
    /// Application entities that have the study: Retrieve AE Title (0008,0054).
    pub retrieve_from: BTreeSet<String>,
    /// Where else it is said to be: Retrieve URL (0008,1190). They are compared with what is configured and never opened.
    pub retrieve_urls: BTreeSet<String>,
}

impl Order {
    /// The order in these attributes: that of the one study in the Input Information Sequence (0040,4021). `None` where there is no
    /// study, or the work is for another station: such a workitem is kept for whoever performs it.
    ///
    /// # Errors
    /// `workitem` where it is for this server and cannot be carried out.
    pub fn of(attributes: &Attributes) -> Result<Option<Self>, Fault> {
        let stations: Vec<_> = attributes.items(tag::SCHEDULED_STATION).collect();
        let names_us = |station: &&Map<String, Value>| {
            text_of(station, tag::CODE_VALUE).is_some_and(|value| value.eq_ignore_ascii_case(STATION))
        };
        let for_us = stations.iter().any(names_us);
        if !stations.is_empty() && !for_us {
            return Ok(None);
        }
        let mut studies = BTreeSet::new();
        for study in attributes
            .items(tag::INPUT_INFORMATION)
            .filter_map(|input| text_of(input, tag::STUDY_UID))
        {
            studies.insert(StudyUid::parse(study).map_err(|error| invalid(error.to_string()))?);
        }
        let mut studies = studies.into_iter();
        let study = match (studies.next(), studies.next()) {
            (Some(study), None) => study,
            (None, _) if !for_us => return Ok(None),
            _ => {
                return Err(invalid(
                    "osteon scores one study a workitem: name it in each item of the Input Information Sequence (0040,4021) by its \
                     Study Instance UID (0020,000D)",
                ));
            }
        };
        let stated = |sequence: &'static str, value: &'static str| {
            let inputs = attributes.items(tag::INPUT_INFORMATION);
            let places = inputs.flat_map(move |input| items_of(input, sequence));
            let places = places.filter_map(move |item| text_of(item, value));
            places.map(str::to_owned).collect()
        };
        Ok(Some(Self {
            study,
            instances: listed(attributes)?,
            retrieve_from: stated(tag::DICOM_RETRIEVAL, tag::RETRIEVE_AE_TITLE),
            retrieve_urls: stated(tag::WADO_RS_RETRIEVAL, tag::RETRIEVE_URL),
        }))
    }

    /// Whether it says where the study can be had.
    #[must_use]
    pub fn says_where(&self) -> bool {
        !self.retrieve_from.is_empty() || !self.retrieve_urls.is_empty()
    }
}

/// The instances that the Input Information Sequence lists.
fn listed(attributes: &Attributes) -> Result<BTreeSet<InstanceUid>, Fault> {
    let inputs = attributes.items(tag::INPUT_INFORMATION);
    let references = inputs.flat_map(|input| items_of(input, tag::REFERENCED_SOP_SEQUENCE));
    let uids = references.take(MOST_INSTANCES + 1).map(|reference| {
        let uid = text_of(reference, tag::REFERENCED_INSTANCE).unwrap_or_default();
        InstanceUid::parse(uid).map_err(|_| {
            invalid("each item of a Referenced SOP Sequence (0008,1199) has a valid Referenced SOP Instance UID (0008,1155)")
        })
    });
    let uids = uids.collect::<Result<BTreeSet<_>, _>>()?;
    if uids.len() > MOST_INSTANCES {
        return Err(invalid(format!(
            "a workitem lists at most {MOST_INSTANCES} instances"
        )));
    }
    Ok(uids)
}
