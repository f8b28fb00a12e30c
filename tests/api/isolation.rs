//! Tenants beside each other: what one does, has and is called, no other learns.
//!
//! What they share by nature shows in how long things take and in what is refused to all: the
//! circuit and the connections of an origin that both may ask, the pools, and the rate of those
//! who fail to say who they are at one address.

use crate::support::{
    app::{Answer, PATIENCE, TestApp},
    callers::{Key, Roster, TenantsFile},
    raw::exchange,
    upstream::{
        Gate, Reply,
        Step::{Send, Wait},
        Upstream,
    },
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::timeout;

const FORMS: [&str; 3] = ["application/json", "application/x-ndjson", "text/plain"];

/// Two tenants with sources of their own: `arsenal`, which is busy, and `botanic`, which looks.
struct Scene {
    app: TestApp,
    /// Where the one has its documents, and where the other.
    arsenal: Upstream,
    botanic: Upstream,
    keys: [Key; 2],
    auditor: Key,
    _files: (TenantsFile, NamedTempFile),
}

/// What only one of them may be told: names, limits, markers, secrets. No part of a word that
/// anything says by itself: numbers are longer than a group of a request id, and no port.
const ARSENALS: [&str; 10] = [
    "arsenal",
    "depot",
    "76543",
    "87654",
    "98765",
    "76001",
    "<a:",
    "cannon",
    "Basic YXJzZW5hbDpjYW5ub24=",
    "tenant_decodes",
];

impl Scene {
    /// With a listener for the operator or without one; the last lines are the other tenant's.
    async fn new(server: &str, botanics: &str) -> Self {
        let (arsenal, botanic) = (Upstream::plain().await, Upstream::plain().await);
        let authorization = NamedTempFile::new().expect("a file");
        std::fs::write(authorization.path(), "Basic YXJzZW5hbDpjYW5ub24=").expect("written");
        let rule = |host: &str, upstream: &Upstream, more: &str| {
            let (port, address) = (upstream.address().port(), upstream.address());
            format!(
                "allow = [{{ url = \"http://{host}.test:{port}\", name = \"{host}\", \
                 addresses = [\"{address}\"]{more} }}]\n"
            )
        };
        let file = format!(", authorization_file = {:?}", authorization.path());
        let limits = "requests_per_minute = 76543\nburst = 87654\ndecodes_per_day = 98765\n\
                      max_document_bytes = \"76001B\"\nmarkers = [{ start = \"<a:\", end = \":a>\" }]\n";
        let keys = [Key::new(), Key::new()];
        let auditor = Key::new();
        let roster = Roster::default()
            .tenant("arsenal", &(rule("depot", &arsenal, &file) + limits), &[(&keys[0], "decoder")])
            .tenant("botanic", &(rule("garden", &botanic, "") + botanics), &[(&keys[1], "decoder")])
            .staff(&auditor, "auditor");
        let file = TenantsFile::new(&roster);
        let path = file.path();
        let config = format!(
            "[server]\n{server}[auth]\nmode = \"required\"\ntenants_file = {path:?}\n\
             [egress]\nattempts = 1\nhosts.\"depot.test\" = [\"127.0.0.1\"]\n\
             hosts.\"garden.test\" = [\"127.0.0.1\"]\n\
             [rate_limit]\nrequests_per_minute = 60000\nburst = 60000\n"
        );
        let app = TestApp::start(&config).await;
        arsenal.on("/guns", Reply::ok("<a:GUN: cannon:a> <a:cannon:a>"));
        botanic.on("/roses", Reply::ok("{*ROSE: thorn*} <a:weed:a>"));
        Self { app, arsenal, botanic, keys, auditor, _files: (file, authorization) }
    }

    fn depot(&self, path: &str) -> String {
        format!("http://depot.test:{}{path}", self.arsenal.address().port())
    }

    fn garden(&self, path: &str) -> String {
        format!("http://garden.test:{}{path}", self.botanic.address().port())
    }

    async fn arsenal(&self, body: &Value) -> Answer {
        self.app.decode_as(&self.keys[0], body).await
    }

    async fn botanic(&self, body: &Value) -> Answer {
        self.app.decode_as(&self.keys[1], body).await
    }

    /// Whatever a tenant can be busy with: decodes that succeed, are refused, and fail.
    async fn arsenal_is_busy(&self) {
        let gone = format!("http://depot.test:{}/gone", self.arsenal.address().port());
        for (body, status) in [
            (json!({ "source": self.depot("/guns") }), 200),
            (json!({ "content": "<a:cannon:a>" }), 200),
            (json!({ "source": self.garden("/roses") }), 403),
            (json!({ "source": gone }), 424),
            (json!({ "content": "<a:cannon:a>", "cannon": 1 }), 422),
            (json!({ "content": "x".repeat(80_000) }), 413),
        ] {
            assert_eq!(self.arsenal(&body).await.status, status, "{body}");
        }
    }
}

/// Asserts that an answer says nothing of what is another's; neither does its head.
fn says_nothing(answer: &Answer, scene: &Scene) {
    let mut text = answer.text.clone();
    for (name, value) in &answer.headers {
        text += &format!("\n{name}: {}", value.to_str().expect("text"));
    }
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for theirs in ARSENALS.into_iter().chain([scene.keys[0].id()]) {
        // A number may be a part of another one.
        let is_number = theirs.bytes().all(|byte| byte.is_ascii_digit());
        let is_said = if is_number { words.contains(&theirs) } else { text.contains(theirs) };
        assert!(!is_said, "{theirs} in {text}");
    }
}

#[tokio::test]
async fn whatever_one_tenant_asks_it_is_told_nothing_of_another() {
    let scene = Scene::new("", "max_document_bytes = \"3333B\"\n").await;
    let Scene { app, keys: [_, key], .. } = &scene;
    let gate = Gate::default();
    let held = [Send("<a:cannon:a>\n".into()), Wait(gate.clone())];
    scene.arsenal.on("/held", Reply::stream(held));
    let body = json!({ "source": scene.depot("/held") });
    let look = async {
        scene.arsenal.requested("/held").await;
        let mut answers = Vec::new();
        for _ in 0..2 {
            scene.arsenal_is_busy().await;
            let bodies = [
                (200, json!({ "source": scene.garden("/roses") })),
                (200, json!({ "source": scene.garden("/roses"), "output": "masked" })),
                (200, json!({ "content": "{*ROSE: thorn*}" })),
                (403, json!({ "source": scene.garden("/roses").replace("garden", "depot") })),
                (403, json!({ "source": scene.garden("/x").replace("garden", "depot") })),
                (403, json!({ "source": "https://raw.githubusercontent.com/" })),
                (424, json!({ "source": scene.garden("/gone") })),
                (422, json!({ "content": "x", "more": 1, "markers": [{}], "max_secrets": 0 })),
                (422, json!({ "source": "http://" })),
                (422, json!({})),
                (413, json!({ "content": "x".repeat(4000) })),
            ];
            for (status, body) in bodies {
                for accept in FORMS {
                    let asking = app.asking(&body).header("Accept", accept);
                    let answer = Answer::of(asking.bearer_auth(key.text())).await;
                    assert_eq!(answer.status, status, "{answer:?}");
                    answers.push(answer);
                }
            }
            let decode = || app.client.post(app.url("/decode")).bearer_auth(key.text());
            let json = |text: &str| {
                decode().header("Content-Type", "application/json").body(text.to_owned())
            };
            let text = |length: usize| {
                decode().header("Content-Type", "text/plain").body("x".repeat(length))
            };
            let stolen =
                format!("bpd_{}_{}", scene.keys[0].id(), &key.text()[key.text().len() - 43..]);
            for (status, request) in [
                (400, json("{")),
                (413, text(4000)),
                (415, decode()),
                (406, json("{\"content\": \"x\"}").header("Accept", "image/png")),
                (422, json("{\"content\": \"x\"}").header("X-Request-Timeout-Ms", "0")),
                (405, app.client.get(app.url("/decode")).bearer_auth(key.text())),
                (403, json("{\"content\": \"x\"}").header("Host", "depot.test")),
                (403, json("{\"content\": \"x\"}").header("Sec-Fetch-Site", "cross-site")),
            ] {
                let answer = Answer::of(request).await;
                assert_eq!(answer.status, status, "{answer:?}");
                answers.push(answer);
            }
            // Whose key it is not, nobody is told.
            let wrong = |key: String| app.asking(&json!({})).bearer_auth(key);
            let id = |request: reqwest::RequestBuilder| request.header("X-Request-Id", "same");
            let known = Answer::of(id(wrong(stolen))).await;
            let unknown = format!("bpd_nobody_{}", &key.text()[key.text().len() - 43..]);
            let unknown = Answer::of(id(wrong(unknown))).await;
            assert_eq!((known.status, &known.text), (401, &unknown.text));
            answers.push(known);
            for path in [
                "/",
                "/health",
                "/health/ready",
                "/metrics",
                "/problems",
                "/problems/source_denied",
                "/problems/arsena",
                "/admin/usage",
                "/nowhere",
            ] {
                answers.push(app.get(path).await);
                let asking = app.client.get(app.url(path)).bearer_auth(key.text());
                answers.push(Answer::of(asking).await);
            }
        }
        gate.open();
        answers
    };

    let (held, answers) = timeout(PATIENCE, async { tokio::join!(scene.arsenal(&body), look) })
        .await
        .expect("in time");

    assert_eq!(held.status, 200, "{held:?}");
    for answer in &answers {
        says_nothing(answer, &scene);
    }
    // What is its own it is told.
    assert!(answers.iter().any(|answer| answer.text.contains("thorn")));
    assert!(answers.iter().any(|answer| answer.text.contains("3333")));
}

#[tokio::test]
async fn a_source_of_another_is_denied_like_one_of_nobodys() {
    let scene = Scene::new("", "").await;
    scene.arsenal_is_busy().await;
    let of = async |source: String| {
        let body = json!({ "source": source });
        let asking = scene.app.asking(&body).header("X-Request-Id", "same");
        let answer = Answer::of(asking.bearer_auth(scene.keys[1].text())).await;
        answer.problem(403, "source_denied");
        answer.text
    };

    let of_another = of(scene.depot("/guns")).await;
    let nobodys = of(scene.depot("/guns").replace("depot", "attic")).await;

    assert_eq!(of_another, nobodys);
    let port = scene.arsenal.address().port().to_string();
    let garden = scene.botanic.address().port().to_string();
    let of_another = of(scene.garden("/guns").replace(&garden, &port)).await;
    let nobodys = of(scene.garden("/guns").replace(&garden, "1")).await;
    assert_eq!(of_another, nobodys);
}

/// `r` of `requests` and of `decodes`.
fn left(answer: &Answer) -> (u64, u64) {
    let header = answer.header("ratelimit").expect("RateLimit");
    let of = |name: &str| {
        let part = header.split(", ").find_map(|part| part.strip_prefix(name));
        let number = part.and_then(|part| part.split(';').find_map(|of| of.strip_prefix("r=")));
        number.and_then(|number| number.parse().ok()).expect("a number")
    };
    (of("\"requests\""), of("\"decodes\""))
}

#[tokio::test]
async fn nobody_uses_up_what_another_may_have() {
    // So slow that nothing comes back meanwhile.
    let own = "requests_per_minute = 1\nburst = 6\ndecodes_per_day = 40\n";
    let scene = Scene::new("", own).await;
    let body = json!({ "content": "{*thorn*}" });
    let first = scene.botanic(&body).await;
    let policy = "\"requests\";q=6;w=360, \"decodes\";q=40;w=86400";
    assert_eq!(first.header("ratelimit-policy"), Some(policy));

    for _ in 0..3 {
        scene.arsenal_is_busy().await;
    }

    let second = scene.botanic(&body).await;
    assert_eq!((left(&first), left(&second)), ((5, 39), (4, 38)));
    // The other way round: who has used up all is alone with it.
    for _ in 0..4 {
        assert_eq!(scene.botanic(&body).await.status, 200);
    }
    let refused = scene.botanic(&body).await;
    refused.problem(429, "rate_limited");
    says_nothing(&refused, &scene);
    let other = scene.arsenal(&json!({ "content": "<a:cannon:a>" })).await;
    assert_eq!(other.status, 200);
    assert_eq!(left(&other).1, 98765 - 3 * 6 - 1);
}

#[tokio::test]
async fn who_has_had_all_decodes_of_the_day_is_alone_with_that() {
    let scene = Scene::new("", "decodes_per_day = 2\n").await;
    let body = json!({ "content": "{*thorn*}" });
    for _ in 0..2 {
        assert_eq!(scene.botanic(&body).await.status, 200);
    }

    let refused = scene.botanic(&body).await;

    refused.problem(429, "quota_exceeded");
    says_nothing(&refused, &scene);
    scene.arsenal_is_busy().await;
}

#[tokio::test]
async fn who_reads_pages_locks_out_nobody_at_the_same_address() {
    let key = Key::new();
    let file = TenantsFile::new(&Roster::default().tenant("league", "", &[(&key, "decoder")]));
    let config = file.config() + "[rate_limit]\nrequests_per_minute = 1\nburst = 3\n";
    let app = TestApp::start(&config).await;
    // Nobody fails to say who they are.
    for _ in 0..3 {
        assert_eq!(app.get("/problems").await.status, 200);
    }
    app.get("/problems").await.problem(429, "rate_limited");

    let answer = app.decode_as(&key, &json!({ "content": "{*a*}" })).await;

    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn two_requests_of_one_id_stay_two() {
    let scene = Scene::new("admin_bind = \"127.0.0.1:0\"\n", "").await;
    let bodies = [scene.depot("/guns"), scene.garden("/roses")];
    let bodies = bodies.map(|source| json!({ "source": source }));
    let ask = async |place: usize| {
        let asking = scene.app.asking(&bodies[place]).header("X-Request-Id", "same");
        Answer::of(asking.bearer_auth(scene.keys[place].text())).await
    };

    for _ in 0..20 {
        let (arsenal, botanic) = tokio::join!(ask(0), ask(1));

        assert_eq!((arsenal.status, botanic.status), (200, 200), "{arsenal:?} {botanic:?}");
        assert!(arsenal.text.contains("cannon") && !arsenal.text.contains("thorn"), "{arsenal:?}");
        assert!(botanic.text.contains("thorn") && !botanic.text.contains("weed"), "{botanic:?}");
        says_nothing(&botanic, &scene);
    }
    let lines = scene.app.request_lines("same").await;
    for (tenant, host) in [("arsenal", "depot.test"), ("botanic", "garden.test")] {
        let of = lines.iter().filter(|line| line["tenant"] == tenant).collect::<Vec<_>>();
        assert_eq!(of.len(), 20, "{lines:#?}");
        assert!(of.iter().all(|line| line["source_host"] == host), "{of:#?}");
    }
}

#[tokio::test]
async fn where_rules_are_not_the_same_connections_and_authorizations_are_not_shared() {
    let upstream = Upstream::plain().await;
    upstream.on("/plans", Reply::ok("{*a*}"));
    let authorization = NamedTempFile::new().expect("a file");
    std::fs::write(authorization.path(), "Basic YXJzZW5hbDpjYW5ub24=").expect("written");
    let rule = |more: &str| {
        let (origin, address) = (upstream.url(""), upstream.address());
        format!("allow = [{{ url = \"{origin}\", addresses = [\"{address}\"]{more} }}]\n")
    };
    let with = rule(&format!(", authorization_file = {:?}", authorization.path()));
    let keys = [(); 3].map(|()| Key::new());
    let roster = Roster::default()
        .tenant("arsenal", &with, &[(&keys[0], "decoder")])
        .tenant("botanic", &rule(""), &[(&keys[1], "decoder")])
        .tenant("circus", &rule(", name = \"circus\""), &[(&keys[2], "decoder")]);
    let file = TenantsFile::new(&roster);
    let app = TestApp::start(&file.config()).await;
    let body = json!({ "source": upstream.url("/plans") });

    // Each makes its own connection once, and then has it.
    let mut seen = Vec::new();
    for place in [0, 1, 2, 0, 1, 2] {
        let answer = app.decode_as(&keys[place], &body).await.json();
        let head = upstream.requested("/plans").await;
        seen.push(answer["timing_ms"]["connect"].is_f64());
        let authorization = (place == 0).then_some("Basic YXJzZW5hbDpjYW5ub24=");
        assert_eq!(head.get("authorization"), authorization);
        assert_eq!(head.connection, place + 1);
    }

    assert_eq!(seen, [true, true, true, false, false, false]);
}

#[tokio::test]
async fn only_the_staff_sees_who_there_is() {
    let scene = Scene::new("admin_bind = \"127.0.0.1:0\"\n", "").await;
    scene.arsenal_is_busy().await;
    let answers = [
        scene.app.admin_as(&scene.keys[1], "GET", "/admin/usage").await,
        scene.app.admin_as(&scene.keys[1], "GET", "/admin/errors").await,
        scene.app.admin_as(&scene.keys[1], "GET", "/admin/circuits").await,
        scene.app.admin_as(&scene.keys[1], "POST", "/admin/explain").await,
        scene.app.get_admin("/admin/usage").await,
        scene.app.get_admin("/admin/nowhere").await,
        scene.app.get("/metrics").await,
        scene.app.get("/admin/usage").await,
    ];
    for answer in &answers {
        assert!(answer.status >= 400, "{answer:?}");
        says_nothing(answer, &scene);
    }

    let usage = scene.app.admin_as(&scene.auditor, "GET", "/admin/usage").await;
    let errors = scene.app.admin_as(&scene.auditor, "GET", "/admin/errors").await;
    let metrics = scene.app.get_admin("/metrics").await;

    for of_staff in [&usage, &errors, &metrics] {
        assert_eq!(of_staff.status, 200);
        assert!(of_staff.text.contains("arsenal"), "{of_staff:?}");
    }
    assert!(usage.text.contains(scene.keys[0].id()), "{usage:?}");
    assert!(errors.text.contains("depot"), "{errors:?}");
    // Not even they are shown what is in documents.
    assert!(!(usage.text + &errors.text + &metrics.text).contains("cannon"));
}

#[tokio::test]
async fn what_anyone_may_scrape_names_nobody() {
    let scene = Scene::new("", "").await;
    scene.arsenal_is_busy().await;

    let scraped = scene.app.get("/metrics").await;

    assert!(scraped.text.contains("decoder_decodes_total"), "{scraped:?}");
    assert!(!scraped.text.contains("botanic"), "{scraped:?}");
    says_nothing(&scraped, &scene);
}

#[tokio::test]
async fn a_connection_inherits_nothing_from_one_request_to_the_next() {
    let scene = Scene::new("", "").await;
    let body = json!({ "source": scene.depot("/guns") }).to_string();
    let request = |credential: &str| {
        format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             {credential}Content-Length: {}\r\n",
            body.len()
        )
    };
    let of = |key: &Key| format!("Authorization: Bearer {}\r\n", key.text());
    let [arsenal, botanic] = &scene.keys;

    let mut all = String::new();
    for credential in [&of(arsenal), "", &of(botanic), &of(arsenal), "X-Api-Key: \r\n"] {
        all += &format!("{}\r\n{body}", request(credential));
    }
    all += &format!("{}Connection: close\r\n\r\n{body}", request(""));
    let answers = exchange(scene.app.address, all).await;

    let said = format!("HTTP/1.1 {} \r\n\r\n{}", answers.status, answers.text);
    let statuses: Vec<&str> =
        said.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.split(' ').next()).collect();
    assert_eq!(statuses, ["200", "401", "403", "200", "401", "401"], "{said}");
}
