//! What is dialled, seen from behind the addresses: in a network of its own, where
//! forbidden addresses and public ones all lead to listeners of the test.
//!
//! Behind the feature `real-tools`, as root: `unshare` makes the network, `ip` the
//! addresses.

use crate::support::{
    app::{Answer, PATIENCE, TESTED_BINARY, TestApp},
    nameserver::NameServer,
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    task::{JoinSet, yield_now},
    time::timeout,
};

/// What nothing may reach here.
const FORBIDDEN: [&str; 15] = [
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "198.18.0.1",
    "203.0.113.1",
    "fd00::1",
    "fd00:ec2::254",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    "2001:db8::1",
    "fd00:64::a00:1",
];
/// The last one is 93.184.216.34 by NAT64.
const PUBLIC: [&str; 3] = ["93.184.216.34", "2606:2800:220:1::1", "fd00:64::5db8:d822"];
/// Where the listeners are.
const PORT: u16 = 8081;

/// Says to this test that it is within the network.
const WITHIN: &str = "CONFINED_WITHIN";

#[tokio::test]
async fn only_what_is_public_is_dialled() {
    if std::env::var_os(WITHIN).is_some() {
        return within().await;
    }
    let output = confined("only_what_is_public_is_dialled", None).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("URLs tried: "), "{output:?}");
}

#[tokio::test]
async fn with_a_judge_that_says_yes_all_is_dialled_and_the_self_check_turns_red() {
    let folder = tempfile::tempdir().expect("a folder");
    let yes = |text: &str| {
        // Not what it was called; what it says.
        let judge = "exceptions: &[Exception]) -> Result<(), String> {\n        self.judge_one";
        assert_eq!(text.matches(judge).count(), 1, "the judge is elsewhere");
        text.replace(
            judge,
            &judge.replace("self.judge_one", "return Ok(());\n        self.judge_one"),
        )
    };
    let trusting = |text: &str| {
        let check = "pub fn check_itself(&self) -> Result<(), &'static str> {";
        assert_eq!(text.matches(check).count(), 1, "the self-check is elsewhere");
        text.replace(check, &format!("{check}\n        return Ok(());"))
    };
    let address = ("src/policy/address.rs", &yes as &dyn Fn(&str) -> String);
    let selfcheck = ("src/policy/selfcheck.rs", &trusting as &dyn Fn(&str) -> String);

    // With the self-check, nothing is fetched.
    let binary = build(folder.path(), "yes-judge", &[address]).await;
    let app = TestApp::of_binary(&binary, "[egress]\nallow = [\"http://*:*\"]\n").await;
    let answer = app.decode(&json!({ "source": "http://10.0.0.1/" })).await;
    answer.problem(500, "internal");
    let ready = app.get("/health/ready").await;
    assert_eq!((ready.status, &ready.json()["checks"]["policy"]["ok"]), (503, &json!(false)));
    assert_eq!(app.metrics().await["decoder_policy_selfcheck_ok"], 0.0);
    drop(app);

    // Without it, all is.
    let binary = build(folder.path(), "yes-judge", &[selfcheck]).await;
    let output = confined("only_what_is_public_is_dialled", Some(&binary)).await;
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for address in FORBIDDEN {
        assert!(said.contains(&format!("dialled: {address}\n")), "{address} not in {said}");
    }
}

