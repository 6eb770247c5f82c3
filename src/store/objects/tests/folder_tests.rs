//! What only a local folder promises: nothing half-written stays, nobody else can look.

use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use super::*;

#[tokio::test]
async fn what_a_dead_writer_left_is_removed_and_what_a_living_one_writes_is_not() {
    let ground = Ground::folder();
    let objects = ground.open(None).await;
    let leave = |name: &str, minutes| {
        let path = ground.files.join("incoming").join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(minutes))
            .unwrap();
        path
    };
    let (dead, living) = (leave("1-0", 61), leave("1-1", 59));
    assert_eq!(objects.remove_leftovers().await.unwrap(), 1);
    assert!(!dead.exists() && living.exists());
    let dead = leave("1-0", 61);
    ground.open(None).await;
    assert!(!dead.exists() && living.exists(), "opening removes them, too");
}

#[tokio::test]
async fn a_process_of_the_same_number_elsewhere_is_not_disturbed() {
    let ground = Ground::folder();
    let objects = ground.open(None).await;
    let theirs = ground
        .files
        .join("incoming")
        .join(format!("{}-0", std::process::id()));
    fs::write(&theirs, "half of").unwrap();
    let sha = objects.put(Bytes::from_static(b"DICM")).await.unwrap();
    assert_eq!(fs::read(&theirs).unwrap(), b"half of");
    assert_eq!(objects.get(&sha).await.unwrap(), "DICM");
}

#[tokio::test]
async fn only_the_servers_own_user_can_enter() {
    let ground = Ground::folder();
    ground.open(None).await;
    for folder in ["..", ".", "00", "ff", "incoming"] {
        let mode = fs::metadata(ground.files.join(folder))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

#[tokio::test]
async fn objects_of_earlier_versions_are_read() {
    let ground = Ground::folder();
    ground.open(None).await;
    // printf DICM | sha256sum
    let name = "4c/07eaea1325b5d4e41ed98d5c96e4681eefde39e58aff9f47adaf7af2d0d46a.dcm";
    let sha = Sha::of(b"DICM");
    let (folder, file) = sha.as_str().split_at(2);
    let path = ground.files.join(folder).join(format!("{file}.dcm"));
    assert!(path.ends_with(name));
    fs::write(path, b"DICM").unwrap();
    assert_eq!(ground.open(None).await.get(&sha).await.unwrap(), "DICM");
}

#[tokio::test]
async fn a_file_where_the_folder_should_be_is_said_so_without_its_path() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Objects::open(&ObjectPlace::Folder(file.join("objects")), None)
        .await
        .unwrap_err();
    assert!(
        !error.to_string().contains(root.path().to_str().unwrap()),
        "{error}"
    );
}
