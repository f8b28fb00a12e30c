//! Which form of answer a client wants.

use crate::failure::{Code, Failure};
use axum::http::{HeaderMap, header::ACCEPT};

/// A type that can be answered with.
pub(super) type MediaType = (&'static str, &'static str);

/// The first of the offers that the `Accept` headers like best.
pub(super) fn best<T: Copy>(headers: &HeaderMap, offers: &[(MediaType, T)]) -> Result<T, Failure> {
    let values: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut best: Option<(u16, T)> = None;
    for ((kind, subtype), offer) in offers {
        let quality =
            if headers.contains_key(ACCEPT) { quality(&values, kind, subtype) } else { 1000 };
        if quality > best.map_or(0, |(quality, _)| quality) {
            best = Some((quality, *offer));
        }
    }
    best.map(|(_, offer)| offer).ok_or_else(|| {
        let known: Vec<String> =
            offers.iter().map(|((kind, subtype), _)| format!("{kind}/{subtype}")).collect();
        Failure::new(
            Code::NotAcceptable,
            format!(
                "no format in the Accept header is available; available are {}",
                known.join(", ")
            ),
        )
    })
}

/// How much a type is liked, in thousandths: the most specific range decides.
fn quality(values: &[&str], kind: &str, subtype: &str) -> u16 {
    let ranges = values.iter().flat_map(|value| value.split(','));
    let fitting = ranges.filter_map(|range| {
        let mut parts = range.split(';');
        let (kinds, subtypes) = parts.next()?.trim().split_once('/')?;
        let specific = match (kinds, subtypes) {
            ("*", "*") => 0,
            (kinds, "*") if kinds.eq_ignore_ascii_case(kind) => 1,
            (kinds, subtypes)
                if kinds.eq_ignore_ascii_case(kind) && subtypes.eq_ignore_ascii_case(subtype) =>
            {
                2
            }
            _ => return None,
        };
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
        });
        Some((specific, quality.map_or(1000, thousandths)))
    });
    fitting.max().map_or(0, |(_, quality)| quality)
}

/// `0.5` in thousandths; what is no quality wants nothing.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_form_that_is_liked_best_wins() {
        let offers = [
            (("application", "json"), "json"),
            (("application", "x-ndjson"), "ndjson"),
            (("text", "plain"), "report"),
        ];
        let check = |accept: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(best(&headers, &offers).ok(), expected, "{accept:?}");
        };
        check(&[], Some("json"));
        check(&["*/*"], Some("json"));
        check(&["application/*"], Some("json"));
        check(&["text/*"], Some("report"));
        check(&["application/x-ndjson"], Some("ndjson"));
        check(&["Application/X-NDJSON; q=0.1"], Some("ndjson"));
        check(&["text/plain;q=0.5, application/x-ndjson;q=0.9"], Some("ndjson"));
        check(&["text/plain", "application/json;q=0.9"], Some("report"));
        check(&["*/*;q=0.1, text/plain;q=0.2"], Some("report"));
        check(&["*/*, application/json;q=0"], Some("ndjson"));
        check(&["application/json;q=0"], None);
        check(&["text/html"], None);
        check(&["image/png, text/html;q=0.9"], None);
        check(&[""], None);
        check(&["application/json;q=2"], None);
        check(&["text/html, */*;q=0.01"], Some("json"));
    }
}
