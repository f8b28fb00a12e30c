//! Who may do what: one table, and the service does as it says, in every form of question and
//! answer.

use crate::support::{
    app::{Answer, TestApp},
    callers::{Key, Roster, TenantsFile},
    raw::exchange,
    upstream::{Reply, Upstream},
};
use blueprint_decoder::http::ROUTES;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A line is a request, a column who asks. The first seven ask a service that wants to know who
/// they are: `killed` has the key of a decoder whose tenant is disabled, `expired` one that was
/// a decoder's. The last two are anyone where nobody has to say: `local` where the admin
/// listener is on loopback, `beyond` where it is not.
///
/// - `yes`: it is done;
/// - `no`: not with this role, `shut`: not while the tenant is disabled (both 403, `forbidden`);
/// - `who`: 401, `unauthenticated`;
/// - a number: it is let through, and there is something else to say against it.
///
/// `other` are the methods of which no line speaks. A decode is asked for with a document, an
/// output (`-`: none named), and what is chosen beside them; a line holds for all forms of
/// answers.
const TABLE: &str = "
public                           nobody viewer decoder auditor operator killed expired  local beyond
GET,HEAD /                        yes    yes    yes     yes     yes      yes    yes      yes   yes
other /                           405    405    405     405     405      405    405      405   405
GET,HEAD /health                  yes    yes    yes     yes     yes      yes    yes      yes   yes
other /health                     405    405    405     405     405      405    405      405   405
GET,HEAD /health/ready            yes    yes    yes     yes     yes      yes    yes      yes   yes
other /health/ready               405    405    405     405     405      405    405      405   405
GET,HEAD /problems                yes    yes    yes     yes     yes      yes    yes      yes   yes
other /problems                   405    405    405     405     405      405    405      405   405
GET,HEAD /problems/forbidden      yes    yes    yes     yes     yes      yes    yes      yes   yes
GET,HEAD /problems/nothing        404    404    404     404     404      404    404      404   404
other /problems/nothing           405    405    405     405     405      405    405      405   405
other /decode                     405    405    405     405     405      405    405      405   405
other /decode/                    404    404    404     404     404      404    404      404   404
other //decode                    404    404    404     404     404      404    404      404   404
other /DECODE                     404    404    404     404     404      404    404      404   404
other /%64ecode                   404    404    404     404     404      404    404      404   404
other /nowhere                    404    404    404     404     404      404    404      404   404
other /metrics                    404    404    404     404     404      404    404      404   404
other /admin                      404    404    404     404     404      404    404      404   404
other /admin/circuits             404    404    404     404     404      404    404      404   404
other /admin/config               404    404    404     404     404      404    404      404   404
other /admin/errors               404    404    404     404     404      404    404      404   404
other /admin/explain              404    404    404     404     404      404    404      404   404
other /admin/log-level            404    404    404     404     404      404    404      404   404
other /admin/reload               404    404    404     404     404      404    404      404   404
other /admin/usage                404    404    404     404     404      404    404      404   404

POST /decode source  -            who    no     yes     no      no       shut   who      yes   yes
POST /decode source  full         who    no     yes     no      no       shut   who      yes   yes
POST /decode source  masked       who    yes    yes     no      no       shut   who      yes   yes
POST /decode source  summary      who    yes    yes     no      no       shut   who      yes   yes
POST /decode content -            who    no     yes     no      no       shut   who      yes   yes
POST /decode content full         who    no     yes     no      no       shut   who      yes   yes
POST /decode content masked       who    no     yes     no      no       shut   who      yes   yes
POST /decode content summary      who    no     yes     no      no       shut   who      yes   yes
POST /decode text    -            who    no     yes     no      no       shut   who      yes   yes
POST /decode text    full         who    no     yes     no      no       shut   who      yes   yes
POST /decode text    masked       who    no     yes     no      no       shut   who      yes   yes
POST /decode text    summary      who    no     yes     no      no       shut   who      yes   yes
POST /decode octets  -            who    no     yes     no      no       shut   who      yes   yes
POST /decode octets  full         who    no     yes     no      no       shut   who      yes   yes
POST /decode octets  masked       who    no     yes     no      no       shut   who      yes   yes
POST /decode octets  summary      who    no     yes     no      no       shut   who      yes   yes
POST /decode source masked +markers    who no   yes     no      no       shut   who      yes   yes
POST /decode source masked +secrets    who no   yes     no      no       shut   who      yes   yes
POST /decode source masked +chars      who no   yes     no      no       shut   who      yes   yes
POST /decode source masked +multiline  who no   yes     no      no       shut   who      yes   yes
POST /decode source masked +partial    who yes  yes     no      no       shut   who      yes   yes
POST /decode source summary +markers   who no   yes     no      no       shut   who      yes   yes
POST /decode source summary +secrets   who no   yes     no      no       shut   who      yes   yes
POST /decode source summary +partial   who yes  yes     no      no       shut   who      yes   yes
POST /decode octets masked +markers    who no   yes     no      no       shut   who      yes   yes
POST /decode text summary +partial     who no   yes     no      no       shut   who      yes   yes
POST /decode source masked +unknown    who 422  422     no      no       shut   who      422   422
POST /decode nothing -            who    422    422     no      no       shut   who      422   422
POST /decode broken  -            who    400    400     no      no       shut   who      400   400
POST /decode form    -            who    415    415     no      no       shut   who      415   415

