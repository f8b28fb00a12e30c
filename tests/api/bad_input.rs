//! What a client can say wrong in a request: each is its problem, with every fault.

use crate::support::{
    app::{Answer, TestApp},
    upload::Upload,
};
use bytes::Bytes;

/// The places of the faults that a problem tells of.
fn pointers(answer: &Answer) -> Vec<String> {
    let problem = answer.problem(422, "invalid_request");
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors: {answer:?}"));
    let told = |error: &serde_json::Value| {
        assert_ne!(error["detail"].as_str().unwrap_or_default(), "", "{answer:?}");
        error["pointer"].as_str().expect("a pointer").to_owned()
    };
    errors.iter().map(told).collect()
}

async fn ask(app: &TestApp, body: impl Into<reqwest::Body>) -> Answer {
    ask_at(app, "/decode", body).await
}

async fn ask_at(app: &TestApp, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = app.client.post(app.url(path)).header("Content-Type", "application/json");
    Answer::of(request.body(body)).await
}

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    let app = TestApp::start("").await;
    let check = async |body: &[u8], expected: &str| {
        let answer = ask(&app, body.to_vec()).await;
        let problem = answer.problem(400, "malformed_json");
        assert!(problem["detail"].as_str().expect("a text").contains(expected), "{answer:?}");
    };

    check(b"", "the body is empty").await;
    check(b"   ", "line 1, column 3").await;
    check(b"{", "line 1, column 1").await;
    check(b"{\"content\":\n\"x\"", "line 2, column 3").await;
    check(b"{\"content\":\"x\"} x", "line 1, column 17").await;
    check(b"{\"content\":\"x\",}", "line 1, column 16").await;
    check(b"{'content':'x'}", "line 1, column 2").await;
    check(b"{\"content\":\"a\nb\"}", "line 1, column 13").await;
    check(b"{\"content\":nul}", "line 1").await;
    check(b"{\"content\":\"x\",\"max_secrets\":NaN}", "line 1").await;
    check(b"{\"content\":\"x\",\"max_secrets\":01}", "line 1").await;
    check(b"content=x", "line 1, column 1").await;
    check(b"{\"content\":\"\\x41\"}", "line 1").await;
    check(b"{\"content\":\"\\ud8\"}", "line 1").await;
    check(b"{\"content\":\"\xff\"}", "it is not UTF-8").await;
    check(b"\xff", "it is not UTF-8").await;
}

