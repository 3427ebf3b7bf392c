//! The configuration: validated once, so that a [`Config`] is valid by construction.
//!
//! Defaults of the mode, then the environment file, then the TOML file, then the environment, then flags. Every key
//! knows what it accepts, so that no value is out of range once a [`Config`] exists, and every refusal says where the
//! value came from, what it was and what would be accepted.
//!
//! Each section is declared once, in the file of its name: struct, defaults, accepted values, common variables
//! and comments. `default-config` and `check-config` print from the same declaration. Those of the gateway itself are
//! here; each protocol registers its own (`dialect/<name>/settings.rs`).

use std::any::Any;
use std::collections::BTreeSet;
use std::io;

mod access;
mod alias;
mod auth;
mod backend;
mod clients;
mod debug;
mod document;
mod duration;
mod env;
mod env_file;
mod error;
mod explain;
mod file;
mod http;
mod hub;
mod key_set;
pub mod kind;
mod layers;
mod log;
mod mode;
mod namespace;
mod origin;
mod raw;
mod rules;
mod secret;
pub mod section;
mod server;
mod setting;
mod size;
mod socket_path;
mod start;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod websocket;

pub use access::Access;
pub use alias::AliasForm;
pub use auth::{Auth, JWKS_REFRESH_MIN, TokenAlgorithm};
pub use backend::{Backend, BackendFull};
pub use clients::ClientLimits;
pub use debug::Debug;
pub use document::Document;
pub use duration::parse as parse_duration;
pub use env::{CONFIG_VARIABLE, ENV_FILE_VARIABLE, TOKEN_VARIABLE};
pub use error::{ConfigError, Problem};
pub use explain::{Explained, Rule};
pub use http::Http;
pub use hub::{Hub, SlowConsumer};
pub use key_set::KeySetAddress;
pub use layers::{Flag, Sources};
pub use log::{Log, LogFormat, LogLevel};
pub use mode::{Mode, UnknownMode};
pub use namespace::{Namespace, Namespaces};
pub use origin::{CorsOrigin, OriginPattern};
pub use raw::RawValue;
pub use rules::secret_of;
pub use secret::{API_KEY, Hidden, KeyHash, SECRET, Secret};
pub use section::{MakeSection, Section, SectionRules};
pub use server::{ForwardedHeader, ListenAddress, Server, SocketMode};
pub use setting::section_of;
pub use size::{GIB, KIB, MIB};
pub use socket_path::SocketPath;
pub use store::StoreSettings;
pub use tls::{ClientCertificates, Tls, TlsVersion};
pub use websocket::Websocket;

/// The whole configuration. See each section for its keys; those of protocols are found by their types
/// ([`Config::section`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the defaults of the other keys come from.
    pub mode: Mode,
    /// Listeners, shards and what connections may cost before they speak.
    pub server: Server,
    /// Certificates and handshakes of TLS.
    pub tls: Tls,
    /// Limits of requests.
    pub http: Http,
    /// Liveness, deadlines, budgets and compression of WebSocket connections.
    pub websocket: Websocket,
    /// Memory of topics and clients, slow consumers.
    pub hub: Hub,
    /// Settings by prefix of a topic's name.
    pub namespaces: Namespaces,
    /// Access and limits of clients: `[events]` in the file.
    pub clients: ClientLimits,
    /// The link to an application.
    pub backend: Backend,
    /// Where accounts and messages are stored.
    pub store: StoreSettings,
    /// Credentials.
    pub auth: Auth,
    /// Endpoints for tests and measurements.
    pub debug: Debug,
    /// Level and format of the log.
    pub log: Log,
    /// The sections of protocols, in the order of the file.
    registered: Vec<Box<dyn Section>>,
    /// Values of variables that were passed over because their keys refuse them, a sentence each.
    passed_over: PassedOver,
}

/// Sentences about values that were passed over. They are no part of what a configuration is.
#[derive(Debug, Clone, Default)]
struct PassedOver(Vec<String>);

impl PartialEq for PassedOver {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Config {
    /// The defaults of `mode`. Those of [`Mode::Prod`] lack credentials, so a gateway does not start with them alone.
    pub fn for_mode(mode: Mode) -> Self {
        Self::with_sections(mode, &[])
    }

