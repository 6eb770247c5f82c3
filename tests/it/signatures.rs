//! Signed models: whose signature counts, and what is said of others.

use std::fs;
use std::path::Path;

use osteon::inference::RepositorySettings;
use osteon::model::manifest::MANIFEST;
use osteon::model::{Policy, Stage, TrustedKeys};

use crate::broken_models::{loaded, refused};
use crate::tiny::Tiny;

/// A key pair, the folder of its public half, and what signs a manifest with it.
struct Signer {
    keys: minisign::KeyPair,
    folder: tempfile::TempDir,
}

impl Signer {
    fn new() -> Self {
        let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let public = keys.pk.to_box().unwrap().to_string();
        fs::write(folder.path().join("hospital.pub"), public).unwrap();
        Self { keys, folder }
    }

    fn sign(&self, package: &Path) {
        let manifest = fs::read(package.join(MANIFEST)).unwrap();
        let signature = minisign::sign(None, &self.keys.sk, &manifest[..], None, None).unwrap();
        fs::write(package.join("manifest.json.minisig"), signature.to_string()).unwrap();
    }

    fn settings(&self, models: &Path, require_signature: bool) -> RepositorySettings {
        RepositorySettings {
            policy: Policy {
                trusted: TrustedKeys::read(self.folder.path()).unwrap(),
                require_signature,
                ..Policy::default()
            },
            ..models.into()
        }
    }
}

#[test]
fn who_signed_a_model_counts_as_the_server_was_told() {
    let (ours, others) = (Signer::new(), Signer::new());
    let models = tempfile::tempdir().unwrap();
    let package = models.path().join("m/1");
    Tiny::new("m", 1).publish(models.path());
    refused(
        ours.settings(models.path(), true),
        Stage::Signature,
        "manifest.json.minisig is missing, and this server serves signed models only",
    );
    assert_eq!(
        loaded(ours.settings(models.path(), false)).catalog().all().len(),
        1
    );

    others.sign(&package);
    for required in [false, true] {
        refused(
            ours.settings(models.path(), required),
            Stage::Signature,
            "is not of this manifest by a trusted key (hospital)",
        );
    }
    fs::write(package.join("manifest.json.minisig"), "not a signature").unwrap();
    refused(
        ours.settings(models.path(), false),
        Stage::Signature,
        "is no minisign signature: make it with `minisign -S -m manifest.json`",
    );

    ours.sign(&package);
    let served = loaded(ours.settings(models.path(), true)).catalog().all();
    assert_eq!(
        served.first().map(|model| model.signed.clone()),
        Some(osteon::model::Signed::By("hospital".into()))
    );

    // another threshold: every digest agrees, the signature does not
    let manifest = fs::read_to_string(package.join(MANIFEST)).unwrap();
    fs::write(
        package.join(MANIFEST),
        manifest.replace("\"threshold\": 0.5", "\"threshold\": 0.9"),
    )
    .unwrap();
    refused(
        ours.settings(models.path(), true),
        Stage::Signature,
        "the manifest was changed after it was signed, or somebody else signed it",
    );

    // an old signed version in the folder of a newer one
    fs::write(package.join(MANIFEST), manifest).unwrap();
    fs::rename(&package, models.path().join("m/2")).unwrap();
    refused(
        ours.settings(models.path(), true),
        Stage::Digest,
        "the manifest is of m version 1: it must lie in m/1/",
    );
}

#[test]
fn keys_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        TrustedKeys::read(folder.path())
            .unwrap_err()
            .contains("has no .pub file")
    );
    let file = folder.path().join("a.pub");
    fs::write(&file, "no key").unwrap();
    assert!(
        TrustedKeys::read(&file)
            .unwrap_err()
            .contains("is no minisign public key")
    );
    assert!(
        TrustedKeys::read(&folder.path().join("b.pub"))
            .unwrap_err()
            .contains("cannot be read")
    );
}
