//! Unpacks gzip while it arrives, in constant memory whatever it grows to.

use flate2::{Decompress, FlushDecompress, Status};
use std::ops::ControlFlow;
use zeroize::Zeroizing;

/// Unpacks gzip: pieces in, pieces out.
pub struct Gunzip {
    inflate: Decompress,
    output: Zeroizing<Vec<u8>>,
    /// Whether a member has ended and nothing of another has come.
    between: bool,
}

/// The bytes are no gzip, or break off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// How much is handed on at once.
const OUTPUT: usize = 32 * 1024;
/// The largest window of gzip, in bits.
const WINDOW: u8 = 15;

impl Default for Gunzip {
    fn default() -> Self {
        let output = Zeroizing::new(vec![0; OUTPUT]);
        Self { inflate: Decompress::new_gzip(WINDOW), output, between: false }
    }
}

impl Gunzip {
    /// Unpacks the next piece and hands what comes out to `sink`, which may say that it
    /// wants no more.
    pub fn push(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Corrupt> {
        while !input.is_empty() {
            if self.between {
                self.inflate = Decompress::new_gzip(WINDOW);
                self.between = false;
            }
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let none = FlushDecompress::None;
            let status = self.inflate.decompress(input, &mut self.output, none);
            let status = status.map_err(|_| Corrupt)?;
            let read = usize::try_from(self.inflate.total_in() - read).map_err(|_| Corrupt)?;
            let written = usize::try_from(self.inflate.total_out() - written);
            let written = written.map_err(|_| Corrupt)?;
            input = &input[read..];
            self.between = status == Status::StreamEnd;
            if written > 0 && sink(&self.output[..written]).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if read == 0 && written == 0 && !self.between {
                return Err(Corrupt);
            }
        }
        self.drain(sink)
    }

    /// Hands on what the decoder has not had room for.
    fn drain(
        &mut self,
        sink: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Corrupt> {
        while !self.between {
            let before = self.inflate.total_out();
            let none = FlushDecompress::None;
            let status = self.inflate.decompress(&[], &mut self.output, none);
            let status = status.map_err(|_| Corrupt)?;
            let written = usize::try_from(self.inflate.total_out() - before);
            let written = written.map_err(|_| Corrupt)?;
            self.between = status == Status::StreamEnd;
            if written == 0 {
                break;
            }
            if sink(&self.output[..written]).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The document ends here.
    pub fn finish(&self) -> Result<(), Corrupt> {
        if self.between { Ok(()) } else { Err(Corrupt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(packed: &[u8], piece: usize) -> Result<Vec<u8>, Corrupt> {
        let mut gunzip = Gunzip::default();
        let mut unpacked = Vec::new();
        for piece in packed.chunks(piece) {
            let flow = gunzip.push(piece, &mut |bytes| {
                unpacked.extend_from_slice(bytes);
                ControlFlow::Continue(())
            })?;
            assert!(flow.is_continue());
        }
        gunzip.finish().map(|()| unpacked)
    }

    #[test]
    fn a_document_comes_out_however_it_is_cut() {
        let document: Vec<u8> = (0..200_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let packed = gzip(&document);
        for piece in [1, 2, 7, 1000, packed.len()] {
            assert!(unpack(&packed, piece) == Ok(document.clone()), "pieces of {piece}");
        }
        assert_eq!(unpack(&gzip(b""), 3), Ok(Vec::new()));
    }

    #[test]
    fn members_follow_each_other() {
        let packed = [gzip(b"one "), gzip(b"two")].concat();
        for piece in [1, 5, packed.len()] {
            assert_eq!(unpack(&packed, piece), Ok(b"one two".to_vec()));
        }
    }

    #[test]
    fn what_breaks_off_or_is_no_gzip_is_corrupt() {
        let packed = gzip(b"a document");
        for end in 0..packed.len() {
            assert_eq!(unpack(&packed[..end], 4), Err(Corrupt), "cut at {end}");
        }
        let mut wrong_sum = packed.clone();
        let at = wrong_sum.len() - 8;
        wrong_sum[at] ^= 1;
        assert_eq!(unpack(&wrong_sum, 100), Err(Corrupt));
        assert_eq!(unpack(b"plain text, not gzip", 100), Err(Corrupt));
        assert_eq!(unpack(&[packed, b"garbage".to_vec()].concat(), 100), Err(Corrupt));
    }

    #[test]
    fn who_wants_no_more_gets_no_more() {
        let bomb = gzip(&vec![b'x'; 50_000_000]);
        let mut seen = 0;
        let flow = Gunzip::default().push(&bomb, &mut |bytes| {
            seen += bytes.len();
            if seen > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(flow, Ok(ControlFlow::Break(())));
        assert!(seen <= 100_000 + OUTPUT, "{seen}");
    }
}
