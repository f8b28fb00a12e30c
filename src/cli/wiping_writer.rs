//! A buffered writer that keeps nothing of what it has written.

use std::io::{self, Write};
use zeroize::{Zeroize, Zeroizing};

/// Like `std::io::BufWriter`, but its buffer is wiped when it is handed on, and what
/// was not flushed is dropped, not written.
pub(super) struct WipingWriter<W> {
    to: W,
    buffer: Zeroizing<Vec<u8>>,
}

const CAPACITY: usize = 16 * 1024;

impl<W: Write> WipingWriter<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, buffer: Zeroizing::new(Vec::with_capacity(CAPACITY)) }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let written = self.to.write_all(&self.buffer);
        self.buffer.as_mut_slice().zeroize();
        self.buffer.clear();
        written
    }
}

impl<W: Write> Write for WipingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > CAPACITY {
            self.hand_on()?;
        }
        if bytes.len() > CAPACITY {
            return self.to.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_written_in_order_and_the_buffer_never_grows() {
        let mut written = Vec::new();
        let mut writer = WipingWriter::new(&mut written);
        let mut expected = Vec::new();
        for length in [0, 1, CAPACITY - 1, 1, CAPACITY, 2, CAPACITY + 1, 3] {
            let bytes = vec![length as u8; length];
            writer.write_all(&bytes).unwrap();
            assert_eq!(writer.buffer.capacity(), CAPACITY);
            expected.extend(bytes);
        }
        writer.flush().unwrap();
        assert_eq!(writer.buffer.len(), 0);
        assert_eq!(written, expected);
    }
}
