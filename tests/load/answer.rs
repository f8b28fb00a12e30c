//! Reads answers of HTTP/1.1, no more of them than is needed to judge them.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// One answer, as it arrives.
#[derive(Default)]
pub(crate) struct Reading {
    head: Vec<u8>,
    answer: Option<Answer>,
    /// Bytes of the body to come.
    rest: usize,
}

/// What an answer says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it is the last one of its connection.
    pub(crate) closes: bool,
    /// Whether it says when to come back.
    pub(crate) has_retry_after: bool,
}

/// An answer that is none.
#[derive(Debug)]
pub(crate) struct Malformed;

impl Reading {
    /// Takes the next bytes; the answer, once its last byte is there. Of bytes behind that
    /// there are none: the next request is sent when this one is answered.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        if self.answer.is_none() {
            let searched = self.head.len().saturating_sub(3);
            self.head.extend_from_slice(bytes);
            let end = memchr::memmem::find(&self.head[searched..], b"\r\n\r\n");
            let Some(end) = end else { return Ok(None) };
            let end = searched + end + 4;
            let (answer, length) = parse(&self.head[..end - 2]).ok_or(Malformed)?;
            self.answer = Some(answer);
            self.rest = length;
            bytes = &bytes[bytes.len() - (self.head.len() - end)..];
            self.head.clear();
        }
        self.rest = self.rest.checked_sub(bytes.len()).ok_or(Malformed)?;
        Ok(if self.rest == 0 { self.answer.take() } else { None })
    }
}

fn parse(head: &[u8]) -> Option<(Answer, usize)> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = std::str::from_utf8(lines.next()?.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    let mut answer = Answer { status: status.parse().ok()?, ..Answer::default() };
    let mut length = None;
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value).ok()?.parse().ok();
        } else if name.eq_ignore_ascii_case(b"connection") {
            answer.closes = value.eq_ignore_ascii_case(b"close");
        } else if name.eq_ignore_ascii_case(b"retry-after") {
            answer.has_retry_after = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
        }
    }
    Some((answer, length?))
}

/// How long an answer is waited for where one is asked for by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks, and waits for the answer.
pub(crate) fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(request)?;
    let (mut reading, mut buffer) = (Reading::default(), [0; 8192]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = reading.take(&buffer[..read]).map_err(|_| io::ErrorKind::InvalidData)?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
}
