//! `fanfare check-config --explain TOPIC`: what holds for a topic, where each value comes from, and who may
//! subscribe and publish. The sentences say what `auth::Permissions` decides.

use std::fmt::Write;

use super::escape::escaped;
use super::exit::Exit;
use super::output;
use super::settings::Settings;
use crate::config::{Access, Config, Explained, section_of};
use crate::topic::{self, NameError, Selector, scope};

/// Prints what holds for `topic`, which may be a pattern.
pub(super) fn run(topic: &str, settings: &Settings) -> Result<Exit, Exit> {
    let selector = selector(topic).map_err(|error| {
        let topic = escaped(topic);
        output::complain(&format_args!(
            "--explain: \"{topic}\" is no topic and no pattern: {error}"
        ));
        Exit::Usage
    })?;
    let explained = settings.explained()?;
    output::warn_of_broken_rules(&explained.broken_rules);
    Ok(output::print(&text(&selector, &explained)))
}

/// A topic, a pattern, or an inbox, whose name may be one that clients cannot write.
fn selector(name: &str) -> Result<Selector<'_>, NameError> {
    match Selector::parse(name) {
        Err(_) if topic::is_inbox(name) && topic::check_prefix(name).is_ok() => {
            Ok(Selector::Topic(name))
        }
        selector => selector,
    }
}

fn text(selector: &Selector<'_>, explained: &Explained) -> String {
    let name = selector.as_str();
    let mut prefixes = Vec::new();
    let namespaces = &explained.config.namespaces;
    namespaces.all(selector, |prefix, _| {
        prefixes.push(prefix);
        true
    });
    let mut text = String::new();
    if let (Selector::Pattern(_), 2..) = (selector, prefixes.len()) {
        let _ = writeln!(
            text,
            "# {name} has topics of {} namespaces; the longest prefix of a topic counts.\n",
            prefixes.len()
        );
    }
    for &prefix in &prefixes {
        rules(&mut text, selector, prefix, explained);
    }
    if let Selector::Topic(name) = selector {
        let shorter = namespaces
            .iter()
            .filter(|(scope, _)| scope::has_topic(scope, name) && Some(*scope) != prefixes[0]);
        for (prefix, _) in shorter {
            let place = escaped(explained.place(prefix));
            let _ = writeln!(
                text,
                "# Without effect here, being shorter: [{}] ({place})\n",
                section_of(prefix)
            );
        }
    }
    let people = People {
        config: &explained.config,
        selector,
    };
    let _ = writeln!(text, "# Who may subscribe");
    for sentence in people.subscribers() {
        let _ = writeln!(text, "#   {sentence}");
    }
    let _ = writeln!(text, "#\n# Who may publish");
    for sentence in people.publishers() {
        let _ = writeln!(text, "#   {sentence}");
    }
    text
}

/// Writes what holds in one namespace, as a section with the place of each value.
fn rules(text: &mut String, selector: &Selector<'_>, prefix: Option<&str>, explained: &Explained) {
    let name = selector.as_str();
    let _ = match (prefix, selector) {
        (Some(scope), Selector::Topic(_)) => {
            let why = match scope::is_prefix(scope) {
                true => "is in this namespace: no longer prefix is the beginning of its name.",
                false => "has a section of its own.",
            };
            writeln!(
                text,
                "# {name} {why}\n[{}]   # {}",
                section_of(scope),
                escaped(explained.place(scope))
            )
        }
        (Some(scope), Selector::Pattern(_)) => writeln!(
            text,
            "[{}]   # {}",
            section_of(scope),
            escaped(explained.place(scope))
        ),
        (None, Selector::Topic(_)) => writeln!(
            text,
            "# {name} is in no namespace: [hub] and [events] hold."
        ),
        (None, Selector::Pattern(_)) => writeln!(
            text,
            "# Topics of {name} in no other namespace: [hub] and [events] hold."
        ),
    };
    for rule in explained.rules(prefix) {
        let value = format!("{} = {}", rule.key, rule.value);
        let _ = writeln!(text, "{value:<32} # {}", escaped(&rule.origin));
    }
    text.push('\n');
}

/// Who may do what with a topic, or with the topics of a pattern.
struct People<'a> {
    config: &'a Config,
    selector: &'a Selector<'a>,
}

