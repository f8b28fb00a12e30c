//! A buffer for answers that leaves nothing behind.

use std::{
    hint::black_box,
    io::{self, Write},
};

/// The least room that is made.
const SMALLEST: usize = 256;

/// Bytes of an answer: wiped when they are dropped, cleared or moved to a larger
/// buffer.
#[derive(Default)]
pub struct WipedBuffer(Vec<u8>);

impl WipedBuffer {
    /// An empty buffer with room.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let capacity = (self.0.len() + more).max(self.0.capacity() * 2).max(SMALLEST);
        let mut larger = Vec::with_capacity(capacity);
        larger.extend_from_slice(&self.0);
        wipe(&mut self.0);
        self.0 = larger;
    }

    /// Forgets the bytes and keeps the buffer.
    pub fn clear(&mut self) {
        wipe(&mut self.0);
        self.0.clear();
    }
}

impl std::ops::Deref for WipedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for WipedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Write for WipedBuffer {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.0.capacity() - self.0.len() {
            self.grow(bytes.len());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for WipedBuffer {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl From<String> for WipedBuffer {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

/// Overwrites at the speed of memory: byte by volatile byte, an answer of a page would
/// take as long to wipe as to scan. The compiler keeps what it must assume to be read.
fn wipe(bytes: &mut [u8]) {
    // The bytes of a buffer that never had any are nowhere: to write none of them there
    // takes longer than many would elsewhere, where `memset` is a masked store.
    if bytes.is_empty() {
        return;
    }
    bytes.fill(0);
    black_box(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_was_in_a_buffer_is_wiped_wherever_it_lay() {
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        // The allocator writes into the first bytes of what is freed: look at the end.
        let (text, end) = ("x".repeat(300) + "the hidden door", "the hidden door");
        let mut bytes = vec![0; text.len()];
        let mut is_at = |address: usize| {
            memory.read_exact_at(&mut bytes, address as u64).unwrap();
            bytes.ends_with(end.as_bytes())
        };

        let mut buffer = WipedBuffer::from(text.clone());
        let first = buffer.as_ptr() as usize;
        assert!(is_at(first), "the method sees memory");
        buffer.write_all(b"y").unwrap();
        assert!(!is_at(first), "outgrown");

        buffer.clear();
        buffer.write_all(text.as_bytes()).unwrap();
        let second = buffer.as_ptr() as usize;
        assert!(is_at(second));
        buffer.clear();
        assert!(!is_at(second), "cleared");

        buffer.write_all(text.as_bytes()).unwrap();
        let last = buffer.as_ptr() as usize;
        assert!(is_at(last));
        drop(buffer);
        assert!(!is_at(last), "dropped");
    }
}
