//! Of [`super`]. Files that PyTorch itself wrote are read in `tests/it/weights.rs`; here are those that nobody should write.

use super::pickle::{self, Value};
use super::*;

/// A safetensors file with one tensor of `dtype`.
fn file(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let end = data.len();
    let header =
        format!(r#"{{"a.weight": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [0, {end}]}}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn numbers_of_every_kind_become_32_bit_floats() {
    // 1.5 and -2 in each format
    for (dtype, data) in [
        ("F16", &[0x00, 0x3e, 0x00, 0xc0][..]),
        ("BF16", &[0xc0, 0x3f, 0x00, 0xc0]),
        ("F32", &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]),
        ("F64", &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
    ] {
        let read = Checkpoint::read(&file(dtype, "[2]", data)).unwrap();
        assert_eq!(read.tensors[0].1.values, [1.5, -2.0], "{dtype}");
    }
    let counter = Checkpoint::read(&file("I64", "[]", &[0; 8])).unwrap();
    assert_eq!(
        (counter.tensors.len(), counter.whole.as_slice()),
        (0, &["a.weight".to_owned()][..])
    );
}

#[test]
fn what_is_no_file_of_weights_is_refused_in_words() {
    let problem = |bytes: &[u8]| Checkpoint::read(bytes).unwrap_err().to_string();
    for (bytes, named) in [
        (
            file("F8_E4M3", "[2]", &[0; 2]),
            "`a.weight` is F8_E4M3; F32, F16, BF16 and F64 can be read",
        ),
        (
            file("F32", "[3]", &[0; 8]),
            "`a.weight` has 8 bytes, which are not [3] numbers of F32",
        ),
        (
            file("F32", "[4294967296, 4294967296, 4294967296]", &[0; 8]),
            "`a.weight` has 8 bytes",
        ),
        (Vec::new(), "shorter than 8 bytes"),
        (
            b"<html>no such file</html>".to_vec(),
            "neither a PyTorch file, nor a safetensors file",
        ),
        (b"PK\x03\x04 and nothing more".to_vec(), "its ZIP archive"),
        (torch::LEGACY_START.to_vec(), "its pickle is cut off"),
    ] {
        let said = problem(&bytes);
        assert!(
            said.starts_with("not a file of weights: ") && said.contains(named),
            "{said}"
        );
    }
}

#[test]
fn a_pickle_calls_nothing() {
    // os.system("true"): protocol 2, GLOBAL, the argument, a tuple of it, REDUCE, STOP
    let read = pickle::read(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.").unwrap();
    assert_eq!(read.values[read.root], Value::Blank);
}

#[test]
fn a_pickle_that_refers_to_itself_or_takes_too_much_ends() {
    // a list that holds itself, as `l = []; l.append(l)`
    let read = pickle::read(b"\x80\x02]q\x00h\x00a.").unwrap();
    assert_eq!(read.values[read.root], Value::Sequence(vec![read.root]));
    for program in [
        &b"."[..],
        b"0.",
        b"t.",
        b"h\x07.",
        b"(0.",
        b"\x87.",
        b"Q.",
        b"u.",
        b"X\xff\xff\xff\xff",
        b"cos",
        b"\x8a",
    ] {
        assert!(pickle::read(program).is_err(), "{program:?}");
    }
}

/// A dictionary with a tensor `w` of 1.5 and -2, as `torch.save` describes it.
fn dictionary() -> Vec<u8> {
    let mut program = b"\x80\x02}q\x00X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    program.extend(
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ",
    );
    program.extend(b"K\x00K\x02\x85K\x01\x85\x89NtRs.");
    program
}

const NUMBERS: [u8; 8] = [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0];

/// As it was written before 1.6.
fn legacy() -> Vec<u8> {
    let mut file = torch::LEGACY_START.to_vec();
    file.extend(b".\x80\x02M\xe9\x03.\x80\x02}.");
    file.extend(dictionary());
    file.extend(b"\x80\x02]X\x01\x00\x00\x000a.");
    file.extend(2_u64.to_le_bytes());
    file.extend(NUMBERS);
    file
}

/// As it is written since.
fn zipped() -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let parts = [
        ("a/data.pkl", dictionary()),
        ("a/byteorder", b"little".to_vec()),
        ("a/data/0", NUMBERS.to_vec()),
    ];
    for (name, bytes) in parts {
        writer.start_file(name, options).unwrap();
        writer.write_all(&bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn no_cut_or_flipped_byte_makes_it_panic() {
    for file in [legacy(), zipped()] {
        let read = Checkpoint::read(&file).unwrap();
        assert_eq!(read.tensors[0].0, "w");
        assert_eq!(read.tensors[0].1.values, [1.5, -2.0]);
        for length in 0..file.len() {
            assert!(Checkpoint::read(&file[..length]).is_err(), "{length} bytes");
        }
        for place in 0..file.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut broken = file.clone();
                broken[place] ^= flip;
                // any answer will do
                let _ = Checkpoint::read(&broken);
            }
        }
    }
}

#[test]
fn a_tensor_that_shows_more_than_there_is_is_refused() {
    let small = b"K\x00K\x02\x85K\x01\x85\x89NtRs.";
    for (view, named) in [
        // offset, sizes and strides: past the end; a huge size without a step; a huge size beside nothing
        (
            &b"K\x01K\x02\x85K\x01\x85\x89NtRs."[..],
            Some("`w`: lies outside its numbers"),
        ),
        (
            b"K\x00J\xff\xff\xff\x7f\x85K\x00\x85\x89NtRs.",
            Some("`w`: larger than the file"),
        ),
        (b"K\x00K\x00J\xff\xff\xff\x7f\x86K\x01K\x01\x86\x89NtRs.", None),
    ] {
        let mut file = legacy();
        let at = file
            .windows(small.len())
            .position(|window| window == small)
            .unwrap();
        file.splice(at..at + small.len(), view.iter().copied());
        match (Checkpoint::read(&file), named) {
            (Ok(read), None) => assert!(read.tensors[0].1.values.is_empty()),
            (Err(error), Some(named)) => assert!(error.to_string().contains(named), "{error}"),
            (answer, _) => panic!("{answer:?}"),
        }
    }
}
