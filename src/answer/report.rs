//! The answer for people: the mission report.

use super::{
    Escaped, Finished, Form, Output, Problem,
    json::{Encoded, Encoder, Mask},
};
use crate::scan::{Secret, StoppedBy, Summary};
use std::{
    io::{self, Write},
    ops::ControlFlow,
};

/// The mission report: a block for each secret as it is found, then what was
/// recovered and what was not looked at.
pub struct Report<W> {
    to: W,
    output: Output,
    /// Whether the pair of a secret is worth saying.
    several_pairs: bool,
    /// Measures the secrets where they are bounded: as JSON, in every form.
    encoder: Encoder,
}

impl<W: Write> Report<W> {
    /// Begins the report on the document of this name, whose secrets take at most so
    /// many bytes as JSON.
    pub fn new(
        mut to: W,
        output: Output,
        document: &str,
        several_pairs: bool,
        max_bytes: Option<u64>,
    ) -> io::Result<Self> {
        writeln!(to, "MISSION REPORT: {}\n", Escaped(document))?;
        Ok(Self { to, output, several_pairs, encoder: Encoder::new(output, max_bytes) })
    }

    fn place(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        write!(self.to, "     {}", Escaped(secret.category()))?;
        if self.several_pairs {
            write!(self.to, ", pair {}", secret.pair)?;
        }
        if let Some(line) = secret.line {
            write!(self.to, ", line {line}")?;
        }
        write!(self.to, ", byte {}", secret.offset)?;
        if secret.truncated {
            write!(
                self.to,
                ", cut after {}",
                count(secret.reveal().chars().count() as u64, "character")
            )?;
        }
        writeln!(self.to, "\n")
    }
}

impl<W: Write> Form for Report<W> {
    fn secret(&mut self, secret: &Secret<'_>) -> io::Result<ControlFlow<()>> {
        if self.encoder.is_bounded() && matches!(self.encoder.encode(secret)?, Encoded::NoRoom) {
            return Ok(ControlFlow::Break(()));
        }
        match self.output {
            Output::Full => {
                let value = match secret.reveal() {
                    "" => "(empty)",
                    value => value,
                };
                writeln!(self.to, "{:>3}. {}", secret.index, Escaped(value))?;
                self.place(secret)?;
            }
            Output::Masked => writeln!(self.to, "{:>3}. {}", secret.index, Mask::of(secret))?,
            Output::Summary => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn finish(&mut self, finished: &Finished<'_>) -> io::Result<()> {
        let summary = finished.summary;
        if self.output == Output::Masked && summary.returned > 0 {
            writeln!(self.to)?;
        }
        writeln!(self.to, "{} recovered. {}", count(summary.returned, "secret"), ending(summary))?;
        if summary.unterminated > 0 {
            let opened = count(summary.unterminated, "start marker");
            writeln!(self.to, "{opened} without an end marker.")?;
        }
        let longest = finished.tally.iter().map(|(name, _)| name.chars().count()).max();
        let width = longest.unwrap_or(0).min(32);
        for (name, count) in finished.tally.iter() {
            let padding = width.saturating_sub(name.chars().count());
            writeln!(self.to, "  {}{:padding$}  {count}", Escaped(name), "")?;
        }
        Ok(())
    }

    fn fail(&mut self, problem: &Problem) -> io::Result<()> {
        writeln!(self.to, "The report ends here: {}", Escaped(&problem.detail))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.forget();
        self.to.flush()
    }
}

fn ending(summary: &Summary) -> String {
    let scanned = count(summary.bytes_scanned, "byte");
    match summary.stopped_by {
        None => format!("The whole document was scanned, {scanned}."),
        Some(StoppedBy::MaxSecrets) => {
            format!("The scan ended with the last one asked for (max_secrets), after {scanned}.")
        }
        Some(StoppedBy::MaxBytes) => {
            format!("The scan ended at the size cap (max_bytes), after {scanned}.")
        }
        Some(StoppedBy::MaxResponse) => {
            format!("The scan ended because the answer is full (max_response), after {scanned}.")
        }
    }
}

/// `1 secret`, `1,234 secrets`.
fn count(number: u64, of: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let plural = if number == 1 { "" } else { "s" };
    format!("{grouped} {of}{plural}")
}
