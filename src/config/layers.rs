//! The layers of a configuration, later ones over earlier: defaults of the
//! mode, environment file, file, environment, flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::alias::AliasForm;
use super::env::{self, Given, Layer};
use super::env_file;
use super::error::{ConfigError, Problem};
use super::file;
use super::kind::OneOf;
use super::namespace::{Namespaces, Overrides};
use super::raw::RawValue;
use super::section::{self, KeyRefusal, MakeSection, Section};
use super::setting::{Setting, Target, nearest, section_of};
use super::{Config, Mode};

/// The sources of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Name and text of the environment file.
    pub env_file: Option<(String, String)>,
    /// Name and text of the TOML file.
    pub file: Option<(String, String)>,
    /// The environment, foreign variables included.
    pub env: Vec<(OsString, OsString)>,
    /// Values given on the command line.
    pub flags: Vec<Flag>,
    /// How the sections of protocols are made.
    pub sections: Vec<MakeSection>,
}

/// A value given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag for messages, as `--listen`.
    pub name: &'static str,
    /// The section of its key.
    pub section: Option<&'static str>,
    /// The key.
    pub key: &'static str,
    /// The value, as in the environment: lists are separated by commas.
    pub value: String,
}

/// A configuration whose values have been read, and that has not been checked as a whole.
#[derive(Debug)]
pub(super) struct Draft {
    /// The configuration.
    pub config: Config,
    /// Where the keys come from that were given, by their paths.
    pub origins: BTreeMap<String, String>,
    /// Errors of single values.
    pub problems: Vec<Problem>,
}

impl Config {
    /// The configuration that `sources` describe, or everything that is wrong with it.
    ///
    /// `read` fetches the file named by `auth.jwt_secret_file`; nothing else is read.
    pub fn from_sources(
        sources: &Sources,
        read: impl FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let Draft {
            mut config,
            mut problems,
            ..
        } = sources.draft();
        problems.extend(config.read_secrets(read));
        // Rules across keys need all values: with some of them invalid they would report false errors.
        if problems.is_empty() {
            problems = config.broken_rules();
        }
        ConfigError::unless_empty(problems)?;
        Ok(config)
    }

    /// Gives one value to its key.
    fn apply(
        &mut self,
        setting: &Setting<'_>,
        namespaces: &mut Vec<(String, Overrides)>,
    ) -> Result<(), Problem> {
        let result = match setting.target {
            // Read before the others, for they start from it.
            Target::Top("mode") => Ok(()),
            Target::Top(_) => Err(KeyRefusal::UnknownKey),
            Target::Key(name, key) => match self.section_named(name) {
                Some(section) => section.set(key, setting.raw),
                None => Err(KeyRefusal::UnknownKey),
            },
            Target::Namespace(prefix, key) => {
                namespace(namespaces, prefix, self.mode).set(key, setting.raw)
            }
        };
        result.map_err(|refusal| match refusal {
            KeyRefusal::Value(wrong) => setting.refused(wrong),
            KeyRefusal::UnknownKey => Problem::Unknown {
                origin: setting.origin.clone(),
                what: "key",
                name: setting.target.path(),
                nearest: self.nearest(setting.target),
            },
        })
    }

    /// Every key of a section with a fixed name.
    pub(super) fn keys(&self) -> impl Iterator<Item = Target<'static>> {
        let sections = self.sections();
        sections.flat_map(|section| {
            let keys = section.keys().iter();
            keys.map(|key| Target::Key(section.name(), key.name))
        })
    }

    /// The variables of other gateways with their forms, and the section and key that each sets; it may set several.
    pub(super) fn aliases(
        &self,
    ) -> impl Iterator<Item = ((&'static str, AliasForm), &'static str, &'static str)> {
        let sections = self.sections();
        let keys =
            sections.flat_map(|section| section.keys().iter().map(|key| (section.name(), key)));
        keys.flat_map(|(section, key)| {
            let aliases = key.aliases.iter();
            aliases.map(move |alias| (*alias, section, key.name))
        })
    }

    /// What `--help` says of them: each with its keys, and of its values in one line or more.
    pub fn common_variables(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<(&str, String)> = Vec::new();
        for ((name, form), section, key) in self.aliases() {
            let path = Target::Key(section, key).path();
            match all.iter_mut().find(|it| it.0 == name) {
                Some((_, keys)) => *keys = format!("{keys} and {path}"),
                None => all.push((name, path + form.help())),
            }
        }
        all
    }

    /// The path of the known key most like that of `target`.
    fn nearest(&self, target: Target<'_>) -> Option<String> {
        let given = target.path();
        let mut known = vec!["mode".to_owned()];
        if let Target::Namespace(prefix, _) = target {
            let keys = Overrides::for_mode(self.mode).keys();
            known = keys
                .iter()
                .map(|key| Target::Namespace(prefix, key.name).path())
                .collect();
        } else {
            known.extend(self.keys().map(Target::path));
        }
        nearest(&given, known)
    }
}

