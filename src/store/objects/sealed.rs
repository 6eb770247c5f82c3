//! How an object looks in its place: in clear, or sealed with AES-256-GCM.
//!
//! A sealed object is `osteon\x1a`, the version of this form (one byte), the name of the key (8 bytes), the nonce (12
//! bytes), the ciphertext and the tag (16 bytes). What stands before the nonce and the object's digest are authenticated
//! with it.
//!
//! Invariants: what [`open`] returns has the digest that was asked for; nothing of a sealed object is returned before its tag
//! was checked; every sealing has a new random nonce (with 2³² objects a key, two are alike with a chance below 2⁻³²).

use aes_gcm::aead::Generate;
use aes_gcm::{AeadInOut, Nonce, Tag};
use bytes::Bytes;

use super::super::StoreError;
use super::keys::{Key, ObjectKeys};
use super::sha::Sha;

const MAGIC: &[u8; 8] = b"osteon\x1a\x01";
/// Magic, version and name of the key: what is authenticated, and not encrypted.
const HEAD: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;

/// The form in which `content` is stored: sealed where there are keys.
pub(super) fn seal(keys: Option<&ObjectKeys>, sha: &Sha, content: Bytes) -> Result<Bytes, StoreError> {
    let Some(Key { id, cipher }) = keys.map(ObjectKeys::first) else {
        return Ok(content);
    };
    let nonce = <[u8; NONCE]>::try_generate().map_err(|error| StoreError::Unavailable(error.into()))?;
    let mut sealed = Vec::with_capacity(HEAD + NONCE + content.len() + TAG);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(id);
    let bound = bound(&sealed, sha);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&content);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), &bound, (&mut sealed[HEAD + NONCE..]).into())
        // an object of 64 GiB or more
        .map_err(|error| StoreError::Full(error.into()))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed.into())
}

/// The content of an object from its stored form.
///
/// # Errors
/// [`StoreError::Damaged`] where it is not the object of this digest, [`StoreError::KeyMissing`] where the key that it names
/// is not here.
pub(super) fn open(keys: Option<&ObjectKeys>, sha: &Sha, stored: Bytes) -> Result<Bytes, StoreError> {
    let content = match parts(&stored) {
        None => Ok(stored),
        Some(parts) => match unseal(keys, sha, &parts) {
            Ok(content) => Ok(content),
            // a clear object may begin like a sealed one, by accident or by malice
            Err(_) if Sha::of(&stored) == *sha => return Ok(stored),
            Err(error) => Err(error),
        },
    }?;
    if Sha::of(&content) == *sha {
        Ok(content)
    } else {
        Err(StoreError::Damaged)
    }
}

/// Whether a stored form is this content as [`seal`] would store it now: sealed with the first key, or in clear where there
/// are no keys.
pub(super) fn is_current(keys: Option<&ObjectKeys>, sha: &Sha, stored: &[u8], content: &[u8]) -> bool {
    let Some(keys) = keys else {
        return stored == content;
    };
    parts(stored).is_some_and(|parts| {
        parts.key == keys.first().id && unseal(Some(keys), sha, &parts).is_ok_and(|kept| kept == content)
    })
}

struct Parts<'a> {
    head: &'a [u8],
    key: &'a [u8],
    nonce: [u8; NONCE],
    ciphertext: &'a [u8],
    tag: [u8; TAG],
}

/// What a sealed object consists of; `None` for one in clear.
fn parts(stored: &[u8]) -> Option<Parts<'_>> {
    let (head, rest) = stored.split_at_checked(HEAD)?;
    let key = head.strip_prefix(MAGIC)?;
    let (nonce, rest) = rest.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;
    Some(Parts {
        head,
        key,
        nonce: *nonce,
        ciphertext,
        tag: *tag,
    })
}

fn unseal(keys: Option<&ObjectKeys>, sha: &Sha, parts: &Parts<'_>) -> Result<Bytes, StoreError> {
    let key = keys
        .and_then(|keys| keys.named(parts.key))
        .ok_or(StoreError::KeyMissing)?;
    let mut content = parts.ciphertext.to_vec();
    key.cipher
        .decrypt_inout_detached(
            &Nonce::from(parts.nonce),
            &bound(parts.head, sha),
            content.as_mut_slice().into(),
            &Tag::from(parts.tag),
        )
        .map_err(|_| StoreError::Damaged)?;
    Ok(content.into())
}

/// What a tag is bound to beside the content, so that neither the head nor another object's content can take its place.
fn bound(head: &[u8], sha: &Sha) -> Vec<u8> {
    [head, sha.as_str().as_bytes()].concat()
}
