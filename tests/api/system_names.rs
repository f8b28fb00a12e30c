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
use serde_json::json;
use std::{collections::BTreeMap, path::Path};
use tokio::{process::Command, task::JoinSet};

/// Says to this test that it is within the network.
const WITHIN: &str = "SYSTEM_NAMES_WITHIN";
/// More lookups than there are places for.
const MANY: usize = 300;
/// Eight ninths of the places.
const MOST: usize = 227;

#[tokio::test]
async fn who_looks_up_what_nobody_answers_makes_no_other_tenant_wait() {
    if std::env::var_os(WITHIN).is_some() {
        return within().await;
    }
    let this = std::env::current_exe().expect("a path");
    let test = "system_names::who_looks_up_what_nobody_answers_makes_no_other_tenant_wait";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(this).args(["--exact", test, "--nocapture"]);
    let output = command.env(WITHIN, "1").kill_on_drop(true).output().await;
    let output = output.expect("unshare is there (util-linux), as root");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

async fn within() {
    run("ip", &["link", "set", "lo", "up"]);
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody answers within the test, and nobody can end the question.
    let asks = "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n";
    covers("/etc/resolv.conf", asks, folder.path());
    covers("/etc/nsswitch.conf", "hosts: files dns\n", folder.path());
    let names = NameServer::of_the_system().await;
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

/// Puts a text in the place of a file, within these mounts.
fn covers(path: &str, text: &str, folder: &Path) {
    let file = folder.join(Path::new(path).file_name().expect("a name"));
    std::fs::write(&file, text).expect("written");
    run("mount", &["--bind", file.to_str().expect("a path"), path]);
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status();
    assert!(status.expect("it is there").success(), "{program} {arguments:?}");
}
