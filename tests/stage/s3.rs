//! An S3-compatible server in this process, over a folder: for tests that need a real one.
//!
//! Depends on nothing of osteon, so that unit tests and stories use the same one.

#![allow(dead_code, reason = "each of its users needs a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The name of the bucket that every server has.
pub(crate) const BUCKET: &str = "radiographs";

/// A running server, until it is dropped.
pub(crate) struct S3Server {
    /// The URL to reach it at; the same after [`S3Server::resume`].
    pub(crate) endpoint: String,
    /// The bucket that is there.
    pub(crate) bucket: &'static str,
    /// Who may enter.
    pub(crate) access_key: &'static str,
    /// With what.
    pub(crate) secret_key: &'static str,
    root: PathBuf,
    address: SocketAddr,
    running: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Serves `root`, in which the bucket is made, on a free port of this machine.
    ///
    /// # Panics
    /// Where that cannot be done.
    pub(crate) async fn start(root: &Path) -> Self {
        std::fs::create_dir_all(root.join(BUCKET)).expect("the bucket can be made");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(any).await.expect("a port is free");
        let address = listener.local_addr().expect("the port is known");
        let mut server = Self {
            endpoint: format!("http://{address}"),
            bucket: BUCKET,
            access_key: "reader-and-writer",
            secret_key: "of-this-test-only",
            root: root.to_owned(),
            address,
            running: None,
        };
        server.run(listener);
        server
    }

    /// What a program must find in its environment to use this server.
    #[must_use]
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", self.access_key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.to_owned()),
        ]
    }

    /// The folder in which the objects of the bucket lie, each at its key.
    #[must_use]
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(BUCKET)
    }

    /// Ends the server and all connections: the next request is refused.
    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            // ends when the listener is closed
            let _ = running.await;
        }
    }

    /// Serves again, at the same address.
    ///
    /// # Panics
    /// Where somebody else has taken the port meanwhile.
    pub(crate) async fn resume(&mut self) {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await;
        self.run(listener.expect("the port is still free"));
    }

    fn run(&mut self, listener: TcpListener) {
        let files = FileSystem::new(&self.root).expect("the folder can be served");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(self.access_key, self.secret_key));
        self.running = Some(tokio::spawn(serve(listener, builder.build(), self.root.clone())));
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, root: PathBuf) {
    // dropped with this task, and every connection with it
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        // as real ones do: else the second segment of an answer waits for the client's delayed acknowledgement, some 40 ms
        let _ = connection.set_nodelay(true);
        let (service, root) = (service.clone(), root.clone());
        let answer = move |request| answer(service.clone(), root.clone(), request);
        connections.spawn(async move {
            // a client that hangs up is no concern of the server
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service_fn(answer))
                .await;
        });
    }
}

/// What the server answers; a bucket that is not there stays so, which the file system under it does not see to.
async fn answer(
    service: S3Service,
    root: PathBuf,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let bucket = request.uri().path().split('/').nth(1).unwrap_or_default();
    if root.join(bucket).is_dir() {
        return service.call(request.map(Body::from)).await;
    }
    let mut response = Response::new(Body::from("<Error><Code>NoSuchBucket</Code></Error>".to_owned()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}
