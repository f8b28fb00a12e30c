//! Unpacks gzip while it arrives, in constant memory whatever it grows to.

use flate2::{Decompress, FlushDecompress, Status};
use zeroize::Zeroizing;

/// Unpacks gzip, a little at a time.
pub struct Gunzip {
    inflate: Decompress,
    output: Zeroizing<Vec<u8>>,
    at: At,
}

/// What the next byte may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// More of a member.
    Within,
    /// After a member: the first byte of another one, or padding.
    Between,
    /// After a zero byte behind the last member: nothing but more of them.
    Padding,
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
        Self { inflate: Decompress::new_gzip(WINDOW), output, at: At::Within }
    }
}

impl Gunzip {
    /// Unpacks a little of the input and returns what comes out of it, which is nothing
    /// where a member ends; `None` when there must be more first.
    pub fn unpack(&mut self, input: &mut &[u8]) -> Result<Option<&[u8]>, Corrupt> {
        loop {
            if self.at != At::Within {
                // Tape and block devices pad with zeros, which gzip(1) ignores as well.
                let zeros = input.iter().take_while(|byte| **byte == 0).count();
                *input = &input[zeros..];
                if zeros > 0 {
                    self.at = At::Padding;
                }
                match (self.at, *input) {
                    (_, []) => return Ok(None),
                    (At::Padding, _) => return Err(Corrupt),
                    _ => {}
                }
                self.inflate = Decompress::new_gzip(WINDOW);
                self.at = At::Within;
            }
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let none = FlushDecompress::None;
            let status = self.inflate.decompress(input, &mut self.output, none);
            let status = status.map_err(|_| Corrupt)?;
            let read = usize::try_from(self.inflate.total_in() - read).map_err(|_| Corrupt)?;
            let written = usize::try_from(self.inflate.total_out() - written);
            let written = written.map_err(|_| Corrupt)?;
            *input = &input[read..];
            if status == Status::StreamEnd {
                self.at = At::Between;
            }
            if written > 0 || self.at == At::Between {
                return Ok(Some(&self.output[..written]));
            }
            if read == 0 {
                return if input.is_empty() { Ok(None) } else { Err(Corrupt) };
            }
        }
    }

    /// The document ends here.
    pub fn finish(&self) -> Result<(), Corrupt> {
        if self.at == At::Within { Err(Corrupt) } else { Ok(()) }
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
        for mut piece in packed.chunks(piece) {
            while let Some(bytes) = gunzip.unpack(&mut piece)? {
                unpacked.extend_from_slice(bytes);
            }
            assert!(piece.is_empty());
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
    fn zero_bytes_behind_the_last_member_are_padding() {
        let packed = gzip(b"a document");
        let with = |behind: &[u8]| [&packed[..], behind].concat();
        for piece in [1, 3, 1000] {
            for zeros in [1, 2, 511] {
                assert_eq!(unpack(&with(&vec![0; zeros]), piece), Ok(b"a document".to_vec()));
            }
            assert_eq!(unpack(&with(b"\0\0x"), piece), Err(Corrupt));
            assert_eq!(unpack(&with(&with(b"\0")), piece), Ok(b"a documenta document".to_vec()));
            assert_eq!(unpack(&[&with(b"\0"), &packed[..]].concat(), piece), Err(Corrupt));
        }
        assert_eq!(unpack(b"\0\0", 1), Err(Corrupt));
    }

    #[test]
    fn members_without_content_come_one_by_one() {
        let packed = gzip(b"").repeat(1000);
        let (mut gunzip, mut rest, mut steps) = (Gunzip::default(), &packed[..], 0);
        while let Some(bytes) = gunzip.unpack(&mut rest).unwrap() {
            assert_eq!(bytes, b"");
            steps += 1;
        }
        assert_eq!(steps, 1000);
        assert_eq!(gunzip.finish(), Ok(()));
    }

    #[test]
    fn a_bomb_goes_off_bit_by_bit() {
        let bomb = gzip(&vec![b'x'; 50_000_000]);
        let (mut gunzip, mut rest, mut seen) = (Gunzip::default(), &bomb[..], 0);
        while let Some(bytes) = gunzip.unpack(&mut rest).unwrap() {
            assert!(bytes.len() <= OUTPUT);
            seen += bytes.len();
        }
        assert_eq!(seen, 50_000_000);
    }
}
