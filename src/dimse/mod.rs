//! The DIMSE door: application entities verify the connection (C-ECHO) and store instances (C-STORE) over associations (PS3.7, PS3.8).
//!
//! `dicom-ul` reads and writes the PDUs; what is done with them is here (`docs/decisions/0018-our-own-acceptor.md`). Like every
//! door it ends in [`Workflow::accept`].
//!
//! Invariants: nobody has a place or memory for longer than they use it well, and no caller more than three quarters of either; whatever a peer sends costs at most its own
//! association; no title or UID that a peer sent is in a log line or a metric label.

mod association;
mod callers;
mod connection;
mod negotiate;
mod service;
mod status;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dicom_ul::pdu::Pdu;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::dicom::AeTitle;
use crate::intake::{Intake, Shares, share};
use crate::telemetry::metrics::Metrics;
use crate::workflow::Workflow;
use association::Association;
pub use callers::Callers;
pub use connection::Times;
use connection::{Broken, Connection, Offence};
use negotiate::{Refusal, negotiate, no_place};

/// Connections beyond the associations, whose request is read to be answered.
const AT_THE_DOOR: usize = 32;
/// Connections from where nobody may call; they hear why, and keep nobody else out.
const STRANGERS: usize = 8;

/// What the door is called and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What peers have to call it.
    pub ae_title: AeTitle,
    /// Who may call.
    pub callers: Callers,
    /// How many associations there may be at a time, at least 1.
    pub associations: usize,
    /// The most bytes of one instance.
    pub body_bytes: usize,
    /// How long peers are waited for.
    pub times: Times,
}

/// What an association needs; clones share it.
#[derive(Clone)]
pub struct Door {
    /// The way of a study from arrival to result.
    pub workflow: Workflow,
    /// Room for data sets.
    pub intake: Intake,
    /// The counters.
    pub metrics: Metrics,
    /// What it is called and whom it lets in.
    pub settings: Arc<Settings>,
}

/// Takes associations on `listener` until `closing` is cancelled. Then those without a message under way are aborted, and the others
/// when they have answered it, or when `drain` is over.
pub async fn run(door: Door, listener: TcpListener, closing: CancellationToken, drain: Duration) {
    let associations = Arc::new(Semaphore::new(door.settings.associations));
    let shares = Shares::default();
    let connections = Arc::new(Semaphore::new(door.settings.associations + AT_THE_DOOR));
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let abandon = CancellationToken::new();
    let mut running = JoinSet::new();
    if door.settings.callers.is_empty() {
        tracing::info!("dimse.local: without [[dicom-callers]] only this machine may call");
    }
    while let Some(accepted) = closing.run_until_cancelled(listener.accept()).await {
        while let Some(ended) = running.try_join_next() {
            door.report(&ended);
        }
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // the peer was gone already, or there are no descriptors for a while
                tracing::warn!(%error, "dimse.accept_failed");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let known = door.settings.callers.know(address.ip());
        let places = if known { &connections } else { &strangers };
        let Ok(connected) = Arc::clone(places).try_acquire_owned() else {
            door.metrics.dicom.association("congestion");
            continue;
        };
        let visit = Visit {
            door: door.clone(),
            associations: Arc::clone(&associations),
            shares: shares.clone(),
            closing: closing.clone(),
            abandon: abandon.clone(),
            address: address.ip(),
        };
        running.spawn(async move {
            visit.serve(stream).await;
            drop(connected);
        });
    }
    drop(listener);
    let all = async {
        while let Some(ended) = running.join_next().await {
            door.report(&ended);
        }
    };
    if timeout(drain, all).await.is_err() {
        abandon.cancel();
        while let Some(ended) = running.join_next().await {
            door.report(&ended);
        }
    }
}

impl Door {
    /// A panic costs one association; its words may hold anything and stay out.
    fn report(&self, ended: &Result<(), tokio::task::JoinError>) {
        if ended.is_err() {
            self.metrics.dicom.association("panic");
            tracing::error!("dimse.panicked");
        }
    }
}

/// One connection.
struct Visit {
    door: Door,
    associations: Arc<Semaphore>,
    /// The places that each caller may still have.
    shares: Shares<Semaphore>,
    closing: CancellationToken,
    abandon: CancellationToken,
    address: IpAddr,
}

impl Visit {
    async fn serve(self, stream: TcpStream) {
        let times = self.door.settings.times;
        let mut connection = Connection::new(stream, times);
        let metrics = &self.door.metrics;
        let request = self
            .closing
            .run_until_cancelled(connection.receive(times.requested));
        let request = match request.await.unwrap_or(Err(Broken::Stopping)) {
            Ok(Pdu::AssociationRQ(request)) => request,
            Ok(_) => {
                return self
                    .refuse(connection, Broken::Protocol(Offence::UnexpectedPdu))
                    .await;
            }
            Err(broken) => return self.refuse(connection, broken).await,
        };
        let (answer, agreed) = match negotiate(request, &self.door.settings, self.address) {
            Ok(agreed) => agreed,
            Err(Refusal::Invalid) => {
                return self
                    .refuse(connection, Broken::Protocol(Offence::InvalidParameter))
                    .await;
            }
            Err(Refusal::Rejected(rejection, reason)) => {
                return self
                    .reject(connection, Pdu::AssociationRJ(rejection), reason)
                    .await;
            }
        };
        let settings = &self.door.settings;
        let client = settings.callers.client(&agreed.caller, self.address);
        let own = self
            .shares
            .of(&client, || Semaphore::new(share(settings.associations)));
        let (Ok(place), Ok(own_place)) = (self.associations.try_acquire(), own.try_acquire()) else {
            return self
                .reject(connection, Pdu::AssociationRJ(no_place()), "congestion")
                .await;
        };
        if let Err(broken) = connection.send(&Pdu::AssociationAC(answer)).await {
            return self.refuse(connection, broken).await;
        }
        let open = metrics.dicom.association_open();
        let mut association = Association::new(connection, agreed);
        let mut stored = 0;
        let door = Door {
            intake: self.door.intake.of(&client),
            ..self.door.clone()
        };
        let serving = service::serve(&door, &mut association, &self.closing, &mut stored);
        let ended = self.abandon.run_until_cancelled(serving).await;
        let why = ended.unwrap_or(Err(Broken::Stopping)).err();
        let how = why.map_or("released", Broken::name);
        drop((open, place, own_place));
        metrics.dicom.association(how);
        tracing::info!(from = %self.address, stored, ended = how, "dimse.association");
        association.end(why).await;
    }

    /// Answers a request with a rejection.
    async fn reject(&self, mut connection: Connection, rejection: Pdu, reason: &'static str) {
        self.door.metrics.dicom.association(reason);
        tracing::warn!(from = %self.address, reason, "dimse.refused");
        if connection.send(&rejection).await.is_ok() {
            connection.close().await;
        }
    }

    /// Ends a connection on which there is no association.
    async fn refuse(&self, connection: Connection, broken: Broken) {
        self.door.metrics.dicom.association(broken.name());
        tracing::debug!(from = %self.address, reason = broken.name(), "dimse.no_association");
        connection.abort(broken).await;
    }
}

#[cfg(test)]
mod tests;