impl People<'_> {
    fn subscribers(&self) -> Vec<String> {
        let name = self.selector.as_str();
        let access = self.strictest(|it| it.subscribe);
        if topic::is_inbox(name) {
            return match (self.selector, owner(name), access) {
                (Selector::Pattern(_), ..) => {
                    vec!["Nobody: no pattern matches inboxes.".to_owned()]
                }
                (.., Access::Nobody) => vec![NOBODY.to_owned()],
                (_, None, _) => vec!["Nobody: it is the inbox of no user.".to_owned()],
                (_, Some(user), _) => vec![
                    format!(
                        "The user \"{}\" alone, with a token whose `sub` says so.",
                        escaped(&user)
                    ),
                    "Services may read what it keeps, unless their token has `fanfare.subscribe`."
                        .to_owned(),
                    DENIED.to_owned(),
                ],
            };
        }
        let mut sentences = match access {
            Access::Nobody => return vec![self.whole(NOBODY)],
            Access::Service => vec!["Services: tokens whose role is \"service\".".to_owned()],
            Access::Authenticated => vec!["Whoever has a valid token.".to_owned()],
            Access::Everyone => self.connecting(),
        };
        if let Selector::Pattern(pattern) = self.selector
            && pattern.is_wide()
            && !self.config.clients.wide_patterns
        {
            sentences = vec![WIDE.to_owned()];
        }
        if let Some(first) = sentences.first_mut() {
            *first = self.whole(first);
        }
        sentences.push(format!(
            "A token with the claim `fanfare.subscribe`: if an entry of it covers {name}, and only then, \
             whatever the namespace says."
        ));
        sentences.push(DENIED.to_owned());
        if let Selector::Pattern(_) = self.selector {
            sentences.push("Inboxes are not among the topics of a pattern.".to_owned());
        }
        sentences.extend(self.no_token());
        sentences
    }

    fn publishers(&self) -> Vec<String> {
        let name = self.selector.as_str();
        if let Selector::Pattern(_) = self.selector {
            return vec![
                "A publication has one topic: ask for that one. By namespace, as `publish` above says."
                    .to_owned(),
            ];
        }
        if name == topic::SYSTEM_METRICS {
            return vec!["The gateway alone.".to_owned()];
        }
        let access = match (self.strictest(|it| it.publish), topic::is_inbox(name)) {
            (Access::Nobody, _) => return vec![NOBODY.to_owned()],
            (_, true) => Access::Service,
            (access, false) => access,
        };
        let mut sentences = match access {
            Access::Nobody | Access::Service => {
                vec!["Services: tokens whose role is \"service\".".to_owned()]
            }
            Access::Authenticated => vec!["Whoever has a valid token.".to_owned()],
            Access::Everyone => self.connecting(),
        };
        sentences.push(if self.config.clients.auth_required {
            "Over HTTP: services only, by their token or an API key.".to_owned()
        } else {
            "Over HTTP: whoever reaches POST /api/v1/events; without `events.auth_required` all of them are services."
                .to_owned()
        });
        sentences.push(format!(
            "A token with the claim `fanfare.publish`: if an entry of it covers {name}, and only then, \
             whatever the namespace says."
        ));
        sentences.push(DENIED.to_owned());
        sentences.extend(self.no_token());
        sentences
    }

    /// What the strictest of the namespaces says.
    fn strictest(&self, of: impl Fn(&crate::config::Namespace) -> Access) -> Access {
        let mut strictest = Access::Everyone;
        self.config.namespaces.all(self.selector, |_, namespace| {
            strictest = strictest.max(of(namespace));
            true
        });
        strictest
    }

    /// Says of a pattern that all of its topics count.
    fn whole(&self, sentence: &str) -> String {
        match self.selector {
            Selector::Topic(_) => sentence.to_owned(),
            Selector::Pattern(_) => {
                format!("{sentence} The strictest of its namespaces counts for the whole pattern.")
            }
        }
    }

    /// Who may connect.
    fn connecting(&self) -> Vec<String> {
        let events = &self.config.clients;
        let mut sentences = vec![if events.auth_required {
            "Whoever may connect: with a valid token to /api/v1/ws and /api/v1/sse.".to_owned()
        } else {
            "Whoever may connect: anybody, with or without a token (`events.auth_required = false`)."
                .to_owned()
        }];
        if events.auth_required && events.demo_enabled {
            sentences.push(
                "Anybody without a token, at /api/v1/ws/demo (`events.demo_enabled = true`)."
                    .to_owned(),
            );
        }
        sentences
    }

    /// That tokens cannot be valid here, if so.
    fn no_token(&self) -> Option<String> {
        let lacks = !self.config.auth.has_token_key();
        lacks.then(|| "No token is valid yet: there is no key in [auth].".to_owned())
    }
}

/// The user whose inbox `name` is.
fn owner(name: &str) -> Option<String> {
    topic::user_of(name).filter(|user| topic::is_inbox_of(user, name))
}

const NOBODY: &str = "Nobody, whatever a token says.";

const WIDE: &str =
    "Nobody without a claim: it reaches across namespaces (`events.wide_patterns = false`).";

const DENIED: &str = "No token whose claim `fanfare.deny` touches it.";
