//! Comparators by table: what is the same, what is not, and where the first difference lies.

use std::fs;
use std::path::{Path, PathBuf};

use mlpipe_spec::{Comparator, Tolerance};

use super::*;

const EXACT: Tolerance = Tolerance { rtol: 0.0, atol: 0.0 };

fn json(rtol: f64, atol: f64, ignore: &[&str]) -> Comparator {
    Comparator::Json {
        tolerance: Tolerance { rtol, atol },
        ignore: ignore.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn text(ignore: &str) -> Comparator {
    Comparator::Text { ignore_lines: vec![ignore.into()] }
}

/// A `.npy` file, format 1.0.
fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).expect("short").to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), data].concat()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy("<f4", "False", &format!("({},)", values.len()), &data)
}

/// Writes both sides below one folder; a side is `(path below the output, content)`, path `""` for a file.
fn compared(ours: &[(&str, &[u8])], theirs: &[(&str, &[u8])], declared: &[Comparator]) -> Comparison {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, files: &[(&str, &[u8])]| -> PathBuf {
        let root = folder.path().join(name);
        for (path, content) in files {
            let path = if path.is_empty() { root.clone() } else { root.join(path) };
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("written");
        }
        root
    };
    let known = FileComparator { name: "first-byte", suffix: ".odd", compare: first_byte };
    compare_outputs(&write("ours", ours), &write("theirs", theirs), declared, &[known]).expect("readable")
}

fn first_byte(original: &Path, rerun: &Path, _: &Map<String, Value>) -> Result<Compared, String> {
    let byte = |path: &Path| fs::read(path).ok().and_then(|bytes| bytes.first().copied()).ok_or("it is empty");
    let (a, b) = (byte(original)?, byte(rerun)?);
    let mut compared = Compared::default();
    if a != b {
        compared.differ(Difference::values("first byte", a, b));
    }
    Ok(compared)
}

/// Verdict, and the first difference as text.
fn told(ours: &[u8], theirs: &[u8], declared: &[Comparator]) -> (Verdict, String) {
    let comparison = compared(&[("", ours)], &[("", theirs)], declared);
    (comparison.verdict, comparison.difference.map_or_else(String::new, |difference| difference.to_string()))
}