    /// The same with the sections that `registered` makes.
    ///
    /// # Panics
    /// Two sections have one name.
    pub fn with_sections(mode: Mode, registered: &[MakeSection]) -> Self {
        let (hub, clients) = (Hub::for_mode(mode), ClientLimits::for_mode(mode));
        let config = Self {
            mode,
            server: Server::for_mode(mode),
            tls: Tls::for_mode(mode),
            http: Http::for_mode(mode),
            websocket: Websocket::for_mode(mode),
            namespaces: Namespaces::new(Vec::new(), &hub, &clients),
            hub,
            clients,
            backend: Backend::for_mode(mode),
            store: StoreSettings::for_mode(mode),
            auth: Auth::for_mode(mode),
            debug: Debug::for_mode(mode),
            log: Log::for_mode(mode),
            registered: registered.iter().map(|make| make(mode)).collect(),
            passed_over: PassedOver::default(),
        };
        let names: BTreeSet<_> = config.sections().map(Section::name).collect();
        let is_each_own = names.len() == config.sections().count();
        assert!(is_each_own, "a section has the name of another: {names:?}");
        config
    }

    /// The defaults of the same mode and sections.
    fn defaults(&self) -> Self {
        let registered = self.registered.iter();
        Self {
            registered: registered.map(|it| it.defaults(self.mode)).collect(),
            ..Self::for_mode(self.mode)
        }
    }

    /// The section of this type; the defaults of the mode where none is registered.
    ///
    /// Cost: a copy. Protocols ask once, when they are registered.
    pub fn section<T: Section + Clone>(&self) -> T {
        let mut own = self.registered.iter();
        let own = own.find_map(|it| (&**it as &dyn Any).downcast_ref::<T>());
        own.map_or_else(|| T::for_mode(self.mode), T::clone)
    }

    /// The section of this type, to be changed; registered now where none is.
    pub fn section_mut<T: Section>(&mut self) -> &mut T {
        let mut own = self.registered.iter();
        let at = own.position(|it| (&**it as &dyn Any).is::<T>());
        let at = at.unwrap_or_else(|| {
            self.registered.push(Box::new(T::for_mode(self.mode)));
            self.registered.len() - 1
        });
        let own = &mut *self.registered[at] as &mut dyn Any;
        own.downcast_mut().expect("it is found by its type")
    }

    /// The settings of `topic`, see [`Namespaces::of`].
    pub fn namespace(&self, topic: &str) -> &Namespace {
        self.namespaces.of(topic)
    }

    /// The configuration that `text` alone describes: no environment, no flags, and no other file, so
    /// that `auth.jwt_secret_file` is refused.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_toml_with(text, &[])
    }

    /// The same with the sections that `registered` makes.
    pub fn from_toml_with(text: &str, registered: &[MakeSection]) -> Result<Self, ConfigError> {
        let sources = Sources {
            file: Some(("configuration".to_owned(), text.to_owned())),
            sections: registered.to_vec(),
            ..Sources::default()
        };
        Self::from_sources(&sources, |_| Err(io::ErrorKind::Unsupported.into()))
    }

    /// The sections with fixed names, in the order of the file.
    fn sections(&self) -> impl Iterator<Item = &dyn Section> {
        let first: [&dyn Section; _] = [
            &self.server,
            &self.tls,
            &self.http,
            &self.websocket,
            &self.hub,
            &self.clients,
        ];
        let last: [&dyn Section; _] = [
            &self.backend,
            &self.store,
            &self.auth,
            &self.debug,
            &self.log,
        ];
        let registered = self.registered.iter().map(|it| &**it);
        first.into_iter().chain(registered).chain(last)
    }

    /// The section called `name`.
    fn section_named(&mut self, name: &str) -> Option<&mut dyn Section> {
        let own: [&mut dyn Section; _] = [
            &mut self.server,
            &mut self.tls,
            &mut self.http,
            &mut self.websocket,
            &mut self.hub,
            &mut self.clients,
            &mut self.backend,
            &mut self.store,
            &mut self.auth,
            &mut self.debug,
            &mut self.log,
        ];
        let registered = self.registered.iter_mut().map(|it| &mut **it);
        let mut all = own.into_iter().chain(registered);
        all.find(|section| section.name() == name)
    }
}
