//! Who an endpoint is for, and so at which listeners it is served.

/// Who an endpoint is for; of a listener: whose endpoints it serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Clients, as browsers and apps: the listeners of `server.listen`.
    Clients,
    /// Services and operators: the listeners of `server.internal_listen`, or those of `server.listen` where there are
    /// none.
    Internal,
    /// Both.
    All,
}

impl Role {
    /// Whether a listener of this role serves an endpoint of the role `endpoint`.
    #[must_use]
    pub fn serves(self, endpoint: Self) -> bool {
        self == endpoint || self == Self::All || endpoint == Self::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_one_role_serves_no_endpoint_of_the_other() {
        let all = [Role::Clients, Role::Internal, Role::All];
        for listener in all {
            assert!(listener.serves(Role::All) && listener.serves(listener));
        }
        assert!(!Role::Clients.serves(Role::Internal));
        assert!(!Role::Internal.serves(Role::Clients));
        assert!(all.into_iter().all(|endpoint| Role::All.serves(endpoint)));
    }
}
