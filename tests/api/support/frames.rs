//! HTTP/2 frame by frame, whether or not what is said makes sense.

use super::raw::narrow;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    ResetStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
    /// One that nobody knows.
    Unknown = 11,
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// Reasons for the end of a stream or of a connection.
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The setting that says how much may be pointed at.
const TABLE_SIZE: u16 = 1;
/// The setting that says how much may be sent on a stream before the client has room.
pub(crate) const INITIAL_WINDOW: u16 = 4;

/// A frame as it was said.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(kind: Kind, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind as u8, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The bytes of one that holds a number, such as the reason of a reset.
pub(crate) fn number(kind: Kind, stream: u32, number: u32) -> Vec<u8> {
    frame(kind, 0, stream, number.to_be_bytes())
}

/// Settings.
pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let bytes =
        |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(Kind::Settings, 0, 0, settings.iter().flat_map(bytes).collect::<Vec<u8>>())
}

/// A header as HPACK writes one that is in no table, and that no table is to have.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A text as HPACK writes it, without Huffman's code.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The first seven bits have no room for more.
    match text.len().checked_sub(127) {
        None => bytes.push(text.len() as u8),
        Some(mut rest) => {
            bytes.push(127);
            while rest >= 128 {
                bytes.push(rest as u8 | 128);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// The headers of a request to this service.
pub(crate) fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual =
        [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    usual.iter().chain(more).flat_map(|(name, value)| header(name, value)).collect()
}

/// A request without a body.
pub(crate) fn get(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    frame(Kind::Headers, END_HEADERS | END_STREAM, stream, head("GET", path, more))
}

/// The beginning of a `POST /decode` with this id, whose body is yet to come.
pub(crate) fn begin_decode(stream: u32, id: &str, kind: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = head("POST", "/decode", &[("x-request-id", id), ("content-type", kind)]);
    headers.extend(more.iter().flat_map(|(name, value)| header(name, value)));
    frame(Kind::Headers, END_HEADERS, stream, headers)
}

/// A `POST /decode` in JSON with this id, in frames of a size that is always allowed.
pub(crate) fn decode(
    stream: u32,
    id: &str,
    more: &[(&str, &str)],
    body: &serde_json::Value,
) -> Vec<u8> {
    let mut bytes = begin_decode(stream, id, "application/json", more);
    let body = body.to_string();
    let mut pieces = body.as_bytes().chunks(16_384).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_STREAM } else { 0 };
        bytes.extend(frame(Kind::Data, flags, stream, piece));
    }
    bytes
}

impl Frame {
    /// The number at the end of its payload: the reason of a reset or of a farewell.
    pub(crate) fn reason(&self) -> u32 {
        let at = if self.kind == Kind::GoAway { 4 } else { 0 };
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_else(|| panic!("no number in {self:?}")))
    }

    /// The status that it begins with.
    pub(crate) fn status(&self) -> u16 {
        assert_eq!(self.kind, Kind::Headers, "{self:?}");
        // First of all, the table may be said to be none.
        let block = self.payload.strip_prefix(&[0x20]).unwrap_or(&self.payload);
        match *block {
            [first @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][first as usize - 0x88],
            // By its name, and three digits: as they are, or in Huffman's code.
            [0x48 | 0x08 | 0x18, 3, a, b, c, ..] => {
                [a, b, c].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
            }
            [0x48 | 0x08 | 0x18, length @ (0x82 | 0x83), ..] => {
                let packed = &block[2..][..usize::from(length & 0x7f)];
                let bits =
                    packed.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
                let (mut number, mut digits, mut code, mut length) = (0, 0, 0, 0);
                for bit in bits {
                    (code, length) = (code << 1 | u16::from(bit), length + 1);
                    // 0 to 2 have five bits, the other digits six.
                    let digit = match (length, code) {
                        (5, 0..=2) => code,
                        (6, 0x19..=0x1f) => code - 0x19 + 3,
                        _ => continue,
                    };
                    if digits < 3 {
                        (number, digits) = (number * 10 + digit, digits + 1);
                    }
                    (code, length) = (0, 0);
                }
                number
            }
            _ => panic!("a status that is written in another way: {self:?}"),
        }
    }
}

/// A connection; dropping it is leaving.
pub(crate) struct Frames {
    stream: TcpStream,
    /// What came and was not asked for yet.
    received: Vec<u8>,
}

