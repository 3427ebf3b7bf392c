//! Offers of browsers and attackers, and the response to each.

use super::super::{Deflater, Inflater};
use super::*;

const WITH_CONTEXT: DeflateOptions = DeflateOptions {
    server_window_bits: 15,
    client_context: true,
};

/// The response to `headers`, without the part that all responses share.
#[track_caller]
fn check(headers: &[&str], options: &DeflateOptions, expected: Option<&str>) {
    let agreed = negotiate(headers.iter().copied(), options);
    let response = agreed.map(|agreed| agreed.response());
    let expected =
        expected.map(|more| format!("permessage-deflate; server_no_context_takeover{more}"));
    assert_eq!(response, expected, "{headers:?}");
}

#[track_caller]
fn check_default(header: &str, expected: Option<&str>) {
    check(&[header], &DeflateOptions::default(), expected);
}

const PLAIN: Option<&str> = Some("; client_no_context_takeover");

#[test]
fn offers_of_browsers_are_taken() {
    check_default("permessage-deflate; client_max_window_bits", PLAIN);
    check_default("permessage-deflate", PLAIN);
    check_default("PerMessage-Deflate;Client_Max_Window_Bits=12 ", PLAIN);
    let all = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
               server_max_window_bits=10; client_max_window_bits=11";
    check_default(
        all,
        Some("; client_no_context_takeover; server_max_window_bits=10"),
    );
}

#[test]
fn a_client_keeps_its_context_only_where_that_is_allowed() {
    check(&["permessage-deflate"], &WITH_CONTEXT, Some(""));
    check(
        &["permessage-deflate; client_no_context_takeover"],
        &WITH_CONTEXT,
        PLAIN,
    );
    check_default("permessage-deflate", PLAIN);
}

#[test]
fn the_smaller_of_both_windows_is_used() {
    let small = DeflateOptions {
        server_window_bits: 11,
        client_context: true,
    };
    check(
        &["permessage-deflate"],
        &small,
        Some("; server_max_window_bits=11"),
    );
    let offer = "permessage-deflate; server_max_window_bits=9";
    check(&[offer], &small, Some("; server_max_window_bits=9"));
    let offer = "permessage-deflate; server_max_window_bits=15";
    check(&[offer], &WITH_CONTEXT, Some("; server_max_window_bits=15"));
}

#[test]
fn h15_bad_window_bits_decline_the_offer() {
    for name in ["server_max_window_bits", "client_max_window_bits"] {
        for value in [
            "7",
            "16",
            "015",
            "08",
            "-1",
            "9.0",
            "+9",
            "0",
            "999999999999",
            "x",
            "1x",
        ] {
            check_default(&format!("permessage-deflate; {name}={value}"), None);
            let second = format!("permessage-deflate; {name}={value}, permessage-deflate");
            check_default(&second, PLAIN);
        }
        check_default(&format!("permessage-deflate; {name}="), None);
        check_default(&format!("permessage-deflate; {name}=\"\""), None);
        check_default(&format!("permessage-deflate; {name}=10; {name}=10"), None);
    }
    check_default("permessage-deflate; server_max_window_bits", None);
}

#[test]
fn h15_quoted_values_are_values() {
    let answer = "; client_no_context_takeover; server_max_window_bits=10";
    check_default(
        "permessage-deflate; server_max_window_bits=\"10\"",
        Some(answer),
    );
    check_default("permessage-deflate; client_max_window_bits=\"10\"", PLAIN);
    check_default("permessage-deflate; server_max_window_bits=\"010\"", None);
}

#[test]
fn h15_unknown_repeated_and_overloaded_parameters_decline_the_offer() {
    for parameters in [
        "unknown",
        "unknown=1",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits=10",
        "constructor",
        "__proto__=10",
    ] {
        check_default(&format!("permessage-deflate; {parameters}"), None);
        let second = format!(
            "permessage-deflate; {parameters}, permessage-deflate; server_max_window_bits=12"
        );
        let answer = "; client_no_context_takeover; server_max_window_bits=12";
        check_default(&second, Some(answer));
    }
}

