//! Settings from variables of the environment and the environment file: `FANFARE_SECTION__KEY`, and names that other
//! gateways use.

use std::borrow::Cow;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Config;
use super::alias::{self, AliasForm};
use super::error::Problem;
use super::raw::RawValue;
use super::setting::{Setting, Spelling, Target, nearest};

/// Names the configuration file, where `--config` does not.
pub const CONFIG_VARIABLE: &str = "FANFARE_CONFIG";
/// Names the environment file, where `--env-file` does not.
pub const ENV_FILE_VARIABLE: &str = "FANFARE_ENV_FILE";
/// Holds the token of `fanfare publish`, where `--token` does not.
pub const TOKEN_VARIABLE: &str = "FANFARE_TOKEN";

/// A variable as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// File and line; `None` in the environment.
    pub place: Option<String>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Result<String, NoValue>,
}

/// Why a variable has no value that could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoValue {
    /// It is not Unicode.
    NotUnicode,
    /// There is none.
    Missing,
    /// It refers to another variable.
    Reference,
}

/// The variables of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    /// Its own.
    pub own: &'a [Given],
    /// Those of the layer below, which complete them: a host here and a port there are an address.
    pub below: &'a [Given],
    /// Those of the layer above, which decide between names that mean the same.
    pub above: &'a [Given],
}

/// A variable on its way to its key.
#[derive(Debug)]
pub(super) struct Variable<'a> {
    /// For messages: where it is, and its name.
    origin: String,
    /// The section of its key, in the spelling of the file.
    section: Option<Cow<'a, str>>,
    /// The key, likewise.
    key: Cow<'a, str>,
    /// Its value as the key reads it.
    value: Result<Value<'a>, Wrong>,
    /// Whether a value that the key refuses is passed over with a warning.
    is_lenient: bool,
}

/// A value as its key reads it.
#[derive(Debug)]
struct Value<'a> {
    word: Cow<'a, str>,
    /// How it was written, if that differs.
    spelling: Option<Spelling<'a>>,
}

/// A value that cannot be for its key to judge.
#[derive(Debug)]
struct Wrong {
    given: String,
    accepted: &'static str,
}

/// The variables of the environment whose names are Unicode, but for those that Kubernetes made.
pub(super) fn given(env: &[(OsString, OsString)]) -> Vec<Given> {
    let unicode = env.iter().filter_map(|(name, value)| {
        Some(Given {
            place: None,
            name: name.to_str()?.to_owned(),
            value: value.to_str().map(str::to_owned).ok_or(NoValue::NotUnicode),
        })
    });
    let is_meant = |given: &Given| given.is_set() && !given.is_about_service();
    unicode.filter(is_meant).collect()
}

