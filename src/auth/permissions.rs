//! Authorization of topics and commands, from the configured defaults and the token.

use super::identity::Identity;
use super::rights::Rights;
use super::topic_acl::TopicAcl;
use crate::config::{Access, Config, Namespace};
use crate::topic::{self, Selector};

/// The permissions of one client. Created for each check; it only borrows.
///
/// - `deny` of a token overrides everything else.
/// - A token may have a second list of topics, [`TopicAcl`]. It only takes away; the user's own inbox is not subject to it.
/// - If a token lists topics to subscribe to, only those are allowed; likewise for publishing. Otherwise the topic's
///   namespace decides. A token cannot grant what a namespace denies to all.
/// - A pattern is allowed only if everything it covers is (hostile-inputs.md A15), so that a subscription need not be
///   checked again when a topic is created. One that reaches across namespaces takes a token that lists it, unless
///   `events.wide_patterns` says otherwise.
/// - An inbox may be subscribed to by its user only, and published to by services only. The gateway's own topics may
///   not be published to by clients.
#[derive(Debug, Clone, Copy)]
pub struct Permissions<'a> {
    config: &'a Config,
    holder: Holder<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Holder<'a> {
    Anonymous,
    Known(&'a Identity),
    /// A service with an API key, or any client when authentication is off.
    Service,
}

impl<'a> Permissions<'a> {
    /// The permissions of a token's holder, or of a client without a token.
    #[must_use]
    pub fn new(config: &'a Config, identity: Option<&'a Identity>) -> Self {
        let holder = identity.map_or(Holder::Anonymous, Holder::Known);
        Self { config, holder }
    }

    /// The permissions of a service authenticated without a token.
    #[must_use]
    pub fn of_service(config: &'a Config) -> Self {
        Self {
            config,
            holder: Holder::Service,
        }
    }

    /// Whether `selector` may be subscribed to. Presence and recovery need the same permission.
    ///
    /// Cost: one pass over the selector per glob of the token and per configured namespace.
    #[must_use]
    pub fn may_subscribe(&self, selector: &Selector<'_>) -> bool {
        let name = selector.as_str();
        if self
            .rights()
            .is_some_and(|rights| rights.deny.overlaps(selector))
        {
            return false;
        }
        if topic::is_inbox(name) {
            // Patterns never match inboxes. One that names an inbox is refused, so that its user notices.
            return matches!(selector, Selector::Topic(_))
                && self.owns(name)
                && self.config.namespace(name).subscribe != Access::Nobody;
        }
        if !self.is_listed(selector) {
            return false;
        }
        let globs = self.rights().and_then(|rights| rights.subscribe.as_ref());
        match globs {
            Some(globs) => {
                globs.covers(selector) && self.all(selector, |it| it.subscribe != Access::Nobody)
            }
            None => {
                !self.takes_a_claim(selector) && self.all(selector, |it| self.meets(it.subscribe))
            }
        }
    }

    /// Whether `selector` may not be subscribed to, and a claim that covers it is all that is missing: it is a pattern
    /// across namespaces.
    ///
    /// Cost: as [`Self::may_subscribe`].
    #[must_use]
    pub fn lacks_claim(&self, selector: &Selector<'_>) -> bool {
        let deny = self.rights().map(|rights| &rights.deny);
        self.takes_a_claim(selector)
            && !self.may_subscribe(selector)
            && self.is_listed(selector)
            && !deny.is_some_and(|deny| deny.overlaps(selector))
            && self.all(selector, |it| it.subscribe != Access::Nobody)
    }

    /// Whether only a token that lists it may subscribe to `selector`.
    fn takes_a_claim(&self, selector: &Selector<'_>) -> bool {
        match selector {
            Selector::Topic(_) => false,
            Selector::Pattern(pattern) => !self.config.clients.wide_patterns && pattern.is_wide(),
        }
    }

    /// Whether the history of `topic` may be read without subscribing: as [`Self::may_subscribe`]; services may
    /// also read inboxes, since they write them.
    #[must_use]
    pub fn may_read(&self, topic: &str) -> bool {
        let selector = Selector::Topic(topic);
        if topic::is_inbox(topic) && self.is_service() {
            let is_denied = self.rights().is_some_and(|rights| {
                rights.deny.overlaps(&selector) || rights.subscribe.is_some()
            });
            return !is_denied
                && self.is_listed(&selector)
                && self.config.namespace(topic).subscribe != Access::Nobody;
        }
        self.may_subscribe(&selector)
    }

    /// Whether `topic` may be published to.
    ///
    /// Cost: one pass over the name per glob of the token, and one comparison per namespace.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        if topic::is_inbox(topic) && !self.is_service() || topic == topic::SYSTEM_METRICS {
            return false;
        }
        let (access, selector) = (self.config.namespace(topic).publish, Selector::Topic(topic));
        if !self.is_listed(&selector) {
            return false;
        }
        match self.rights() {
            Some(rights) if rights.deny.overlaps(&selector) => false,
            Some(Rights {
                publish: Some(globs),
                ..
            }) => globs.covers(&selector) && access != Access::Nobody,
            _ => self.meets(access),
        }
    }

    /// Whether the command `name` may be used.
    #[must_use]
    pub fn may_command(&self, name: &str) -> bool {
        let commands = self.rights().and_then(|rights| rights.commands.as_ref());
        commands.is_none_or(|commands| commands.contains(name))
    }

    /// Whether the token's list of topics, if it has one, permits `selector`.
    fn is_listed(&self, selector: &Selector<'_>) -> bool {
        let topics: Option<&TopicAcl> = self
            .identity()
            .and_then(|identity| identity.topics.as_deref());
        topics.is_none_or(|topics| self.owns(selector.as_str()) || topics.permits(selector))
    }

    fn rights(&self) -> Option<&'a Rights> {
        self.identity()?.rights.as_deref()
    }

    fn identity(&self) -> Option<&'a Identity> {
        match self.holder {
            Holder::Known(identity) => Some(identity),
            Holder::Anonymous | Holder::Service => None,
        }
    }

    fn owns(&self, inbox: &str) -> bool {
        self.identity()
            .is_some_and(|identity| topic::is_inbox_of(&identity.user, inbox))
    }

    fn is_service(&self) -> bool {
        match self.holder {
            Holder::Anonymous => false,
            Holder::Known(identity) => identity.is_service(),
            Holder::Service => true,
        }
    }

    fn meets(&self, access: Access) -> bool {
        match access {
            Access::Everyone => true,
            Access::Authenticated => !matches!(self.holder, Holder::Anonymous),
            Access::Service => self.is_service(),
            Access::Nobody => false,
        }
    }

    /// Whether `holds` is true for every namespace that a topic of `selector` can be in.
    fn all(&self, selector: &Selector<'_>, holds: impl Fn(&Namespace) -> bool) -> bool {
        self.config
            .namespaces
            .all(selector, |_, namespace| holds(namespace))
    }
}

#[cfg(test)]
mod tests;
