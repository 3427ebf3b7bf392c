//! `[sse]`: streams of Server-Sent Events.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::kind::{Count, FILE, FlagKind, Maybe, Time};
use crate::config::section::{ReadFile, section};
use crate::config::{Problem, SECRET, Secret, SectionRules, secret_of};

section! {
    /// Streams of Server-Sent Events. Tokens are asked for as events.auth_required says.
    pub struct SseSettings("sse", mode) {
        /// Whether /api/v1/sse exists.
        enabled: bool = true, FlagKind;
        /// Topics of one stream. Beyond it: status 400.
        max_topics: usize = 50, Count(1..=1000);
        /// How long a client is told to wait before it connects again: between half of this and one
        /// and a half of it, drawn for each connection.
        retry: Duration = Duration::from_secs(2), Time(Duration::from_millis(10)..=Duration::from_mins(10));
        /// Silence after which a comment is sent, so that nothing on the way takes the stream for dead.
        heartbeat: Duration = Duration::from_secs(15), Time(Duration::from_millis(100)..=Duration::from_hours(1));
        /// The secret that signs cursors (event ids), at least 32 bytes. Without it cursors are signed
        /// with what follows from auth.jwt_secret; without that, they hold for this process only.
        cursor_secret: Option<Secret> = None, Maybe(SECRET);
        /// A file that holds it, read at the start.
        cursor_secret_file: Option<PathBuf> = None, Maybe(FILE);
    }
}

impl SectionRules for SseSettings {
    fn read_secrets(&mut self, read: ReadFile<'_>) -> Result<(), Problem> {
        let (value, file) = ("sse.cursor_secret", "sse.cursor_secret_file");
        match (&self.cursor_secret_file, &self.cursor_secret) {
            (None, _) => {}
            (Some(_), Some(_)) => return Err(Problem::SecretTwice { value, file }),
            (Some(path), None) => self.cursor_secret = Some(secret_of(file, path, read)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::{Config, Section, Sources};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_secret_of_cursors_comes_from_one_place() {
        let load = |keys: &str, file: Option<&str>| {
            let text = format!("mode = \"demo\"\n[sse]\n{keys}");
            let sources = Sources {
                file: Some(("fanfare.toml".to_owned(), text)),
                sections: vec![SseSettings::make],
                ..Sources::default()
            };
            let read = |_: &std::path::Path| {
                let text = file.ok_or(io::ErrorKind::NotFound)?;
                Ok(text.as_bytes().to_vec())
            };
            let config = Config::from_sources(&sources, read);
            config.map(|config| config.section::<SseSettings>().cursor_secret)
        };
        let file = "cursor_secret_file = \"/run/cursors\"\n";
        let secret = Secret::new(SECRET.as_bytes());
        assert_eq!(load(file, Some(&format!("{SECRET}\n"))).unwrap(), secret);
        let value = format!("cursor_secret = \"{SECRET}\"\n");
        let both = load(&format!("{file}{value}"), Some(SECRET)).unwrap_err();
        assert!(both.to_string().starts_with("both `sse.cursor_secret` and"));
        for content in [None, Some("short")] {
            let error = load(file, content).unwrap_err().to_string();
            let start = "`sse.cursor_secret_file`: cannot use /run/cursors: ";
            assert!(error.starts_with(start), "{error}");
        }
    }
}