impl<'a> Layer<'a> {
    /// The variables that set keys, those of the common names first, so that `FANFARE_*` comes over
    /// them. Those of ours that mean no key of `config` are problems.
    pub(super) fn variables(
        self,
        config: &Config,
        problems: &mut Vec<Problem>,
    ) -> Vec<Variable<'a>> {
        let mut variables = Vec::new();
        variables.extend(self.listen());
        variables.extend(self.debug());
        let aliases = config.aliases();
        variables.extend(aliases.filter_map(|((name, form), section, key)| {
            Some(last(self.own, name)?.variable(section, key, form))
        }));
        let known: Vec<_> = std::iter::once(Target::Top("mode"))
            .chain(config.keys())
            .map(variable_name)
            .collect();
        let ours = self.own.iter();
        for given in ours.filter(|given| given.name.starts_with(PREFIX)) {
            if OTHERS.contains(&given.name.as_str()) {
                problems.extend(given.misplaced());
            } else if known.contains(&given.name) {
                variables.push(given.by_path());
            } else {
                problems.push(Problem::Unknown {
                    origin: given
                        .place
                        .clone()
                        .unwrap_or_else(|| "environment".to_owned()),
                    what: "variable",
                    name: given.name.clone(),
                    nearest: nearest(&given.name.to_ascii_uppercase(), known.clone()),
                });
            }
        }
        variables
    }

    /// The address that `HOST` and `PORT` name, each completed from below and by its default.
    fn listen(self) -> Option<Variable<'a>> {
        if self.anywhere("SERVER_ADDR") {
            return None;
        }
        let hosts = |given: &'a [Given]| last(given, "HOST").filter(|given| given.is_host());
        let ports = |given| last(given, "PORT");
        let (own_host, own_port) = (hosts(self.own), ports(self.own));
        own_host.or(own_port)?;
        let (host, port) = (
            own_host.or_else(|| hosts(self.below)),
            own_port.or_else(|| ports(self.below)),
        );
        let origins: Vec<_> = [host, port]
            .into_iter()
            .flatten()
            .map(Given::origin)
            .collect();
        let value = listen(host, port).map(|address| Value {
            word: address.to_string().into(),
            spelling: None,
        });
        Some(Variable {
            origin: match &value {
                Err((wrong, _)) => wrong.origin(),
                Ok(_) => origins.join(" and "),
            },
            section: Some("server".into()),
            key: "listen".into(),
            value: value.map_err(|(_, wrong)| wrong),
            is_lenient: false,
        })
    }

    /// The level that `DEBUG` asks for, unless `LOG_LEVEL` says otherwise.
    fn debug(self) -> Option<Variable<'a>> {
        if self.anywhere("LOG_LEVEL") {
            return None;
        }
        let given = last(self.own, "DEBUG")?;
        // One that is no flag is another program's: npm packages read patterns from it.
        if !given.text().ok().and_then(alias::flag)? {
            return None;
        }
        let mut variable = given.variable("log", "level", AliasForm::Flag);
        if let Ok(value) = &mut variable.value {
            value.word = "debug".into();
        }
        Some(variable)
    }

    fn anywhere(self, name: &str) -> bool {
        let layers = [self.own, self.below, self.above];
        layers.into_iter().any(|given| last(given, name).is_some())
    }
}

/// The address of a host and a port; an error says which of them is invalid and why.
fn listen<'a>(
    host: Option<&'a Given>,
    port: Option<&'a Given>,
) -> Result<SocketAddr, (&'a Given, Wrong)> {
    let mut address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
    if let Some(given) = host {
        let accepted = "an IP address or localhost";
        address.set_ip(given.read(alias::host, accepted).map_err(|w| (given, w))?);
    }
    if let Some(given) = port {
        let accepted = "a port from 1 to 65535";
        address.set_port(given.read(alias::port, accepted).map_err(|w| (given, w))?);
    }
    Ok(address)
}

impl Given {
    /// Whether it has more than white space as its value: an empty variable is one that is not set.
    pub(super) fn is_set(&self) -> bool {
        self.value
            .as_ref()
            .map_or(true, |value| !value.trim().is_empty())
    }

    /// Whether Kubernetes made it for a Service called `fanfare` or `fanfare-..`, as it does in every pod of the
    /// Service's namespace: <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
    fn is_about_service(&self) -> bool {
        let is_link = |name: &str| {
            let value = self.value.as_deref().unwrap_or_default();
            name.ends_with("_PORT") && value.contains("://")
        };
        let is_port = |(_, port): (&str, &str)| {
            let mut parts = port.split('_');
            let number = parts.next().is_some_and(alias::is_digits);
            let protocol = parts
                .next()
                .is_some_and(|p| matches!(p, "TCP" | "UDP" | "SCTP"));
            let what = parts
                .next()
                .is_none_or(|w| matches!(w, "PROTO" | "PORT" | "ADDR"));
            number && protocol && what && parts.next().is_none()
        };
        let is_service =
            |name: &str| name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT");
        let name = self.name.as_str();
        // Two underscores are between section and key only.
        name.starts_with(PREFIX)
            && !name.contains("__")
            && (is_service(name)
                || name.contains("_SERVICE_PORT_")
                || is_link(name)
                || name.split_once("_PORT_").is_some_and(is_port))
    }

    /// Where it is, and its name.
    fn origin(&self) -> String {
        match &self.place {
            Some(place) => format!("{place}: {}", self.name),
            None => self.name.clone(),
        }
    }

    /// The value without white space around it, if there is one.
    fn text(&self) -> Result<&str, Wrong> {
        self.whole().map(str::trim)
    }

