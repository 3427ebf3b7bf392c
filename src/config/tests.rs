//! The configuration as a whole, made from a file, variables and flags.

mod document;
mod env;
mod layers;
mod refusals;
mod rules;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::kind::{FlagKind, Maybe, Number, Parsed, Size, Time};
use super::section::section;
use super::*;

section! {
    /// What a protocol registers.
    struct Toy("toy", mode) {
        /// Whether tokens are asked for.
        auth_required: bool = mode == Mode::Prod, FlagKind, Flag "WS_AUTH_REQUIRED";
        /// A path.
        path: String = "/toy".to_owned(), PATH, AsKey "TOY_PATH";
        /// A time.
        timeout: Duration = Duration::from_secs(30), Time(Duration::from_millis(10)..=Duration::from_hours(1)),
            Seconds "TOY_TIMEOUT";
        /// A size.
        size: usize = MIB, Size(KIB..=64 * MIB), Bytes "TOY_SIZE";
        /// A key.
        api_key: Option<Secret> = None, Maybe(API_KEY), AsKey "TOY_KEY";
        /// A rate.
        rate: f64 = 5.0, Number(0.0..=1e6), Lenient "TOY_RATE";
    }
}

const PATH: Parsed<String> = Parsed {
    read: |text| text.starts_with('/').then(|| text.to_owned()),
    show: String::clone,
    accepts: "a path",
};

impl SectionRules for Toy {
    fn open_endpoints(&self, _: Mode) -> Vec<&'static str> {
        let is_open = !self.auth_required;
        is_open
            .then_some("toy.auth_required = false")
            .into_iter()
            .collect()
    }

    fn broken_rules(&self) -> Vec<Problem> {
        let twice = || Problem::PathTwice {
            first: "toy.path",
            second: "toy.other",
            path: self.path.clone(),
        };
        (self.path == "/twice").then(twice).into_iter().collect()
    }
}

/// The registered sections.
const TOYS: &[MakeSection] = &[Toy::make];

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a configuration is made from, in the tests' shorthand.
#[derive(Default)]
struct Given<'a> {
    env_file: &'a str,
    file: &'a str,
    env: &'a [(&'a str, &'a str)],
    flags: &'a [(&'static str, &'static str, &'a str)],
    secret_file: Option<&'a [u8]>,
}

impl Given<'_> {
    fn load(&self) -> Result<Config, ConfigError> {
        let secret = self.secret_file.map(<[u8]>::to_vec);
        Config::from_sources(&self.sources(), |_: &Path| {
            secret.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn sources(&self) -> Sources {
        let flag = |(section, key, value): &(&'static str, &'static str, &str)| Flag {
            name: "--flag",
            section: (!section.is_empty()).then_some(section),
            key,
            value: (*value).to_owned(),
        };
        let env_file =
            (!self.env_file.is_empty()).then(|| (".env".to_owned(), self.env_file.to_owned()));
        Sources {
            env_file,
            file: Some(("fanfare.toml".to_owned(), self.file.to_owned())),
            env: self
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            flags: self.flags.iter().map(flag).collect(),
            sections: TOYS.to_vec(),
        }
    }
}

#[track_caller]
fn accepted(given: &Given<'_>) -> Config {
    given.load().unwrap_or_else(|error| panic!("{error}"))
}

/// The demo mode with `file` appended is refused with exactly `message`.
#[track_caller]
fn refused(file: &str, message: &str) {
    check(
        &Given {
            file: &format!("mode = \"demo\"\n{file}"),
            ..Given::default()
        },
        message,
    );
}

#[track_caller]
fn check(given: &Given<'_>, message: &str) {
    let error = given.load().expect_err("refused");
    assert_eq!(error.to_string(), message);
}
