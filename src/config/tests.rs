//! Of [`super`].

use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("osteon.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn what_was_given_wins_over_the_file_and_that_over_the_default() {
    let (_folder, path) = file("queue = 7\nmodels = \"elsewhere\"\nstudy-model = \"spine\"\n");
    let given = Given {
        queue: Some(9),
        ..Given::default()
    };
    let config = Config::resolve(given, Some(&path)).unwrap();
    assert_eq!(config.queue, 9);
    assert_eq!(config.study_model.as_deref(), Some("spine"));
    assert_eq!(config.models, Path::new("elsewhere"));
    assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 8080)));
}

#[test]
fn no_destination_has_the_name_of_the_store_itself() {
    let named = |name: &str| {
        let text = format!("[[destinations]]\nname = \"{name}\"\nkind = \"stow\"\nurl = \"http://h/d\"\n");
        let (_folder, path) = file(&text);
        Config::resolve(Given::default(), Some(&path))
    };
    assert!(named("pacs").is_ok());
    assert!(named(OWN_ARCHIVE).unwrap_err().to_string().contains("own store"));
}

#[test]
fn a_misspelt_key_and_a_missing_file_are_named() {
    let (_folder, path) = file("modls = \"x\"\n");
    assert!(
        Config::resolve(Given::default(), Some(&path))
            .unwrap_err()
            .to_string()
            .contains("modls")
    );
    let missing = Path::new("/nowhere/osteon.toml");
    assert!(
        Config::resolve(Given::default(), Some(missing))
            .unwrap_err()
            .to_string()
            .contains("nowhere")
    );
    let zero = Given {
        queue: Some(0),
        ..Given::default()
    };
    assert!(Config::resolve(zero, None).is_err());
}

#[test]
fn gpus_and_the_memory_of_each_are_named_in_the_file_as_on_the_command_line() {
    let resolved = |text: &str| {
        let (_folder, path) = file(text);
        Config::resolve(Given::default(), Some(&path)).map_err(|error| error.to_string())
    };
    let config = resolved("device = \"cuda:0,cuda:2\"\ngpu-memory-mib = 4096\n").unwrap();
    assert_eq!(config.device.to_string(), "cuda:0,cuda:2");
    assert_eq!(config.gpu_memory_mib, Some(4096));
    let default = resolved("").unwrap();
    assert_eq!(
        (default.device, default.gpu_memory_mib),
        (Devices::default(), None)
    );
    for (wrong, said) in [
        ("device = \"gpu\"", "cuda:0,cuda:1 or cuda:all"),
        ("device = \"cuda:1,cuda:1\"", "twice"),
        ("gpu-memory-mib = 0", "leave it out"),
    ] {
        let error = resolved(wrong).unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}

#[test]
fn sites_are_named_in_the_file() {
    let (_folder, path) = file("queue = 7\n\n[sites]\n\"General Hospital\" = \"general\"\n");
    let config = Config::resolve(Given::default(), Some(&path)).unwrap();
    assert_eq!(config.sites.of(Some("General Hospital")).name(), "general");
    let (_folder, path) = file("[sites]\n\"General Hospital\" = \"General Hospital\"\n");
    let said = Config::resolve(Given::default(), Some(&path)).unwrap_err();
    assert!(said.to_string().contains("lower-case"), "{said}");
}

#[test]
fn who_may_call_is_named_in_the_file() {
    let (_folder, path) = file(
        "dicom-listen = \"0.0.0.0:11112\"\ndicom-ae-title = \"AI\"\n[[dicom-callers]]\nae-title = \"ARCHIVE\"\nhosts = [\"10.0.5.20\"]\n",
    );
    let config = Config::resolve(Given::default(), Some(&path)).unwrap();
    assert_eq!(config.dicom_listen, Some(SocketAddr::from(([0, 0, 0, 0], 11112))));
    assert_eq!(config.dimse.ae_title.as_str(), "AI");
    assert!(!config.dimse.callers.is_empty());
    let without = Config::resolve(Given::default(), None).unwrap();
    assert_eq!(
        (without.dicom_listen, without.dimse.ae_title.as_str()),
        (None, "OSTEON")
    );
    assert!(without.dimse.callers.is_empty());
    for wrong in [
        "dicom-ae-title = \"MUCH TOO LONG A TITLE\"",
        "dicom-associations = 0",
    ] {
        let (_folder, path) = file(wrong);
        assert!(Config::resolve(Given::default(), Some(&path)).is_err(), "{wrong}");
    }
}

#[test]
fn proxies_are_trusted_where_they_are_named() {
    let (_folder, path) =
        file("trusted-proxies = \"10.0.0.0/8, fd00::1\"\nforwarded-header = \"forwarded\"\n");
    let config = Config::resolve(Given::default(), Some(&path)).unwrap();
    assert_eq!(config.proxies.trusted, "10.0.0.0/8,fd00::1".parse().unwrap());
    assert_eq!(config.proxies.header, crate::http::ForwardedHeader::Forwarded);
    let without = Config::resolve(Given::default(), None).unwrap();
    assert_eq!(without.proxies, Proxies::default());
    for (wrong, says) in [
        ("trusted-proxies = \"ingress.example\"", "write 10.0.5.20"),
        ("forwarded-header = \"x-real-ip\"", "x-forwarded-for"),
    ] {
        let (_folder, path) = file(wrong);
        let said = Config::resolve(Given::default(), Some(&path))
            .unwrap_err()
            .to_string();
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn versions_are_pinned_by_flag_and_file() {
    let (_folder, path) = file("versions = \"all\"\n[pins]\nspine = [1]\nhip = [2, 4]\n");
    let given = Given {
        pin: vec!["spine=3,7".parse().unwrap()],
        ..Given::default()
    };
    let config = Config::resolve(given, Some(&path)).unwrap();
    assert_eq!(config.versions, Versions::All);
    assert_eq!(config.pins["spine"], BTreeSet::from([3, 7]));
    assert_eq!(config.pins["hip"], BTreeSet::from([2, 4]));
    for wrong in ["spine", "spine=", "=1", "spine=0", "spine=1,x"] {
        assert!(wrong.parse::<Pin>().unwrap_err().contains("spine=1,3"), "{wrong}");
    }
}

#[test]
fn signatures_cannot_be_required_without_keys() {
    let given = Given {
        require_signature: true,
        ..Given::default()
    };
    assert!(
        Config::resolve(given, None)
            .unwrap_err()
            .to_string()
            .contains("trusted-keys")
    );
}

#[test]
fn a_public_address_is_a_url_without_its_last_slash() {
    let at = |url: &str| {
        let given = Given {
            public_url: Some(url.to_owned()),
            ..Given::default()
        };
        Config::resolve(given, None).map(|config| config.public_url)
    };
    assert_eq!(
        at("https://osteon.example/").unwrap().as_deref(),
        Some("https://osteon.example")
    );
    assert!(
        at("osteon.example")
            .unwrap_err()
            .to_string()
            .contains("public-url")
    );
}