#[tokio::test]
async fn each_fault_is_told_with_its_place() {
    let app = TestApp::start("").await;
    let check = async |body: &str, expected: &[&str]| {
        let answer = ask(&app, body.to_owned()).await;
        assert_eq!(pointers(&answer), expected, "{body}");
    };

    // What is asked for.
    for body in ["{}", "[]", "[{\"content\":\"x\"}]", "1", "-1", "1.5", "\"x\"", "null", "true"] {
        check(body, &[""]).await;
    }
    check(r#"{"source":"https://x.example","content":"x"}"#, &["/content"]).await;
    check(r#"{"content":"x","nope":1}"#, &["/nope"]).await;
    check(r#"{"content":"x","Content":"x"}"#, &["/Content"]).await;
    check(r#"{"content":"x","a/b~c":1}"#, &["/a~1b~0c"]).await;
    check(r#"{"content":"x","content":"y"}"#, &["/content"]).await;
    check(r#"{"content":"x","max_secrets":1,"max_secrets":1}"#, &["/max_secrets"]).await;
    check(r#"{"content":"x","markers":[{"start":"a","end":"b"}],"markers":[]}"#, &["/markers"])
        .await;

    // Types.
    for value in ["1", "-1", "1.5", "true", "[]", "[\"x\"]", "{}", "{\"content\":\"x\"}"] {
        check(&format!("{{\"source\":{value}}}"), &["/source"]).await;
        check(&format!("{{\"content\":{value}}}"), &["/content"]).await;
        check(&format!("{{\"content\":\"x\",\"output\":{value}}}"), &["/output"]).await;
    }
    for value in [
        "0",
        "-1",
        "1.5",
        "1.0",
        "1e1",
        "true",
        "[]",
        "{}",
        "\"5\"",
        "10001",
        "1e400",
        "-1e400",
        "18446744073709551616",
        "123456789012345678901234567890",
    ] {
        check(&format!("{{\"content\":\"x\",\"max_secrets\":{value}}}"), &["/max_secrets"]).await;
    }
    for value in ["0", "-1", "1.5", "65537", "1e400", "123456789012345678901234567890", "\"x\""] {
        let body = format!("{{\"content\":\"x\",\"max_secret_chars\":{value}}}");
        check(&body, &["/max_secret_chars"]).await;
    }
    for value in ["0", "1", "\"true\"", "[]", "{}", "1e400"] {
        for name in ["multiline", "allow_partial"] {
            let body = format!("{{\"content\":\"x\",\"{name}\":{value}}}");
            check(&body, &[&format!("/{name}")]).await;
        }
    }
    for value in ["\"\"", "\"FULL\"", "\"raw\"", "\"\\ud800\"", "1e400"] {
        check(&format!("{{\"content\":\"x\",\"output\":{value}}}"), &["/output"]).await;
    }

    // After so many, no more is looked at.
    let many = (0..150).map(|number| format!("\"n{number}\":0,")).collect::<String>();
    let told: Vec<String> = (0..100).map(|number| format!("/n{number}")).collect();
    let told: Vec<&str> = told.iter().map(String::as_str).chain([""]).collect();
    check(&format!("{{{many}\"content\":7}}"), &told).await;

    // Half of a surrogate pair is no text, and what comes after it is read all the same.
    check(r#"{"content":"\ud800"}"#, &["/content"]).await;
    check(r#"{"content":"\udc00 x","nope":1}"#, &["/content", "/nope"]).await;
    check(r#"{"source":"https://x.example/\ud800"}"#, &["/source"]).await;
    check(r#"{"max_secrets":1e400,"content":"x","multiline":7}"#, &["/max_secrets", "/multiline"])
        .await;

    // Names are read like any text.
    check(r#"{"\u0063ontent":"x","content":"y"}"#, &["/content"]).await;
    check(r#"{"content":"x","\ud800":1}"#, &[""]).await;
    check(r#"{"\ud800":1,"content":"x"}"#, &[""]).await;
    check(r#"{"markers":1e400,"content":"x"}"#, &["/markers"]).await;
    check(r#"{"markers":[1e400],"content":"x"}"#, &["/markers/0"]).await;
    check(r#"{"content":"x","nope\u0000\u001b":1}"#, &["/nope"]).await;

    // A URL that is none is a fault like any other.
    check(r#"{"source":"x"}"#, &["/source"]).await;
    check(r#"{"source":""}"#, &["/source"]).await;
    check(r#"{"source":"https://a b/"}"#, &["/source"]).await;
    check(r#"{"source":"x","max_secrets":0}"#, &["/max_secrets", "/source"]).await;
}

#[tokio::test]
async fn what_no_value_can_be_ends_no_reading() {
    let app = TestApp::start("").await;
    let check = async |body: &str, expected: &[&str]| {
        let answer = ask(&app, body.to_owned()).await;
        assert_eq!(pointers(&answer), expected, "{body}");
    };

    // A number beyond all bounds is of the wrong type like any other.
    check(r#"{"content":"x","markers":1e400,"max_secrets":0}"#, &["/markers", "/max_secrets"])
        .await;
    check(
        r#"{"content":"x","markers":[1e400,{}],"nope":-1e400}"#,
        &["/markers/0", "/markers/1/start", "/markers/1/end", "/nope"],
    )
    .await;
    // A name with half of a surrogate pair has no pointer; what follows it has.
    check(r#"{"\ud800":1,"content":"x","nope":1}"#, &["", "/nope"]).await;
    check(
        r#"{"content":1,"markers":[{"\udc00":1,"start":"a","end":""}],"nope":1}"#,
        &["/content", "/markers/0", "/markers/0/end", "/nope"],
    )
    .await;
    // What is said of one side of a pair hides nothing of the other, nor of a pair beside it.
    check(
        r#"{"content":"x","markers":[{"start":1,"end":""},{"end":"\n"}]}"#,
        &["/markers/0/start", "/markers/0/end", "/markers/1/start", "/markers/1/end"],
    )
    .await;
    check(r#"{"content":"x","markers":[1,1]}"#, &["/markers/0", "/markers/1"]).await;
    check("1e400", &[""]).await;
}

#[tokio::test]
async fn each_fault_of_markers_is_told_with_its_place() {
    let app = TestApp::start("").await;
    let check = async |markers: &str, expected: &[&str]| {
        let answer = ask(&app, format!("{{\"content\":\"x\",\"markers\":{markers}}}")).await;
        assert_eq!(pointers(&answer), expected, "{markers}");
    };
    let pair = |n: usize| format!("{{\"start\":\"{n}\",\"end\":\"x\"}}");
    let pairs = |count: usize| format!("[{}]", (0..count).map(pair).collect::<Vec<_>>().join(","));

    for value in ["1", "-1", "1.5", "true", "\"{*:*}\"", "{}", "{\"start\":\"a\",\"end\":\"b\"}"] {
        check(value, &["/markers"]).await;
    }
    check("[]", &["/markers"]).await;
    check(&pairs(9), &["/markers"]).await;
    check(&pairs(10_000), &["/markers"]).await;
    check(
        "[1, [], null, \"a\", {}]",
        &[
            "/markers/0",
            "/markers/1",
            "/markers/2",
            "/markers/3",
            "/markers/4/start",
            "/markers/4/end",
        ],
    )
    .await;
    check(r#"[{"start":"a"},{"end":"b"}]"#, &["/markers/0/end", "/markers/1/start"]).await;
    check(r#"[{"start":1,"end":null}]"#, &["/markers/0/start", "/markers/0/end"]).await;
    check(r#"[{"start":"","end":"a\nb"}]"#, &["/markers/0/start", "/markers/0/end"]).await;
    check(r#"[{"start":"a\u0000","end":"b"}]"#, &["/markers/0/start"]).await;
    check(r#"[{"start":"\ud800","end":"b"}]"#, &["/markers/0/start"]).await;
    check(r#"[{"start":"a","end":1e400}]"#, &["/markers/0/end"]).await;
    check(r#"[{"start":"a","start":"a","end":"b"}]"#, &["/markers/0/start"]).await;
    check(r#"[{"start":"a","end":"b","x":1}]"#, &["/markers/0/x"]).await;
    check(&format!(r#"[{{"start":"{}","end":"b"}}]"#, "é".repeat(17)), &["/markers/0/start"]).await;
    check(r#"[{"start":"a","end":"b"},{"start":"a","end":"b"}]"#, &["/markers"]).await;
    check(r#"[{"start":"a","end":"b"},{"start":"a","end":"b"}],"nope":1"#, &["/markers", "/nope"])
        .await;
}

#[tokio::test]
async fn a_member_that_is_null_is_absent() {
    let app = TestApp::start("").await;
    let names = ["source", "markers", "max_secrets", "max_secret_chars", "multiline", "output"];
    for name in names.into_iter().chain(["allow_partial"]) {
        for body in [
            format!("{{\"content\":\"{{*a*}}\",\"{name}\":null}}"),
            format!("{{\"{name}\" : null , \"content\":\"{{*a*}}\"}}"),
        ] {
            let answer = ask(&app, body.clone()).await;
            assert_eq!(answer.status, 200, "{body}: {answer:?}");
            assert_eq!(answer.json()["secrets"][0]["value"], "a", "{body}");
        }
    }
    let check = async |body: &str, expected: &[&str]| {
        let answer = ask(&app, body.to_owned()).await;
        assert_eq!(pointers(&answer), expected, "{body}");
        answer.json()["errors"][0]["detail"].as_str().expect("a text").to_owned()
    };

    // The URL is wrong, and nothing else is.
    check(r#"{"content":null,"source":"https://"}"#, &["/source"]).await;
    let both = check(r#"{"content":null,"source":null}"#, &[""]).await;
    assert_eq!(both, check("{}", &[""]).await);
    let side = check(r#"{"content":"x","markers":[{"start":null,"end":"b"}]}"#, &[START]).await;
    assert_eq!(side, check(r#"{"content":"x","markers":[{"end":"b"}]}"#, &[START]).await);
    // It is not unknown for being absent, and it may not be repeated.
    check(r#"{"content":"x","nope":null}"#, &["/nope"]).await;
    check(r#"{"content":"x","markers":[{"start":"a","end":"b","x":null}]}"#, &["/markers/0/x"])
        .await;
    check(r#"{"content":"x","content":null}"#, &["/content"]).await;
    check(r#"{"content":null,"content":"x"}"#, &["/content", ""]).await;
    for twice in [r#""start":null,"start":"a""#, r#""start":"a","start":null"#] {
        let body = format!("{{\"content\":\"x\",\"markers\":[{{{twice},\"end\":\"b\"}}]}}");
        let told = pointers(&ask(&app, body).await);
        assert!(!told.is_empty() && told.iter().all(|pointer| pointer == START), "{told:?}");
    }
    // An element of a list is no member.
    check(r#"{"content":"x","markers":[null]}"#, &["/markers/0"]).await;
}

/// The place of the start marker of the first pair.
const START: &str = "/markers/0/start";

#[tokio::test]
async fn all_faults_of_a_request_are_told_at_once() {
    let app = TestApp::start("").await;
    let body = r#"{"source":1,"content":"x","markers":[{"start":"","end":"\n"}],"max_secrets":0,
        "max_secret_chars":-1,"multiline":"yes","output":"all","allow_partial":0,"x":1}"#;

    let answer = ask_at(&app, "/decode?output=full", body).await;

    let expected = [
        "/source",
        "/markers/0/start",
        "/markers/0/end",
        "/max_secrets",
        "/max_secret_chars",
        "/multiline",
        "/output",
        "/allow_partial",
        "/x",
        "",
        "/content",
    ];
    assert_eq!(pointers(&answer), expected);
    assert_eq!(answer.json()["detail"], "the request has 11 faults; see errors");
}

#[tokio::test]
async fn a_request_of_nothing_but_faults_is_answered_briefly() {
    let app = TestApp::start("").await;
    let fields: Vec<String> =
        (0..50_000).map(|n| format!("\"{}{n}\":0", "x".repeat(200))).collect();

    let answer = ask(&app, format!("{{{}}}", fields.join(","))).await;

    let told = pointers(&answer);
    assert!((100..110).contains(&told.len()), "{}", told.len());
    assert!(answer.text.len() < 50_000, "{}", answer.text.len());
}

#[tokio::test]
async fn nesting_costs_nothing() {
    let app = TestApp::start("").await;
    // Most of that is the program itself.
    let idle = app.peak_memory();
    let check = async |body: String, expected: &[&str]| {
        let answer = ask(&app, body).await;
        assert_eq!(pointers(&answer), expected);
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        check(format!("{{\"source\":{deep}}}"), &["/source"]).await;
        check(format!("{{\"content\":\"x\",\"nope\":{deep}}}"), &["/nope"]).await;
        check(format!("{{\"content\":\"x\",\"output\":{deep}}}"), &["/output"]).await;
        check(format!("{{\"content\":\"x\",\"max_secrets\":{deep}}}"), &["/max_secrets"]).await;
        let answer = ask(&app, format!("{{\"content\":\"x\",\"markers\":[{deep}]}}")).await;
        let told = pointers(&answer);
        assert!(told.iter().all(|pointer| pointer.starts_with("/markers/0")), "{told:?}");
        let answer = ask(&app, deep).await;
        let told = pointers(&answer);
        assert!(told == [""] || told == ["/a", ""], "{told:?}");
        let unclosed = ask(&app, format!("{{\"content\":{}", open.repeat(1_000_000))).await;
        unclosed.problem(400, "malformed_json");
    }
    let grown = app.peak_memory() - idle;
    assert!(grown < 20 << 20, "{grown}");
}

#[tokio::test]
async fn parameters_are_for_documents_and_held_to_what_may_be() {
    let app = TestApp::start("").await;
    let beside = ask_at(&app, "/decode?max_secrets=1", r#"{"content":"x"}"#).await;
    assert_eq!(pointers(&beside), [""]);
    assert_eq!(ask_at(&app, "/decode?", r#"{"content":"x"}"#).await.status, 200);
    let check = async |query: &str, expected: &[&str]| {
        let answer = app.decode_document(query, "x").await;
        assert_eq!(pointers(&answer), expected, "{query}");
    };

    check("?nope=1", &["/nope"]).await;
    check("?content=x", &["/content"]).await;
    check("?source=https://x.example", &["/source"]).await;
    check("?markers=a:b", &["/markers"]).await;
    check("?max_secrets", &["/max_secrets"]).await;
    for value in ["", "0", "-1", "+1", "1.5", "1e1", "x", "65537", "99999999999999999999999"] {
        check(&format!("?max_secrets={value}"), &["/max_secrets"]).await;
        check(&format!("?max_secret_chars={value}"), &["/max_secret_chars"]).await;
    }
    for value in ["", "1", "yes", "TRUE", "null"] {
        check(&format!("?multiline={value}"), &["/multiline"]).await;
        check(&format!("?allow_partial={value}"), &["/allow_partial"]).await;
        check(&format!("?output={value}"), &["/output"]).await;
    }
    check("?output=full&output=full", &["/output"]).await;
    check("?max_secrets=1&max_secrets=0", &["/max_secrets"]).await;
    check("?marker=a", &["/markers/0"]).await;
    check("?marker=:", &["/markers/0"]).await;
    check("?marker=a:&marker=:b", &["/markers/0", "/markers/1"]).await;
    check("?marker=a:%0a", &["/markers/0/end"]).await;
    check("?marker=%00:b", &["/markers/0/start"]).await;
    check(&format!("?marker={}:b", "m".repeat(33)), &["/markers/0/start"]).await;
    check("?marker=a:b&marker=a:b", &["/markers"]).await;
    check("?marker=a:b&marker=a:b&output=x", &["/output", "/markers"]).await;
    check(
        "?marker=1:x&marker=2:x&marker=3:x&marker=4:x&marker=5:x&marker=6:x&marker=7:x\
           &marker=8:x&marker=9:x",
        &["/markers"],
    )
    .await;
    check("?marker=%ff:b", &[""]).await;
    check("?%ff=1", &["/\u{fffd}", ""]).await;
    check("?marker=%zz:b", &[""]).await;
    check("?marker=%+1:b", &[""]).await;
    check("?marker=a:b%", &[""]).await;
    check(
        "?marker=:&max_secrets=0&nope=1&multiline=2",
        &["/markers/0", "/max_secrets", "/nope", "/multiline"],
    )
    .await;
}

#[tokio::test]
async fn types_that_are_not_read_are_told_which_are() {
    let app = TestApp::start("").await;
    let check = async |kind: Option<&str>| {
        let mut request = app.client.post(app.url("/decode")).body("content=x");
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind);
        }
        let answer = Answer::of(request).await;
        let problem = answer.problem(415, "unsupported_media_type");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains("application/json") && detail.contains("text/plain"), "{answer:?}");
    };

    check(None).await;
    check(Some("application/x-www-form-urlencoded")).await;
    check(Some("multipart/form-data; boundary=x")).await;
    check(Some("application/xml")).await;
    check(Some("application/problem+json")).await;
    check(Some("text/")).await;
    check(Some("text")).await;
    check(Some("")).await;
    check(Some("*/*")).await;
}

#[tokio::test]
async fn what_a_body_may_not_be_is_said_before_it_is_read() {
    let app = TestApp::start("").await;
    let content = r#"{"content":"x"}"#;

    for encoding in ["gzip", "br", "gzip, identity", "x"] {
        let request = app.asking(&serde_json::json!({})).header("Content-Encoding", encoding);
        Answer::of(request).await.problem(415, "unsupported_media_type");
    }
    for accept in ["text/html", "image/*", "application/json;q=0", ""] {
        let request = app.client.post(app.url("/decode")).header("Accept", accept);
        let request = request.header("Content-Type", "application/json").body(content);
        let problem = Answer::of(request).await.problem(406, "not_acceptable");
        assert!(problem["detail"].as_str().expect("a text").contains("application/x-ndjson"));
    }
    for given in ["0", "abc", "3600001", "-1", "1.5", "", "1, 2", "99999999999999999999999"] {
        let request = app.client.post(app.url("/decode")).header("X-Request-Timeout-Ms", given);
        let request = request.header("Content-Type", "application/json").body(content);
        let answer = Answer::of(request).await;
        assert_eq!(pointers(&answer), [""], "{given}");
        assert!(answer.text.contains("X-Request-Timeout-Ms"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_over_its_cap_is_too_large_whether_or_not_it_says_so() {
    let app =
        TestApp::start("limits.max_request_bytes = \"2KiB\"\nlimits.max_document_bytes = \"1KiB\"")
            .await;
    let json = |content: usize| format!("{{\"content\":\"{}\"}}", "x".repeat(content));
    let pieces = |text: &str| -> Vec<Bytes> {
        text.as_bytes().chunks(100).map(Bytes::copy_from_slice).collect()
    };

    assert_eq!(ask(&app, json(1024)).await.status, 200);
    ask(&app, json(1025)).await.problem(413, "request_too_large");
    ask(&app, json(2100)).await.problem(413, "request_too_large");
    ask(&app, Upload::of(pieces(&json(2100)))).await.problem(413, "request_too_large");
    assert_eq!(ask(&app, Upload::of(pieces(&json(1024)))).await.status, 200);

    let document = "x".repeat(1025);
    assert_eq!(app.decode_document("", document[1..].to_owned()).await.status, 200);
    app.decode_document("", document.clone()).await.problem(413, "request_too_large");
    let answer = app.decode_document("", Upload::of(pieces(&document))).await;
    let problem = answer.problem(413, "request_too_large");
    assert!(problem["detail"].as_str().expect("a text").contains("1024 bytes"), "{answer:?}");
    assert_eq!(problem["retryable"], false);
}
