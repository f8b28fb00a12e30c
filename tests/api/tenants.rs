//! What the tenants file says, and says anew.

use crate::support::{
    app::{Answer, PATIENCE, TestApp},
    callers::{Key, Roster, TenantsFile},
    upstream::{Reply, Upstream},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, path::Path};
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};

fn body() -> Value {
    json!({ "content": "{*a*}" })
}

/// Waits until a key has this status; how long that took is nobody's verdict.
async fn until(app: &TestApp, key: &Key, status: u16) {
    let comes = async {
        while app.decode_as(key, &body()).await.status != status {
            yield_now().await;
        }
    };
    let came = timeout(PATIENCE, comes).await;
    assert!(came.is_ok(), "no {status}: {:?}", app.log_lines());
}

/// What `/health/ready` says of the file.
async fn detail(app: &TestApp) -> Value {
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.json()["details"]["tenants"].clone()
}

fn of(key: &Key) -> Roster {
    Roster::default().tenant("league", "", &[(key, "decoder")])
}

/// The mounted volume of Kubernetes: what is seen is a link to a link to a folder.
struct Volume<'a>(&'a Path);

impl Volume<'_> {
    fn publish(&self, version: &str, text: &str) {
        fs::create_dir(self.0.join(version)).expect("a folder");
        fs::write(self.0.join(version).join("tenants.toml"), text).expect("written");
        symlink(version, self.0.join("..data_tmp")).expect("a link");
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).expect("swapped");
    }
}

#[tokio::test]
async fn a_key_is_exchanged_for_another_however_the_file_is_written() {
    let keys: Vec<Key> = (0..4).map(|_| Key::new()).collect();
    let file = TenantsFile::new(&of(&keys[0]));
    fs::remove_file(file.path()).expect("removed");
    let volume = Volume(file.folder());
    volume.publish("..1", of(&keys[0]).text());
    symlink("..data/tenants.toml", file.path()).expect("a link");
    let app = TestApp::start(&file.config()).await;
    until(&app, &keys[0], 200).await;

    // As Kubernetes does.
    volume.publish("..2", of(&keys[1]).text());
    until(&app, &keys[1], 200).await;
    app.decode_as(&keys[0], &body()).await.problem(401, "unauthenticated");

    // By rename.
    let beside = file.folder().join("new");
    fs::write(&beside, of(&keys[2]).text()).expect("written");
    fs::rename(&beside, file.path()).expect("renamed");
    until(&app, &keys[2], 200).await;
    app.decode_as(&keys[1], &body()).await.problem(401, "unauthenticated");

    // In place, of the same length.
    file.write(of(&keys[3]).text());
    until(&app, &keys[3], 200).await;
    app.decode_as(&keys[2], &body()).await.problem(401, "unauthenticated");
    assert_eq!(detail(&app).await["ok"], true);
}

#[tokio::test]
async fn two_keys_hold_while_the_one_takes_the_place_of_the_other() {
    let (old, new, ops) = (Key::new(), Key::new(), Key::new());
    let roster = |keys: &[&Key]| {
        let keys: Vec<_> = keys.iter().map(|key| (*key, "decoder")).collect();
        Roster::default().tenant("league", "", &keys).staff(&ops, "operator")
    };
    let file = TenantsFile::new(&roster(&[&old]));
    let app = TestApp::start(&file.config()).await;
    let statuses = async |keys: &[&Key]| {
        file.write(roster(keys).text());
        assert_eq!(app.admin_as(&ops, "POST", "/admin/reload").await.status, 200);
        let body = body();
        (app.decode_as(&old, &body).await.status, app.decode_as(&new, &body).await.status)
    };

    assert_eq!(statuses(&[&old]).await, (200, 401));
    assert_eq!(statuses(&[&old, &new]).await, (200, 200));
    assert_eq!(statuses(&[&new]).await, (401, 200));
}

