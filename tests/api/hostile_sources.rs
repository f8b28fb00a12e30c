//! Sources that mean harm, or are broken as if they did.

use crate::support::{
    app::{Answer, TestApp},
    upstream::{
        Reply,
        Step::{self, Close, Endless, Reset, Send},
        Upstream,
    },
};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use std::io::Write;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A service that asks once, whatever comes.
async fn asking(upstream: &Upstream, egress: &str) -> TestApp {
    let egress = format!("attempts = 1\ncircuit.enabled = false\n{egress}");
    TestApp::with_source(upstream, &egress, "").await
}

async fn decode(app: &TestApp, upstream: &Upstream, path: &str) -> Answer {
    app.decode(&json!({ "source": upstream.url(path) })).await
}

fn gzip(document: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(document).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// Gives each of these as an answer, bytes as they are, and ends in one way or another.
async fn each(answers: &[Vec<u8>], end: fn() -> Step, check: impl Fn(usize, &Answer)) {
    let upstream = Upstream::plain().await;
    let app = asking(&upstream, "").await;
    for (place, bytes) in answers.iter().enumerate() {
        let path = format!("/{place}");
        upstream.on(&path, [Send(bytes.clone()), end()]);
        check(place, &decode(&app, &upstream, &path).await);
    }
    assert_eq!(app.get("/health").await.status, 200);
}

fn is_the_sources_fault(answer: &Answer) {
    answer.discreet_problem(424, "source_failed");
}

/// An answer in each of the ways in which its end can be known.
fn answers() -> [Vec<u8>; 3] {
    let packed = gzip(b"{*x*} and more");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    );
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{*x*} and more".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\n{*x*}\r\n9\r\n and more\r\n0\r\nx-sum: 1\r\n\r\n"
            .to_vec(),
        [head.as_bytes(), &packed].concat(),
    ]
}