#[test]
fn h15_a_server_window_of_8_bits_declines_the_offer() {
    check_default("permessage-deflate; server_max_window_bits=8", None);
    check_default(
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        PLAIN,
    );
    check_default("permessage-deflate; client_max_window_bits=8", PLAIN);
}

#[test]
fn h15_client_max_window_bits_is_never_answered() {
    for offer in ["", "; client_max_window_bits", "; client_max_window_bits=9"] {
        let agreed = negotiate([&*format!("permessage-deflate{offer}")], &WITH_CONTEXT);
        assert!(
            !agreed
                .unwrap()
                .response()
                .contains("client_max_window_bits")
        );
    }
}

#[test]
fn offers_are_looked_at_in_order_over_all_headers() {
    let options = DeflateOptions::default();
    check(
        &[
            "x-webkit-deflate-frame",
            "permessage-bzip2, permessage-deflate",
        ],
        &options,
        PLAIN,
    );
    check(&["", " , ,", "permessage-deflate,"], &options, PLAIN);
    check(&[], &options, None);
    check(&["", ","], &options, None);
}

#[test]
fn h14_headers_that_break_the_grammar_end_the_search() {
    for header in [
        "a;b=\"\\\\\\\\",
        "permessage-deflate; x=\"unclosed, permessage-deflate",
        "permessage-deflate;",
        "permessage-deflate; =1",
        "permessage-deflate client_max_window_bits",
        "permessage-deflate; server_max_window_bits = , permessage-deflate",
        ";",
        "\"permessage-deflate\"",
        "permessage-deflate\u{b}",
    ] {
        check_default(header, None);
    }
}

#[test]
fn h14_eight_offers_are_looked_at() {
    let others = "constructor, ".repeat(OFFERS_MAX - 1);
    check_default(&format!("{others}permessage-deflate"), PLAIN);
    check_default(&format!("{others}one-more, permessage-deflate"), None);
    check_default(&"permessage-deflate; x, ".repeat(10_000), None);
    check_default(&",".repeat(100_000), None);
}

#[test]
fn c05_every_combination_is_declined_or_works() {
    let windows = ["", "=8", "=9", "=10", "=11", "=12", "=13", "=14", "=15"];
    let mut taken = 0;
    for server in &windows {
        for client in &windows {
            for flags in 0..4 {
                let mut offer = EXTENSION.to_owned();
                let mut put = |name: &str, value: &str| {
                    write!(offer, "; {name}{value}").unwrap();
                };
                if !server.is_empty() {
                    put("server_max_window_bits", server);
                }
                put("client_max_window_bits", client);
                if flags & 1 != 0 {
                    put("server_no_context_takeover", "");
                }
                if flags & 2 != 0 {
                    put("client_no_context_takeover", "");
                }
                let Some(agreed) = negotiate([&*offer], &DeflateOptions::default()) else {
                    assert_eq!(*server, "=8");
                    continue;
                };
                taken += 1;
                let bits = agreed.server_window_bits();
                let asked = server
                    .strip_prefix('=')
                    .map_or(15, |bits| bits.parse().unwrap());
                assert_eq!(bits, asked);
                assert_eq!(
                    agreed.response().contains("server_max_window_bits"),
                    !server.is_empty()
                );
                round_trip(bits);
            }
        }
    }
    assert_eq!(taken, 8 * 9 * 4);
}

fn round_trip(bits: u8) {
    let (mut deflater, mut inflater) = (Deflater::new(1), Inflater::new());
    for round in 0..4usize {
        let payload = "round and round ".repeat(round * 50);
        let (mut compressed, mut out) = (Vec::new(), Vec::new());
        deflater.compress(bits, payload.as_bytes(), &mut compressed);
        inflater
            .inflate(&compressed, payload.len(), &mut out)
            .unwrap();
        assert_eq!(out, payload.as_bytes());
    }
}
