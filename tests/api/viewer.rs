//! Viewers: whatever they ask, they learn no text of a document.
//!
//! Two documents differ in nothing but what a secret says. Whoever cannot tell them apart has
//! learnt nothing of it: each question is asked of both, and the answers must be the same.

use crate::support::{
    app::{Answer, PATIENCE, TestApp, http_2},
    callers::{Key, Roster, TenantsFile},
    upstream::{
        Reply,
        Step::{Hold, Send},
        Upstream,
    },
};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::timeout;

/// What a secret says in the one and in the other document.
const SECRETS: [&str; 2] = ["hunter2, and more", "dragons, or fewer"];
const PATHS: [&str; 2] = ["/plans/one", "/plans/two"];
const FORMS: [&str; 3] = ["application/json", "application/x-ndjson", "text/plain"];

/// The markers of the tenant are its own; the usual ones stand in the document, too.
fn document(secret: &str) -> String {
    format!(
        "Of a hunter and of dragons\n<<PASSWORD: {secret}>>\n{{*{secret}*}} (({secret}))\n\
         <<{secret}>> <<a {secret}: b>> <<{secret}\n{secret}>>\n"
    )
}

/// A question to both documents; `SOURCE` stands for their URL.
#[derive(Debug, Clone)]
struct Question {
    query: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

impl Question {
    fn new(body: impl Into<String>) -> Self {
        Self { query: "", headers: Vec::new(), body: body.into() }
    }

    fn with(self, headers: &[(&'static str, &'static str)]) -> Self {
        Self { headers: headers.to_vec(), ..self }
    }

    /// A decode with these fields.
    fn of(fields: Value) -> Self {
        let mut body = json!({ "source": "SOURCE", "output": "masked" });
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        Self::new(body.to_string())
    }
}

/// What a viewer is told, but for what is another each time.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    status: u16,
    headers: BTreeMap<String, String>,
    text: String,
}

struct Scene {
    app: TestApp,
    upstream: Upstream,
    viewer: Key,
    decoder: Key,
    client: reqwest::Client,
    _file: TenantsFile,
}

impl Scene {
    async fn new() -> Self {
        let upstream = Upstream::tls().await;
        for (path, secret) in PATHS.iter().zip(SECRETS) {
            upstream.on(path, Reply::ok(document(secret)).header("Content-Type", "text/plain"));
        }
        let (viewer, decoder) = (Key::new(), Key::new());
        let more = "markers = [{ start = \"<<\", end = \">>\" }]\nmax_document_bytes = \"1KiB\"";
        let keys = [(&viewer, "viewer"), (&decoder, "decoder")];
        let file = TenantsFile::new(&Roster::default().tenant("league", more, &keys));
        let app = TestApp::with_source(
            &upstream,
            "attempts = 1\ncircuit.enabled = false",
            &file.config(),
        )
        .await;
        let client = app.client.clone();
        Self { app, upstream, viewer, decoder, client, _file: file }
    }

    /// Two documents of their own.
    fn serve(&self, paths: [&str; 2], reply: impl Fn(&str) -> Reply) {
        for (path, secret) in paths.into_iter().zip(SECRETS) {
            self.upstream.on(path, reply(secret));
        }
    }

    async fn ask(&self, key: &Key, path: &str, question: &Question) -> Told {
        let url = self.app.url("/decode") + question.query;
        let body = question.body.replace("SOURCE", &self.upstream.url(path));
        let mut request = self.client.post(url).bearer_auth(key.text()).body(body);
        let mut headers = vec![("Content-Type", "application/json"), ("X-Request-Id", "same")];
        headers.retain(|(name, _)| question.headers.iter().all(|(other, _)| other != name));
        for (name, value) in headers.iter().chain(&question.headers) {
            request = request.header(*name, *value);
        }
        let answer = Answer::of(request).await;
        // Their length is that of the text, in which times may have more digits or fewer.
        let is_other = |name: &str| matches!(name, "content-length" | "date");
        let headers = answer.headers.iter().filter(|(name, _)| !is_other(name.as_str()));
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
        let times = Regex::new("\"timing_ms\":\\{[^}]*\\}").expect("a pattern");
        let text = times.replace(&answer.text, "\"timing_ms\":{}").replace(path, "/plans");
        Told { status: answer.status, headers: headers.collect(), text }
    }