#[tokio::test]
async fn an_address_that_the_machine_gains_is_its_own_at_once() {
    if std::env::var_os(WITHIN).is_none() {
        let test = "an_address_that_the_machine_gains_is_its_own_at_once";
        let output = confined(test, None).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    run("ip", &["link", "set", "lo", "up"]);
    for (bind, gained, host) in [
        ("0.0.0.0:0", "10.1.0.1/32", "10.1.0.1"),
        ("[::]:0", "10.1.0.2/32", "10.1.0.2"),
        ("[::]:0", "fd00::1:1/128", "[fd00::1:1]"),
        // On this device, all of the network becomes local.
        ("0.0.0.0:0", "10.2.0.1/16", "10.2.3.4"),
    ] {
        let app = TestApp::start(&format!(
            "[server]\nadmin_bind = \"{bind}\"\n[egress]\nallow = [{{ url = \"http://*:*\", \
             addresses = [\"10.0.0.0/8\", \"fd00::/8\"] }}]\nattempts = 1\ncircuit.enabled = false\n"
        ))
        .await;
        let port = app.admin.expect("an admin listener").port();
        let source = json!({ "source": format!("http://{host}:{port}/health") });
        app.decode(&source).await.problem(424, "source_failed");

        run("ip", &["addr", "add", gained, "dev", "lo"]);

        // The policy is checked as a whole, with these addresses, a minute after the start.
        let denied = async { while app.decode(&source).await.status != 403 {} };
        let denied = timeout(PATIENCE, denied).await;
        assert!(denied.is_ok(), "{host} is not known to be an address of this machine");
        app.decode(&source).await.problem(403, "source_denied");
    }
}

/// Runs a test of this file in a network of its own, with another binary perhaps.
async fn confined(test: &str, binary: Option<&Path>) -> Output {
    let this = std::env::current_exe().expect("a path");
    let mut command = Command::new("unshare");
    command.arg("--net").arg(this).args(["--exact", &format!("confined::{test}"), "--nocapture"]);
    command.env(WITHIN, "1");
    if let Some(binary) = binary {
        command.env(TESTED_BINARY, binary);
    }
    command.kill_on_drop(true).output().await.expect("unshare is there (util-linux), as root")
}

/// A file, and what becomes of its text.
type Change<'a> = (&'a str, &'a dyn Fn(&str) -> String);

/// Builds the service from a copy of its sources with changes in them, which stay there.
async fn build(folder: &Path, name: &str, changes: &[Change<'_>]) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = folder.join(name);
    if !copy.exists() {
        for part in ["src", "config", "build.rs", "Cargo.toml", "Cargo.lock"] {
            copy_all(&here.join(part), &copy.join(part));
        }
        // Beside this one in the same folder of artefacts, not in place of it.
        change(&copy.join("Cargo.toml"), &|text| {
            let text = text.split("\n[[bench]]").next().expect("a beginning");
            text.replacen("name = \"blueprint-decoder\"", &format!("name = \"{name}\""), 1)
                .replacen("default-run = \"blueprint-decoder\"\n", "", 1)
                + "\n[lib]\nname = \"blueprint_decoder\"\n"
        });
    }
    for (file, to) in changes {
        change(&copy.join(file), to);
    }
    let ours = Path::new(env!("CARGO_BIN_EXE_blueprint-decoder"));
    let target = ours.parent().and_then(Path::parent).expect("a folder of artefacts");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.arg("build").arg("--quiet").arg("--offline").arg("--target-dir").arg(target);
    cargo.current_dir(&copy).env("LLVM_PROFILE_FILE", "/dev/null").kill_on_drop(true);
    let output = cargo.output().await.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug").join(name)
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("made");
        for entry in std::fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            copy_all(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        std::fs::copy(from, to).expect("copied");
    }
}

fn change(path: &Path, change: &dyn Fn(&str) -> String) {
    let text = std::fs::read_to_string(path).expect("a file");
    std::fs::write(path, change(&text)).expect("written");
}

/// The addresses that were connected to.
#[derive(Clone, Default)]
struct Dialled(Arc<Mutex<Vec<IpAddr>>>);

impl Dialled {
    fn take(&self) -> Vec<IpAddr> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

/// Answers each request, at whatever address, with a document, or with a redirect to what
/// its query says.
async fn listen(dialled: Dialled) -> JoinSet<()> {
    let listener = TcpListener::bind(("::", PORT)).await.expect("bound");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let here = stream.local_addr().expect("connected").ip().to_canonical();
            dialled.0.lock().expect("no panic").push(here);
            connections.spawn(answer(stream));
        }
    });
    serving
}

async fn answer(mut stream: TcpStream) {
    let mut request = vec![0; 8192];
    let length = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let target = request.split(' ').nth(1).unwrap_or_default();
    let answer = match target.split_once("?to=") {
        Some((_, to)) => format!("HTTP/1.1 302 \r\nLocation: {to}\r\nContent-Length: 0\r\n"),
        None => "HTTP/1.1 200 \r\nContent-Length: 5\r\n".to_owned(),
    };
    let _ = stream.write_all(format!("{answer}Connection: close\r\n\r\n{{*x*}}").as_bytes()).await;
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status();
    assert!(status.expect("it is there").success(), "{program} {arguments:?}");
}

