//! The registry of commands by name.

use std::collections::BTreeMap;

use super::EventsSession;
use crate::shard::Shard;

/// Runs a command: writes its result, one JSON value, into the buffer.
pub(super) type RunCommand = fn(&CommandCall<'_>, &mut Vec<u8>);

/// One call of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandCall<'a> {
    /// The client's shard.
    pub(super) shard: &'a Shard,
    /// The client's session.
    pub(super) caller: &'a EventsSession,
    /// Its arguments, unparsed.
    pub(super) params: Option<&'a str>,
}

/// Commands by name.
#[derive(Debug, Default)]
pub(super) struct Registry {
    commands: BTreeMap<&'static str, RunCommand>,
}

/// A command of this name is registered already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is a command `{0}` already")]
pub(super) struct AlreadyRegistered(&'static str);

impl Registry {
    /// Adds a command.
    ///
    /// # Errors
    /// The name is taken; its command stays.
    pub(super) fn register(
        &mut self,
        name: &'static str,
        run: RunCommand,
    ) -> Result<(), AlreadyRegistered> {
        if self.commands.contains_key(name) {
            return Err(AlreadyRegistered(name));
        }
        self.commands.insert(name, run);
        Ok(())
    }

    /// The command called `name`.
    pub(super) fn find(&self, name: &str) -> Option<RunCommand> {
        self.commands.get(name).copied()
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.commands.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_registered_once() {
        let one: RunCommand = |_, out| out.push(b'1');
        let two: RunCommand = |_, out| out.push(b'2');
        let mut registry = Registry::default();
        registry.register("b", one).unwrap();
        registry.register("a", two).unwrap();
        assert_eq!(registry.register("b", two), Err(AlreadyRegistered("b")));
        assert_eq!(registry.names().collect::<Vec<_>>(), ["a", "b"]);
        assert!(
            registry
                .find("b")
                .is_some_and(|run| std::ptr::fn_addr_eq(run, one))
        );
        assert!(registry.find("c").is_none());
    }
}
