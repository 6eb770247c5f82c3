//! Requests, good and bad, as bytes.

use axum::body::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::request::{Expected, Input, Request};
use crate::inference::Priority;

const EXPECTED: Expected<'_> = Expected {
    tensor: "image",
    shape: [1, 2, 3],
};

fn parse(json: &Value, behind: Option<&[u8]>) -> Result<Request, (&'static str, String)> {
    let mut body = json.to_string().into_bytes();
    let length = body.len();
    body.extend_from_slice(behind.unwrap_or_default());
    Request::parse(EXPECTED, &body.into(), behind.map(|_| length))
        .map_err(|fault| (fault.code, fault.message))
}

fn code(json: &Value, behind: Option<&[u8]>) -> &'static str {
    parse(json, behind).unwrap_err().0
}

fn values(request: Request) -> Vec<Vec<f32>> {
    match request.input {
        Input::Tensors(tensors) => tensors.into_iter().map(|tensor| tensor.values).collect(),
        Input::Dicom(_) => panic!("files"),
    }
}

fn files(request: Request) -> Vec<Bytes> {
    match request.input {
        Input::Dicom(files) => files,
        Input::Tensors(_) => panic!("tensors"),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a literal reads better without a reference"
)]
fn of_json(datatype: &str, images: i64, data: Value) -> Value {
    json!({ "inputs": [{ "name": "image", "datatype": datatype, "shape": [images, 1, 2, 3], "data": data }] })
}

fn of_bytes(datatype: &str, images: i64, size: usize) -> Value {
    json!({ "inputs": [{
        "name": "image", "datatype": datatype, "shape": [images, 1, 2, 3],
        "parameters": { "binary_data_size": size },
    }] })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a literal reads better without a reference"
)]
fn of_files(shape: Value, size: usize) -> Value {
    json!({ "inputs": [{
        "name": "dicom", "datatype": "BYTES", "shape": shape, "parameters": { "binary_data_size": size },
    }] })
}

#[test]
fn numbers_come_as_json_nested_or_not_and_as_bytes() {
    let rows = [
        [0.0, 0.5, -1.0, 2.0, 1e-3, 6.0],
        [7.0, 8.0, 9.0, 10.0, 11.0, 12.0],
    ];
    let flat: Vec<f32> = rows.as_flattened().to_vec();
    let bytes: Vec<u8> = flat.iter().flat_map(|value| value.to_le_bytes()).collect();
    let nested = json!([[[[0, 0.5, -1], [2, 1e-3, 6]]], [[[7, 8, 9], [10, 11, 12]]]]);
    for request in [
        parse(&of_json("FP32", 2, json!(flat)), None),
        parse(&of_json("FP32", 2, nested), None),
        parse(&of_bytes("FP32", 2, bytes.len()), Some(&bytes)),
    ] {
        assert_eq!(values(request.unwrap()), rows);
    }
}

#[test]
fn numbers_that_fp32_holds_exactly_are_taken_as_they_are() {
    let of = |datatype: &str, bytes: &[u8]| {
        values(parse(&of_bytes(datatype, 1, bytes.len()), Some(bytes)).unwrap())
            .remove(0)
            .split_off(5)
    };
    assert_eq!(of("UINT8", &[0, 1, 2, 3, 4, 255]), [255.0]);
    assert_eq!(of("INT8", &[0, 1, 2, 3, 4, 255]), [-1.0]);
    assert_eq!(
        of("UINT16", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]),
        [65535.0]
    );
    assert_eq!(of("INT16", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFE, 0xFF]), [-2.0]);
    // numpy.float16(-2.5).tobytes() is 00 c1
    assert_eq!(of("FP16", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0xC1]), [-2.5]);
    for (datatype, number) in [("UINT8", 256.0), ("INT8", 0.5), ("UINT16", -1.0), ("FP16", 0.1)] {
        let data = json!([0, 0, 0, 0, 0, number]);
        assert_eq!(code(&of_json(datatype, 1, data), None), "datatype", "{datatype}");
    }
    for datatype in ["FP64", "INT64", "BOOL", "BF16", "BYTES"] {
        assert_eq!(code(&of_bytes(datatype, 1, 0), Some(&[])), "datatype");
    }
}

