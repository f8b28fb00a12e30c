//! The names of the system: those that it asks a name server about which says nothing.
//!
//! Behind the feature `real-tools`, as root: `unshare` makes a network and files of their own,
//! in which `/etc/resolv.conf` names the server of the test.

use crate::support::{
    app::{Answer, TestApp},
    callers::{Key, Roster, TenantsFile},
    nameserver::NameServer,
    upstream::{Reply, Upstream},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use tempfile::TempDir;
use tokio::{process::Command, task::JoinSet};

/// Says to these tests that they are within the network.
const WITHIN: &str = "SYSTEM_NAMES_WITHIN";
/// More lookups than there are places for.
const MANY: usize = 300;
/// Eight ninths of the places.
const MOST: usize = 227;

/// Runs a test of this file again, in a network and with files of its own.
async fn run_within(test: &str) {
    let this = std::env::current_exe().expect("a path");
    let test = format!("system_names::{test}");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(this).args(["--exact", &test, "--nocapture"]);
    let output = command.env(WITHIN, "1").kill_on_drop(true).output().await;
    let output = output.expect("unshare is there (util-linux), as root");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

fn is_within() -> bool {
    std::env::var_os(WITHIN).is_some()
}

/// The files that the system's resolver reads, in place of this machine's, and the name server
/// that they name.
struct System {
    folder: TempDir,
    names: NameServer,
}

impl System {
    async fn new(resolv_conf: &str, hosts: &str) -> Self {
        run("ip", &["link", "set", "lo", "up"]);
        let folder = tempfile::tempdir().expect("a folder");
        let resolv_conf = format!("nameserver 127.0.0.1\n{resolv_conf}");
        for (path, text) in [
            ("/etc/resolv.conf", resolv_conf.as_str()),
            ("/etc/nsswitch.conf", "hosts: files dns\n"),
            ("/etc/hosts", hosts),
        ] {
            let file = folder.path().join(Path::new(path).file_name().expect("a name"));
            std::fs::write(&file, text).expect("written");
            run("mount", &["--bind", file.to_str().expect("a path"), path]);
        }
        Self { folder, names: NameServer::of_the_system().await }
    }

    /// Writes another hosts file.
    fn has_hosts(&self, hosts: &str) {
        std::fs::write(self.folder.path().join("hosts"), hosts).expect("written");
    }

    fn assert_asked(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(self.names.names_asked(), names);
    }
}

#[tokio::test]
async fn a_name_is_asked_for_as_it_is_whatever_the_search_list() {
    if !is_within() {
        return run_within("a_name_is_asked_for_as_it_is_whatever_the_search_list").await;
    }
    let system = System::new("search inside.test\noptions ndots:5 attempts:1\n", "").await;
    for name in ["docs.example.org", "intranet", "source.test"] {
        system.names.at(name, &["127.0.0.1"]);
        // What the search list makes of it is somewhere else.
        system.names.at(&format!("{name}.inside.test"), &["10.0.0.1"]);
    }
    let (plain, tls) = (Upstream::plain().await, Upstream::tls().await);
    for upstream in [&plain, &tls] {
        upstream.on("/", Reply::ok("{*x*}").header("Connection", "close"));
    }
    let (port, tls_port) = (plain.address().port(), tls.address().port());
    let ca = Upstream::ca_file();
    for nameservers in ["[]", "[\"127.0.0.1\"]"] {
        let app = TestApp::start(&format!(
            "[egress]\nnameservers = {nameservers}\nextra_ca_file = {ca:?}\nattempts = 1\n\
             allow = [{{ url = \"http://*:{port}\", addresses = [\"127.0.0.1\"] }}, \
             {{ url = \"https://*:{tls_port}\", addresses = [\"127.0.0.1\"] }}]\n",
        ))
        .await;
        for (host, shown) in [
            ("docs.example.org.", "docs.example.org"),
            ("docs.example.org", "docs.example.org"),
            ("intranet", "intranet"),
        ] {
            let answer = app.decode(&json!({ "source": format!("http://{host}:{port}/") })).await;

            assert_eq!(answer.status, 200, "{host} {answer:?}");
            let requests = plain.requests();
            let header = requests.last().and_then(|head| head.get("host")).map(str::to_owned);
            assert_eq!(header, Some(format!("{shown}:{port}")));
        }
        // The certificate is that of the name without its dot.
        let source = format!("https://source.test.:{tls_port}/");
        let answer = app.decode(&json!({ "source": source })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        system.assert_asked(&["docs.example.org", "intranet", "source.test"]);
    }
}

#[tokio::test]
async fn the_hosts_file_is_asked_first_as_it_is_now() {
    if !is_within() {
        return run_within("the_hosts_file_is_asked_first_as_it_is_now").await;
    }
    let hosts = "127.0.0.1 other Pinned.Example.org.\n";
    let system = System::new("options attempts:1\n", hosts).await;
    system.names.at("pinned.example.org", &["127.0.0.1"]);
    let upstream = Upstream::plain().await;
    upstream.on("/", Reply::ok("{*x*}").header("Connection", "close"));
    let port = upstream.address().port();
    let app = TestApp::start(&format!(
        "[egress]\nattempts = 1\n\
         allow = [{{ url = \"http://*:{port}\", addresses = [\"127.0.0.1\"] }}]\n",
    ))
    .await;
    let source = json!({ "source": format!("http://pinned.example.ORG.:{port}/") });
    assert_eq!(app.decode(&source).await.status, 200);

    system.has_hosts("127.0.0.1 other\n10.0.0.1 pinned.example.org\n");
    app.decode(&source).await.discreet_problem(403, "source_denied");
    system.assert_asked(&[]);

    system.has_hosts("");
    assert_eq!(app.decode(&source).await.status, 200);
    system.assert_asked(&["pinned.example.org"]);
}

#[tokio::test]
async fn localhost_is_this_machine_also_where_no_file_says_so() {
    if !is_within() {
        return run_within("localhost_is_this_machine_also_where_no_file_says_so").await;
    }
    let system = System::new("search inside.test\noptions attempts:1\n", "").await;
    for name in ["localhost", "localhost.inside.test", "a.localhost", "a.localhost.inside.test"] {
        system.names.at(name, &["93.184.216.34"]);
    }
    let upstream = Upstream::plain().await;
    upstream.on("/", Reply::ok("{*x*}").header("Connection", "close"));
    let port = upstream.address().port();
    let app = TestApp::start(&format!(
        "[egress]\nattempts = 1\n\
         allow = [{{ url = \"http://localhost:{port}\", addresses = [\"127.0.0.1\"] }}, \
         {{ url = \"http://*.localhost:{port}\", addresses = [\"127.0.0.1\", \"::1\"] }}]\n",
    ))
    .await;

    let answer = app.decode(&json!({ "source": format!("http://localhost:{port}/") })).await;
    answer.discreet_problem(403, "source_denied");
    let hint = "::1 is in ::1/128, Loopback Address; the rule permits the other loopback address: \
                add \"::1\", as in addresses = [\"127.0.0.1\", \"::1\"]";
    let says = |line: &Value| line["reason"].as_str().is_some_and(|reason| reason.ends_with(hint));
    app.log_line(says).await;
    let answer = app.decode(&json!({ "source": format!("http://A.localhost.:{port}/") })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    system.assert_asked(&[]);
}

#[tokio::test]
async fn who_looks_up_what_nobody_answers_makes_no_other_tenant_wait() {
    if !is_within() {
        return run_within("who_looks_up_what_nobody_answers_makes_no_other_tenant_wait").await;
    }
    // Nobody answers within the test, and nobody can end the question.
    let system = System::new("options timeout:30 attempts:1\n", "").await;
    let names = &system.names;
    names.at("quick.test", &["127.0.0.1"]);
    let upstream = Upstream::plain().await;
    upstream.on("/", Reply::ok("{*q*}"));
    let port = upstream.address().port();
    let (greedy, modest) = (Key::new(), Key::new());
    let file =
        TenantsFile::new(&Roster::default().tenant("greedy", "", &[(&greedy, "decoder")]).tenant(
            "modest",
            "",
            &[(&modest, "decoder")],
        ));
    let app = TestApp::start(&format!(
        "{}[egress]\nallow = [{{ url = \"http://*:{port}\", addresses = [\"127.0.0.0/8\"] }}]\n\
         attempts = 1\nconnect_timeout = \"2s\"\n",
        file.config()
    ))
    .await;
    let source = |name: &str| json!({ "source": format!("http://{name}.test:{port}/") });

    let mut asked = JoinSet::new();
    for number in 0..MANY {
        let asking = app.asking(&source(&format!("hung-{number}"))).bearer_auth(greedy.text());
        asked.spawn(async move { Answer::of(asking).await.json()["code"].to_string() });
    }
    let mut codes = BTreeMap::<String, usize>::new();
    while let Some(code) = asked.join_next().await {
        *codes.entry(code.expect("no panic")).or_default() += 1;
    }

    // All of them are over for who asked, and none for the system.
    let expected = [("\"overloaded\"", MANY - MOST), ("\"source_timeout\"", MOST)];
    assert_eq!(codes, BTreeMap::from(expected.map(|(code, count)| (code.to_owned(), count))));
    // Nor is that held against a source that both may ask.
    let mut refused = JoinSet::new();
    for _ in 0..10 {
        let asking = app.asking(&source("quick")).bearer_auth(greedy.text());
        refused.spawn(Answer::of(asking));
    }
    while let Some(answer) = refused.join_next().await {
        let answer = answer.expect("no panic");
        answer.discreet_problem(503, "overloaded");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let served = app.decode_as(&modest, &source("quick")).await;
    assert_eq!(served.status, 200, "{served:?}");
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status();
    assert!(status.expect("it is there").success(), "{program} {arguments:?}");
}
