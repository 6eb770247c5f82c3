//! Files whose form is wrong and whose content is not are scored like whole ones, and the answer says what was put right.

use osteon::image::phantom::{Recipe, to_dicom};

use crate::server::{TestServer, bytes};

/// Rows (0028,0010) as an element of explicit VR, and what comes before it.
fn at_rows(file: &[u8]) -> usize {
    let header = b"\x28\x00\x10\x00US\x02\x00";
    file.windows(header.len())
        .position(|window| window == header)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_tools_accept_is_repaired_and_said() {
    let server = TestServer::start().await;
    // so large that a wrong length of a hundred thousand bytes would end in its pixels
    let good = bytes(&to_dicom(&Recipe::new(31, 400, 300).render(), 9, 31, 0).unwrap());
    assert!(good.len() > 200_000);
    let meta = 132;
    let data_set = meta + 12 + u32::from_le_bytes(good[meta + 8..meta + 12].try_into().unwrap()) as usize;
    let rows = at_rows(&good);
    let value = &good[rows + 8..rows + 10];
    // Rows written anew in place of the whole element
    let with_rows = |element: &[u8]| [&good[..rows], element, value, &good[rows + 10..]].concat();
    let wrong_length = {
        let mut file = good.clone();
        file[meta + 8] ^= 0x10;
        file
    };
    // a comment of three bytes behind Study ID (0020,0010), where Image Comments (0020,4000) has its place
    let comments = b"\x20\x00\x00\x40LT\x03\x00abc";
    let samples = b"\x28\x00\x02\x00US";
    let behind_group_20 = good
        .windows(samples.len())
        .position(|window| window == samples)
        .unwrap();
    let inserted = |element: &[u8]| [&good[..behind_group_20], element, &good[behind_group_20..]].concat();
    let cases: [(&str, Vec<u8>, &[&str]); 15] = [
        ("nothing wrong", good.clone(), &[]),
        ("no preamble", good[128..].to_vec(), &["no-preamble"]),
        (
            "no prefix",
            [&good[..128], &good[meta..]].concat(),
            &["no-prefix"],
        ),
        ("neither", good[meta..].to_vec(), &["no-preamble", "no-prefix"]),
        (
            "a bare data set",
            good[data_set..].to_vec(),
            &["no-preamble", "no-prefix", "no-file-meta"],
        ),
        (
            "no group length",
            [&good[..meta], &good[meta + 12..]].concat(),
            &["group-length"],
        ),
        ("a wrong group length", wrong_length, &["group-length"]),
        ("an odd length", inserted(comments), &["odd-length"]),
        (
            "an element without a value representation",
            with_rows(b"\x28\x00\x10\x00\x02\x00\x00\x00"),
            &["value-representation"],
        ),
        (
            "zeros for a value representation",
            with_rows(b"\x28\x00\x10\x00\0\0\x02\x00"),
            &["value-representation"],
        ),
        (
            "blanks for a value representation",
            with_rows(b"\x28\x00\x10\x00  \x02\x00"),
            &["value-representation"],
        ),
        (
            "zeros for a value representation, and a long length",
            with_rows(b"\x28\x00\x10\x00\0\0\0\0\x02\0\0\0"),
            &["value-representation"],
        ),
        (
            "a number that is called text",
            with_rows(b"\x28\x00\x10\x00LO\x02\x00"),
            &["value-representation"],
        ),
        (
            "a number that is called unknown",
            with_rows(b"\x28\x00\x10\x00UN\0\0\x02\0\0\0"),
            &[],
        ),
        (
            "bytes behind the end",
            [&good[..], b"\r\nEND OF FILE\r\n"].concat(),
            &["trailing-bytes"],
        ),
    ];
    let (_, whole) = server.score(good.clone()).await;
    assert_eq!(whole["outcome"], "scored", "{whole}");
    for (what, file, repairs) in cases {
        let (_, answer) = server.score(file).await;
        assert_eq!(answer["outcome"], "scored", "{what}: {answer}");
        assert_eq!(answer["findings"], whole["findings"], "{what}");
        let codes: Vec<&str> = answer
            .get("repairs")
            .and_then(|repairs| repairs.as_array())
            .into_iter()
            .flatten()
            .map(|repair| repair["code"].as_str().unwrap())
            .collect();
        assert_eq!(codes, repairs, "{what}");
    }
    server.stop().await;
}
