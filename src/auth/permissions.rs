//! What somebody may do with topics and commands: the configured defaults and
//! what their token says.

use super::identity::Identity;
use super::rights::Rights;
use crate::config::{Access, Config, Namespace};
use crate::topic::{self, Selector};

/// What somebody may do. Made for each question; it only borrows.
///
/// - `deny` of a token wins over everything.
/// - Where a token lists what may be subscribed to, that and nothing else may be, and the same for
///   publishing; otherwise the topic's namespace decides. What a namespace gives to nobody no
///   token opens.
/// - A pattern is allowed only if everything it covers is (hostile-inputs.md A15), so that a subscription never
///   has to be looked at again when a topic appears.
/// - An inbox may be subscribed to by its user alone, and published to by services alone; the
///   gateway's own topics are published to by nobody.
#[derive(Debug, Clone, Copy)]
pub struct Permissions<'a> {
    config: &'a Config,
    who: Who<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Who<'a> {
    Anonymous,
    Known(&'a Identity),
    /// A service with an API key, or one where nobody is asked for credentials.
    Service,
}

impl<'a> Permissions<'a> {
    /// What the holder of a token may do, or somebody without one.
    #[must_use]
    pub fn new(config: &'a Config, identity: Option<&'a Identity>) -> Self {
        let who = identity.map_or(Who::Anonymous, Who::Known);
        Self { config, who }
    }

    /// What a service may do that needs no token.
    #[must_use]
    pub fn of_service(config: &'a Config) -> Self {
        Self {
            config,
            who: Who::Service,
        }
    }

    /// Whether `selector` may be subscribed to. Presence and recovery ask the same.
    ///
    /// Cost: one pass over the selector per glob of the token and per configured namespace.
    #[must_use]
    pub fn may_subscribe(&self, selector: &Selector<'_>) -> bool {
        let name = selector.as_str();
        if self
            .rights()
            .is_some_and(|rights| rights.deny.overlaps(name))
        {
            return false;
        }
        if topic::is_inbox(name) {
            // No pattern matches an inbox; one that only could is refused, for its user to notice.
            return matches!(selector, Selector::Topic(_))
                && self.owns(name)
                && self.config.namespace(name).subscribe != Access::Nobody;
        }
        let globs = self.rights().and_then(|rights| rights.subscribe.as_ref());
        match globs {
            Some(globs) => {
                globs.covers(name) && self.all(selector, |it| it.subscribe != Access::Nobody)
            }
            None => self.all(selector, |it| self.meets(it.subscribe)),
        }
    }

    /// Whether what `topic` keeps may be read without subscribing: as [`Self::may_subscribe`], and
    /// services may read inboxes, which they write.
    #[must_use]
    pub fn may_read(&self, topic: &str) -> bool {
        if topic::is_inbox(topic) && self.is_service() {
            let is_denied = self
                .rights()
                .is_some_and(|rights| rights.deny.overlaps(topic) || rights.subscribe.is_some());
            return !is_denied && self.config.namespace(topic).subscribe != Access::Nobody;
        }
        self.may_subscribe(&Selector::Topic(topic))
    }

    /// Whether `topic` may be published to.
    ///
    /// Cost: one pass over the name per glob of the token, and one comparison per namespace.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        if topic::is_inbox(topic) && !self.is_service() || topic == topic::SYSTEM_METRICS {
            return false;
        }
        let access = self.config.namespace(topic).publish;
        match self.rights() {
            Some(rights) if rights.deny.overlaps(topic) => false,
            Some(Rights {
                publish: Some(globs),
                ..
            }) => globs.covers(topic) && access != Access::Nobody,
            _ => self.meets(access),
        }
    }

    /// Whether the command called `name` may be given.
    #[must_use]
    pub fn may_command(&self, name: &str) -> bool {
        let commands = self.rights().and_then(|rights| rights.commands.as_ref());
        commands.is_none_or(|commands| commands.contains(name))
    }

    fn rights(&self) -> Option<&'a Rights> {
        match self.who {
            Who::Known(identity) => identity.rights.as_deref(),
            Who::Anonymous | Who::Service => None,
        }
    }

    fn owns(&self, inbox: &str) -> bool {
        match self.who {
            Who::Known(identity) => topic::is_inbox_of(&identity.user, inbox),
            Who::Anonymous | Who::Service => false,
        }
    }

    fn is_service(&self) -> bool {
        match self.who {
            Who::Anonymous => false,
            Who::Known(identity) => identity.is_service(),
            Who::Service => true,
        }
    }

    fn meets(&self, access: Access) -> bool {
        match access {
            Access::Everyone => true,
            Access::Authenticated => !matches!(self.who, Who::Anonymous),
            Access::Service => self.is_service(),
            Access::Nobody => false,
        }
    }

    /// Whether `holds` of every namespace that a topic of `selector` may be in.
    fn all(&self, selector: &Selector<'_>, holds: impl Fn(&Namespace) -> bool) -> bool {
        self.config
            .namespaces
            .all(selector, |_, namespace| holds(namespace))
    }
}

#[cfg(test)]
mod tests;