#[tokio::test]
async fn what_is_no_file_changes_nothing_and_holds_nobody_up() {
    let (key, ops) = (Key::new(), Key::new());
    let roster = of(&key).staff(&ops, "operator");
    let file = TenantsFile::new(&roster);
    let app = TestApp::start(&file.config()).await;
    let path = file.path();
    let pipe = || mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let long = || fs::write(&path, "# long\n".repeat(200_000)).expect("written");
    let place = |what: &dyn Fn()| {
        fs::remove_file(&path).expect("removed");
        what();
    };
    let check = async |what: &dyn Fn(), expected: &str| {
        place(what);
        let refused = app.admin_as(&ops, "POST", "/admin/reload").await;
        let told = refused.problem(422, "invalid_request")["errors"][0]["detail"].to_string();
        assert!(told.contains("the tenants file: cannot be read: "), "{told}");
        assert!(told.contains(expected) && !told.contains("/tmp"), "{told}");
        assert_eq!(app.decode_as(&key, &body()).await.status, 200);
        assert_eq!(detail(&app).await["ok"], false);
    };
    check(&pipe, "not a regular file").await;
    check(&long, "larger than 1024 KiB").await;
    check(&|| symlink(&path, &path).expect("a link"), "symbolic link").await;
    check(&|| fs::write(&path, b"\xff").expect("written"), "not UTF-8").await;
    check(&|| {}, "No such file").await;
    fs::create_dir(&path).expect("a folder");
    app.log_line(|line| line["faults"].as_str().is_some_and(|text| text.contains("regular"))).await;
    fs::remove_dir(&path).expect("removed");

    file.write(roster.text());

    app.metrics_when(|metrics| metrics["decoder_config_reload_success"] == 1.0).await;
}

#[tokio::test]
async fn a_file_that_never_stands_still_is_told_of_and_read_when_it_does() {
    let (old, new, ops) = (Key::new(), Key::new(), Key::new());
    let (before, after) = (of(&old).staff(&ops, "operator"), of(&new).staff(&ops, "operator"));
    let file = TenantsFile::new(&before);
    let app = TestApp::start(&file.config()).await;
    // It reads differently each time, however busy the machine is.
    let beside = file.folder().join("new");
    symlink("/proc/uptime", &beside).expect("a link");
    fs::rename(&beside, file.path()).expect("renamed");

    let refused = app.admin_as(&ops, "POST", "/admin/reload").await;

    let told = refused.problem(422, "invalid_request")["errors"][0]["detail"].to_string();
    assert!(told.contains("the tenants file: it changes all the time"), "{told}");
    assert_eq!(app.decode_as(&new, &body()).await.status, 401);
    // Nothing is forgotten: now it rests.
    fs::write(&beside, after.text()).expect("written");
    fs::rename(&beside, file.path()).expect("renamed");
    until(&app, &new, 200).await;
    assert_eq!(detail(&app).await["ok"], true);
}

