//! Clients of HTTP/2 that flood, say nothing, or break the rules: the connection ends, in
//! little memory, and the service lives.

use crate::support::{
    app::TestApp,
    frames::{
        ACK, CANCEL, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, Frames, Kind, begin_decode,
        frame, get, head, header, number, text,
    },
};
use std::{ops::Range, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// What a service of this kind needs at all, and a little more.
const LITTLE: u64 = 40 << 20;

/// What counts as 300 ms where the machine is busy.
const ABOUT_300_MS: Range<Duration> = Duration::from_millis(150)..Duration::from_secs(4);

/// The service is as before: nothing is under way, it has taken little memory, and it
/// answers.
async fn lives(app: &TestApp) {
    assert_eq!(app.get("/health").await.status, 200);
    app.at_rest().await;
    assert!(app.peak_memory() < LITTLE, "{}", app.peak_memory());
}

/// The reason of the farewell among these.
fn farewell(frames: &[Frame]) -> Option<u32> {
    frames.iter().rfind(|frame| frame.kind == Kind::GoAway).map(Frame::reason)
}

/// Requests that are begun on these streams.
fn begun(streams: impl Iterator<Item = u32>) -> Vec<u8> {
    let request = |stream| {
        let data = frame(Kind::Data, 0, stream, "{*x*}");
        [begin_decode(stream, "reset", "text/plain", &[]), data].concat()
    };
    streams.flat_map(request).collect()
}

/// And taken back.
fn resets(streams: impl Iterator<Item = u32>) -> Vec<u8> {
    streams.flat_map(|stream| number(Kind::ResetStream, stream, CANCEL)).collect()
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_are_soon_enough() {
    let app = TestApp::start("").await;
    let request = |stream| begin_decode(stream, "reset", "text/plain", &[]);
    let reset = |stream| number(Kind::ResetStream, stream, CANCEL);
    let streams = (1..20_000).step_by(2);
    let bytes: Vec<u8> = streams.flat_map(|at| [request(at), reset(at)].concat()).collect();
    let mut client = Frames::connect(app.address, &[]).await;

    let frames = client.exchange(bytes).await;

    assert_eq!(farewell(&frames), Some(ENHANCE_YOUR_CALM), "{frames:?}");
    drop(client);
    lives(&app).await;
}

#[tokio::test]
async fn requests_that_are_taken_back_when_they_are_under_way_leave_nothing_behind() {
    let app = TestApp::start("").await;
    let in_flight = async |count: f64| {
        app.metrics_when(|metrics| metrics["decoder_http_requests_in_flight"] == count).await
    };
    let mut client = Frames::connect(app.address, &[]).await;
    for at in 0..5 {
        let streams = || (1..).step_by(2).skip(at * 100).take(100);

        client.send(begun(streams())).await;
        in_flight(100.0).await;
        client.send(resets(streams())).await;
        in_flight(0.0).await;
    }

    client.send(get(1_001, "/health", &[])).await;
    assert_eq!(client.answer(1_001).await, 200);
    drop(client);
    lives(&app).await;
    let lines = app.request_lines("reset").await;
    assert_eq!(lines.len(), 500);
    assert!(lines.iter().all(|line| line["outcome"] == "cancelled"));
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let app = TestApp::start("").await;
    let filler = header("x-filler", &"x".repeat(16_000));
    for (piece, count) in [(filler, 2_000), (Vec::new(), 100_000), (header("a", "b"), 100_000)] {
        let mut client = Frames::connect(app.address, &[]).await;
        let mut bytes = frame(Kind::Headers, END_STREAM, 1, head("GET", "/health", &[]));
        bytes.extend(frame(Kind::Continuation, 0, 1, &piece).repeat(count));

        let frames = client.exchange(bytes).await;

        assert_eq!(farewell(&frames), Some(ENHANCE_YOUR_CALM), "{}: {frames:?}", piece.len());
        assert!(frames.iter().all(|frame| frame.kind != Kind::Headers), "{frames:?}");
        drop(client);
        lives(&app).await;
    }
}

#[tokio::test]
async fn a_list_of_headers_that_is_too_large_is_refused() {
    let app = TestApp::start("server.max_header_bytes = \"8KiB\"").await;
    let long = "x".repeat(4_000);
    let request = |stream, more: Vec<u8>| {
        let headers = [head("GET", "/problems", &[]), more].concat();
        frame(Kind::Headers, END_HEADERS | END_STREAM, stream, headers)
    };
    // Written once, and pointed at again and again.
    let bomb = |times| {
        let pointed = vec![0x80 | 62; times];
        [&[0x40][..], &text("x-bomb"), &text(&long), &pointed].concat()
    };
    for more in [header("x-long", &long).repeat(3), bomb(2)] {
        let mut client = Frames::connect(app.address, &[]).await;
        client.send([request(1, more), request(3, header("x-fits", &long))].concat()).await;

        assert_eq!((client.answer(1).await, client.answer(3).await), (431, 200));
    }
    let mut client = Frames::connect(app.address, &[]).await;
    let frames = client.exchange(request(1, bomb(10_000))).await;
    assert_eq!(farewell(&frames), Some(ENHANCE_YOUR_CALM), "{frames:?}");
    drop(client);
    lives(&app).await;
    let series = "decoder_http_requests_total{method=\"GET\",route=\"/problems\",status=\"200\"}";
    assert_eq!(app.metrics().await[series], 2.0);
}

/// Each of these is owed an answer, which nobody takes.
#[tokio::test]
async fn who_asks_for_answers_and_takes_none_is_sent_away() {
    let app = TestApp::start("server = { write_timeout = \"300ms\", idle_timeout = \"1h\" }").await;
    let settings = frame(Kind::Settings, 0, 0, []);
    let ping = frame(Kind::Ping, 0, 0, [0; 8]);
    let mut clients = JoinSet::new();
    for bytes in [settings, ping] {
        let mut client = Frames::connect_narrow(app.address, &[]).await;
        client.send(get(1, "/health", &[])).await;
        let began = Instant::now();
        clients.spawn(async move {
            client.insist(bytes.repeat(1_000)).await;
            began.elapsed()
        });
    }

    let ended = clients.join_all().await;

    assert!(ended.iter().all(|took| *took >= Duration::from_millis(150)), "{ended:?}");
    lives(&app).await;
}

/// It bears them, or has enough of them.
#[tokio::test]
async fn frames_that_lead_to_nothing_cost_next_to_nothing() {
    let app = TestApp::start("").await;
    for pointless in [
        frame(Kind::Data, 0, 5, []),
        // Padding alone.
        frame(Kind::Data, 8, 5, [255; 256]),
        frame(Kind::Priority, 0, 5, [0, 0, 0, 0, 1]),
        frame(Kind::Settings, 0, 0, [0, 4, 0, 0, 0, 1]),
        frame(Kind::Ping, 0, 0, [0; 8]),
        number(Kind::WindowUpdate, 5, 1),
        frame(Kind::Unknown, 0, 5, [0; 100]),
        // On streams that are over, or were never begun.
        frame(Kind::Data, 0, 3, [0; 100]),
        number(Kind::ResetStream, 3, CANCEL),
        number(Kind::WindowUpdate, 3, 1),
        frame(Kind::Priority, 0, 7, [0, 0, 0, 0, 1]),
    ] {
        let mut client = Frames::connect(app.address, &[]).await;
        client.send(get(3, "/health", &[])).await;
        client.body(3).await;

        client.send(begin_decode(5, "pointless", "text/plain", &[])).await;
        client.exchange(pointless.repeat(20_000)).await;

        drop(client);
        lives(&app).await;
    }
}

#[tokio::test]
async fn a_connection_without_a_request_has_the_time_of_a_head() {
    let app =
        TestApp::start("server = { header_timeout = \"300ms\", idle_timeout = \"1h\" }").await;
    let begun = frame(Kind::Headers, END_STREAM, 1, head("GET", "/health", &[]));
    let mut clients = JoinSet::new();
    for said in [Vec::new(), begun] {
        let began = Instant::now();
        let mut client = Frames::connect(app.address, &[]).await;
        client.send(&said).await;
        clients.spawn(async move { (client.rest().await, began.elapsed()) });
    }

    let ended = clients.join_all().await;

    for (frames, took) in ended {
        assert!(ABOUT_300_MS.contains(&took), "{took:?}");
        assert!(frames.iter().all(|frame| frame.kind != Kind::Headers), "{frames:?}");
    }
    lives(&app).await;
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_connection() {
    let app =
        TestApp::start("server = { header_timeout = \"1h\", idle_timeout = \"300ms\" }").await;
    let mut client = Frames::connect(app.address, &[]).await;
    client.send(get(1, "/health", &[])).await;
    client.body(1).await;
    let began = Instant::now();

    let frames = loop {
        let frames = client.exchange([]).await;
        if farewell(&frames).is_some() {
            break frames;
        }
        assert!(began.elapsed() < ABOUT_300_MS.end, "{frames:?}");
    };

    assert_eq!(farewell(&frames), Some(0), "{frames:?}");
    assert!(began.elapsed() >= ABOUT_300_MS.start, "{:?}", began.elapsed());
    // The service asks whether that was understood, and leaves when it was.
    let asked = frames.iter().find(|frame| frame.kind == Kind::Ping && frame.flags & ACK == 0);
    let asked = match asked {
        Some(frame) => frame.payload.clone(),
        None => client.until(|frame| frame.kind == Kind::Ping).await.payload,
    };
    client.send(frame(Kind::Ping, ACK, 0, asked)).await;
    client.rest().await;
    lives(&app).await;
}

#[tokio::test]
async fn who_breaks_the_rules_is_told_so_and_sent_away() {
    let app = TestApp::start("").await;
    let whole = END_HEADERS | END_STREAM;
    let open = begin_decode(1, "open", "text/plain", &[]);
    let window = |stream, more| number(Kind::WindowUpdate, stream, more);
    let check = async |bytes: &[&[u8]]| {
        let mut client = Frames::connect(app.address, &[]).await;
        let frames = client.exchange(bytes.concat()).await;
        assert!(farewell(&frames).is_some_and(|reason| reason != 0), "{bytes:x?}: {frames:?}");
        drop(client);
        assert_eq!(app.get("/health").await.status, 200);
    };

    check(&[&frame(Kind::Data, 0, 0, "x")]).await;
    check(&[&frame(Kind::Data, 0, 1, "x")]).await;
    check(&[&get(2, "/health", &[])]).await;
    check(&[&get(5, "/health", &[]), &get(3, "/health", &[])]).await;
    check(&[&number(Kind::ResetStream, 1, CANCEL)]).await;
    let ended = frame(Kind::Data, END_STREAM, 1, "x");
    check(&[&open, &ended, &ended]).await;
    check(&[&frame(Kind::Continuation, END_HEADERS, 1, [])]).await;
    check(&[&frame(Kind::PushPromise, END_HEADERS, 1, [0, 0, 0, 2])]).await;
    let unended = frame(Kind::Headers, END_STREAM, 1, head("GET", "/health", &[]));
    check(&[&unended, &frame(Kind::Ping, 0, 0, [0; 8])]).await;
    check(&[&unended, &frame(Kind::Continuation, END_HEADERS, 3, [])]).await;
    check(&[&frame(Kind::Settings, ACK, 0, [])]).await;
    // Frames of a size that they cannot have.
    check(&[&open, &frame(Kind::Data, 0, 1, vec![b'x'; 16_385])]).await;
    check(&[&frame(Kind::Headers, whole, 1, vec![0; 1 << 20])]).await;
    check(&[&frame(Kind::Settings, 0, 0, [0; 5])]).await;
    check(&[&frame(Kind::Ping, 0, 0, [0; 7])]).await;
    check(&[&frame(Kind::ResetStream, 0, 1, [0; 3])]).await;
    // A name and a value that are none.
    check(&[&get(1, "/health", &[("X-Upper", "x")])]).await;
    check(&[&get(1, "/health", &[("x", "y\r\nz: 1")])]).await;
    // Windows that are too large, or do not open.
    let largest = (1 << 31) - 1;
    check(&[&window(0, largest)]).await;
    check(&[&window(0, 0)]).await;
    // Headers that no table has.
    for block in [&[0x80][..], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[0xbe], &[0x40, 0x85]] {
        check(&[&frame(Kind::Headers, whole, 1, block)]).await;
    }
    app.at_rest().await;
}