#[test]
fn files_come_behind_their_lengths_and_as_base64() {
    let bytes = b"\x03\0\0\0abc\0\0\0\0";
    for shape in [json!([2]), json!([2, 1])] {
        let found = files(parse(&of_files(shape, bytes.len()), Some(bytes)).unwrap());
        assert_eq!(found, [Bytes::from_static(b"abc"), Bytes::new()]);
    }
    let mut text = json!({ "inputs": [
        { "name": "dicom", "datatype": "BYTES", "shape": [1, 1], "data": [["YWJj"]] },
    ] });
    assert_eq!(files(parse(&text, None).unwrap()), ["abc"]);
    text["inputs"][0]["data"] = json!(["YWJ"]);
    assert_eq!(code(&text, None), "base64");
    text["inputs"][0]["data"] = json!(["YWJj", "YWJj"]);
    assert_eq!(code(&text, None), "size");
    text["inputs"][0]["data"] = json!([1]);
    assert_eq!(code(&text, None), "datatype");
    // a length that lies, one string too few, one too many, bytes behind the last
    for bytes in [
        &b"\xFF\xFF\xFF\xFFabc"[..],
        b"\0\0\0\0",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0a",
    ] {
        assert_eq!(code(&of_files(json!([2]), bytes.len()), Some(bytes)), "size");
    }
}

#[test]
fn shapes_and_sizes_have_to_add_up() {
    let bytes = [0; 24];
    for shape in [
        json!([1, 1, 2]),
        json!([1, 1, 3, 2]),
        json!([-1, 1, 2, 3]),
        json!([1, 1, 2, -3]),
        json!([]),
        json!([1, 1, i64::MAX, i64::MAX]),
    ] {
        let mut request = of_bytes("FP32", 1, 24);
        request["inputs"][0]["shape"] = shape.clone();
        assert_eq!(code(&request, Some(&bytes)), "shape", "{shape}");
    }
    assert_eq!(code(&of_bytes("FP32", 0, 0), Some(&[])), "batch");
    assert_eq!(code(&of_bytes("FP32", i64::MAX, 24), Some(&bytes)), "batch");
    let (_, message) = parse(&of_bytes("FP32", 2, 24), Some(&bytes)).unwrap_err();
    assert_eq!(
        message,
        "the input has 24 bytes: its shape and datatype make it 48"
    );
    assert_eq!(code(&of_bytes("FP32", 1, 20), Some(&bytes)), "size");
    assert_eq!(code(&of_bytes("FP32", 1, 24), None), "header-length");
    assert_eq!(code(&of_json("FP32", 1, json!([1, 2])), None), "size");
    assert_eq!(
        code(&of_json("FP32", 1, json!([0, 0, 0, 0, 0, 1e39])), None),
        "not-finite"
    );
    let nan: Vec<u8> = [0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(code(&of_bytes("FP32", 1, 24), Some(&nan)), "not-finite");
    let longer = Request::parse(EXPECTED, &Bytes::from_static(b"{}"), Some(3)).unwrap_err();
    assert_eq!(longer.code, "header-length");
}

#[test]
fn what_is_not_served_is_said() {
    let mut request = of_json("FP32", 1, json!([0, 0, 0, 0, 0, 0]));
    request["outputs"] = json!([{ "name": "a", "parameters": { "classification": 2 } }]);
    assert_eq!(code(&request, None), "classification");
    request["outputs"] = json!([{ "name": "a", "parameters": { "shared_memory_region": "b" } }]);
    assert_eq!(code(&request, None), "shared-memory");
    request["outputs"] = json!([{ "name": "a" }, { "name": "b" }, { "name": "a" }]);
    assert_eq!(code(&request, None), "output");
    request["inputs"] = json!([]);
    assert_eq!(code(&request, None), "input");
    request["inputs"] = json!([{ "name": "image" }]);
    let (code, message) = parse(&request, None).unwrap_err();
    assert_eq!(code, "request");
    assert!(message.contains("line 1, column"), "{message}");
}

#[test]
fn parameters_say_how_urgent_it_is_and_what_comes_as_bytes() {
    let mut request = of_json("FP32", 1, json!([0, 0, 0, 0, 0, 0]));
    request["parameters"] =
        json!({ "priority": 1, "timeout": 2500, "binary_data_output": true, "other": [1] });
    request["outputs"] = json!([{ "name": "a" }, { "name": "b", "parameters": { "binary_data": false } }]);
    let found = parse(&request, None).unwrap();
    assert_eq!(found.priority, Priority::Stat);
    assert_eq!(found.timeout.unwrap().as_micros(), 2500);
    assert_eq!(
        found
            .outputs
            .iter()
            .map(|output| output.binary)
            .collect::<Vec<_>>(),
        [true, false]
    );
    request["parameters"] = json!({ "priority": 2, "timeout": 0 });
    let found = parse(&request, None).unwrap();
    assert_eq!((found.priority, found.timeout), (Priority::Routine, None));
}

/// Requests of every kind with bytes changed, taken out, doubled and cut off, and with lengths that lie.
#[test]
fn no_body_makes_it_panic() {
    let seeds: Vec<(Vec<u8>, Option<usize>)> = [
        (of_json("FP32", 2, json!([[0, 0.5, -1, 2, 1e-3, 6], [7, 8, 9, 10, 11, 12]])), None),
        (of_bytes("FP32", 2, 48), Some(vec![0; 48])),
        (of_bytes("INT16", 1, 12), Some(vec![0xFF; 12])),
        (of_files(json!([2, 1]), 11), Some(b"\x03\0\0\0abc\0\0\0\0".to_vec())),
        (json!({ "id": "1", "parameters": { "priority": 1, "timeout": 2500, "override": "intended-use" }, "inputs": [
            { "name": "dicom", "datatype": "BYTES", "shape": [1, 1], "data": [["YWJj"]] },
        ], "outputs": [{ "name": "findings", "parameters": { "binary_data": true } }] }), None),
    ]
    .into_iter()
    .map(|(json, behind)| {
        let mut body = json.to_string().into_bytes();
        let length = behind.as_ref().map(|_| body.len());
        body.extend(behind.unwrap_or_default());
        (body, length)
    })
    .collect();
    for (body, length) in &seeds {
        assert!(Request::parse(EXPECTED, &body.clone().into(), *length).is_ok());
    }
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let (mut body, mut length) = seeds[dice.random_range(0..seeds.len())].clone();
        for _ in 0..dice.random_range(1..4) {
            if body.is_empty() {
                break;
            }
            let at = dice.random_range(0..body.len());
            match dice.random_range(0..6) {
                0 => body[at] = dice.random(),
                1 => body[at] = *b"0123456789-.eE[]{}\",:".get(dice.random_range(0..21)).unwrap(),
                2 => drop(body.remove(at)),
                3 => body.truncate(at.max(1)),
                4 => body.extend_from_within(at..),
                _ => length = Some(dice.random_range(0..body.len() + 3)),
            }
        }
        match Request::parse(EXPECTED, &body.into(), length) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 100 && refused > 1000, "{taken} taken, {refused} refused");
}

