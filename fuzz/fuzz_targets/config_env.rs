//! An environment file and variables are accepted or refused with reasons, and the TOML file that they amount
//! to is one, with the same values. The input is the file; its lines are also variables.

use fanfare::config::{Config, Sources};
use fanfare::dialect::bridge::BridgeSettings;
use fanfare::dialect::sections;
use fanfare::dialect::sse::SseSettings;

pub fn run(text: &str) {
    let file = Some((".env".to_owned(), text.to_owned()));
    let variables = text.lines().filter_map(|line| line.split_once('='));
    let env = variables
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    for sources in [
        Sources {
            env_file: file,
            sections: sections(&[]),
            ..Sources::default()
        },
        Sources {
            env,
            sections: sections(&[]),
            ..Sources::default()
        },
    ] {
        let _ = sources.settings_of_env_file();
        match (sources.values(), sources.document()) {
            (Ok(config), Ok(document)) => {
                let again = Sources {
                    file: Some(("file".to_owned(), document.text)),
                    sections: sections(&[]),
                    ..Sources::default()
                };
                let again = again.values().expect("what was printed is read");
                assert_eq!(without_secrets(again), without_secrets(config));
            }
            (Err(error), Err(same)) => {
                assert!(!error.problems.is_empty() && error == same);
            }
            (values, document) => panic!("{values:?} {document:?}"),
        }
    }
}

/// A configuration without what is not printed.
fn without_secrets(mut config: Config) -> Config {
    config.auth.jwt_secret = None;
    config.auth.api_keys = Vec::new();
    config.section_mut::<BridgeSettings>().api_key = None;
    config.section_mut::<SseSettings>().cursor_secret = None;
    config
}