#[tokio::test]
async fn who_is_told_to_reload_does_so_at_once_and_says_what_came_of_it() {
    let (old, new, ops) = (Key::new(), Key::new(), Key::new());
    let file = TenantsFile::new(&of(&old).staff(&ops, "operator"));
    let app = TestApp::start(&file.config()).await;

    file.write(of(&new).staff(&ops, "operator").text());
    let reloaded = app.admin_as(&ops, "POST", "/admin/reload").await;

    assert_eq!((reloaded.status, reloaded.json()), (200, json!({ "reloaded": true })));
    app.decode_as(&old, &body()).await.problem(401, "unauthenticated");
    assert_eq!(app.decode_as(&new, &body()).await.status, 200);

    file.write("[[tenant]]\nname = \"BAD\"\n");
    let refused = app.admin_as(&ops, "POST", "/admin/reload").await;

    let problem = refused.problem(422, "invalid_request");
    let faults = problem["errors"].to_string();
    assert!(faults.contains("tenant[0].name") && faults.contains("the tenants file:2"), "{faults}");
    assert!(!refused.text.contains("/tmp"), "{refused:?}");
    assert_eq!(app.decode_as(&new, &body()).await.status, 200);

    fs::remove_file(file.path()).expect("removed");
    let refused = app.admin_as(&ops, "POST", "/admin/reload").await;
    refused.problem(422, "invalid_request");
    assert!(
        !refused.text.contains("/tmp") && !refused.text.contains("tenants.toml"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_lacks_a_file_that_it_names_is_in_force_when_that_is_there() {
    let (old, new) = (Key::new(), Key::new());
    let file = TenantsFile::new(&of(&old));
    let app = TestApp::start(&file.config()).await;
    let named = file.folder().join("authorization");
    let allow =
        format!("allow = [{{ url = \"https://a.example\", authorization_file = {named:?} }}]");
    let roster = Roster::default().tenant("guild", "", &[]);
    file.write(roster.tenant("league", &allow, &[(&new, "decoder")]).text());
    app.metrics_when(|metrics| metrics["decoder_config_reload_success"] == 0.0).await;
    assert_eq!(app.decode_as(&old, &body()).await.status, 200);
    // Whoever is not there is counted nowhere.
    let others = app.metrics().await;
    assert!(!others.keys().any(|series| series.contains("tenant=\"guild\"")), "{others:?}");

    fs::write(&named, "Bearer x\n").expect("written");

    until(&app, &new, 200).await;
}

#[tokio::test]
async fn sighup_reloads_and_ends_nothing() {
    let (old, new) = (Key::new(), Key::new());
    let file = TenantsFile::new(&of(&old));
    let app = TestApp::start(&file.config()).await;
    file.write(of(&new).text());

    app.signal("HUP");

    until(&app, &new, 200).await;
    let plain = TestApp::start("").await;
    plain.signal("HUP");
    plain.signal("HUP");
    assert_eq!(plain.decode_document("", "{*a*}").await.status, 200);
}

#[tokio::test]
async fn what_is_of_no_use_changes_nothing_and_shows_everywhere() {
    let key = Key::new();
    let file = TenantsFile::new(&of(&key));
    let app = TestApp::start(&file.config()).await;
    let whole = of(&key).text().to_owned();
    let half = &whole[..whole.len() / 2];
    let success = "decoder_config_reload_success";
    for useless in ["", "# nobody\n", half, "[[tenant]]\nname = 5\n", "\u{0}"] {
        file.write(useless);
        app.metrics_when(|metrics| metrics[success] == 0.0).await;

        assert_eq!(app.decode_as(&key, &body()).await.status, 200, "{useless:?}");
        let told = detail(&app).await;
        assert_eq!(told["ok"], false, "{useless:?}");
        assert!(told["detail"].as_str().expect("a text").contains("previous"), "{told}");

        file.write(&whole);
        app.metrics_when(|metrics| metrics[success] == 1.0).await;
        assert_eq!(detail(&app).await["ok"], true);
    }
    fs::remove_file(file.path()).expect("removed");
    app.metrics_when(|metrics| metrics[success] == 0.0).await;
    assert_eq!(app.decode_as(&key, &body()).await.status, 200);
    let is_it = |line: &Value| {
        let faults = line["faults"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && faults.contains("cannot be read")
    };
    app.log_line(is_it).await;
}

#[tokio::test]
async fn no_request_is_dropped_or_judged_by_halves_while_the_file_changes() {
    let (stays, one, other, ops) = (Key::new(), Key::new(), Key::new(), Key::new());
    let roster = |key: &Key, start: &str| {
        let markers = format!("markers = [{{ start = \"{start}\", end = \"*\" }}]");
        Roster::default()
            .tenant("stays", &markers, &[(&stays, "decoder")])
            .tenant("league", &markers, &[(key, "decoder")])
            .staff(&ops, "operator")
    };
    let (with_one, with_other) = (roster(&one, "1"), roster(&other, "2"));
    let file = TenantsFile::new(&with_one);
    let app = TestApp::start(&file.config()).await;
    let content = json!({ "content": "1one* 2two*" });
    let ends = Instant::now() + std::time::Duration::from_millis(1500);

    let asks = async {
        let mut asked = 0;
        while Instant::now() < ends {
            let answers = tokio::join!(
                app.decode_as(&stays, &content),
                app.decode_as(&one, &content),
                app.decode_as(&other, &content),
            );
            // Who stays is always served; each key has the markers of its own file.
            let first = answers.0.json()["secrets"][0]["value"].clone();
            assert!(first == "one" || first == "two", "{:?}", answers.0);
            for (answer, own) in [(&answers.1, "one"), (&answers.2, "two")] {
                match answer.status {
                    200 => assert_eq!(answer.json()["secrets"][0]["value"], own),
                    status => assert_eq!(status, 401, "{answer:?}"),
                }
            }
            asked += 1;
        }
        asked
    };
    let changes = async {
        let mut changed = 0;
        while Instant::now() < ends {
            let next = if changed % 2 == 0 { &with_other } else { &with_one };
            file.write(next.text());
            let reloaded = app.admin_as(&ops, "POST", "/admin/reload").await;
            assert_eq!(reloaded.status, 200, "{reloaded:?}");
            changed += 1;
        }
        changed
    };
    let (asked, changed) = tokio::join!(asks, changes);

    assert!(asked > 5 && changed > 2, "{asked} {changed}");
}

#[tokio::test]
async fn each_tenant_has_its_own_rules_markers_and_limits() {
    let (upstream, other) = (Upstream::tls().await, Upstream::tls().await);
    upstream.on("/doc", Reply::ok("<<mine>> {*usual*}"));
    other.on("/doc", Reply::ok("<<mine>> {*usual*}"));
    let (own, usual) = (Key::new(), Key::new());
    let more = format!(
        "allow = [{{ url = \"{}\", name = \"own\", addresses = [\"127.0.0.1\"] }}]\n\
         markers = [{{ start = \"<<\", end = \">>\" }}]\n\
         max_document_bytes = \"20B\"",
        other.url("")
    );
    let roster = Roster::default().tenant("own", &more, &[(&own, "decoder")]).tenant(
        "usual",
        "max_document_bytes = \"1TiB\"",
        &[(&usual, "decoder")],
    );
    let file = TenantsFile::new(&roster);
    let config = format!("{}[limits]\nmax_document_bytes = \"1KiB\"\n", file.config());
    let app = TestApp::with_source(&upstream, "", &config).await;
    let ask = |url: String| json!({ "source": url });

    let found = app.decode_as(&own, &ask(other.url("/doc"))).await;
    assert_eq!(found.json()["secrets"][0]["value"], "mine", "{found:?}");
    let line = app.request_line(found.header("x-request-id").expect("an id")).await;
    assert_eq!((&line["rule"], &line["tenant"]), (&json!("own"), &json!("own")));
    app.decode_as(&own, &ask(upstream.url("/doc"))).await.discreet_problem(403, "source_denied");

    let found = app.decode_as(&usual, &ask(upstream.url("/doc"))).await;
    assert_eq!(found.json()["secrets"][0]["value"], "usual", "{found:?}");
    app.decode_as(&usual, &ask(other.url("/doc"))).await.discreet_problem(403, "source_denied");

    let long = json!({ "content": "x".repeat(21) });
    let problem = app.decode_as(&own, &long).await.problem(413, "request_too_large");
    assert!(problem["detail"].as_str().expect("a text").contains("20 bytes"), "{problem}");
    assert_eq!(app.decode_as(&usual, &long).await.status, 200);
    let longer = json!({ "content": "x".repeat(1025) });
    app.decode_as(&usual, &longer).await.problem(413, "request_too_large");
    // Which is known before the body is read.
    let document = app.client.post(app.url("/decode")).header("Content-Type", "text/plain");
    let document = document.bearer_auth(own.text()).body("x".repeat(21));
    Answer::of(document).await.problem(413, "request_too_large");
}

#[tokio::test]
async fn each_tenant_has_its_own_rate_and_its_own_day() {
    let (short, daily, usual) = (Key::new(), Key::new(), Key::new());
    let roster = Roster::default()
        .tenant("short", "requests_per_minute = 1\nburst = 2", &[(&short, "decoder")])
        .tenant("daily", "decodes_per_day = 2", &[(&daily, "decoder")])
        .tenant("usual", "", &[(&usual, "decoder")]);
    let file = TenantsFile::new(&roster);
    let limit = "[rate_limit]\nrequests_per_minute = 60\nburst = 50\n";
    let app = TestApp::start(&(file.config() + limit)).await;

    for left in [1, 0] {
        let answer = app.decode_as(&short, &body()).await;
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=2;w=120"));
        let limit = answer.header("ratelimit").expect("a header");
        assert!(limit.starts_with(&format!("\"requests\";r={left};t=")), "{limit}");
    }
    app.decode_as(&short, &body()).await.problem(429, "rate_limited");

    for left in [1, 0] {
        let answer = app.decode_as(&daily, &body()).await;
        let policy = "\"requests\";q=50;w=50, \"decodes\";q=2;w=86400";
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, Some(policy)));
        let limit = answer.header("ratelimit").expect("a header");
        assert!(limit.contains(&format!(", \"decodes\";r={left};t=")), "{limit}");
    }
    let exceeded = app.decode_as(&daily, &body()).await;
    let problem = exceeded.discreet_problem(429, "quota_exceeded");
    let seconds: u64 =
        exceeded.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=86_400).contains(&seconds), "{problem}");
    assert!(exceeded.header("ratelimit").expect("a header").contains("\"decodes\";r=0;t="));
    assert_eq!(app.decode_as(&usual, &body()).await.status, 200);
    let metrics = app.metrics().await;
    let decided = |decision: &str| {
        let series = "decoder_rate_limit_decisions_total{backend=\"memory\",decision=";
        metrics[&format!("{series}\"{decision}\"}}")]
    };
    assert_eq!(["allowed", "rate_limited", "quota_exceeded"].map(decided), [5.0, 1.0, 1.0]);
}

