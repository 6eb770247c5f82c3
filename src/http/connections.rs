//! Connections: how many there are at a time, and for how long one may say nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The most connections, where the system allows as many open files.
const MOST: u64 = 8192;

/// What connections may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many there may be; more wait until one ends.
    pub most: usize,
    /// For how long one may take to send the head of a request, or stay without one. Proxies keep unused ones for a minute, so it
    /// is longer: they, and not the server, are to end them.
    pub head_within: Duration,
}

impl Default for Bounds {
    /// As many as take half of the files that this process may open: the store needs the rest.
    fn default() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            most: (files / 2).clamp(1, MOST) as usize,
            head_within: Duration::from_secs(75),
        }
    }
}

/// Answers on `listener` until `closing`; then no more connections are accepted, and those that there are end with what they are at.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, closing: CancellationToken) {
    let room = Arc::new(Semaphore::new(bounds.most));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((place, stream, address)) => {
                let (router, closing) = (router.clone(), closing.clone());
                connections.spawn(async move {
                    let _place = place;
                    answer(stream, address, router, bounds, closing).await;
                });
            }
            // the sender left before it was its turn
            Err(error) if is_of_sender(&error) => {}
            // most often no more open files: some will be closed
            Err(error) => {
                tracing::warn!(%error, "http.accept: no connection can be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    if room.available_permits() == 0 {
        tracing::warn!("http.full: there are as many connections as there may be; more wait until one ends");
    }
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((place, stream, address))
}

fn is_of_sender(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// Answers the requests of one connection. How it ends is the sender's affair: what was asked has its own answer and its own log line.
async fn answer(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    bounds: Bounds,
    closing: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_within)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

    async fn start(bounds: Bounds) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let who = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.ip().to_string() };
        let router = Router::new().route("/", get(who));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, closing) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, router, bounds, closing.clone()));
        (address, closing, serving)
    }

    /// What comes back until the connection ends, or nothing where it does not within ten seconds.
    async fn rest(stream: &mut TcpStream) -> Option<String> {
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        read.ok().map(|_| String::from_utf8_lossy(&answer).into_owned())
    }

    #[tokio::test]
    async fn a_head_that_trickles_in_and_a_connection_without_one_are_ended() {
        let bounds = Bounds {
            most: 9,
            head_within: Duration::from_millis(100),
        };
        let (address, ..) = start(bounds).await;
        let mut whole = TcpStream::connect(address).await.unwrap();
        whole.write_all(ASKED).await.unwrap();
        let mut trickling = TcpStream::connect(address).await.unwrap();
        trickling.write_all(&ASKED[..20]).await.unwrap();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let answer = rest(&mut whole).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"),
            "{answer}"
        );
        for stream in [&mut trickling, &mut silent] {
            assert!(rest(stream).await.is_some(), "it is still open");
        }
    }

    #[tokio::test]
    async fn more_than_there_may_be_wait_until_one_ends() {
        let bounds = Bounds {
            most: 1,
            head_within: Duration::from_mins(1),
        };
        let (address, closing, serving) = start(bounds).await;
        let first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(ASKED).await.unwrap();
        let mut byte = [0];
        let early = timeout(Duration::from_millis(200), second.read(&mut byte)).await;
        assert!(early.is_err(), "it was answered beside the first");
        drop(first);
        timeout(Duration::from_secs(10), second.read_exact(&mut byte))
            .await
            .unwrap()
            .unwrap();

        // an unused connection does not keep a server from its end
        closing.cancel();
        timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    }
}