impl Frames {
    /// Begins to speak HTTP/2, with these settings; it keeps no table of headers.
    pub(crate) async fn connect(address: SocketAddr, said: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self::begin(stream, said).await
    }

    /// The same, with room for next to nothing that is not read.
    pub(crate) async fn connect_narrow(address: SocketAddr, said: &[(u16, u32)]) -> Self {
        Self::begin(narrow(address).await, said).await
    }

    async fn begin(stream: TcpStream, said: &[(u16, u32)]) -> Self {
        let mut connection = Self { stream, received: Vec::new() };
        // The service's settings are on their way, and agreed to whatever they are.
        let agreed = frame(Kind::Settings, ACK, 0, []);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let said = [said, &[(TABLE_SIZE, 0)]].concat();
        connection.send([&preface[..], &settings(&said), &agreed].concat()).await;
        // From here on there is room for a request.
        connection.until(|frame| frame.kind == Kind::WindowUpdate && frame.stream == 0).await;
        connection
    }

    /// Writes bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let written = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        written.expect("taken in time").expect("written");
    }

    /// The next frame; none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, next(&mut self.stream, &mut self.received)).await.expect("in time")
    }

    /// Reads up to a frame that a test waits for.
    pub(crate) async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Frame {
        let mut others = Vec::new();
        while let Some(frame) = self.next().await {
            if is_it(&frame) {
                return frame;
            }
            others.push(frame);
        }
        panic!("the connection ended before: {others:?}")
    }

    /// Reads up to the head of the answer on a stream; its status.
    pub(crate) async fn answer(&mut self, stream: u32) -> u16 {
        let is_head = |frame: &Frame| frame.stream == stream && frame.kind == Kind::Headers;
        self.until(is_head).await.status()
    }

    /// Reads until a stream is over; the body of its answer.
    pub(crate) async fn body(&mut self, stream: u32) -> String {
        let mut body = Vec::new();
        loop {
            let frame = self.until(|frame| frame.stream == stream).await;
            assert_ne!(frame.kind, Kind::ResetStream, "{frame:?}");
            if frame.kind == Kind::Data {
                body.extend(frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                return String::from_utf8(body).expect("UTF-8");
            }
        }
    }

    /// Reads to the end of the connection; all that came.
    pub(crate) async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Sends bytes, and reads until all of them are understood or the connection is over;
    /// what came. Answers may be still to come.
    pub(crate) async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Vec<Frame> {
        const LAST: &[u8; 8] = b"the last";
        let (mut reading, mut writing) = self.stream.split();
        let write = async {
            // Who is not wanted any more may be told so before all is said.
            let _ = writing.write_all(bytes.as_ref()).await;
            let _ = writing.write_all(&frame(Kind::Ping, 0, 0, LAST)).await;
        };
        let read = async {
            let mut frames = Vec::new();
            while let Some(frame) = next(&mut reading, &mut self.received).await {
                let is_last = frame.kind == Kind::Ping && frame.payload == LAST;
                frames.push(frame);
                if is_last {
                    break;
                }
            }
            frames
        };
        let exchanged = async { tokio::join!(write, read).1 };
        timeout(PATIENCE, exchanged).await.expect("in time")
    }

    /// Says the same over and over and reads nothing, until the service has enough.
    pub(crate) async fn insist(mut self, bytes: impl AsRef<[u8]>) {
        let insisting = async { while self.stream.write_all(bytes.as_ref()).await.is_ok() {} };
        timeout(PATIENCE, insisting).await.expect("the service ends it in time");
    }
}

pub(super) async fn next(
    from: &mut (impl AsyncReadExt + Unpin),
    received: &mut Vec<u8>,
) -> Option<Frame> {
    loop {
        if let Some(frame) = take(received) {
            return Some(frame);
        }
        // A reset is an end, too.
        if !matches!(from.read_buf(received).await, Ok(1..)) {
            return None;
        }
    }
}

fn take(received: &mut Vec<u8>) -> Option<Frame> {
    let head = received.get(..9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let (kind, flags) = (head[3], head[4]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let payload = received.get(9..9 + length)?.to_vec();
    received.drain(..9 + length);
    let kind = match kind {
        0 => Kind::Data,
        1 => Kind::Headers,
        3 => Kind::ResetStream,
        4 => Kind::Settings,
        6 => Kind::Ping,
        7 => Kind::GoAway,
        8 => Kind::WindowUpdate,
        9 => Kind::Continuation,
        other => panic!("a service does not say {other}"),
    };
    Some(Frame { kind, flags, stream, payload })
}