#[tokio::test]
async fn limits_that_change_hold_for_what_was_used_before() {
    let (key, ops) = (Key::new(), Key::new());
    let roster = |more: &str| {
        Roster::default().tenant("league", more, &[(&key, "decoder")]).staff(&ops, "operator")
    };
    let file = TenantsFile::new(&roster("decodes_per_day = 10"));
    let limit = "[rate_limit]\nrequests_per_minute = 60\nburst = 50\n";
    let app = TestApp::start(&(file.config() + limit)).await;
    for _ in 0..3 {
        assert_eq!(app.decode_as(&key, &body()).await.status, 200);
    }

    file.write(roster("decodes_per_day = 3").text());
    assert_eq!(app.admin_as(&ops, "POST", "/admin/reload").await.status, 200);

    app.decode_as(&key, &body()).await.problem(429, "quota_exceeded");
    file.write(roster("").text());
    assert_eq!(app.admin_as(&ops, "POST", "/admin/reload").await.status, 200);
    assert_eq!(app.decode_as(&key, &body()).await.status, 200);
}

#[tokio::test]
async fn the_staff_sees_who_has_used_how_much() {
    let (key, unused, auditor) = (Key::new(), Key::new(), Key::new());
    let expiring = "viewer\"\nexpires = \"2999-01-01T00:00:00Z";
    let keys = [(&key, "decoder"), (&unused, expiring)];
    let roster = Roster::default()
        .tenant("league", "decodes_per_day = 10\nburst = 7", &keys)
        .tenant("off", "disabled = true", &[])
        .staff(&auditor, "auditor");
    let file = TenantsFile::new(&roster);
    let app = TestApp::start(&(file.config() + "[rate_limit]\nrequests_per_minute = 60\n")).await;
    for _ in 0..2 {
        assert_eq!(app.decode_as(&key, &body()).await.status, 200);
    }
    app.decode_as(&key, &json!({})).await.problem(422, "invalid_request");

    let usage = app.admin_as(&auditor, "GET", "/admin/usage").await;

    let shown = usage.json();
    let league = &shown["tenants"][0];
    assert_eq!(league["tenant"], "league");
    assert_eq!((&league["burst"], &league["decodes_per_day"]), (&json!(7), &json!(10)));
    assert_eq!(league["decodes_today"], 3);
    assert_eq!(league["decodes"]["success"], 2);
    assert_eq!(league["decodes"]["rejected"], 1);
    assert_eq!(
        (&shown["tenants"][1]["tenant"], &shown["tenants"][1]["disabled"]),
        (&json!("off"), &json!(true))
    );
    let of = |key: &Key| {
        let keys = shown["keys"].as_array().expect("keys");
        keys.iter().find(|shown| shown["id"] == key.id()).expect("the key").clone()
    };
    assert!(of(&key)["last_used"].is_string() && of(&key)["expires"].is_null(), "{shown}");
    assert!(of(&unused)["last_used"].is_null(), "{shown}");
    assert_eq!(of(&unused)["expires"], "2999-01-01T00:00:00.000000Z");
    assert_eq!(of(&auditor)["role"], "auditor");
    assert!(!usage.text.contains("sha256"), "{usage:?}");
    let expiry = app.metrics().await["decoder_expiry_timestamp_seconds{kind=\"key\"}"];
    assert_eq!(expiry, 32_472_144_000.0);
}