#[test]
fn json_is_compared_by_value() {
    let same = Verdict::Equivalent;
    let other = Verdict::Different;
    let cases: [(&str, &str, Comparator, Verdict, &str); 16] = [
        (r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#, json(0.0, 0.0, &[]), same, ""),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, json(0.0, 0.0, &[]), same, ""),
        (r#"{"a":1.0}"#, r#"{"a":1.00001}"#, json(1e-4, 0.0, &[]), same, ""),
        (r#"{"a":1.0}"#, r#"{"a":1.001}"#, json(1e-4, 0.0, &[]), other, "a: 1 -> 1.001"),
        (r#"{"a":0}"#, r#"{"a":1e-9}"#, json(1e-4, 0.0, &[]), other, "a: 0 -> 0.000000001"),
        (r#"{"a":0}"#, r#"{"a":1e-9}"#, json(1e-4, 1e-8, &[]), same, ""),
        (r#"[9007199254740993]"#, r#"[9007199254740992]"#, json(0.0, 0.0, &[]), other, "[0]: 9007199254740993 ->"),
        (r#"{"f":[{"p":1},{"p":2}]}"#, r#"{"f":[{"p":1},{"p":3}]}"#, json(0.0, 0.0, &[]), other, "f[1].p: 2 -> 3"),
        (r#"{"f":[{"p":1},{"p":2}]}"#, r#"{"f":[{"p":1},{"p":3}]}"#, json(0.0, 0.0, &["f.*.p"]), same, ""),
        (r#"{"f":[{"p":1},{"p":2}]}"#, r#"{"f":[{"p":1},{"p":3}]}"#, json(0.0, 0.0, &["f[1].p"]), same, ""),
        (r#"{"f":[{"p":1},{"p":2}]}"#, r#"{"f":[{"p":1},{"p":3}]}"#, json(0.0, 0.0, &["f[0].p"]), other, "f[1].p"),
        (r#"{"a":1,"at":"x"}"#, r#"{"a":1}"#, json(0.0, 0.0, &[]), other, r#"at: only in the original ("x")"#),
        (r#"{"a":1,"at":"x"}"#, r#"{"a":1}"#, json(0.0, 0.0, &["at"]), same, ""),
        (r#"[1]"#, r#"[1,null]"#, json(9.0, 9.0, &[]), other, "[1]: only in the rerun (null)"),
        (r#"{"a":"1"}"#, r#"{"a":1}"#, json(9.0, 9.0, &[]), other, r#"a: "1" -> 1"#),
        (r#"{"a":1}"#, "{", json(0.0, 0.0, &[]), other, "cannot be compared: the rerun is not JSON"),
    ];
    for (ours, theirs, comparator, verdict, difference) in cases {
        let (found, text) = told(ours.as_bytes(), theirs.as_bytes(), &[comparator]);
        assert_eq!(found, verdict, "{ours} {theirs}: {text}");
        assert!(text.starts_with(difference), "{ours} {theirs}: {text}");
    }
}

#[test]
fn arrays_are_compared_element_by_element() {
    type Case = (Vec<u8>, Vec<u8>, Comparator, Verdict, &'static str);
    let tolerance = |rtol, atol| Comparator::Array(Tolerance { rtol, atol });
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let negative_nan = f32::from_bits(nan.to_bits() | 1 << 31);
    let cases: [Case; 11] = [
        (f32s(&[1.0, 2.0]), f32s(&[1.0, 2.0001]), tolerance(1e-3, 0.0), Verdict::Equivalent, ""),
        (f32s(&[1.0, 2.0]), f32s(&[1.0, 2.5]), tolerance(1e-3, 0.0), Verdict::Different, "[1]: 2 -> 2.5"),
        (f32s(&[1.0, 2.0]), f32s(&[1.0, 2.5]), tolerance(0.0, 0.5), Verdict::Equivalent, ""),
        (f32s(&[nan, inf]), f32s(&[negative_nan, inf]), tolerance(0.0, 0.0), Verdict::Equivalent, ""),
        (f32s(&[inf]), f32s(&[1.0]), tolerance(1.0, 1.0), Verdict::Different, "[0]: inf -> 1"),
        (f32s(&[1.0]), f32s(&[nan]), tolerance(1.0, 1.0), Verdict::Different, "[0]: 1 -> NaN"),
        (f32s(&[1.0]), f32s(&[1.0, 1.0]), tolerance(1.0, 1.0), Verdict::Different, "shape: [1] -> [2]"),
        (
            f32s(&[1.0]),
            npy("<f8", "False", "(1,)", &1f64.to_le_bytes()),
            tolerance(1.0, 1.0),
            Verdict::Different,
            "type: f4 -> f8",
        ),
        (
            npy("<i2", "False", "(2, 3)", &[0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 255, 255]),
            npy(">i2", "True", "(2, 3)", &[0, 0, 0, 3, 0, 1, 0, 4, 0, 2, 255, 255]),
            tolerance(0.0, 0.0),
            Verdict::Equivalent,
            "",
        ),
        (
            npy("<u1", "False", "(2, 2)", &[1, 2, 3, 4]),
            npy("|u1", "False", "(2, 2)", &[1, 2, 9, 4]),
            tolerance(0.0, 1.0),
            Verdict::Different,
            "[1, 0]: 3 -> 9",
        ),
        (
            npy("<f2", "False", "(2,)", &[0x00, 0x3c, 0x00, 0xc1]),
            npy("<U1", "False", "(1,)", b"a\0\0\0"),
            tolerance(0.0, 0.0),
            Verdict::Different,
            "cannot be compared: the rerun has elements of type <U1",
        ),
    ];
    for (number, (ours, theirs, comparator, verdict, difference)) in cases.into_iter().enumerate() {
        let (found, text) = told(&ours, &theirs, &[comparator]);
        assert_eq!(found, verdict, "case {number}: {text}");
        assert!(text.starts_with(difference), "case {number}: {text}");
    }
}

#[test]
fn half_floats_and_largest_differences_are_told() {
    // 1.0 and -2.5, against 1.5 and -2.5.
    let ours = npy("<f2", "False", "(2,)", &[0x00, 0x3c, 0x00, 0xc1]);
    let theirs = npy("<f2", "False", "(2,)", &[0x00, 0x3e, 0x00, 0xc1]);
    let tolerance = Tolerance { rtol: 0.5, atol: 0.0 };
    let comparison = compared(&[("", &ours)], &[("", &theirs)], &[Comparator::Array(tolerance)]);
    assert_eq!(comparison.verdict, Verdict::Equivalent);
    assert_eq!((comparison.max_absolute, comparison.max_relative), (0.5, 0.5));
}

#[test]
fn damaged_arrays_are_refused() {
    let mut short = f32s(&[1.0, 2.0]);
    short.pop();
    for damaged in [&b"\x93NUMPY\x01"[..], b"no array", b"\x93NUMPY\x01\x00\xff\xff{}", &short] {
        let (verdict, text) = told(&f32s(&[1.0]), damaged, &[Comparator::Array(EXACT)]);
        assert_eq!(verdict, Verdict::Different);
        assert!(text.starts_with("cannot be compared: the rerun"), "{text}");
    }
}

#[test]
fn ignored_lines_of_text_do_not_count_on_either_side() {
    let ours = b"<h1>Report</h1>\n<dt>Run</dt><dd>0123</dd>\nL3";
    for (theirs, verdict, difference) in [
        (&b"<h1>Report</h1>\n<dt>Run</dt><dd>4567</dd>\nL3"[..], Verdict::Equivalent, ""),
        (b"<h1>Report</h1>\nL3", Verdict::Equivalent, ""),
        (b"<h1>Report</h1>\n<dt>Run</dt>\nL4", Verdict::Different, "line 3: L3 -> L4"),
        (b"<h1>Report</h1>\nL3\nmore", Verdict::Different, "line 3: only in the rerun (more)"),
    ] {
        let (found, text) = told(ours, theirs, &[text("<dt>Run</dt>")]);
        assert_eq!((found, text.as_str()), (verdict, difference));
    }
}

#[test]
fn without_a_comparator_every_byte_counts() {
    assert_eq!(told(b"a\nb\n", b"a\nb\n", &[]), (Verdict::Identical, String::new()));
    assert_eq!(told(b"a\nb\n", b"a\nc\n", &[]), (Verdict::Different, "line 2: b -> c".into()));
    assert_eq!(told(b"a\xff\x01", b"a\xff\x02", &[]), (Verdict::Different, "byte 2: 0x01 -> 0x02".into()));
    assert_eq!(told(b"a\xff\x01", b"a\xff", &[]), (Verdict::Different, "size: 3 bytes -> 2 bytes".into()));
}

#[test]
fn files_of_a_directory_are_paired_and_each_goes_to_its_comparator() {
    let declared = [Comparator::Array(Tolerance { rtol: 0.1, atol: 0.0 }), json(0.1, 0.0, &[]), text("made at")];
    let ours: [(&str, &[u8]); 4] =
        [("v.npy", &f32s(&[1.0])), ("v.json", b"{\"a\":1}"), ("log.txt", b"made at 1\nx"), ("same", b"s")];
    let theirs: [(&str, &[u8]); 4] =
        [("v.npy", &f32s(&[1.01])), ("v.json", b"{\"a\":1.01}"), ("log.txt", b"made at 2\nx"), ("same", b"s")];
    assert_eq!(compared(&ours, &theirs, &declared).verdict, Verdict::Equivalent);
    let bytes_only = compared(&ours, &theirs, &[]);
    assert_eq!((bytes_only.verdict, bytes_only.differences), (Verdict::Different, 3));

    let fewer = compared(&ours, &theirs[..3], &declared);
    let difference = fewer.difference.expect("one file is gone").to_string();
    assert_eq!((fewer.verdict, difference.as_str()), (Verdict::Different, "same: only in the original (is there)"));
}

#[test]
fn a_comparator_of_the_command_takes_the_files_of_its_suffix() {
    let foreign = Comparator::Foreign { name: "first-byte".into(), settings: Map::new() };
    let comparison = compared(&[("a.odd", b"x1")], &[("a.odd", b"x2")], std::slice::from_ref(&foreign));
    assert_eq!(comparison.verdict, Verdict::Equivalent);
    let comparison = compared(&[("a.odd", b"x1")], &[("a.odd", b"y1")], std::slice::from_ref(&foreign));
    assert_eq!(comparison.difference.expect("one").to_string(), "a.odd: first byte: 120 -> 121");
    let comparison = compared(&[("a", b"x1"), ("b", b"")], &[("a", b"x2"), ("b", b"")], &[foreign]);
    assert_eq!(comparison.verdict, Verdict::Different, "other files are compared byte by byte");
}

#[test]
fn a_file_where_a_directory_was_is_different() {
    let comparison = compared(&[("a", b"x")], &[("", b"x")], &[]);
    assert_eq!(comparison.difference.expect("one").to_string(), "kind: a directory -> a file");
}

#[test]
fn comparable_digests_are_equal_exactly_when_what_counts_is() {
    let digest = |content: &str, comparator: &Comparator| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, content).expect("written");
        comparable_digest(&path, std::slice::from_ref(comparator)).expect("readable")
    };
    let (lines, values) = (text("at:"), json(0.0, 0.0, &["at", "list.*.at"]));
    assert_eq!(digest("x\nat: 1\ny", &lines), digest("x\nat: 2\ny", &lines));
    assert_ne!(digest("x\nat: 1\ny", &lines), digest("x\nat: 1\nz", &lines));
    assert_eq!(
        digest(r#"{"at":1,"b":2,"list":[{"at":1}]}"#, &values),
        digest(r#"{"b":2.0,"at":7,"list":[{}]}"#, &values)
    );
    assert_ne!(digest(r#"{"b":2}"#, &values), digest(r#"{"b":3}"#, &values));
    assert_eq!(digest("{}", &json(1e-5, 0.0, &[])), None, "a tolerance needs the original");
    assert_eq!(digest("{}", &Comparator::Array(EXACT)), None);
}
