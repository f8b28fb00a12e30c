//! Answers over HTTP/2 that come before the request body is complete: they come at once, and the
//! rest of the body is read and dropped within bounds before the stream is reset.

use crate::support::{
    app::TestApp,
    frames::{END_STREAM, Frame, Frames, Kind, NO_ERROR, begin_decode, frame, get},
};

/// A piece of a body; two of them fit into the window of a stream.
const PIECE: usize = 100_000;

/// As many secrets as are looked for by default, then what is never scanned.
fn document() -> String {
    format!("{}{}", "{*a*}".repeat(10), "x".repeat(PIECE - 50))
}

/// A body, in frames of a size that is always allowed.
fn data(stream: u32, body: &str, is_last: bool) -> Vec<u8> {
    let pieces = body.as_bytes().chunks(16_384);
    let last = pieces.len() - 1;
    let flags = |at| if is_last && at == last { END_STREAM } else { 0 };
    pieces.enumerate().flat_map(|(at, piece)| frame(Kind::Data, flags(at), stream, piece)).collect()
}

#[tokio::test]
async fn an_early_answer_comes_at_once_and_its_stream_is_not_reset() {
    let app = TestApp::start("limits.max_document_bytes = \"150KiB\"").await;
    let length = (2 * PIECE).to_string();
    let check = async |id: &str, kind: &str, more: &[(&str, &str)], status: u16| {
        let mut client = Frames::connect(app.address, &[]).await;
        client.send(begin_decode(1, id, kind, more)).await;
        client.send(data(1, &document(), false)).await;

        let answered = client.answer(1).await;
        let first = client.until(|frame| frame.kind == Kind::Data).await;
        client.send(data(1, &document(), true)).await;
        let is_end = |frame: &Frame| frame.stream == 1 && frame.flags & END_STREAM != 0;
        let mut rest = Vec::new();
        while !rest.iter().any(is_end) {
            rest.push(client.next().await.expect("a frame"));
        }
        rest.extend(client.exchange(get(3, "/health", &[])).await);

        assert_eq!((answered, first.payload.is_empty()), (status, false), "{id}");
        assert!(rest.iter().all(|frame| frame.kind != Kind::ResetStream), "{id}: {rest:?}");
        app.only_line(id).await;
    };

    check("scanned", "text/plain", &[], 200).await;
    check("lines", "text/plain", &[("accept", "application/x-ndjson")], 200).await;
    check("declared", "text/plain", &[("content-length", &length)], 413).await;
    check("other", "application/pdf", &[], 415).await;
    check("packed", "text/plain", &[("content-encoding", "gzip")], 415).await;
    check("not-accepted", "text/plain", &[("accept", "image/png")], 406).await;
    check("deadline", "text/plain", &[("x-request-timeout-ms", "0")], 422).await;
    check("cross-site", "text/plain", &[("sec-fetch-site", "cross-site")], 403).await;
    app.at_rest().await;
}

#[tokio::test]
async fn a_body_that_does_not_end_is_read_within_bounds() {
    let app = TestApp::start("").await;
    let mut client = Frames::connect(app.address, &[]).await;
    client.send(begin_decode(1, "endless", "application/pdf", &[])).await;

    // The windows that the service grants at first.
    let (mut sent, mut stream, mut connection) = (0, 256 << 10, 1 << 20);
    let piece = frame(Kind::Data, 0, 1, [b'x'; 16_384]);
    let reset = loop {
        if usize::min(stream, connection) >= 16_384 {
            client.send(&piece).await;
            (sent, stream, connection) = (sent + 16_384, stream - 16_384, connection - 16_384);
            continue;
        }
        let next = client.next().await.expect("a frame");
        match (next.kind, next.stream) {
            (Kind::ResetStream, 1) => break next,
            (Kind::WindowUpdate, 0) => connection += next.reason() as usize,
            (Kind::WindowUpdate, 1) => stream += next.reason() as usize,
            _ => {}
        }
    };

    assert_eq!(reset.reason(), NO_ERROR);
    assert!(((256 << 10) + 1..=(32 << 20) + (256 << 10)).contains(&sent), "{sent}");
    client.send(get(3, "/health", &[])).await;
    assert_eq!(client.answer(3).await, 200);
    app.only_line("endless").await;
}

#[tokio::test]
async fn a_request_whose_body_is_dropped_is_over() {
    let app = TestApp::start("[overload]\ninline = 1").await;
    let mut client = Frames::connect(app.address, &[]).await;
    for (stream, id, kind) in [(1, "answered", "text/plain"), (3, "refused", "application/pdf")] {
        client.send(begin_decode(stream, id, kind, &[])).await;
        client.send(data(stream, &document(), false)).await;

        let line = app.only_line(id).await;
        let in_flight = app.metrics().await["decoder_http_requests_in_flight"];
        let served = app.decode_document("", "{*b*}").await;
        let reset =
            client.until(|frame| frame.stream == stream && frame.kind == Kind::ResetStream).await;

        let outcome = if id == "answered" { "success" } else { "rejected" };
        assert_eq!((&line["outcome"], in_flight), (&outcome.into(), 0.0), "{line}");
        assert_eq!((served.status, reset.reason()), (200, NO_ERROR), "{id}");
    }
    drop(client);
    app.at_rest().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_the_end_of_an_early_answer() {
    let mut app = TestApp::start("").await;
    let mut client = Frames::connect(app.address, &[]).await;
    client.send(begin_decode(1, "early", "text/plain", &[])).await;
    client.send(data(1, &document(), false)).await;
    app.only_line("early").await;

    app.signal("TERM");

    let is_end = |frame: &Frame| frame.stream == 1 && frame.flags & END_STREAM != 0;
    client.until(is_end).await;
    assert_eq!(app.ended().await, Some(0));
}