#[test]
fn a_body_cannot_make_its_own_memory_grow() {
    let many = |item: &str| format!("[{}{item}]", format!("{item},").repeat(100));
    for body in [
        format!(
            r#"{{"inputs":{}}}"#,
            many(r#"{"name":"","datatype":"","shape":[]}"#)
        ),
        format!(
            r#"{{"inputs":[{{"name":"image","datatype":"FP32","shape":{}}}]}}"#,
            many("1")
        ),
        format!(
            r#"{{"inputs":[{{"name":"dicom","datatype":"BYTES","shape":[1],"data":{}}}]}}"#,
            many(r#""""#)
        ),
        format!(r#"{{"inputs":[],"outputs":{}}}"#, many(r#"{"name":""}"#)),
        // lists in lists end at the parser's own depth
        format!(
            r#"{{"inputs":[{{"name":"image","datatype":"FP32","shape":[1],"data":{}"#,
            "[".repeat(100_000)
        ),
    ] {
        let fault = Request::parse(EXPECTED, &body.into(), None).unwrap_err();
        assert!(["request", "json", "size"].contains(&fault.code), "{fault}");
    }
}

/// Wherever the shape stands.
#[test]
fn a_wrong_count_is_said_with_both_numbers_and_never_kept() {
    for (images, has, each) in [
        (
            "numbers",
            1_000_001,
            r#""name":"image","datatype":"FP32","shape":[2,1,2,3]"#,
        ),
        (
            "files",
            1_000_001,
            r#""name":"dicom","datatype":"BYTES","shape":[12]"#,
        ),
    ] {
        let item = if images == "numbers" { "0" } else { r#""""# };
        let data = format!(r#""data":[{}{item}]"#, format!("{item},").repeat(has - 1));
        for input in [format!("{data},{each}"), format!("{each},{data}")] {
            let body = format!(r#"{{"inputs":[{{{input}}}]}}"#);
            let fault = Request::parse(EXPECTED, &body.into(), None).unwrap_err();
            let said = format!("the input has {has} {images}: its shape makes it 12");
            assert_eq!((fault.code, fault.message), ("size", said));
        }
    }
    // too few, and lists that are deeper than the parser goes
    let (_, message) = parse(&of_json("FP32", 2, json!([1, 2])), None).unwrap_err();
    assert_eq!(message, "the input has 2 numbers: its shape makes it 12");
    let deep = format!(
        r#"{{"inputs":[{{"name":"image","datatype":"FP32","shape":[1,1,2,3],"data":{}0{}}}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let fault = Request::parse(EXPECTED, &deep.into(), None).unwrap_err();
    assert_eq!(fault.code, "request");
}