admin                            nobody viewer decoder auditor operator killed expired  local beyond
GET,HEAD /health                  yes    yes    yes     yes     yes      yes    yes      yes   yes
other /health                     405    405    405     405     405      405    405      405   405
GET,HEAD /health/ready            yes    yes    yes     yes     yes      yes    yes      yes   yes
other /health/ready               405    405    405     405     405      405    405      405   405
GET,HEAD /metrics                 yes    yes    yes     yes     yes      yes    yes      yes   yes
other /metrics                    405    405    405     405     405      405    405      405   405
GET,HEAD /admin/usage             who    no     no      yes     yes      no     who      yes   no
other /admin/usage                who    no     no      405     405      no     who      405   no
GET,HEAD /admin/errors            who    no     no      yes     yes      no     who      yes   no
other /admin/errors               who    no     no      405     405      no     who      405   no
GET,HEAD /admin/circuits          who    no     no      no      yes      no     who      yes   no
other /admin/circuits             who    no     no      no      405      no     who      405   no
GET,HEAD /admin/config            who    no     no      no      yes      no     who      yes   no
other /admin/config               who    no     no      no      405      no     who      405   no
POST /admin/explain               who    no     no      no      yes      no     who      yes   no
other /admin/explain              who    no     no      no      405      no     who      405   no
PUT /admin/log-level              who    no     no      no      yes      no     who      yes   no
other /admin/log-level            who    no     no      no      405      no     who      405   no
POST /admin/reload                who    no     no      no      yes      no     who      yes   no
other /admin/reload               who    no     no      no      405      no     who      405   no
other /admin                      404    404    404     404     404      404    404      404   404
other /admin/                     404    404    404     404     404      404    404      404   404
other /admin//usage               404    404    404     404     404      404    404      404   404
other /admin/usage/               404    404    404     404     404      404    404      404   404
other /admin/nothing              404    404    404     404     404      404    404      404   404
other /ADMIN/usage                404    404    404     404     404      404    404      404   404
other /decode                     404    404    404     404     404      404    404      404   404
other /problems                   404    404    404     404     404      404    404      404   404
GET,HEAD /                        yes    yes    yes     yes     yes      yes    yes      yes   yes
other /                           405    405    405     405     405      405    405      405   405
";

const CALLERS: [&str; 9] =
    ["nobody", "viewer", "decoder", "auditor", "operator", "killed", "expired", "local", "beyond"];
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"];
const FORMS: [&str; 3] = ["application/json", "application/x-ndjson", "text/plain"];

/// What must be read by nobody but who may read.
const SECRET: &str = "hunter2";

/// One request of the table.
#[derive(Debug, Clone)]
struct Request {
    is_admin: bool,
    method: &'static str,
    path: &'static str,
    /// Of a decode: document, output, choice.
    decode: Vec<&'static str>,
    accept: &'static str,
}

/// A cell of the table.
fn expected(cell: &str) -> (u16, Option<&'static str>) {
    match cell {
        "yes" => (200, None),
        "no" | "shut" => (403, Some("forbidden")),
        "who" => (401, Some("unauthenticated")),
        "400" => (400, Some("malformed_json")),
        "404" => (404, Some("not_found")),
        "405" => (405, Some("method_not_allowed")),
        "415" => (415, Some("unsupported_media_type")),
        "422" => (422, Some("invalid_request")),
        _ => panic!("{cell} means nothing"),
    }
}

