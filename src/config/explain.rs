//! Explains the settings of a topic: their values and where these come from.

use std::collections::BTreeMap;

use super::Config;
use super::error::{ConfigError, Problem};
use super::layers::{Draft, Sources};
use super::section::Section;
use super::setting::{Target, section_of};

/// A configuration that knows where its values come from.
#[derive(Debug)]
pub struct Explained {
    /// The configuration. Not for a gateway to start with.
    pub config: Config,
    /// Why no gateway would start with it, if so: the rules that it breaks as a whole.
    pub broken_rules: Vec<Problem>,
    /// Where the keys come from that were given, by their paths.
    origins: BTreeMap<String, String>,
}

/// A key of a namespace, its value and where that comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The key.
    pub key: &'static str,
    /// The value, as TOML.
    pub value: String,
    /// The place of the value, in words.
    pub origin: String,
}

impl Sources {
    /// The configuration of all of this, with every value's place. No key file is read.
    ///
    /// # Errors
    /// Everything that is wrong with single values.
    pub fn explained(&self) -> Result<Explained, ConfigError> {
        let Draft {
            config, origins, ..
        } = self.valid_draft()?;
        Ok(Explained {
            broken_rules: config.broken_rules(),
            config,
            origins,
        })
    }
}

impl Explained {
    /// Where the section of a namespace begins: file and line.
    pub fn place(&self, prefix: &str) -> &str {
        let place = self.origins.get(&section_of(prefix));
        place.map_or("", String::as_str)
    }

    /// What holds for the topics of the namespace with this prefix, or for those of none.
    pub fn rules(&self, prefix: Option<&str>) -> Vec<Rule> {
        let namespaces = &self.config.namespaces;
        let namespace = namespaces
            .iter()
            .find(|(name, _)| Some(*name) == prefix)
            .map_or_else(|| namespaces.default(), |(_, namespace)| namespace);
        let all = namespace.as_overrides();
        let own = |key| self.origins.get(&Target::Namespace(prefix?, key).path());
        let rules = all.keys().iter().filter_map(|key| {
            let value = all.show(key.name)?;
            let origin = own(key.name)
                .cloned()
                .unwrap_or_else(|| self.inherited(key.name));
            Some(Rule {
                key: key.name,
                value,
                origin,
            })
        });
        rules.collect()
    }

    /// Where the value comes from that a namespace leaves out.
    fn inherited(&self, key: &str) -> String {
        let sections: [&dyn Section; 2] = [&self.config.hub, &self.config.clients];
        let has_key = |section: &&dyn Section| section.keys().iter().any(|known| known.name == key);
        let Some(section) = sections.into_iter().find(has_key) else {
            return "default".to_owned();
        };
        let path = Target::Key(section.name(), key).path();
        match self.origins.get(&path) {
            Some(origin) => format!("{path}, {origin}"),
            None => format!("{path}, default of mode {}", self.config.mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::super::namespace::Overrides;
    use super::*;

    /// What a namespace leaves out has a key of the same name elsewhere, or a default of its own.
    #[test]
    fn every_key_of_a_namespace_says_where_its_value_comes_from() {
        let explained = Sources::default().explained().unwrap();
        let rules = explained.rules(None);
        assert_eq!(
            rules.len(),
            Overrides::for_mode(Mode::Prod).keys().len(),
            "{rules:?}"
        );
        for rule in rules {
            let expected = match rule.key {
                "priority" => "default".to_owned(),
                "subscribe" | "publish" | "publisher" | "max_message_size" => {
                    format!("events.{}, default of mode prod", rule.key)
                }
                key => format!("hub.{key}, default of mode prod"),
            };
            assert_eq!(rule.origin, expected);
        }
    }
}