#[tokio::test]
async fn an_answer_that_is_cut_at_any_byte_is_none() {
    for whole in answers() {
        each(std::slice::from_ref(&whole), || Close, |_, answer| assert_eq!(answer.status, 200))
            .await;
        let cut: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        for end in [(|| Close) as fn() -> Step, || Reset] {
            each(&cut, end, |place, answer| {
                assert_eq!(answer.status, 424, "cut at {place}: {answer:?}");
                is_the_sources_fault(answer);
            })
            .await;
        }
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Bytes as the Encoding Standard reads them.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn an_answer_with_any_byte_changed_is_read_as_it_stands_or_refused() {
    for whole in answers() {
        for flip in [0x01, 0x20, 0x80] {
            let change = |place: usize| {
                let mut changed = whole.clone();
                changed[place] ^= flip;
                changed
            };
            let changed: Vec<Vec<u8>> = (0..whole.len()).map(change).collect();
            each(
                &changed,
                || Close,
                |place, answer| {
                    assert!(matches!(answer.status, 200 | 424), "{place} {flip}: {answer:?}");
                    let (is_packed, is_chunked) = (has(&whole, b"gzip"), has(&whole, b"chunked"));
                    let head = whole.windows(4).position(|window| window == b"\r\n\r\n");
                    let body = head.expect("a head") + 4;
                    if answer.status == 424 || is_chunked || place < body {
                        return;
                    }
                    // What is packed has a sum; of what is not, each byte is what it is.
                    let stands = text(&changed[place][body..]);
                    let stands = if is_packed { "{*x*}" } else { &stands };
                    let (_, rest) = stands.split_once("{*").unwrap_or_default();
                    let secret = rest.split_once("*}").map(|(secret, _)| secret.trim());
                    let json = answer.json();
                    assert_eq!(json["secrets"][0]["value"].as_str(), secret, "{place} {flip}");
                },
            )
            .await;
        }
    }
}

#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let answers = [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{*x*}",
        "Content-Length: 5, 6\r\n\r\n{*x*}",
        "Content-Length: -5\r\n\r\n{*x*}",
        "Content-Length: +5\r\n\r\n{*x*}",
        "Content-Length: 5x\r\n\r\n{*x*}",
        "Content-Length: 99999999999999999999999\r\n\r\n{*x*}",
        "Transfer-Encoding: chunked\r\n\r\n-5\r\n{*x*}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{*x*}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{*x*}0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{*x*}\r\n0\r\n",
        "Transfer-Encoding: gzip\r\n\r\n{*x*}",
        "Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n{*x*}\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Encoding: gzip, gzip\r\nContent-Length: 5\r\n\r\n{*x*}",
        "No colon\r\n\r\n",
        ": no name\r\n\r\n",
        "A\0: b\r\n\r\n",
        " folded: yes\r\n\r\n",
        "A: \x7f\x01\r\n\r\n",
    ];
    let answers = answers.map(|rest| format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes());
    each(
        &answers,
        || Close,
        |place, answer| {
            assert_eq!(answer.status, 424, "{place}: {answer:?}");
        },
    )
    .await;
    let lines = [
        "",
        "\r\n",
        "\0",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n{*x*}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "{*x*}",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 000 ?\r\n\r\n",
        "HTTP/1.1 -20 ?\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
    ];
    let lines = lines.map(|line| line.as_bytes().to_vec());
    each(
        &lines,
        || Close,
        |place, answer| {
            assert_eq!(answer.status, 424, "{place}: {answer:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn trailers_and_extensions_of_chunks_change_nothing() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: content-type\r\n\r\n\
                   3;a=b\r\n{*x\r\n2;\"\r\n*}\r\n0\r\nContent-Type: image/png\r\nx: y\r\n\r\n";
    each(
        &[chunked.into()],
        || Close,
        |_, answer| {
            assert_eq!(answer.json()["secrets"][0]["value"], "x", "{answer:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn floods_in_place_of_an_answer_end_with_the_budget_and_cost_no_memory() {
    let upstream = Upstream::plain().await;
    let status = "HTTP/1.1 200 OK\r\n";
    let endless = |bytes: &str| Endless(bytes.as_bytes().to_vec());
    upstream.on("/continue", [endless(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(100))]);
    upstream.on("/hints", [endless("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")]);
    upstream.on("/header", [Send(format!("{status}A: ").into()), endless(&"a".repeat(9_999))]);
    upstream.on("/headers", [Send(status.into()), endless("A: b\r\n")]);
    upstream.on("/reason", [Send("HTTP/1.1 200 ".into()), endless("OK")]);
    upstream.on("/empty", [endless("\r\n")]);
    upstream.on(
        "/mebibyte",
        [Send(format!("{status}A: {}\r\n\r\n{{*x*}}", "a".repeat(1 << 20)).into()), Close],
    );
    let chunked = format!("{status}Transfer-Encoding: chunked\r\n\r\n");
    let extension = Send(format!("{chunked}5;a=").into());
    upstream.on("/extension", [extension, endless(&"a".repeat(9_999))]);
    upstream.on("/zeros", [Send(chunked.clone().into()), endless("0")]);
    let trailer = Send(format!("{chunked}5\r\n{{*x*}}\r\n0\r\nA: ").into());
    upstream.on("/trailer", [trailer, endless(&"a".repeat(9_999))]);
    let trailers = Send(format!("{chunked}5\r\n{{*x*}}\r\n0\r\n").into());
    upstream.on("/trailers", [trailers, endless("A: b\r\n")]);
    let app = asking(&upstream, "first_byte_timeout = \"300ms\"\ntotal_timeout = \"600ms\"").await;
    for path in [
        "continue",
        "hints",
        "header",
        "headers",
        "reason",
        "empty",
        "mebibyte",
        "extension",
        "zeros",
        "trailer",
        "trailers",
    ] {
        let path = format!("/{path}");

        let answer = decode(&app, &upstream, &path).await;

        assert_eq!(answer.status, 424, "{path} {answer:?}");
        upstream.closed(&path).await;
        assert!(app.peak_memory() < 40 << 20, "{path} {}", app.peak_memory());
    }
}

#[tokio::test]
async fn a_bomb_ends_at_the_cap_and_costs_no_memory() {
    let upstream = Upstream::plain().await;
    let bomb = gzip(&vec![b' '; 100 << 20]);
    assert!((90_000..110_000).contains(&bomb.len()), "{}", bomb.len());
    upstream.on("/small", Reply::gzip("{*x*}"));
    upstream.on("/bomb", Reply::ok(bomb).header("Content-Encoding", "gzip"));
    let app = asking(&upstream, "").await;
    for _ in 0..3 {
        assert_eq!(decode(&app, &upstream, "/small").await.status, 200);
    }
    let before = app.peak_memory();

    let answer = decode(&app, &upstream, "/bomb").await;

    answer.discreet_problem(424, "document_too_large");
    let more = app.peak_memory() - before;
    assert!(more < 2 << 20, "{more}");
    let line = "decoder_security_events_total{kind=\"decompression\"}";
    assert_eq!(app.metrics().await[line], 1.0);
}

#[tokio::test]
async fn gzip_of_nothing_without_end_is_no_document() {
    let upstream = Upstream::plain().await;
    let members = Endless(gzip(b"").repeat(1000));
    let reply = Reply::stream([Send(gzip(b"{*x*}")), members]).chunked();
    upstream.on("/padded", reply.header("Content-Encoding", "gzip"));
    let egress = "attempts = 1\ncircuit.enabled = false";
    let limits = "[limits]\nmax_document_bytes = \"64KiB\"\n";
    let app = TestApp::with_source(&upstream, egress, limits).await;

    is_the_sources_fault(&decode(&app, &upstream, "/padded").await);
}

#[tokio::test]
async fn a_source_that_drips_ends_with_the_budget() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    // Never silent for long, on purpose.
    let dripping = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let app = TestApp::start(&format!(
        "[egress]\nallow = [{{ url = \"http://{address}\", addresses = [\"{address}\"] }}]\n\
         total_timeout = \"500ms\"\nfirst_byte_timeout = \"200ms\"\n"
    ))
    .await;

    let answer = app.decode(&json!({ "source": format!("http://{address}/") })).await;

    let problem = answer.discreet_problem(424, "source_timeout");
    assert_eq!(problem["attempts"], 1);
    dripping.await.expect("the service has closed the connection");
}

#[tokio::test]
async fn a_source_that_speaks_an_old_tls_is_the_failure_of_the_source() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    // TLS 1.1: a random number, no session, a cipher of its time, no compression.
    let body = [&[3, 2][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
    let length = body.len() as u8;
    let hello = [&[22, 3, 2, 0, length + 4, 2, 0, 0, length][..], &body].concat();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        stream.write_all(&hello).await.expect("written");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        said
    });
    let app = TestApp::start(&format!(
        "[egress]\nallow = [{{ url = \"https://source.test:*\", addresses = [\"{address}\"] }}]\n\
         hosts = {{ \"source.test\" = [\"127.0.0.1\"] }}\n"
    ))
    .await;

    let source = format!("https://source.test:{}/", address.port());
    let answer = app.decode(&json!({ "source": source })).await;

    answer.discreet_problem(424, "source_failed");
    let metrics = app.metrics().await;
    assert_eq!(metrics["decoder_fetch_attempts_total{result=\"tls\"}"], 1.0);
    // An alert, and no request.
    let said = serving.await.expect("no panic");
    assert_eq!(said.first(), Some(&21), "{said:?}");
}
