//! All items of a search, page by page (PS3.18 section 8.3.4.4), from archives that page in their own way.
//!
//! An archive may give fewer items than it was asked for, or more. It may give the same ones whatever the offset is. And what arrives
//! while it is asked moves what is behind it, so that an item comes twice. What is known is therefore told by its UID, and the offset is
//! how many items were given, understood or not.

use std::collections::HashSet;

use serde_json::Value;

/// How many items are asked for at once.
const PAGE: usize = 500;
/// No archive is asked for more at once.
const LONGEST_PAGE: usize = 32 * PAGE;
/// Pages in a row without anything new: one or two may be what moved, so many are the same page over and over.
const MOST_STALE: usize = 3;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// Each once.
    pub items: Vec<T>,
    /// What the archive calls those that have no valid UIDs.
    pub invalid: Vec<String>,
    /// Whether all pages were the same, whatever the offset: then there may be more.
    pub repeats: bool,
}

/// Asks `page` for all items, from an offset and so many; of each, `key` is the element with its UID, and `read` what is made of it.
/// Where it is known that there are `total`, no more is asked for than is needed.
pub(super) fn all<T, E>(
    key: &str,
    total: Option<u64>,
    mut page: impl FnMut(usize, usize) -> Result<Vec<Value>, E>,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Listing<T>, E> {
    let mut listing = Listing {
        items: Vec::new(),
        invalid: Vec::new(),
        repeats: false,
    };
    let mut known = HashSet::new();
    let (mut offset, mut limit, mut stale) = (0, PAGE, 0);
    loop {
        let items = page(offset, limit)?;
        if items.is_empty() {
            break;
        }
        let before = known.len();
        for item in &items {
            let uid = super::text(item, key).unwrap_or_default();
            if !known.insert(uid.to_owned()) {
                continue;
            }
            match read(item) {
                Some(item) => listing.items.push(item),
                None => listing.invalid.push(uid.to_owned()),
            }
        }
        offset += items.len();
        if total.is_some_and(|total| known.len() as u64 >= total) {
            break;
        }
        if known.len() > before {
            stale = 0;
            continue;
        }
        stale += 1;
        if stale < MOST_STALE {
            continue;
        }
        if items.len() < limit || limit >= LONGEST_PAGE {
            listing.repeats = true;
            break;
        }
        // it gives as many as it is asked for, from the first one on
        (offset, limit) = (0, 2 * limit);
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::json;

    use super::*;

    const KEY: &str = "0020000D";

    fn item(name: usize) -> Value {
        json!({KEY: {"vr": "UI", "Value": [name.to_string()]}})
    }

    /// How many of an archive's studies are found, by how many questions, and whether more is suspected.
    fn found(total: Option<u64>, mut answer: impl FnMut(usize, usize) -> Vec<usize>) -> (usize, usize, bool) {
        let mut questions = 0;
        let page = |offset, limit| -> Result<_, Infallible> {
            questions += 1;
            Ok(answer(offset, limit).into_iter().map(item).collect())
        };
        let listing = all(KEY, total, page, |item| Some(item.clone())).unwrap();
        (listing.items.len(), questions, listing.repeats)
    }

    fn part(all: impl Iterator<Item = usize>, offset: usize, limit: usize) -> Vec<usize> {
        all.skip(offset).take(limit).collect()
    }

    #[test]
    fn all_are_found_however_an_archive_pages() {
        assert_eq!(
            found(None, |offset, limit| part(0..1234, offset, limit)),
            (1234, 4, false)
        );
        // as many as were announced: nothing is left to be asked
        assert_eq!(
            found(Some(900), |offset, limit| part(0..900, offset, limit)),
            (900, 2, false)
        );
        // no more than 7 at once
        assert_eq!(
            found(None, |offset, limit| part(0..100, offset, limit.min(7))),
            (100, 16, false)
        );
        // all at once, whatever is asked for
        assert_eq!(found(None, |_, _| (0..3000).collect()).0, 3000);
        assert_eq!(found(Some(40), |_, _| (0..40).collect()), (40, 1, false));
        // no offset, but as many as are asked for
        let (count, _, repeats) = found(None, |_, limit| part(0..3000, 0, limit));
        assert_eq!((count, repeats), (3000, true));
        // no offset, and no more than 100: what was found, and the suspicion
        assert_eq!(found(None, |_, _| (0..100).collect()), (100, 4, true));
        // no offset, exactly as many as a page has, and no more however many are asked for
        let (count, _, repeats) = found(None, |_, _| (0..PAGE).collect());
        assert_eq!((count, repeats), (PAGE, true));
    }

    #[test]
    fn what_arrives_meanwhile_hides_nothing() {
        // the newest first: a whole page of new ones comes before the second and the third question
        for arrivals in [1, 10, 13, 20] {
            let mut newest = 200;
            let mut seen = Vec::new();
            let page = |offset, _| -> Result<_, Infallible> {
                let page = part((0..newest).rev(), offset, 10);
                newest += if newest < 200 + 2 * arrivals { arrivals } else { 0 };
                seen.extend(page.clone());
                Ok(page.into_iter().map(item).collect())
            };
            let listing = all(KEY, None, page, |item| Some(item.clone())).unwrap();
            seen.retain(|name| *name < 200);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 200, "{arrivals} arrivals hid some");
            assert!(listing.items.len() >= 200 && !listing.repeats);
        }
    }

    #[test]
    fn what_is_not_understood_is_told_and_hides_nothing() {
        let page = |offset, limit| -> Result<_, Infallible> {
            Ok(part(0..2000, offset, limit).into_iter().map(item).collect())
        };
        // as long as two whole pages
        let read = |item: &Value| {
            let name: usize = super::super::text(item, KEY)?.parse().ok()?;
            (name >= 2 * PAGE).then_some(name)
        };
        let listing = all(KEY, None, page, read).unwrap();
        assert_eq!((listing.items.len(), listing.invalid.len()), (1000, 1000));
    }
}