    /// The value as it was given, if there is one. [`Raw::Word`] takes white space off.
    fn whole(&self) -> Result<&str, Wrong> {
        self.value.as_deref().map_err(|why| match why {
            NoValue::NotUnicode => Wrong {
                given: "a value that is not Unicode".to_owned(),
                accepted: "Unicode text",
            },
            NoValue::Missing => Wrong {
                given: "nothing".to_owned(),
                accepted: "a value, as NAME=value",
            },
            NoValue::Reference => Wrong {
                given: "a value with ${".to_owned(),
                accepted: "the value itself, since this file replaces nothing; in the environment it may have ${",
            },
        })
    }

    /// The value converted by `read`, or an error that states what is `accepted`.
    fn read<T>(&self, read: fn(&str) -> Option<T>, accepted: &'static str) -> Result<T, Wrong> {
        let text = self.text()?;
        read(text).ok_or_else(|| Wrong {
            given: RawValue::Word(text).show(),
            accepted,
        })
    }

    /// Whether this `HOST` counts: a shell's does only as an address, one that was written into a file always.
    fn is_host(&self) -> bool {
        self.place.is_some() || self.text().is_ok_and(|text| alias::host(text).is_some())
    }

    /// This variable for a key, its values being written as `form` says.
    fn variable(&self, section: &'static str, key: &'static str, form: AliasForm) -> Variable<'_> {
        let text = if form == AliasForm::AsKey {
            self.whole()
        } else {
            self.text()
        };
        let value = text.and_then(|text| {
            let word = form.translate(text).map_err(|accepted| Wrong {
                given: RawValue::Word(text).show(),
                accepted,
            })?;
            let spelling = Spelling {
                given: text,
                accepts_also: form.accepts_also(),
            };
            Ok(Value {
                word,
                spelling: form.has_spelling().then_some(spelling),
            })
        });
        Variable {
            origin: self.origin(),
            section: Some(section.into()),
            key: key.into(),
            value,
            is_lenient: form.is_lenient(),
        }
    }

    /// This variable for the key that its name spells.
    fn by_path(&self) -> Variable<'_> {
        let path = self.name[PREFIX.len()..].to_ascii_lowercase();
        let (section, key) = match path.split_once("__") {
            Some((section, key)) => (Some(section.to_owned().into()), key.to_owned()),
            None => (None, path),
        };
        Variable {
            origin: self.origin(),
            section,
            key: key.into(),
            value: self.whole().map(|text| Value {
                word: text.into(),
                spelling: None,
            }),
            is_lenient: false,
        }
    }

    /// That this variable, which sets no key, counts in the environment only.
    fn misplaced(&self) -> Option<Problem> {
        let place = self.place.clone().filter(|_| self.name != TOKEN_VARIABLE)?;
        Some(Problem::Misplaced {
            origin: place,
            name: self.name.clone(),
        })
    }
}

impl Variable<'_> {
    /// Adds this to `settings`, or its error to `problems`.
    pub(super) fn settle<'a>(
        &'a self,
        settings: &mut Vec<Setting<'a>>,
        problems: &mut Vec<Problem>,
    ) {
        let target = match &self.section {
            Some(section) => Target::Key(section, &self.key),
            None => Target::Top(&self.key),
        };
        match &self.value {
            Ok(value) => settings.push(Setting {
                origin: self.origin.clone(),
                target,
                raw: RawValue::Word(&value.word),
                spelling: value.spelling,
                is_lenient: self.is_lenient,
            }),
            Err(wrong) => problems.push(Problem::Value {
                origin: self.origin.clone(),
                key: target.path(),
                given: wrong.given.clone(),
                accepted: wrong.accepted.to_owned(),
            }),
        }
    }
}

/// The variable called `name`; the last one, since a file may have several.
fn last<'a>(given: &'a [Given], name: &str) -> Option<&'a Given> {
    given.iter().rfind(|given| given.name == name)
}

/// The variable that sets the key of `target`.
fn variable_name(target: Target<'_>) -> String {
    match target {
        Target::Top(key) => format!("{PREFIX}{key}"),
        Target::Key(section, key) | Target::Namespace(section, key) => {
            format!("{PREFIX}{section}__{key}")
        }
    }
    .to_ascii_uppercase()
}

/// The prefix of the gateway's own variables.
const PREFIX: &str = "FANFARE_";

/// Our variables that set no key.
const OTHERS: &[&str] = &[CONFIG_VARIABLE, ENV_FILE_VARIABLE, TOKEN_VARIABLE];

/// The port beside a `HOST` that has none: that of the default listener.
const DEFAULT_PORT: u16 = 8080;
