//! Orders: the result of a study now, a study from a peer, a workitem; and how a workitem is changed.
//!
//! Invariant: an order that was acknowledged survives a crash and ends with an outcome that can be seen.

use super::{Workflow, completeness};
use crate::dicom::{InstanceUid, StudyUid};
use crate::fault::{Fault, FaultKind};
use crate::peer::Use;
use crate::store::{Asked, NewWorkitem, Snapshot};
use crate::workitem::{Attributes, Changed, Order, Refusal, Workitem, date_time};

/// What became of a request for a new workitem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is kept.
    Made {
        /// Something was put in that the request did not have.
        modified: bool,
        /// It says where its study is, and that is no peer of the configuration: it is not looked for there.
        elsewhere: bool,
    },
    /// There is one of this UID.
    Exists,
}

impl Workflow {
    /// Asks for the result of a study now, or, with `expected`, when that many instances are there. `false` where nothing of the study is
    /// here.
    ///
    /// # Errors
    /// `images-removed`, or a [`Fault`] of the store.
    pub async fn order(&self, study: &StudyUid, expected: Option<i64>) -> Result<bool, Fault> {
        let patience = |snapshot: &Snapshot| completeness::wait(snapshot, &self.settings.patience);
        match self.store.order(study, expected, &patience).await? {
            Asked::Unknown => return Ok(false),
            Asked::Removed => {
                return Err(Fault::new(
                    FaultKind::Gone,
                    "images-removed",
                    "images of this study were removed by the retention policy: send them again, or order it from a peer that has \
                     them with {\"peer\": \"NAME\"}; its last result stays",
                ));
            }
            Asked::Accepted => self.arrival.notify_one(),
        }
        Ok(true)
    }

    /// Orders a study from `peer`, a name of the configuration: it is fetched and then analysed.
    ///
    /// # Errors
    /// `unknown-peer`, or a [`Fault`] of the store.
    pub async fn order_from(&self, study: &StudyUid, peer: &str) -> Result<(), Fault> {
        if self.destinations.source(peer).is_none() {
            return Err(self.unknown_peer());
        }
        self.store.order_fetch(study, peer).await?;
        self.orders.notify_one();
        Ok(())
    }

    fn unknown_peer(&self) -> Fault {
        let sources = self.destinations.used_for(Use::Studies);
        let names: Vec<_> = sources.map(|peer| peer.name.as_str()).collect();
        let message = if names.is_empty() {
            "this server has no peer to fetch studies from: name one under [[destinations]] with use = [\"studies\"]".to_owned()
        } else {
            format!(
                "studies are fetched from {} and from nowhere else",
                names.join(", ")
            )
        };
        Fault::new(FaultKind::Invalid, "unknown-peer", message)
    }

    /// Keeps a new workitem; where it orders a score of this server, that is begun as soon as its input is here. A place of its study counts
    /// only where it is a peer of the configuration.
    ///
    /// # Errors
    /// `workitem`, or a [`Fault`] of the store.
    pub async fn schedule(&self, uid: InstanceUid, attributes: Attributes) -> Result<Created, Fault> {
        let order = Order::of(&attributes)?;
        let now = date_time(self.store.now().await?.0);
        let scheduled = Workitem::schedule(uid, attributes, &now)?;
        let source = order.as_ref().and_then(|order| {
            self.destinations
                .source_at(&order.retrieve_from, &order.retrieve_urls)
        });
        let elsewhere = source.is_none() && order.as_ref().is_some_and(Order::says_where);
        let new = NewWorkitem {
            workitem: scheduled.workitem,
            order,
            peer: source.map(|peer| peer.name.clone()),
        };
        let patience = |snapshot: &Snapshot| completeness::wait(snapshot, &self.settings.patience);
        if !self.store.create_workitem(&new, &patience).await? {
            return Ok(Created::Exists);
        }
        self.arrival.notify_one();
        self.orders.notify_one();
        Ok(Created::Made {
            modified: scheduled.modified,
            elsewhere,
        })
    }

    /// Changes a workitem, if there is one of this UID. `change` gets it, whether anyone has subscribed to it, and the time.
    ///
    /// # Errors
    /// A [`Fault`] of the store.
    pub async fn change_workitem(
        &self,
        uid: &InstanceUid,
        change: impl FnOnce(&mut Workitem, bool, &str) -> Result<Changed, Refusal> + Send,
    ) -> Result<Option<Result<Changed, Refusal>>, Fault> {
        Ok(self.store.change_workitem(uid, change).await?)
    }
}
