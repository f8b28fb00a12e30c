//! What a client asks for, in whatever form, held to what may be asked.

use super::{Decoding, output};
use crate::{
    answer::Output,
    decode::{Document, Tenant},
    failure::{Code, Failure, Fault},
    identity::{Action, Principal},
    scan::{self, MAX_PAIRS, Marker, MarkerPair, Pairs},
};
use std::num::NonZero;

/// A request that can be served.
pub(super) struct Asked {
    pub(super) document: Document,
    pub(super) options: Options,
}

/// How to decode, whatever the document.
pub(super) struct Options {
    pub(super) scan: scan::Options,
    pub(super) output: Output,
    pub(super) allow_partial: bool,
}

/// What is said to who may hand nothing over.
pub(super) const HANDS_OVER: &str =
    "with this key documents are not handed over: name the source of one, in application/json";

/// The options as they are read, one by one, with every fault in them.
pub(super) struct Asking<'a> {
    pub(super) decoding: &'a Decoding,
    /// For whom.
    pub(super) tenant: &'a Tenant,
    /// Those that are fit, as they are read.
    listed: Vec<MarkerPair>,
    pairs: Option<Pairs>,
    max_secrets: NonZero<u64>,
    max_secret_chars: NonZero<usize>,
    multiline: bool,
    output: Output,
    allow_partial: bool,
    /// Whether markers or limits were chosen.
    chosen: bool,
    faults: Vec<Fault>,
    more_faults: bool,
}

/// So many faults are told; who makes more reads the first ones first.
const MAX_FAULTS: usize = 100;

impl<'a> Asking<'a> {
    pub(super) fn new(decoding: &'a Decoding, tenant: &'a Tenant) -> Self {
        let scan::Options { max_secrets, max_secret_chars, multiline, .. } = decoding.options;
        let most_chars = usize::try_from(decoding.limits.max_secret_chars).unwrap_or(usize::MAX);
        let most_chars = NonZero::new(most_chars).unwrap_or(NonZero::<usize>::MIN);
        Self {
            decoding,
            tenant,
            listed: Vec::new(),
            pairs: None,
            max_secrets: max_secrets.min(within(decoding.limits.max_secrets)),
            max_secret_chars: max_secret_chars.min(most_chars),
            multiline,
            output: Output::Full,
            allow_partial: false,
            chosen: false,
            faults: Vec::new(),
            more_faults: false,
        }
    }

    /// Whether enough is wrong to look no further.
    pub(super) fn is_hopeless(&mut self) -> bool {
        self.more_faults = self.faults.len() >= MAX_FAULTS;
        self.more_faults
    }

    pub(super) fn fault(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if !self.is_hopeless() {
            self.faults.push(Fault::new(pointer, detail));
        }
    }

    /// A marker pair, which may be one that cannot be. Why a side is none, was said.
    pub(super) fn pair(&mut self, place: usize, start: Option<&str>, end: Option<&str>) {
        let mut marker = |name: &str, text: Option<&str>| {
            let marker = Marker::new(text?);
            marker.map_err(|fault| self.fault(pointer(place, name), fault.to_string())).ok()
        };
        let (start, end) = (marker("start", start), marker("end", end));
        if let (Some(start), Some(end)) = (start, end) {
            self.listed.push(MarkerPair { start, end });
        }
    }

    /// The list of pairs was there and has this many, fit or not.
    pub(super) fn pairs_end(&mut self, count: usize) {
        self.chosen = true;
        if count == 0 || count > MAX_PAIRS {
            let detail = format!("1 to {MAX_PAIRS} pairs of markers are allowed, not {count}");
            return self.fault("/markers", detail);
        }
        let listed = std::mem::take(&mut self.listed);
        if listed.len() < count {
            return;
        }
        match Pairs::new(listed) {
            Ok(pairs) => self.pairs = Some(pairs),
            Err(fault) => self.fault("/markers", fault.to_string()),
        }
    }

    pub(super) fn max_secrets(&mut self, asked: Option<u64>) {
        self.chosen = true;
        let most = self.decoding.limits.max_secrets;
        match asked.and_then(NonZero::new).filter(|asked| asked.get() <= most) {
            Some(asked) => self.max_secrets = asked,
            None => self.fault("/max_secrets", format!("a whole number from 1 to {most}")),
        }
    }

    pub(super) fn max_secret_chars(&mut self, asked: Option<u64>) {
        self.chosen = true;
        let most = self.decoding.limits.max_secret_chars;
        let fits =
            asked.filter(|asked| *asked <= most).and_then(|asked| usize::try_from(asked).ok());
        match fits.and_then(NonZero::new) {
            Some(asked) => self.max_secret_chars = asked,
            None => self.fault("/max_secret_chars", format!("a whole number from 1 to {most}")),
        }
    }

    pub(super) fn multiline(&mut self, asked: Option<bool>) {
        self.chosen = true;
        match asked {
            Some(asked) => self.multiline = asked,
            None => self.fault("/multiline", "true or false"),
        }
    }

    pub(super) fn allow_partial(&mut self, asked: Option<bool>) {
        match asked {
            Some(asked) => self.allow_partial = asked,
            None => self.fault("/allow_partial", "true or false"),
        }
    }

    pub(super) fn output(&mut self, asked: Option<&str>) {
        match asked.and_then(output) {
            Some(asked) => self.output = asked,
            None => self.fault("/output", "one of \"full\", \"masked\" and \"summary\""),
        }
    }

    /// Whether this one may ask for that, as far as it can be asked for at all, of a document
    /// that it hands over or does not.
    pub(super) fn check_may(&self, principal: &Principal, hands_over: bool) -> Result<(), Failure> {
        if !self.faults.is_empty() {
            // Which are told.
            return Ok(());
        }
        let asked = [
            (hands_over, Action::HandOver, HANDS_OVER),
            (
                self.output == Output::Full,
                Action::Read,
                "this key may not read secrets: set output to \"masked\" or \"summary\"",
            ),
            (
                self.chosen,
                Action::Choose,
                "this key may not choose markers or limits: leave out markers, max_secrets, \
                 max_secret_chars and multiline",
            ),
        ];
        let refused =
            |(is_asked, action, _): &&(bool, Action, &str)| *is_asked && !principal.may(*action);
        match asked.iter().find(refused) {
            Some((.., detail)) => Err(Failure::new(Code::Forbidden, *detail)),
            None => Ok(()),
        }
    }

    /// What was asked, if all of it can be.
    pub(super) fn end(mut self) -> Result<Options, Failure> {
        if self.more_faults {
            self.faults
                .push(Fault::new("", "too many faults; the rest of the request was not checked"));
        }
        if !self.faults.is_empty() {
            return Err(Failure::invalid(self.faults));
        }
        let usual = self.tenant.markers.as_ref().unwrap_or(&self.decoding.options.pairs);
        Ok(Options {
            scan: scan::Options {
                pairs: self.pairs.unwrap_or_else(|| usual.clone()),
                max_secrets: self.max_secrets,
                max_secret_chars: self.max_secret_chars,
                multiline: self.multiline,
                lines: self.output.shows_places(),
                max_bytes: None,
            },
            output: self.output,
            allow_partial: self.allow_partial,
        })
    }
}

/// Where a marker stands in the request.
fn pointer(place: usize, name: &str) -> String {
    format!("/markers/{place}/{name}")
}

fn within(most: u64) -> NonZero<u64> {
    NonZero::new(most).unwrap_or(NonZero::<u64>::MIN)
}
