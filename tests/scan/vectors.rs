//! The published cases, under every way of cutting each document in two, cut into
//! single bytes, and as the oracle sees them.

use super::oracle::{Case, Seen};
use base64::Engine;
use blueprint_decoder::scan::StoppedBy;
use serde_json::Value;

struct Vector {
    name: String,
    case: Case,
    secrets: Vec<Seen>,
    summary: Value,
}

fn vectors() -> Vec<Vector> {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../fixtures/scan.json")).expect("the fixture is JSON");
    cases.iter().map(vector).collect()
}

fn vector(json: &Value) -> Vector {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let number = |value: &Value| value.as_u64().expect("a number");
    let options = &json["options"];
    let pairs = options["markers"].as_array().expect("a list").iter();
    let secrets = json["secrets"].as_array().expect("a list").iter();
    let document = match json["document"].as_str() {
        Some(document) => document.as_bytes().to_vec(),
        None => base64::engine::general_purpose::STANDARD
            .decode(text(&json["document_base64"]))
            .expect("base64"),
    };
    Vector {
        name: text(&json["name"]),
        case: Case {
            document,
            pairs: pairs.map(|pair| (text(&pair["start"]), text(&pair["end"]))).collect(),
            max_secrets: number(&options["max_secrets"]),
            max_secret_chars: number(&options["max_secret_chars"]) as usize,
            multiline: options["multiline"].as_bool().expect("a boolean"),
            lines: true,
            max_bytes: None,
            taken: None,
        },
        secrets: secrets
            .map(|secret| Seen {
                index: number(&secret["index"]),
                value: text(&secret["value"]),
                category: text(&secret["category"]),
                offset: number(&secret["offset"]),
                line: Some(number(&secret["line"])),
                pair: number(&secret["pair"]) as usize,
                truncated: secret["truncated"].as_bool().expect("a boolean"),
            })
            .collect(),
        summary: json["summary"].clone(),
    }
}

impl Vector {
    fn check(&self, cuts: &[usize]) {
        let options = self.case.options().expect("the published options are valid");
        let (secrets, summary) = self.case.scan(&options, cuts);
        let stopped_by = summary.stopped_by.map(|by| match by {
            StoppedBy::MaxSecrets => "max_secrets",
            StoppedBy::MaxBytes => "max_bytes",
            StoppedBy::MaxResponse => "max_response",
        });
        let summary = serde_json::json!({
            "returned": summary.returned,
            "stopped_by": stopped_by,
            "bytes_scanned": summary.bytes_scanned,
            "unterminated": summary.unterminated,
        });
        assert_eq!(secrets, self.secrets, "{} cut at {cuts:?}", self.name);
        assert_eq!(summary, self.summary, "{} cut at {cuts:?}", self.name);
    }
}

#[test]
fn every_case_passes_under_every_split_point() {
    let vectors = vectors();
    assert!(vectors.len() >= 73, "only {} cases", vectors.len());
    for vector in vectors {
        for cut in 0..=vector.case.document.len() {
            vector.check(&[cut]);
        }
    }
}

#[test]
fn every_case_passes_in_pieces_of_every_small_size() {
    for vector in vectors() {
        for size in 1..=40 {
            let cuts: Vec<usize> = (0..vector.case.document.len()).step_by(size).collect();
            vector.check(&cuts);
        }
    }
}

/// With two cuts, a piece can lie within a marker. Quadratic, so for short cases.
#[test]
fn every_short_case_passes_under_every_two_cuts() {
    for vector in vectors() {
        let len = vector.case.document.len();
        if len > 200 {
            continue;
        }
        for first in 0..=len {
            for second in first..=len {
                vector.check(&[first, second]);
            }
        }
    }
}

#[test]
fn the_oracle_agrees_with_every_case() {
    for vector in vectors() {
        let options = vector.case.options().expect("the published options are valid");

        let expected = vector.case.expected();

        assert_eq!(vector.case.scan(&options, &[]), expected, "{}", vector.name);
        assert_eq!(expected.0, vector.secrets, "{}", vector.name);
    }
}
