//! Which of several representations a request asks for (RFC 9110 section 12.5.1).

use std::borrow::Cow;
use std::cmp::Reverse;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The index in `offers`, media types, of the one that `Accept` prefers; of equals the first. `None` if none is
/// acceptable.
///
/// Cost: one pass over the header per offer.
#[must_use]
pub fn preferred(headers: &HeaderMap, offers: &[&str]) -> Option<usize> {
    let values = headers.get_all(ACCEPT).into_iter();
    let lists: Vec<Cow<'_, str>> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let ranges: Vec<MediaRange<'_>> = lists
        .iter()
        .flat_map(|list| split_unquoted(list, ','))
        .filter_map(MediaRange::read)
        .collect();
    if ranges.is_empty() {
        return Some(0);
    }
    let quality = |offer| {
        let fitting = ranges
            .iter()
            .filter_map(|range| Some((range.precision(offer)?, range.quality)));
        fitting.max().map_or(0, |(_, quality)| quality)
    };
    let wanted = offers.iter().enumerate();
    let wanted = wanted.map(|(place, offer)| (quality(offer), Reverse(place)));
    let (_, Reverse(place)) = wanted.filter(|(quality, _)| *quality > 0).max()?;
    Some(place)
}

/// One element of `Accept`.
struct MediaRange<'a> {
    family: &'a str,
    form: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u16,
}

impl<'a> MediaRange<'a> {
    /// Reads an element; `None` if it is none.
    fn read(element: &'a str) -> Option<Self> {
        let (essence, parameters) = split_parameters(element);
        // Java's `HttpURLConnection` sends a single star for all types.
        let (family, form) = match essence {
            "*" => ("*", "*"),
            essence => essence.split_once('/')?,
        };
        let mut range = Self {
            family,
            form,
            parameters: Vec::new(),
            quality: THOUSAND,
        };
        for (name, value) in parameters {
            if name.eq_ignore_ascii_case("q") {
                let quality: f32 = value.parse().ok()?;
                if !(0.0..=1.0).contains(&quality) {
                    return None;
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is 0 to 1000"
                )]
                let thousandths = (quality * f32::from(THOUSAND)).round() as u16;
                range.quality = thousandths;
                break;
            }
            range.parameters.push((name, value));
        }
        let is_range = family != "*" || form == "*";
        is_range.then_some(range)
    }

    /// How specifically this range matches `offer`; `None` if it does not. Parameters that the offer lacks are ignored.
    fn precision(&self, offer: &str) -> Option<usize> {
        let (essence, parameters) = split_parameters(offer);
        let (family, form) = essence.split_once('/')?;
        if self.family == "*" {
            return Some(0);
        }
        if !self.family.eq_ignore_ascii_case(family) {
            return None;
        }
        if self.form == "*" {
            return Some(1);
        }
        if !self.form.eq_ignore_ascii_case(form) {
            return None;
        }
        let mut precision = 2;
        for (name, value) in parameters {
            let mut said = self.parameters.iter();
            if let Some((_, said)) = said.find(|(said, _)| said.eq_ignore_ascii_case(name)) {
                if !said.eq_ignore_ascii_case(value) {
                    return None;
                }
                precision += 1;
            }
        }
        Some(precision)
    }
}

/// A media type or range, and its parameters.
fn split_parameters(text: &str) -> (&str, impl Iterator<Item = (&str, &str)>) {
    let mut pieces = split_unquoted(text, ';');
    let essence = pieces.next().unwrap_or("").trim();
    let parameters = pieces.filter_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        Some((name.trim(), value.trim().trim_matches('"')))
    });
    (essence, parameters)
}

/// The pieces of `text` between separators that are not in a quoted string.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| match character {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        '\\' if is_quoted => {
            is_escaped = true;
            false
        }
        '"' => {
            is_quoted = !is_quoted;
            false
        }
        other => other == separator && !is_quoted,
    })
}

/// The highest quality, in thousandths.
const THOUSAND: u16 = 1000;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const JSON: &str = "application/json";
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

    #[track_caller]
    fn check(accept: &[&str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in accept {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(ACCEPT, value);
        }
        let offers = [JSON, TEXT];
        let got = preferred(&headers, &offers).map(|place| offers[place]);
        assert_eq!(got, expected, "{accept:?}");
    }

    #[test]
    fn case_h9_the_highest_quality_wins_and_of_equals_the_first_offer() {
        check(&[], Some(JSON));
        check(&[""], Some(JSON));
        check(&["*/*"], Some(JSON));
        check(&["text/plain"], Some(TEXT));
        check(&["application/json, text/plain, */*"], Some(JSON));
        check(&["text/plain, application/json"], Some(JSON));
        check(&["application/json, text/plain;q=0.5"], Some(JSON));
        check(&["application/json;q=0.4,text/plain;q=0.5"], Some(TEXT));
        check(&["application/json;q=0.4", "text/plain;q=0.5"], Some(TEXT));
        check(&["application/json;q=0.999, text/plain"], Some(TEXT));
        check(&["text/*, */*;q=0.1"], Some(TEXT));
        check(&["*/*;q=0.1, text/*;q=0.2"], Some(TEXT));
        check(&["text/html, image/gif, *; q=.2, */*; q=.2"], Some(JSON));
    }

    #[test]
    fn case_h9_a_quality_of_zero_takes_nothing_and_the_most_precise_range_decides() {
        check(&["text/plain;q=0, */*"], Some(JSON));
        check(&["application/json;q=0, */*"], Some(TEXT));
        check(&["application/*;q=0, */*;q=0.001"], Some(TEXT));
        check(&["*/*;q=0"], None);
        check(&["image/png"], None);
        check(
            &["text/plain;version=0.0.4;q=0.1, text/plain, */*;q=0.5"],
            Some(JSON),
        );
        check(&["text/plain;version=1.0.0, */*;q=0.5"], Some(JSON));
        check(
            &["text/plain;version=1.0.0;q=0.3, text/plain;version=0.0.4;q=0.2, */*;q=0.1"],
            Some(TEXT),
        );
    }

    #[test]
    fn case_h9_names_are_folded_and_parameters_and_spaces_are_understood() {
        check(&["Text/Plain; Version=0.0.4"], Some(TEXT));
        check(
            &["TEXT/PLAIN ; CHARSET=\"UTF-8\" ; Q=0.7 , application/json;q=0.6"],
            Some(TEXT),
        );
        check(
            &["application/json; charset=utf-8, text/plain;q=0.9"],
            Some(JSON),
        );
        check(
            &["text/plain; note=\"a, application/json;q=1, \\\" b\""],
            Some(TEXT),
        );
        check(
            &["application/json;q=0.5;ext=1, text/plain;q=0.4"],
            Some(JSON),
        );
        // What is none is passed over, and spoils nothing else.
        check(&["application/json;q=2, text/plain;q=0.1"], Some(TEXT));
        check(&["application/json;q=NaN, text/plain;q=0.1"], Some(TEXT));
        check(&["*/json, nonsense, ,text/plain;q=0.1"], Some(TEXT));
        check(&["t\u{eb}xt/x, text/plain"], Some(TEXT));
    }
}