    /// What a viewer is told of either document, which must be the same.
    async fn told_of(&self, paths: [&str; 2], question: &Question) -> Told {
        let of = |path| self.ask(&self.viewer, path, question);
        let (one, other) = tokio::join!(of(paths[0]), of(paths[1]));
        assert_eq!(one, other, "{question:?}");
        one
    }

    /// Asserts that viewers learn nothing by a question but this status and code.
    async fn check(&self, status: u16, code: &str, question: Question) -> Told {
        let told = self.told_of(PATHS, &question).await;
        let found = serde_json::from_str::<Value>(&told.text).ok();
        let found = found.as_ref().and_then(|told| told["code"].as_str()).unwrap_or("");
        assert_eq!((told.status, found), (status, code), "{question:?} {told:?}");
        told
    }
}

#[tokio::test]
async fn the_two_documents_are_told_apart_by_who_may_read_them() {
    let scene = Scene::new().await;
    let guess =
        json!({ "output": "summary", "markers": [{ "start": "<<PASSWORD: h", "end": ">>" }] });
    for fields in [json!({ "output": "full" }), guess] {
        let question = Question::of(fields);

        let one = scene.ask(&scene.decoder, PATHS[0], &question).await;
        let other = scene.ask(&scene.decoder, PATHS[1], &question).await;

        assert_eq!((one.status, other.status), (200, 200), "{one:?} {other:?}");
        assert_ne!(one.text, other.text);
    }
}

#[tokio::test]
async fn a_viewer_is_told_labels_and_counts_of_the_tenants_own_markers() {
    let scene = Scene::new().await;
    for accept in FORMS {
        for output in ["masked", "summary"] {
            let question = Question::of(json!({ "output": output })).with(&[("Accept", accept)]);
            let told = scene.check(200, "", question).await;
            assert!(told.text.contains("PASSWORD"), "{told:?}");
            for part in ["hunter", "dragons", "more", "fewer", "truncated", "offset", "line"] {
                assert!(!told.text.contains(part), "{part} in {told:?}");
            }
        }
    }
    let told = scene.check(200, "", Question::of(json!({}))).await;
    let told: Value = serde_json::from_str(&told.text).expect("JSON");
    let secrets = json!([
        { "index": 1, "pair": 0, "value": "PASSWORD: ********" },
        { "index": 2, "pair": 0, "value": "********" },
        { "index": 3, "pair": 0, "value": "********" },
    ]);
    assert_eq!(told["secrets"], secrets);
    assert_eq!(told["summary"]["categories"], json!({ "PASSWORD": 1, "UNCLASSIFIED": 2 }));
    assert_eq!(told["summary"]["unterminated"], 1);
}