async fn within() {
    run("ip", &["link", "set", "lo", "up"]);
    for address in FORBIDDEN.iter().chain(&PUBLIC).filter(|address| **address != "127.0.0.1") {
        let is_v6 = address.contains(':');
        let (prefix, more) = if is_v6 { ("/128", &["nodad"][..]) } else { ("/32", &[][..]) };
        let address = format!("{address}{prefix}");
        run("ip", &[&["addr", "add", &address, "dev", "lo"][..], more].concat());
    }
    let dialled = Dialled::default();
    let _listening = listen(dialled.clone()).await;

    // Each of them can be reached.
    let parse = |texts: &[&str]| -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    };
    let (forbidden, public) = (parse(&FORBIDDEN), parse(&PUBLIC));
    for address in forbidden.iter().chain(&public) {
        // The system may take a moment to have the route of an address that was just added.
        let reached = async {
            loop {
                match TcpStream::connect(SocketAddr::new(*address, PORT)).await {
                    Ok(stream) => break stream,
                    Err(_) => yield_now().await,
                }
            }
        };
        let mut stream = timeout(PATIENCE, reached).await.expect("the address can be reached");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains("{*x*}"), "{address}: {answer}");
    }
    assert_eq!(BTreeSet::from_iter(dialled.take()), &forbidden | &public);

    // Whatever is asked for, only what is public is dialled.
    let names = NameServer::start().await;
    let urls = urls(&names, &forbidden, &public);
    let config = format!(
        "[egress]\nallow = [\"http://*:{PORT}\"]\nnameservers = [\"{}\"]\nattempts = 1\n\
         nat64_prefixes = [\"fd00:64::/96\"]\ncircuit.enabled = false\n",
        names.address
    );
    let app = TestApp::start(&config).await;
    let mut found = BTreeSet::new();
    for (url, is_public) in &urls {
        let answer = app.decode(&json!({ "source": url })).await;
        found.extend(dialled.take());
        check(url, &answer, *is_public);
    }

    let wrong: Vec<IpAddr> = found.difference(&public).copied().collect();
    let told: String = wrong.iter().map(|address| format!("dialled: {address}\n")).collect();
    assert!(wrong.is_empty(), "{told}");
    assert_eq!(found, public, "all public addresses were");
    let mut stdout = std::io::stdout();
    writeln!(stdout, "URLs tried: {}", urls.len()).expect("written");
}

/// What was dialled decides; the answer agrees.
fn check(url: &str, answer: &Answer, is_public: bool) {
    let judges = std::env::var_os(TESTED_BINARY).is_none();
    if judges && is_public {
        assert_eq!(answer.status, 200, "{url} {answer:?}");
    } else if judges {
        assert!(matches!(answer.status, 403 | 422), "{url} {answer:?}");
    }
}

/// URLs of the listeners, and whether each is to be answered.
fn urls(
    names: &NameServer,
    forbidden: &BTreeSet<IpAddr>,
    public: &BTreeSet<IpAddr>,
) -> Vec<(String, bool)> {
    let url = |host: &str| format!("http://{host}:{PORT}/");
    let literal = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let good = public.first().expect("one").to_string();
    let good_url = url(&good);
    let mut urls = Vec::new();
    for (place, address) in forbidden.iter().enumerate() {
        let text = address.to_string();
        let mut hosts = vec![literal(address)];
        if let IpAddr::V4(address) = address {
            hosts.extend(spellings(*address));
        }
        // As names, alone and beside a good one, which may come first, and at other times.
        let name = |kind: &str| format!("{kind}-{place}.test");
        names.at(&name("only"), &[&text]);
        names.at(&name("first"), &[&text, &good]);
        names.at(&name("last"), &[&good, &text]);
        hosts.extend(["only", "first", "last"].map(name));
        for host in &hosts {
            urls.push((url(host), false));
            urls.push((format!("{good_url}?to={}", url(host)), false));
        }
        urls.push((format!("{good_url}?to=//{}:{PORT}/", hosts[0]), false));
        names.at(&name("then-bad"), &[&good]);
        names.at(&name("then-bad"), &[&text]);
        urls.extend([(url(&name("then-bad")), true), (url(&name("then-bad")), false)]);
        names.at(&name("then-good"), &[&text]);
        names.at(&name("then-good"), &[&good]);
        urls.extend([(url(&name("then-good")), false), (url(&name("then-good")), true)]);
        // Good when it is asked for, and bad by the time it redirects to itself.
        names.at(&name("turns"), &[&good]);
        names.at(&name("turns"), &[&text]);
        let turns = url(&name("turns"));
        urls.push((format!("{turns}?to={turns}"), false));
    }
    for (place, address) in public.iter().enumerate() {
        names.at(&format!("public-{place}.test"), &[&address.to_string()]);
        urls.push((url(&literal(address)), true));
        urls.push((url(&format!("public-{place}.test")), true));
        urls.push((format!("{good_url}?to={}", url(&literal(address))), true));
    }
    urls
}

/// The same address for who reads URLs as browsers do.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let bits = address.to_bits();
    let wide = |text: String| -> String {
        let wide = |c: char| match c {
            '0'..='9' => char::from_u32(c as u32 - '0' as u32 + '０' as u32).unwrap_or(c),
            '.' => '。',
            other => other,
        };
        text.chars().map(wide).collect()
    };
    let percent = |byte: u8| format!("%{byte:02x}");
    vec![
        bits.to_string(),
        format!("{bits:#x}"),
        format!("0{bits:o}"),
        format!("{a:#x}.{b:#o}.{c}.{d}").replace("0o", "0"),
        format!("{a}.{b}.{}", u16::from_be_bytes([c, d])),
        format!("{a}.{}", bits & 0xff_ffff),
        format!("{address}."),
        wide(address.to_string()),
        address.to_string().bytes().map(percent).collect(),
        format!("[::ffff:{address}]"),
        format!("[::{address}]"),
        format!("[64:ff9b::{address}]"),
    ]
}
