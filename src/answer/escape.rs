//! Text that is safe to show on a terminal.

use std::fmt;

/// Shows a text with its control and bidirectional characters escaped, so that what
/// a document says can neither move the cursor nor reorder a line.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = 0;
        for (at, character) in self.0.char_indices() {
            if !is_unsafe(character) {
                continue;
            }
            f.write_str(&self.0[shown..at])?;
            shown = at + character.len_utf8();
            match character {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                _ => write!(f, "{}", character.escape_unicode())?,
            }
        }
        f.write_str(&self.0[shown..])
    }
}

/// Control characters, the bidirectional ones, separators that break a line, and
/// the invisible ones that carry hidden text. The joiners and the variation selector of
/// emoji stay: languages and emoji are written with them.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_or_reorder_is_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(Escaped(text).to_string(), expected);
        check("", "");
        check("plain, é 日本 👩\u{200d}🚀", "plain, é 日本 👩\u{200d}🚀");
        check("a\nb\r\tc", "a\\nb\\r\\tc");
        check("\u{1b}[31mred", "\\u{1b}[31mred");
        check("\u{7}\0\u{7f}\u{9b}", "\\u{7}\\u{0}\\u{7f}\\u{9b}");
        check("user\u{202e}txt.exe", "user\\u{202e}txt.exe");
        check("\u{200e}\u{200f}\u{61c}", "\\u{200e}\\u{200f}\\u{61c}");
        check("\u{2028}\u{2029}\u{202a}", "\\u{2028}\\u{2029}\\u{202a}");
        check("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}");
        check("\u{e0041}\u{feff}", "\\u{e0041}\\u{feff}");
        check("\u{ad}\u{34f}\u{3164}\u{e0101}", "\\u{ad}\\u{34f}\\u{3164}\\u{e0101}");
        check("❤\u{fe0f} می\u{200c}خواهم", "❤\u{fe0f} می\u{200c}خواهم");
    }
}
