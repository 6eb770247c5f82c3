//! PDUs on a TCP connection, within lengths and times that do not depend on who is at the other end.
//!
//! Invariants: no memory is taken for a PDU before its length is known and found allowed; a PDU that has begun is there within
//! [`Times::pdu`] or never; whatever bytes come, the outcome is a PDU or a reason.

use std::time::Duration;

use bytes::BytesMut;
use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource, Pdu, read_pdu, write_pdu};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest P-DATA-TF that is taken, without its first six bytes: what peers are told in the negotiation.
pub(super) const MOST_IN_A_PDU: u32 = 128 << 10;

/// How long peers are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the connection to the request for an association (the ARTIM timer of PS3.8 section 9.1.5).
    pub requested: Duration,
    /// Between two messages.
    pub idle: Duration,
    /// Between two PDUs of a message.
    pub next: Duration,
    /// For a PDU that has begun, in either direction.
    pub pdu: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            requested: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            next: Duration::from_secs(30),
            pdu: Duration::from_secs(30),
        }
    }
}

/// How long the other end has to close the connection when all is said.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// How much it may still send meanwhile.
const MOST_AFTER_THE_END: u64 = 4 << 20;

/// Why an association ended before it was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection is gone.
    Lost,
    /// The peer aborted it.
    Aborted,
    /// The peer was silent or slow for too long.
    Late,
    /// The peer broke the rules of the protocol.
    Protocol(Offence),
    /// The server stops.
    Stopping,
}

/// How the rules of the upper layer protocol were broken (PS3.8 table 9-26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offence {
    /// A type that there is not.
    UnknownPdu,
    /// A PDU that must not come now.
    UnexpectedPdu,
    /// Something in a PDU that must not come now.
    UnexpectedParameter,
    /// Something in a PDU that is wrong.
    InvalidParameter,
}

impl Broken {
    /// One word, for logs and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Aborted => "aborted",
            Self::Late => "late",
            Self::Protocol(_) => "protocol",
            Self::Stopping => "stopping",
        }
    }

    /// What the peer is told, if it is there.
    fn farewell(self) -> Option<AbortRQSource> {
        use AbortRQServiceProviderReason as Reason;
        let reason = match self {
            Self::Lost | Self::Aborted => return None,
            Self::Stopping => return Some(AbortRQSource::ServiceUser),
            Self::Late => Reason::ReasonNotSpecified,
            Self::Protocol(Offence::UnknownPdu) => Reason::UnrecognizedPdu,
            Self::Protocol(Offence::UnexpectedPdu) => Reason::UnexpectedPdu,
            Self::Protocol(Offence::UnexpectedParameter) => Reason::UnexpectedPduParameter,
            Self::Protocol(Offence::InvalidParameter) => Reason::InvalidPduParameter,
        };
        Some(AbortRQSource::ServiceProvider(reason))
    }
}

/// A connection, between two PDUs.
pub(super) struct Connection {
    stream: TcpStream,
    /// How long the peer is waited for.
    pub(super) times: Times,
    received: BytesMut,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, times: Times) -> Self {
        Self {
            stream,
            times,
            received: BytesMut::new(),
        }
    }

    /// The next PDU, which begins within `begun`.
    ///
    /// # Errors
    /// [`Broken`]; an A-ABORT of the peer is [`Broken::Aborted`].
    pub(super) async fn receive(&mut self, begun: Duration) -> Result<Pdu, Broken> {
        let mut first = [0];
        within(begun, self.stream.read_exact(&mut first)).await?;
        within(self.times.pdu, self.rest(first[0])).await?
    }

    /// The rest of a PDU of this type.
    async fn rest(&mut self, kind: u8) -> std::io::Result<Result<Pdu, Broken>> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).await?;
        let [_, length @ ..] = header;
        let most = match kind {
            0x01 | 0x04 => MOST_IN_A_PDU,
            0x05 | 0x07 => 4,
            // answers to what this end never asks
            0x02 | 0x03 | 0x06 => return Ok(Err(Broken::Protocol(Offence::UnexpectedPdu))),
            _ => return Ok(Err(Broken::Protocol(Offence::UnknownPdu))),
        };
        let expected = u32::from_be_bytes(length);
        if expected > most {
            return Ok(Err(Broken::Protocol(Offence::InvalidParameter)));
        }
        self.received.extend_from_slice(&[kind]);
        self.received.extend_from_slice(&header);
        self.received.resize(header.len() + 1 + expected as usize, 0);
        self.stream.read_exact(&mut self.received[6..]).await?;
        let whole = self.received.split().freeze();
        Ok(match read_pdu(whole, MOST_IN_A_PDU, true) {
            Ok(Some(Pdu::AbortRQ { .. })) => Err(Broken::Aborted),
            Ok(Some(pdu)) => Ok(pdu),
            // it is all there, so what is missing never comes
            Ok(None) | Err(_) => Err(Broken::Protocol(Offence::InvalidParameter)),
        })
    }

    /// Sends a PDU.
    ///
    /// # Errors
    /// [`Broken::Lost`] or [`Broken::Late`].
    pub(super) async fn send(&mut self, pdu: &Pdu) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).map_err(|_| Broken::Lost)?;
        within(self.times.pdu, self.stream.write_all(&bytes)).await
    }

    /// Tells the peer why it is over, as far as that makes sense, and closes.
    pub(super) async fn abort(mut self, why: Broken) {
        if let Some(source) = why.farewell()
            && self.send(&Pdu::AbortRQ { source }).await.is_err()
        {
            return;
        }
        self.close().await;
    }

    /// Closes when the peer has, or a little later: what it still sends would otherwise reset the connection and take the last PDU with
    /// it.
    pub(super) async fn close(mut self) {
        let last = async {
            self.stream.shutdown().await?;
            let mut rest = self.stream.take(MOST_AFTER_THE_END);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // whether it does or not: it is over
        let _ = timeout(CLOSED_WITHIN, last).await;
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = std::io::Result<T>>) -> Result<T, Broken> {
    match timeout(time, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Broken::Lost),
        Err(_) => Err(Broken::Late),
    }
}