#[tokio::test]
async fn a_viewer_chooses_no_markers_and_no_limits() {
    let scene = Scene::new().await;
    let pair = |start: &str, end: &str| json!({ "start": start, "end": end });
    let letters = |letters: &str| -> Value {
        letters.chars().map(|c| pair(&format!("<<PASSWORD: {c}"), ">>")).collect()
    };
    let choices = [
        // Guesses, long and short.
        json!({ "markers": [pair("<<PASSWORD: h", ">>")] }),
        json!({ "markers": [pair("<<PASSWORD: hunter2", "e>>")] }),
        json!({ "markers": [pair("h", "u")] }),
        json!({ "markers": [pair("h", "h")] }),
        json!({ "markers": [pair(" ", " ")] }),
        // Eight letters at a time.
        json!({ "markers": letters("abcdefgh") }),
        json!({ "markers": letters("ijklmnop") }),
        // What would be a label.
        json!({ "markers": [pair("SSWORD", ">>")] }),
        json!({ "markers": [pair(": ", ",")] }),
        // What holds anyway.
        json!({ "markers": [pair("<<", ">>")] }),
        json!({ "markers": [pair("{*", "*}")] }),
        json!({ "max_secrets": 1 }),
        json!({ "max_secrets": 10 }),
        json!({ "max_secret_chars": 1 }),
        json!({ "max_secret_chars": 200 }),
        json!({ "multiline": true }),
        json!({ "multiline": false }),
        json!({ "multiline": true, "allow_partial": true, "max_secrets": 2 }),
    ];
    for choice in choices {
        for accept in FORMS {
            for output in ["masked", "summary"] {
                let mut fields = choice.clone();
                fields["output"] = json!(output);
                let question = Question::of(fields).with(&[("Accept", accept)]);
                let told = scene.check(403, "forbidden", question).await;
                assert!(told.text.contains("may not choose"), "{told:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_chosen_is_no_way_round() {
    let scene = Scene::new().await;
    let values = [
        ("output", json!(["full", null, "Full", " full", "full\u{0}", "", 1, true, ["full"], {}])),
        ("markers", json!([[], null, "<<:>>", {}, [null], [["<<", ">>"]], [{ "start": "h" }]])),
        ("max_secrets", json!([0, -1, 1.0, 1e0, "1", null, true, [1], 10001])),
        ("max_secret_chars", json!([0, -1, 1.0, "1", null, [1], 65537])),
        ("multiline", json!([null, 1, "true", [true]])),
        ("allow_partial", json!([null, 1, "true", [true]])),
    ];
    for (name, values) in values {
        for value in values.as_array().expect("a list") {
            let (status, code) = match (name, value) {
                // What is null is absent; then an answer shows all, which a viewer may not see.
                ("output", Value::Null) => (403, "forbidden"),
                (_, Value::Null) => (200, ""),
                (_, full) if full == "full" => (403, "forbidden"),
                _ => (422, "invalid_request"),
            };
            scene.check(status, code, Question::of(json!({ name: value }))).await;
        }
    }
    scene.check(403, "forbidden", Question::new("{\"source\": \"SOURCE\"}")).await;
}

#[tokio::test]
async fn fields_are_not_given_twice_or_under_other_names() {
    let scene = Scene::new().await;
    let masked = |more: &str| {
        Question::new(format!("{{\"source\": \"SOURCE\", \"output\": \"masked\"{more}}}"))
    };
    let guess = "[{\"start\": \"<<PASSWORD: h\", \"end\": \">>\"}]";

    for twice in [
        ", \"output\": \"full\"",
        ", \"outpu\\u0074\": \"full\"",
        ", \"\\u006futput\": \"full\"",
        ", \"output\": \"masked\", \"output\": \"full\"",
        ", \"source\": \"SOURCE\"",
        ", \"content\": \"<<PASSWORD: hunter2>>\"",
        ", \"output\": null",
        ", \"source\": null",
        ", \"max_secrets\": 1, \"max_secrets\": 2",
    ] {
        scene.check(422, "invalid_request", masked(twice)).await;
    }
    scene.check(200, "", masked(", \"content\": null")).await;
    for name in [
        "Output",
        "OUTPUT",
        "output ",
        " output",
        "out-put",
        "outputs",
        "Markers",
        "marker",
        "maxSecretChars",
        "max-secret-chars",
        "options",
        "__proto__",
        "",
        "output\\u0000",
        "\\u043eutput",
        "output\\ud800",
    ] {
        let question = masked(&format!(", \"{name}\": \"full\""));
        scene.check(422, "invalid_request", question).await;
    }
    // Names that are written otherwise are the same names.
    for chosen in [
        format!(", \"m\\u0061rkers\": {guess}"),
        format!(", \"\\u006d\\u0061\\u0072\\u006b\\u0065\\u0072\\u0073\": {guess}"),
        ", \"max\\u005fsecrets\": 1".to_owned(),
        ", \"multi\\u006Cine\": true".to_owned(),
        ", \"max_secret_chars\" : 1\t".to_owned(),
    ] {
        scene.check(403, "forbidden", masked(&chosen)).await;
    }
    let escaped = "{\"source\": \"SOURCE\", \"output\": \"\\u0066ull\"}";
    scene.check(403, "forbidden", Question::new(escaped)).await;
    // More than one document, or none.
    for text in ["{}{}", "[{}]", "null", "{\"source\": \"SOURCE\"} {\"output\": \"full\"}", ""] {
        let told = scene.told_of(PATHS, &Question::new(text)).await;
        assert!(matches!(told.status, 400 | 422), "{told:?}");
    }
}

#[tokio::test]
async fn parameters_and_types_are_no_way_round() {
    let scene = Scene::new().await;
    let masked = || Question::of(json!({}));
    for query in [
        "?output=full",
        "?marker=h:u",
        "?max_secret_chars=1",
        "?max_secrets=1",
        "?multiline=true",
        "?allow_partial=true",
        "?source=x",
        "?x",
        "?=",
        "?&",
    ] {
        scene.check(422, "invalid_request", Question { query, ..masked() }).await;
    }
    scene.check(200, "", Question { query: "?", ..masked() }).await;

    for kind in ["text/plain", "TEXT/PLAIN", "text/x", "application/octet-stream", "text/html; a=b"]
    {
        for query in
            ["", "?output=masked", "?output=summary&marker=h:u", "?output=full", "?nonsense"]
        {
            let question = Question { query, ..masked().with(&[("Content-Type", kind)]) };
            let told = scene.check(403, "forbidden", question).await;
            assert!(told.text.contains("not handed over"), "{told:?}");
        }
    }
    for kind in [
        "",
        "application",
        "application/jsonp",
        "application/json+x",
        "application/json, text/plain",
        "text/plain, application/json",
        "text/",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/x-ndjson",
        "*/*",
    ] {
        let told = scene.told_of(PATHS, &masked().with(&[("Content-Type", kind)])).await;
        // The type of a list of types is that of its first.
        assert!(matches!(told.status, 403 | 415), "{kind} {told:?}");
    }
    // What JSON is, is not another's to say.
    for kind in [
        "APPLICATION/JSON",
        "application/json; charset=utf-16",
        "application/json;",
        " application/json ",
    ] {
        scene.check(200, "", masked().with(&[("Content-Type", kind)])).await;
    }
    for more in [
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "identity, gzip"),
        ("Content-Encoding", "x"),
    ] {
        scene.check(415, "unsupported_media_type", masked().with(&[more])).await;
    }
    for more in [
        ("X-HTTP-Method-Override", "GET"),
        ("X-Output", "full"),
        ("Prefer", "output=full"),
        ("Range", "bytes=0-10"),
        ("If-Match", "x"),
        ("X-Role", "decoder"),
        ("X-Tenant", "league"),
    ] {
        scene.check(200, "", masked().with(&[more])).await;
    }
    for accept in [
        "application/json; output=full",
        "text/plain;q=0.1, application/x-ndjson;q=0.01",
        "application/json;q=0, */*",
    ] {
        scene.check(200, "", masked().with(&[("Accept", accept)])).await;
    }
}

#[tokio::test]
async fn http_2_is_no_way_round() {
    let client = http_2().build().expect("a client");
    let scene = Scene { client, ..Scene::new().await };

    scene.check(200, "", Question::of(json!({}))).await;
    scene.check(200, "", Question::of(json!({})).with(&[("Accept", FORMS[1])])).await;
    scene.check(403, "forbidden", Question::of(json!({ "output": "full" }))).await;
    scene.check(403, "forbidden", Question::of(json!({ "max_secret_chars": 1 }))).await;
    let document = Question::of(json!({})).with(&[("Content-Type", "text/plain")]);
    scene.check(403, "forbidden", document).await;
}

#[tokio::test]
async fn a_deadline_tells_nothing_of_what_was_read_by_then() {
    let scene = Scene::new().await;
    let (halves, early) = (["/half/one", "/half/two"], ["/early/one", "/early/two"]);
    let begun = |secret: &str, end: &str| {
        let text = format!("<<PASSWORD: {secret}>> <<{secret}{end}");
        Reply::stream([Send(text.into()), Hold])
    };
    scene.serve(halves, |secret| begun(secret, ""));
    scene.serve(early, |secret| begun(secret, ">>"));
    for accept in FORMS {
        let asked = async |output| {
            let question = Question::of(json!({ "output": output }));
            let question = question.with(&[("Accept", accept), ("X-Request-Timeout-Ms", "1000")]);
            let of = |paths| scene.told_of(paths, &question);
            <[Told; 2]>::from(tokio::join!(of(halves), of(early)))
        };
        let both = async { tokio::join!(asked("masked"), asked("summary")) };

        let (masked, summary) = timeout(PATIENCE, both).await.expect("in time");

        for told in masked.iter().chain(&summary) {
            assert!(told.text.contains("deadline_exceeded"), "{told:?}");
        }
        assert_eq!(summary.map(|told| told.status), [504; 2]);
        // Lines that are found leave, and say no more than they ever do.
        let streams = accept == FORMS[1];
        for told in masked {
            assert_eq!(told.status, if streams { 200 } else { 504 }, "{told:?}");
            assert_eq!(told.text.contains("PASSWORD: ********"), streams, "{told:?}");
        }
    }
    for given in ["0", "-1", "x", "3600001", ""] {
        let question = Question::of(json!({})).with(&[("X-Request-Timeout-Ms", given)]);
        scene.check(422, "invalid_request", question).await;
    }
}

#[tokio::test]
async fn an_end_at_the_cap_tells_nothing_of_what_stands_there() {
    let scene = Scene::new().await;
    // The cap is within a secret, right behind it, within what follows.
    for (place, filled) in [990, 1000, 1010, 1021, 1024].into_iter().enumerate() {
        let paths = [format!("/long/{place}/one"), format!("/long/{place}/two")];
        let paths = [&*paths[0], &paths[1]];
        scene.serve(paths, |secret| {
            Reply::ok(format!("<<PASSWORD: {secret}>>{:>filled$}<<{secret}>>{secret}", ""))
        });
        for accept in FORMS {
            for output in ["masked", "summary"] {
                for part in [true, false] {
                    let fields = json!({ "output": output, "allow_partial": part });
                    let told = scene
                        .told_of(paths, &Question::of(fields).with(&[("Accept", accept)]))
                        .await;
                    assert_eq!(told.status, if part { 200 } else { 424 }, "{told:?}");
                    assert_eq!(told.text.contains("document_too_large"), !part, "{told:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_at_the_source_tells_nothing_of_the_document() {
    let scene = Scene::new().await;
    let of = |secret: &str| Reply::ok(document(secret));
    type Answering<'a> = &'a dyn Fn(&str) -> Reply;
    let cases: [(&str, &str, Answering); 8] = [
        ("unsupported_document", "type", &|secret| of(secret).header("Content-Type", "image/png")),
        ("unsupported_document", "charset", &|secret| {
            of(secret).header("Content-Type", &format!("text/plain; charset=\"{secret}\""))
        }),
        ("unsupported_document", "packed", &|secret| of(secret).header("Content-Encoding", secret)),
        ("source_failed", "gzip", &|secret| of(secret).header("Content-Encoding", "gzip")),
        ("source_not_found", "missing", &|secret| of(secret).status(404)),
        ("source_rejected", "refused", &|secret| of(secret).status(401)),
        ("source_failed", "broken", &|secret| of(secret).status(500)),
        ("source_failed", "short", &|secret| {
            Reply::stream([Send(document(secret).into())]).header("Content-Length", "1000")
        }),
    ];
    for (code, name, reply) in cases {
        let paths = [format!("/{name}/one"), format!("/{name}/two")];
        let paths = [&*paths[0], &paths[1]];
        scene.serve(paths, reply);
        for accept in FORMS {
            let question = Question::of(json!({})).with(&[("Accept", accept)]);
            let told = scene.told_of(paths, &question).await;
            assert!(told.text.contains(code), "{name} {told:?}");
            for part in ["hunter", "dragons", "fewer"] {
                assert!(!told.text.contains(part), "{part} in {told:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_stands_before_a_colon_is_no_label_unless_it_looks_like_one() {
    let scene = Scene::new().await;
    let values = [
        "hunter2: x",
        "Hunter2: x",
        "my hunter2: x",
        "HUNTER IS: x",
        "2HUNTER: x",
        "_HUNTER: x",
        "-HUNTER: x",
        "H\u{dc}NTER: x",
        "HUNTER.2: x",
        "HUNTER/2: x",
        "HUNTER\u{0}: x",
        "HUNTER\u{200b}: x",
        "HUNTER\t2: x",
        "\u{ff28}UNTER: x",
        ": HUNTER: x",
        "hunter2",
        "HUNTER",
        "HUNTERHUNTERHUNTERHUNTERHUNTERHUN: x",
        "h:HUNTER: x",
        "*HUNTER: x",
    ];
    for (place, value) in values.into_iter().enumerate() {
        let path = format!("/value/{place}");
        scene.upstream.on(&path, Reply::ok(format!("<<{value}>>")));
        for accept in FORMS {
            for output in ["masked", "summary"] {
                let question =
                    Question::of(json!({ "output": output })).with(&[("Accept", accept)]);
                let told = scene.ask(&scene.viewer, &path, &question).await;
                assert_eq!(told.status, 200, "{told:?}");
                let text = told.text.replace("unterminated", "").to_lowercase();
                assert!(!text.contains("nter"), "{value:?} {told:?}");
                assert!(told.text.contains("UNCLASSIFIED"), "{value:?} {told:?}");
            }
        }
    }
    scene.upstream.on("/label", Reply::ok("<< A-1_B : hunter2>>"));
    let told = scene.ask(&scene.viewer, "/label", &Question::of(json!({}))).await;
    assert!(told.text.contains("\"A-1_B: ********\""), "{told:?}");
}

/// Where two values differ.
fn differences(one: &Value, other: &Value, at: &str, found: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for name in one.keys().chain(other.keys()) {
                let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned();
                let (one, other) = (of(one).unwrap_or_default(), of(other).unwrap_or_default());
                differences(&one, &other, &format!("{at}/{name}"), found);
            }
        }
        _ if one != other => {
            found.insert(at.to_owned());
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_longer_secret_shows_in_the_bytes_and_nowhere_else() {
    let scene = Scene::new().await;
    let length = [1, 2, 7, 10, 64, 199, 200, 201, 400];
    for long in length {
        let text = |long: usize| format!("<<PASSWORD: {}>> <<x>>\n", "y".repeat(long));
        scene.upstream.on(&format!("/longer/{long}"), Reply::ok(text(long)));
    }
    for output in ["masked", "summary"] {
        let question = Question::of(json!({ "output": output }));
        let base = scene.ask(&scene.viewer, "/longer/1", &question).await;
        for long in &length[1..] {
            let told = scene.ask(&scene.viewer, &format!("/longer/{long}"), &question).await;

            let json = |told: &Told| serde_json::from_str::<Value>(&told.text).expect("JSON");
            let mut found = BTreeSet::new();
            differences(&json(&base), &json(&told), "", &mut found);
            let named = ["/fetch/bytes", "/summary/bytes_scanned"];
            assert_eq!(found, named.map(str::to_owned).into(), "{base:?} {told:?}");
            assert_eq!(base.headers, told.headers);
        }
    }
}

#[tokio::test]
async fn the_size_of_a_packed_document_tells_nothing_of_its_text() {
    let scene = Scene::new().await;
    // Who can have a word of theirs in the document tries one after the other: the right one
    // makes the document smaller.
    scene.serve(["/packed/one", "/packed/two"], |secret| {
        Reply::gzip(format!(
            "You looked for: PASSWORD: hunter2, and more\n<<PASSWORD: {secret}>>\n"
        ))
    });

    let told = scene.told_of(["/packed/one", "/packed/two"], &Question::of(json!({}))).await;

    assert_eq!(told.status, 200, "{told:?}");
}