/// Every request of the table, with what this caller comes to.
fn requests(caller: &str) -> Vec<(Request, &'static str)> {
    let column = CALLERS.iter().position(|name| *name == caller).expect("a caller");
    let mut lines = Vec::new();
    let mut named = BTreeMap::<(bool, &str), BTreeSet<&str>>::new();
    let mut is_admin = false;
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        let (asked, cells) = words.split_at(words.len() - CALLERS.len());
        if let [listener] = asked {
            assert_eq!(cells, CALLERS, "{line}");
            is_admin = *listener == "admin";
            continue;
        }
        let (methods, path) = (asked[0], asked[1]);
        if methods != "other" {
            named.entry((is_admin, path)).or_default().extend(methods.split(','));
        }
        lines.push((is_admin, methods, path, asked[2..].to_vec(), cells[column]));
    }
    let mut requests = Vec::new();
    for (is_admin, methods, path, decode, cell) in lines {
        let none = BTreeSet::new();
        let named = named.get(&(is_admin, path)).unwrap_or(&none);
        let is_meant = |method: &&&str| match methods {
            "other" => !named.contains(**method),
            methods => methods.split(',').any(|name| name == **method),
        };
        let forms = if decode.is_empty() { &["*/*"][..] } else { &FORMS };
        for method in METHODS.iter().filter(is_meant) {
            for accept in forms {
                let decode = decode.clone();
                requests.push((Request { is_admin, method, path, decode, accept }, cell));
            }
        }
    }
    requests
}

impl Request {
    /// The request to a service that may fetch from the upstream.
    fn to(&self, app: &TestApp, upstream: &Upstream) -> reqwest::RequestBuilder {
        let port = app.admin.expect("an admin listener").port();
        let address =
            if self.is_admin { format!("127.0.0.1:{port}") } else { app.url("")[7..].into() };
        let source = upstream.url("/plans");
        let mut url = format!("http://{address}{}", self.path);
        let mut body = None;
        if let [document, output, choices @ ..] = &*self.decode {
            let content = format!("{{*PASSWORD: {SECRET}*}}");
            let mut options = json!({});
            if *output != "-" {
                options["output"] = json!(output);
            }
            for choice in choices {
                let (name, value) = choice_of(choice);
                options[name] = value;
            }
            let (kind, text) = match *document {
                "text" | "octets" => {
                    url += &as_query(&options);
                    (
                        if *document == "text" { "text/plain" } else { "application/octet-stream" },
                        content,
                    )
                }
                "form" => ("application/x-www-form-urlencoded", content),
                "broken" => ("application/json", format!("{{\"content\": \"{content}")),
                _ => {
                    match *document {
                        "source" => options["source"] = json!(source),
                        "content" => options["content"] = json!(content),
                        "nothing" => {}
                        _ => panic!("{document} is no document"),
                    }
                    ("application/json", options.to_string())
                }
            };
            body = Some((kind, text));
        } else if matches!(self.method, "POST" | "PUT" | "PATCH") {
            let said = match self.path {
                "/admin/log-level" => json!({ "level": "info" }),
                _ => json!({ "source": source }),
            };
            body = Some(("application/json", said.to_string()));
        }
        let method = self.method.parse().expect("a method");
        let request = app.client.request(method, url).header("Accept", self.accept);
        match body {
            Some((kind, text)) => request.header("Content-Type", kind).body(text),
            None => request,
        }
    }

    /// What is wrong with an answer.
    fn fault(&self, answer: &Answer, cell: &str) -> Option<String> {
        let (status, code) = expected(cell);
        let has_body = self.method != "HEAD";
        let found = code.is_some() && has_body;
        let found = found.then(|| serde_json::from_str::<Value>(&answer.text).ok()).flatten();
        let found = found.as_ref().map(|problem| &problem["code"]);
        let kind = answer.header("content-type").unwrap_or("");
        let is_read = answer.text.contains(SECRET);
        let fault = if answer.status != status {
            format!("{} instead of {status}", answer.status)
        } else if has_body && found != code.map(Value::from).as_ref() {
            format!("{found:?} instead of {code:?}")
        } else if code.is_some() != (kind == "application/problem+json") {
            format!("the type is {kind}")
        } else if status == 200 && !self.decode.is_empty() && !kind.starts_with(self.accept) {
            format!("the type is {kind} and not {}", self.accept)
        } else if is_read != (status == 200 && matches!(*self.decode, [_, "-" | "full", ..])) {
            format!("the secret is shown: {is_read}")
        } else if (status == 401) != (answer.header("www-authenticate") == Some("Bearer")) {
            "WWW-Authenticate".to_owned()
        } else if (cell == "shut") != answer.text.contains("the operator has disabled this tenant")
        {
            "which of the two it is".to_owned()
        } else {
            return None;
        };
        Some(format!("{self:?}: {fault}: {}", answer.text))
    }
}

fn choice_of(choice: &str) -> (&'static str, Value) {
    match choice {
        "+markers" => ("markers", json!([{ "start": "{*", "end": "*}" }])),
        "+secrets" => ("max_secrets", json!(10)),
        "+chars" => ("max_secret_chars", json!(200)),
        "+multiline" => ("multiline", json!(false)),
        "+partial" => ("allow_partial", json!(true)),
        "+unknown" => ("unknown", json!(1)),
        _ => panic!("{choice} is no choice"),
    }
}

