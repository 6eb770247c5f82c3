//! What a bucket adds: an object storage that is down, slow, full or closed, in bounded time and in words without names.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Objects in a bucket of a server that gives every request one answer; without one it is silent.
async fn behind(answer: Option<String>) -> Objects {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = connection.read(&mut [0; 8192]).await;
                match answer {
                    Some(answer) => connection.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
            });
        }
    });
    let settings = [
        ("aws_endpoint_url", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "canary-id"),
        ("aws_secret_access_key", "canary-secret"),
    ]
    .map(|(name, value)| (name.parse().unwrap(), value.to_owned()));
    let bucket = Bucket::open(
        "canary-bucket",
        "canary/prefix",
        Duration::from_millis(500),
        &settings,
    )
    .unwrap();
    Objects {
        place: Place::Bucket(bucket),
        keys: None,
    }
}

fn answer(status: &str, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code></Error>");
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn a_storage_that_is_down_is_said_so_in_time_and_used_again_when_it_is_back() {
    let mut ground = Ground::bucket().await;
    let objects = ground.open(None).await;
    let sha = objects.put(Bytes::from_static(b"DICM")).await.unwrap();
    ground.server.as_mut().unwrap().stop().await;
    let begun = Instant::now();
    assert!(matches!(
        objects.put(Bytes::from_static(b"DICN")).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(objects.get(&sha).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        objects.check(&sha, false).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(objects.ping().await, Err(StoreError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    ground.server.as_mut().unwrap().resume().await;
    assert_eq!(objects.get(&sha).await.unwrap(), "DICM");
    objects.put(Bytes::from_static(b"DICN")).await.unwrap();
    objects.ping().await.unwrap();
}

#[tokio::test]
async fn a_storage_that_never_answers_is_given_up() {
    let objects = behind(None).await;
    let within = async |request: &mut (dyn Future<Output = Result<(), StoreError>> + Send + Unpin)| {
        let begun = Instant::now();
        assert!(matches!(request.await, Err(StoreError::Unavailable(_))));
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    };
    let sha = Sha::of(b"DICM");
    within(&mut Box::pin(async {
        objects.put(Bytes::from_static(b"DICM")).await.map(drop)
    }))
    .await;
    within(&mut Box::pin(async { objects.get(&sha).await.map(drop) })).await;
    within(&mut Box::pin(objects.ping())).await;
    within(&mut Box::pin(objects.remove(&sha))).await;
    within(&mut Box::pin(async {
        objects.list().try_collect::<Vec<_>>().await.map(drop)
    }))
    .await;
    let Place::Bucket(bucket) = &objects.place else {
        panic!("a bucket")
    };
    within(&mut Box::pin(bucket.write(&sha, Bytes::from_static(b"DICM")))).await;
}

#[tokio::test]
async fn what_the_storage_answers_is_understood_and_no_name_is_told() {
    type Is = fn(&StoreError) -> bool;
    let full: Is = |error| matches!(error, StoreError::Full(_));
    let closed: Is = |error| matches!(error, StoreError::ReadOnly(_));
    let passing: Is = |error| matches!(error, StoreError::Unavailable(_));
    for (status, code, expected) in [
        ("507 Insufficient Storage", "XMinioStorageFull", full),
        ("403 Forbidden", "QuotaExceeded", full),
        ("403 Forbidden", "AccessDenied", closed),
        ("401 Unauthorized", "InvalidAccessKeyId", closed),
        ("404 Not Found", "NoSuchBucket", passing),
        ("503 Slow Down", "SlowDown", passing),
        ("500 Internal Server Error", "InternalError", passing),
        ("400 Bad Request", "RequestTimeTooSkewed", passing),
    ] {
        let objects = behind(Some(answer(status, code))).await;
        let error = objects.put(Bytes::from_static(b"DICM")).await.unwrap_err();
        assert!(expected(&error), "{status}: {error:?}");
        for name in ["canary", "127.0.0.1", Sha::of(b"DICM").as_str()] {
            assert!(!error.to_string().contains(name), "{error}");
        }
        assert!(!format!("{error:?}").contains("canary-secret"));
        assert!(!format!("{objects:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_wrong_secret_and_a_wrong_bucket_are_errors_before_anything_is_stored() {
    let ground = Ground::bucket().await;
    let server = ground.server.as_ref().unwrap();
    let settings = |secret| {
        [
            ("aws_endpoint_url", server.endpoint.as_str()),
            ("aws_allow_http", "true"),
            ("aws_access_key_id", server.access_key),
            ("aws_secret_access_key", secret),
        ]
    };
    let objects = Objects::open_with(&ground.place, None, &settings("guessed"))
        .await
        .unwrap();
    assert!(matches!(objects.ping().await, Err(StoreError::ReadOnly(_))));
    assert!(matches!(
        objects.put(Bytes::from_static(b"DICM")).await,
        Err(StoreError::ReadOnly(_))
    ));
    let elsewhere = "s3://elsewhere".parse().unwrap();
    let objects = Objects::open_with(&elsewhere, None, &settings(server.secret_key))
        .await
        .unwrap();
    assert!(matches!(objects.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        objects.put(Bytes::from_static(b"DICM")).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(ground.count(), 0);
}

#[tokio::test]
async fn a_listing_goes_on_after_its_first_page() {
    let ground = Ground::bucket().await;
    for number in 0..1100_u32 {
        let file = ground.file(&Sha::of(&number.to_le_bytes()));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, number.to_le_bytes()).unwrap();
    }
    let listed: Vec<_> = ground.open(None).await.list().try_collect().await.unwrap();
    let names: std::collections::HashSet<_> = listed.iter().map(|object| object.sha.as_str()).collect();
    assert_eq!((listed.len(), names.len()), (1100, 1100));
}

#[tokio::test]
async fn a_bucket_needs_no_prefix() {
    let mut ground = Ground::bucket().await;
    let server = ground.server.as_ref().unwrap();
    ground.place = format!("s3://{}", server.bucket).parse().unwrap();
    ground.files = server.folder();
    let objects = ground.open(None).await;
    objects.ping().await.unwrap();
    let sha = objects.put(Bytes::from_static(b"DICM")).await.unwrap();
    assert!(ground.file(&sha).exists());
    let listed: Vec<_> = objects.list().try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn a_name_that_is_no_setting_is_refused() {
    let ground = Ground::bucket().await;
    let opened = Objects::open_with(&ground.place, None, &[("aws_endpiont", "http://127.0.0.1")]).await;
    assert!(opened.is_err());
}
