//! Whether it takes longer to refuse a wrong secret than an unknown key: as a caller sees it, and
//! in the look-up alone, where what a caller cannot see would begin.

use crate::{UNLIMITED, figures::Report, requests, server::Server};
use blueprint_decoder::identity::{
    Credential, KeyEntry, KeyTable, NewKey, Role, TenantConfig, TenantRegistry,
};
use std::{
    fs,
    hint::black_box,
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

/// Tries of each kind.
const TRIES: usize = 10_000;
/// How far apart the medians may be.
const BOUND: f64 = 0.02;

/// One try of each kind after the other, over one connection.
pub(crate) fn prove(directory: &Path, report: &mut Report) -> io::Result<()> {
    report.begin("F. an unknown key and a wrong secret");
    let [known, other] = [key()?, key()?];
    let file = directory.join("keys.toml");
    let NewKey { id, hash, .. } = &known;
    let entry = format!("id = \"{id}\"\nsha256 = \"{hash}\"\nrole = \"decoder\"\n");
    fs::write(&file, format!("[[tenant]]\nname = \"t\"\n[[tenant.key]]\n{entry}"))?;
    let auth = format!("[auth]\nmode = \"required\"\ntenants_file = {file:?}\n");
    let server = Server::start(directory, &format!("{UNLIMITED}{auth}"))?;
    let request = requests::json_request(server.address, &serde_json::json!({ "content": "" }));
    let wrong = other.text.replace(&other.id, &known.id);
    let tries = [&*other.text, &wrong].map(|key| requests::with_header(&request, "X-Api-Key", key));
    let mut stream = TcpStream::connect(server.address)?;
    stream.set_nodelay(true)?;
    let mut took = [Vec::with_capacity(TRIES), Vec::with_capacity(TRIES)];
    let mut refused = 0;
    for number in 0..2 * TRIES {
        // Neither is always the first.
        let kind = (number + number / 2) % 2;
        let began = Instant::now();
        stream.write_all(&tries[kind])?;
        refused += usize::from(answer(&mut stream)?.starts_with("HTTP/1.1 401 "));
        took[kind].push(began.elapsed());
    }
    let [unknown_took, wrong_took] = took.map(median);
    let ratio = wrong_took.as_secs_f64() / unknown_took.as_secs_f64();
    report.tell("an unknown key, median", format!("{:.2} us", unknown_took.as_secs_f64() * 1e6));
    report.tell("a wrong secret, median", format!("{:.2} us", wrong_took.as_secs_f64() * 1e6));
    let is_met = (ratio - 1.0).abs() <= BOUND;
    report.judge("one to the other", format!("{ratio:.4}"), "within 0.02 of 1", is_met);
    report.demand("refused", refused, 2 * TRIES, refused == 2 * TRIES);
    let ratio = looked_up(&known, [&other.text, &wrong]);
    // An unknown key that is not hashed takes a tenth.
    let is_met = (0.5..2.0).contains(&ratio);
    report.demand("one look-up to the other", format!("{ratio:.3}"), "0.5 to 2", is_met);
    Ok(())
}

/// How much longer the second of two keys is looked up than the first, neither of which opens.
fn looked_up(known: &NewKey, shown: [&str; 2]) -> f64 {
    let now = SystemTime::now();
    let key =
        KeyEntry { id: known.id.clone(), sha256: known.hash, role: Role::Decoder, expires: None };
    let tenant = TenantConfig { name: "t".to_owned(), keys: vec![key], ..TenantConfig::default() };
    let roster = TenantRegistry { tenants: vec![tenant], ..TenantRegistry::default() };
    let key_table = KeyTable::new(&roster, None);
    let mut took = [Vec::with_capacity(TRIES), Vec::with_capacity(TRIES)];
    for _ in 0..TRIES {
        for (took, shown) in took.iter_mut().zip(shown) {
            let Credential::Key(key) = Credential::of([], [shown.as_bytes()]) else { continue };
            let began = Instant::now();
            let found = black_box(key_table.find(black_box(key), now));
            took.push(began.elapsed());
            assert!(found.is_err(), "this key opens nothing");
        }
    }
    let [first, second] = took.map(median);
    second.as_secs_f64() / first.as_secs_f64()
}

fn key() -> io::Result<NewKey> {
    NewKey::make().map_err(|_| io::Error::other("no random bytes"))
}

/// Reads one answer, which ends with a JSON object.
fn answer(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::with_capacity(1024);
    loop {
        let mut piece = [0; 2048];
        let read = stream.read(&mut piece)?;
        text.extend_from_slice(&piece[..read]);
        let head = text.windows(4).position(|window| window == b"\r\n\r\n");
        let length = |head: usize| {
            let head = String::from_utf8_lossy(&text[..head]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            length.and_then(|length| length.parse::<usize>().ok())
        };
        let is_whole =
            head.is_some_and(|head| length(head).is_some_and(|of| text.len() >= head + 4 + of));
        if is_whole || read == 0 {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}