impl Sources {
    /// The settings of all sources.
    pub(super) fn draft(&self) -> Draft {
        let mut problems = Vec::new();
        let known = self.defaults(Mode::Prod);
        let table = self
            .file
            .as_ref()
            .and_then(|(name, text)| file::parse(name, text, &mut problems));
        let env = env::given(&self.env);
        let env_file = self.env_file(&mut problems);
        let mut settings = Vec::new();

        let below = Layer {
            own: &env_file,
            below: &[],
            above: &env,
        };
        let below = below.variables(&known, &mut problems);
        for variable in &below {
            variable.settle(&mut settings, &mut problems);
        }
        let prefixes = match (&table, &self.file) {
            (Some(table), Some((name, text))) => file::settings(
                (name, text, table.get_ref()),
                &known,
                &mut settings,
                &mut problems,
            ),
            _ => Vec::new(),
        };
        let above = Layer {
            own: &env,
            below: &env_file,
            above: &[],
        };
        let above = above.variables(&known, &mut problems);
        for variable in &above {
            variable.settle(&mut settings, &mut problems);
        }
        settings.extend(self.flags.iter().map(Flag::setting));

        let mut config = self.defaults(mode(&settings, &mut problems));
        let mut namespaces = Vec::new();
        let mut origins = BTreeMap::new();
        for (prefix, origin) in prefixes {
            namespace(&mut namespaces, prefix, config.mode);
            origins.insert(section_of(prefix), origin);
        }
        for setting in &settings {
            let applied = config.apply(setting, &mut namespaces);
            if let (Err(problem), true) = (&applied, setting.is_lenient) {
                config.passed_over.0.push(format!("passed over: {problem}"));
                continue;
            }
            origins.insert(setting.target.path(), setting.origin.clone());
            problems.extend(applied.err());
        }
        config.namespaces = Namespaces::new(namespaces, &config.hub, &config.clients);
        Draft {
            config,
            origins,
            problems,
        }
    }

    /// As [`Self::draft`].
    ///
    /// # Errors
    /// Everything that is wrong with single values.
    pub(super) fn valid_draft(&self) -> Result<Draft, ConfigError> {
        let mut draft = self.draft();
        ConfigError::unless_empty(std::mem::take(&mut draft.problems))?;
        Ok(draft)
    }

    /// The configuration with every value read and the whole not judged: no rule that joins keys, no
    /// credential asked for, no key file read. Not for a gateway to start with.
    ///
    /// # Errors
    /// Everything that is wrong with single values.
    pub fn values(&self) -> Result<Config, ConfigError> {
        Ok(self.valid_draft()?.config)
    }

    /// How many settings the environment file gives, those included that a later layer changes.
    pub fn settings_of_env_file(&self) -> usize {
        let (env, mut problems) = (env::given(&self.env), Vec::new());
        let layer = Layer {
            own: &self.env_file(&mut problems),
            below: &[],
            above: &env,
        };
        layer
            .variables(&self.defaults(Mode::Prod), &mut problems)
            .len()
    }

    /// What holds in `mode` when nothing is set.
    fn defaults(&self, mode: Mode) -> Config {
        Config::with_sections(mode, &self.sections)
    }

    fn env_file(&self, problems: &mut Vec<Problem>) -> Vec<Given> {
        let file = self.env_file.as_ref();
        file.map_or_else(Vec::new, |(name, text)| {
            env_file::parse(name, text, problems)
        })
    }
}

impl Flag {
    fn setting(&self) -> Setting<'_> {
        Setting {
            origin: self.name.to_owned(),
            target: self.section.map_or(Target::Top(self.key), |section| {
                Target::Key(section, self.key)
            }),
            raw: RawValue::Word(&self.value),
            spelling: None,
            is_lenient: false,
        }
    }
}

/// The mode that the last layer asks for; production when none does.
fn mode(settings: &[Setting<'_>], problems: &mut Vec<Problem>) -> Mode {
    let mut mode = Mode::Prod;
    for setting in settings
        .iter()
        .filter(|setting| setting.target == Target::Top("mode"))
    {
        match section::read(&OneOf, setting.raw) {
            Ok(value) => mode = value,
            Err(wrong) => problems.push(setting.refused(wrong)),
        }
    }
    mode
}

/// The namespace called `prefix`, made when it is new.
fn namespace<'a>(
    all: &'a mut Vec<(String, Overrides)>,
    prefix: &str,
    mode: Mode,
) -> &'a mut Overrides {
    let at = all
        .iter()
        .position(|(known, _)| known == prefix)
        .unwrap_or_else(|| {
            all.push((prefix.to_owned(), Overrides::for_mode(mode)));
            all.len() - 1
        });
    &mut all[at].1
}
