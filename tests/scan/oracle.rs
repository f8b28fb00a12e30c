//! What the scanner has to find, said with regular expressions over a document
//! that lies whole in memory. The fuzz target asserts the same.

use blueprint_decoder::scan::{
    Charset, Marker, MarkerPair, Options, Pairs, Scanner, Secret, StoppedBy, Summary,
};
use regex::bytes::{Regex, RegexBuilder};
use std::{num::NonZero, ops::ControlFlow};

/// A document and what to look for in it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) document: Vec<u8>,
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) max_secrets: u64,
    pub(crate) max_secret_chars: usize,
    pub(crate) multiline: bool,
    pub(crate) lines: bool,
    pub(crate) max_bytes: Option<u64>,
    /// The sink takes this many secrets and no more.
    pub(crate) taken: Option<u64>,
}

/// A secret as it was seen through the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) index: u64,
    pub(crate) value: String,
    pub(crate) category: String,
    pub(crate) offset: u64,
    pub(crate) line: Option<u64>,
    pub(crate) pair: usize,
    pub(crate) truncated: bool,
}

impl Seen {
    pub(crate) fn of(secret: &Secret<'_>) -> Self {
        Self {
            index: secret.index,
            value: secret.reveal().to_owned(),
            category: secret.category().to_owned(),
            offset: secret.offset,
            line: secret.line,
            pair: secret.pair,
            truncated: secret.truncated,
        }
    }
}

impl Case {
    /// The options, or `None` where the pairs are refused.
    pub(crate) fn options(&self) -> Option<Options> {
        let pairs = self.pairs.iter().map(|(start, end)| {
            let (start, end) = (Marker::new(start).ok()?, Marker::new(end).ok()?);
            Some(MarkerPair { start, end })
        });
        Some(Options {
            pairs: Pairs::new(pairs.collect::<Option<_>>()?).ok()?,
            max_secrets: NonZero::new(self.max_secrets)?,
            max_secret_chars: NonZero::new(self.max_secret_chars)?,
            multiline: self.multiline,
            lines: self.lines,
            max_bytes: self.max_bytes,
        })
    }

    /// What the scanner says, given the document cut at `cuts`.
    pub(crate) fn scan(&self, options: &Options, cuts: &[usize]) -> (Vec<Seen>, Summary) {
        let mut seen = Vec::new();
        let mut sink = |secret: Secret<'_>| {
            if self.taken == Some(seen.len() as u64) {
                return ControlFlow::Break(());
            }
            seen.push(Seen::of(&secret));
            ControlFlow::Continue(())
        };
        let mut scanner = Scanner::new(options, Charset::UTF_8);
        let mut from = 0;
        let mut ended = false;
        for &to in cuts.iter().chain([&self.document.len()]) {
            let flow = scanner.push(&self.document[from..to], &mut sink);
            assert!(flow.is_break() || !ended, "a scan that has ended stays ended");
            ended = flow.is_break();
            from = to;
        }
        let summary = scanner.finish(&mut sink);
        assert_eq!(ended, summary.stopped_by.is_some());
        (seen, summary)
    }

    /// What it should say.
    pub(crate) fn expected(&self) -> (Vec<Seen>, Summary) {
        let cap = self.max_bytes.unwrap_or(u64::MAX) as usize;
        let capped = self.document.len() > cap;
        let text = &self.document[..self.document.len().min(cap)];
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);

        let mut secrets = Vec::new();
        let mut unterminated = Vec::new();
        for (pair, (start, end)) in self.pairs.iter().enumerate() {
            let found = self.secrets_of(pair, start, end, text);
            unterminated.extend(self.unterminated_of(start, &found, text));
            secrets.extend(found);
        }
        secrets.sort_by_key(|(end, _)| *end);

        let taken = self.taken.unwrap_or(u64::MAX).min(self.max_secrets);
        let stop = if secrets.len() as u64 >= self.max_secrets && taken == self.max_secrets {
            Some((StoppedBy::MaxSecrets, secrets[taken as usize - 1].0))
        } else if secrets.len() as u64 > taken {
            Some((StoppedBy::MaxResponse, secrets[taken as usize].0))
        } else if capped {
            Some((StoppedBy::MaxBytes, text.len()))
        } else {
            None
        };
        secrets.truncate(taken as usize);
        let until = stop.map_or(text.len() + 1, |(_, at)| at);
        let summary = Summary {
            returned: secrets.len() as u64,
            stopped_by: stop.map(|(why, _)| why),
            bytes_scanned: until.min(text.len()) as u64,
            unterminated: unterminated.into_iter().filter(|at| *at <= until).count() as u64,
        };
        let numbered =
            secrets.into_iter().zip(1..).map(|((_, secret), index)| Seen { index, ..secret });
        (numbered.collect(), summary)
    }

    /// The secrets of one pair with the offsets of their ends.
    fn secrets_of(&self, pair: usize, start: &str, end: &str, text: &[u8]) -> Vec<(usize, Seen)> {
        let (start, end) = (regex::escape(start), regex::escape(end));
        let regex: Regex = RegexBuilder::new(&format!("{start}((?-u:.)*?){end}"))
            .dot_matches_new_line(self.multiline)
            .build()
            .expect("escaped markers are a regular expression");
        let secret = |captures: regex::bytes::Captures<'_>| {
            let whole = captures.get_match();
            let lossy = String::from_utf8_lossy(&captures[1]);
            let trimmed = lossy.trim();
            let value: String = trimmed.chars().take(self.max_secret_chars).collect();
            let category = match value.split_once(':') {
                Some((name, _)) if !name.trim().is_empty() => name.trim().to_owned(),
                _ => "UNCLASSIFIED".to_owned(),
            };
            let before = &text[..whole.start()];
            let seen = Seen {
                index: 0,
                category,
                offset: whole.start() as u64,
                line: self
                    .lines
                    .then(|| 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64),
                pair,
                truncated: trimmed.chars().count() > self.max_secret_chars,
                value,
            };
            (whole.end(), seen)
        };
        regex.captures_iter(text).map(secret).collect()
    }

    /// Just behind each line feed that leaves a start marker without its end; the
    /// end of the text, which no stop lies behind, counts as one byte more.
    fn unterminated_of(&self, start: &str, found: &[(usize, Seen)], text: &[u8]) -> Vec<usize> {
        let lines: Vec<&[u8]> = match self.multiline {
            true => vec![text],
            false => text.split_inclusive(|byte| *byte == b'\n').collect(),
        };
        let mut from = 0;
        let mut ends = Vec::new();
        for line in lines {
            let to = from + line.len();
            let last = found.iter().map(|(end, _)| *end).rfind(|end| (from..=to).contains(end));
            let rest = &text[last.unwrap_or(from)..to];
            if rest.windows(start.len()).any(|window| window == start.as_bytes()) {
                let over = !self.multiline && line.ends_with(b"\n");
                ends.push(if over { to } else { to + 1 });
            }
            from = to;
        }
        ends
    }
}
