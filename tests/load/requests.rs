//! What is asked for.

use serde_json::{Value, json};
use std::net::SocketAddr;

/// A document handed over.
pub(crate) fn document(service: SocketAddr, query: &str, body: &str) -> Vec<u8> {
    post(service, query, "text/plain", body)
}

/// A request in JSON.
pub(crate) fn json_request(service: SocketAddr, body: &Value) -> Vec<u8> {
    post(service, "", "application/json", &body.to_string())
}

fn post(service: SocketAddr, query: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /decode{query} HTTP/1.1\r\nHost: {service}\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A request with one more header.
pub(crate) fn with_header(request: &[u8], name: &str, value: &str) -> Vec<u8> {
    let end = request.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
    let mut with = request[..end].to_vec();
    with.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    with.extend_from_slice(&request[end..]);
    with
}

/// A small document.
pub(crate) const SMALL: &str = "Decoy data.\n{*VAULT_ACCESS_CODE: DELTA-7*}\n{*DOOR: east*}\n";

/// A document that is hard to scan, and how it is to be scanned.
pub(crate) struct Hard {
    text: String,
    /// The pairs, a start and an end each.
    pairs: Vec<(String, String)>,
}

impl Hard {
    /// Nearly as many secrets as may be asked for, in a few pages: each start marker begins
    /// one of each pair.
    pub(crate) fn dense() -> Self {
        let lines = (0..1200).map(|number| format!("{{a{number}:01234567\n"));
        let pairs = (0..8).map(|pair| ("{".to_owned(), pair.to_string()));
        Self { text: lines.collect(), pairs: pairs.collect() }
    }

    /// As much as is scanned in one turn, and in each short line four starts of secrets that
    /// do not end.
    pub(crate) fn long() -> Self {
        let line = "0a{b \n";
        let pairs = "0{abAB12".chars().map(|start| (start.to_string(), "}".to_owned()));
        Self { text: line.repeat(256 * 1024 / line.len()), pairs: pairs.collect() }
    }

    /// Asked in JSON.
    pub(crate) fn in_json(&self, service: SocketAddr) -> Vec<u8> {
        let pair = |(start, end): &(String, String)| json!({"start": start, "end": end});
        let body = json!({
            "content": self.text,
            "markers": self.pairs.iter().map(pair).collect::<Vec<_>>(),
            "max_secrets": 10_000,
            "output": "summary",
        });
        json_request(service, &body)
    }

    /// The document as the body.
    pub(crate) fn as_body(&self, service: SocketAddr) -> Vec<u8> {
        let pair = |(start, end): &(String, String)| {
            let start = start.replace('{', "%7B");
            format!("&marker={start}:{}", end.replace('}', "%7D"))
        };
        let pairs: String = self.pairs.iter().map(pair).collect();
        document(service, &format!("?max_secrets=10000&output=summary{pairs}"), &self.text)
    }
}