#[tokio::test]
async fn a_tenant_that_is_gone_leaves_no_series() {
    let (key, ops) = (Key::new(), Key::new());
    let file = TenantsFile::new(&of(&key).tenant("gone", "", &[]).staff(&ops, "operator"));
    let app = TestApp::start(&file.config()).await;
    let of_gone = |metrics: &std::collections::BTreeMap<String, f64>| {
        metrics.keys().any(|series| series.contains("tenant=\"gone\""))
    };
    assert!(of_gone(&app.metrics().await));

    file.write(of(&key).staff(&ops, "operator").text());
    assert_eq!(app.admin_as(&ops, "POST", "/admin/reload").await.status, 200);

    let metrics = app.metrics().await;
    assert!(!of_gone(&metrics));
    assert!(
        metrics.contains_key("decoder_tenant_decodes_total{outcome=\"success\",tenant=\"league\"}")
    );
}

#[tokio::test]
async fn decodes_are_counted_by_rule_and_a_rule_that_is_gone_leaves_no_series() {
    let (key, ops) = (Key::new(), Key::new());
    // Nobody listens there.
    let rule = "allow = [{ url = \"http://127.0.0.1:9\", name = \"docs\", \
                addresses = [\"127.0.0.1:9\"] }]";
    let roster = |more: &str| {
        let keys = [(&key, "decoder")];
        Roster::default().tenant("league", more, &keys).staff(&ops, "operator")
    };
    let file = TenantsFile::new(&roster(rule));
    let app = TestApp::start(&(file.config() + "[egress]\nattempts = 1\n")).await;
    let decodes = |rule: &str, outcome: &str| {
        format!("decoder_rule_decodes_total{{outcome=\"{outcome}\",rule=\"{rule}\"}}")
    };

    let source = json!({ "source": "http://127.0.0.1:9/" });
    app.decode_as(&key, &source).await.problem(424, "source_failed");
    // No rule had to do with it.
    assert_eq!(app.decode_as(&key, &body()).await.status, 200);

    let metrics = app.metrics().await;
    assert_eq!(metrics[&decodes("docs", "failed")], 1.0);
    assert_eq!(metrics[&decodes("docs", "success")], 0.0);
    // That of everyone, which this tenant does not have.
    assert_eq!(metrics[&decodes("rule-1", "failed")], 0.0);
    file.write(roster("").text());
    assert_eq!(app.admin_as(&ops, "POST", "/admin/reload").await.status, 200);
    let metrics = app.metrics().await;
    assert!(!metrics.keys().any(|series| series.contains("rule=\"docs\"")), "{metrics:?}");
    assert!(metrics.contains_key(&decodes("rule-1", "failed")));
}
