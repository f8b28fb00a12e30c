//! The tables of the WHATWG: MIME types, and the labels of encodings.

use blueprint_decoder::scan::{Charset, ContentType};
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn mime_types_are_read_as_web_platform_tests_say() {
    let entries: Vec<Value> =
        serde_json::from_str(include_str!("../fixtures/mime-types.json")).expect("JSON");
    // Texts are headings.
    let cases: Vec<_> = entries.iter().filter(|entry| entry.is_object()).collect();
    for case in &cases {
        let input = case["input"].as_str().expect("a text");
        // Each code point is the byte of its number, where there is one.
        let bytes =
            input.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<Vec<_>, _>>();

        let parsed = ContentType::parse(&bytes.unwrap_or_else(|_| input.as_bytes().to_vec()));

        let essence = parsed.as_ref().map(|parsed| {
            let (kind, subtype) = parsed.essence();
            format!("{kind}/{subtype}")
        });
        let expected = case["output"].as_str().and_then(|output| output.split(';').next());
        assert_eq!(essence.as_deref(), expected, "{case}");
        if let Some(encoding) = case.get("encoding") {
            let charset = parsed.expect("a type").charset();
            let expected = encoding.as_str().map(|name| Charset::for_label(name).expect("known"));
            // A browser takes the default for a label that it does not know; here that is a fault.
            assert_eq!(
                charset.ok().filter(|charset| *charset != Charset::UTF_8),
                expected,
                "{case}"
            );
        }
    }
    assert!(cases.len() > 50, "{}", cases.len());
}

#[test]
fn labels_name_the_encodings_of_the_standard() {
    let encodings: BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("../fixtures/encodings.json")).expect("JSON");
    assert_eq!(encodings.len(), 40);
    for (name, labels) in &encodings {
        let of = |label: &str| {
            let value = format!("text/plain;charset=\"\t{label} \"");
            ContentType::parse(value.as_bytes()).expect("a type").charset()
        };
        for label in labels {
            match name.as_str() {
                "replacement" => assert!(of(label).is_err(), "{label}"),
                name => assert_eq!(
                    of(&label.to_uppercase()).expect("known"),
                    of(name).expect("known"),
                    "{label}"
                ),
            }
        }
        let others = encodings.keys().filter(|other| *other != name && of(other).is_ok());
        assert!(others.into_iter().all(|other| of(other) != of(name)), "{name}");
    }
}
