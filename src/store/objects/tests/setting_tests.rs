//! What an operator writes: places and files of keys, and what is said of one that is wrong.

use super::*;

#[test]
fn places_are_read_and_shown() {
    for text in [
        "file:/data/objects",
        "file:objects",
        "s3://abc",
        "s3://a-bucket.of/1/radiographs_2",
    ] {
        assert_eq!(text.parse::<ObjectPlace>().unwrap().to_string(), text);
    }
    assert_eq!("s3://abc/".parse::<ObjectPlace>(), "s3://abc".parse());
    assert_eq!("s3://abc/d/".parse::<ObjectPlace>(), "s3://abc/d".parse());
    assert_eq!("file:/data".parse(), Ok(ObjectPlace::Folder("/data".into())));
}

#[test]
fn other_places_are_refused_with_what_would_be_right() {
    for text in ["", "/data", "S3://abc", "s3:/abc", "https://abc", "gs://abc"] {
        assert_eq!(text.parse::<ObjectPlace>(), Err(PlaceError::Kind), "{text}");
    }
    assert_eq!("file:".parse::<ObjectPlace>(), Err(PlaceError::NoFolder));
    for bucket in [
        "",
        "ab",
        "Abc",
        "a_c",
        "-abc",
        "abc.",
        "a@b:c",
        "äöü",
        &"a".repeat(64),
    ] {
        let text = format!("s3://{bucket}/prefix");
        assert_eq!(text.parse::<ObjectPlace>(), Err(PlaceError::Bucket), "{text}");
    }
    for prefix in ["/a", "a//b", "..", "a/../b", "a b", "a%2fb", "a?b", "ä"] {
        let text = format!("s3://abc/{prefix}");
        assert_eq!(text.parse::<ObjectPlace>(), Err(PlaceError::Prefix), "{text}");
    }
    assert!(PlaceError::Kind.to_string().contains("s3://BUCKET/PREFIX"));
}

#[test]
fn keys_are_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(
        &file,
        format!("# of 2026\n\n  {}  # new\r\n{OLD}\n", NEW.to_uppercase()),
    )
    .unwrap();
    let keys = ObjectKeys::read(&file).unwrap();
    assert_eq!(format!("{keys:?}"), "2 object keys");
    assert_eq!(keys.first().id, NEW.parse::<ObjectKeys>().unwrap().first().id);
    assert!(matches!(
        ObjectKeys::read(folder.path()),
        Err(KeysError::Unreadable(_))
    ));
}

#[test]
fn a_file_without_keys_is_refused_and_no_key_is_told() {
    let error = |text: &str| text.parse::<ObjectKeys>().unwrap_err();
    assert!(matches!(error(""), KeysError::Empty));
    assert!(matches!(error("# none yet\n"), KeysError::Empty));
    assert!(matches!(
        error(&format!("{OLD}\n{NEW}\n{OLD}")),
        KeysError::Repeated(3)
    ));
    for wrong in [
        &OLD[1..],
        &format!("{OLD}0"),
        &format!("{}g", &OLD[1..]),
        &format!("{OLD}{NEW}"),
        &OLD.replace('8', "é"),
    ] {
        let error = error(&format!("# first\n{wrong}"));
        assert!(matches!(error, KeysError::Digits(2)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains(&wrong[8..24]));
    }
}