fn as_query(options: &Value) -> String {
    let options = options.as_object().expect("an object").iter();
    let parameters = options.map(|(name, value)| match (&**name, value) {
        ("markers", _) => "marker={*:*}".to_owned(),
        (name, Value::String(text)) => format!("{name}={text}"),
        (name, value) => format!("{name}={value}"),
    });
    format!("?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// Asserts that a caller comes to what the table says, and that what is refused is counted.
async fn check(app: &TestApp, upstream: &Upstream, caller: &str, key: Option<&Key>) {
    let event = |kind: &str| format!("decoder_security_events_total{{kind=\"{kind}\"}}");
    let before = app.metrics().await;
    let (mut faults, mut forbidden, mut unauthenticated) = (Vec::new(), 0.0, 0.0);
    for (request, cell) in requests(caller) {
        let mut asking = request.to(app, upstream);
        if let Some(key) = key {
            asking = asking.bearer_auth(key.text());
        }
        let answer = Answer::of(asking).await;
        faults.extend(request.fault(&answer, cell));
        match cell {
            "no" => forbidden += 1.0,
            "who" => unauthenticated += 1.0,
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{caller}:\n{}", faults.join("\n"));
    let after = app.metrics().await;
    let counted = |kind: &str| after[&event(kind)] - before[&event(kind)];
    assert_eq!(counted("forbidden"), forbidden, "{caller}");
    assert_eq!(counted("auth_failed"), unauthenticated, "{caller}");
    assert_eq!(counted("host") + counted("cross_site"), 0.0, "{caller}");
}

async fn plans() -> Upstream {
    let upstream = Upstream::tls().await;
    upstream.on("/plans", Reply::ok(format!("for all\n{{*PASSWORD: {SECRET}*}}\n")));
    upstream
}

#[test]
fn every_route_stands_in_the_table() {
    let asked: BTreeSet<&str> =
        requests("nobody").into_iter().map(|(request, _)| request.path).collect();

    for route in &ROUTES {
        let path = route.path.replace("{code}", "forbidden");
        assert!(asked.contains(&*path), "{path}");
    }
}

#[tokio::test]
async fn everyone_comes_to_what_the_table_says() {
    let upstream = plans().await;
    let keys = [(); 6].map(|()| Key::new());
    let [viewer, decoder, auditor, operator, killed, expired] = &keys;
    let was_valid = "decoder\"\nexpires = \"2020-01-01T00:00:00Z";
    let league = [(viewer, "viewer"), (decoder, "decoder"), (expired, was_valid)];
    let roster = Roster::default()
        .tenant("league", "", &league)
        .tenant("retired", "disabled = true", &[(killed, "decoder")])
        .staff(auditor, "auditor")
        .staff(operator, "operator");
    let file = TenantsFile::new(&roster);

    let app = TestApp::with_source(&upstream, "", &file.config()).await;

    check(&app, &upstream, "nobody", None).await;
    for (caller, key) in CALLERS[1..].iter().zip(&keys) {
        check(&app, &upstream, caller, Some(key)).await;
    }
}

#[tokio::test]
async fn where_nobody_says_who_they_are_the_staff_is_whoever_is_on_this_machine() {
    let upstream = plans().await;

    let config = "[server]\nadmin_bind = \"127.0.0.1:0\"\n";
    let app = TestApp::with_source(&upstream, "", config).await;

    check(&app, &upstream, "local", None).await;
    // To show a key changes nothing, neither way.
    check(&app, &upstream, "local", Some(&Key::new())).await;
}

#[tokio::test]
async fn where_nobody_says_who_they_are_nobody_beyond_this_machine_is_staff() {
    let upstream = plans().await;
    for auth in ["", "[auth]\nallow_anonymous = true\n"] {
        let config = format!("[server]\nadmin_bind = \"0.0.0.0:0\"\n{auth}");
        let app = TestApp::with_source(&upstream, "", &config).await;

        check(&app, &upstream, "beyond", None).await;
    }
}

#[tokio::test]
async fn a_tunnel_is_dug_for_nobody() {
    let (decoder, operator) = (Key::new(), Key::new());
    let roster = Roster::default().tenant("league", "", &[(&decoder, "decoder")]);
    let file = TenantsFile::new(&roster.staff(&operator, "operator"));
    let app = TestApp::start(&file.config()).await;
    for listener in [app.address, app.admin.expect("an admin listener")] {
        for key in [decoder.text(), operator.text(), "bpd_x"] {
            for target in ["localhost:443", "localhost", "/decode", "/admin/usage"] {
                let request = format!(
                    "CONNECT {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                     Authorization: Bearer {key}\r\n\r\n"
                );
                let answer = exchange(listener, request).await;
                assert!((400..500).contains(&answer.status), "{target} {answer:?}");
            }
        }
    }
}
