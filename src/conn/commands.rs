//! Commands that clients call by name: the protocols' own, and those of whoever builds a gateway of their own
//! (docs/extending.md).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::collections::HashMap;
use crate::process::Locked;

/// The commands of a process. They are added at the start, by protocols as they register.
#[derive(Clone, Default)]
pub struct Commands(Arc<Locked<HashMap<Box<str>, Command>>>);

/// A command: what it does with a call.
pub type Command = Arc<dyn Fn(CommandCall) -> CommandFuture + Send + Sync>;

/// The result of a call: a JSON value, or what is wrong, as the caller is told. It runs on the caller's shard and must not
/// block. One that takes too long is given up: the messenger waits 30 s.
pub type CommandFuture = Pin<Box<dyn Future<Output = Result<String, String>>>>;

/// A call of a command.
#[derive(Clone, Debug)]
pub struct CommandCall {
    /// The user who calls, verified.
    pub sender: Box<str>,
    /// The parameters, a JSON text; `None` if there are none.
    pub params: Option<Box<str>>,
    /// Users that are connected to the protocol.
    pub connected: u64,
    /// The time in milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// There is a command with this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is a command `{0}` already")]
pub struct NameTaken(pub Box<str>);

impl Commands {
    /// Adds a command.
    ///
    /// # Errors
    /// Its name is taken: by another command of whoever adds it, or by one of a protocol.
    pub fn add<F>(
        &self,
        name: &str,
        command: impl Fn(CommandCall) -> F + Send + Sync + 'static,
    ) -> Result<(), NameTaken>
    where
        F: Future<Output = Result<String, String>> + 'static,
    {
        let mut commands = self.0.lock();
        if commands.contains_key(name) {
            return Err(NameTaken(name.into()));
        }
        let command: Command = Arc::new(move |call| Box::pin(command(call)));
        commands.insert(name.into(), command);
        Ok(())
    }

    /// The command with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Command> {
        self.0.lock().get(name).cloned()
    }

    /// The names of all, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<Box<str>> {
        let mut names: Vec<_> = self.0.lock().keys().cloned().collect();
        names.sort_unstable();
        names
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_command() {
        let commands = Commands::default();
        let add = |name| commands.add(name, async |_| Ok("1".to_owned()));
        assert_eq!(add("b"), Ok(()));
        assert_eq!(add("a"), Ok(()));
        assert_eq!(add("b"), Err(NameTaken("b".into())));
        assert_eq!(commands.names(), ["a".into(), "b".into()]);
        assert!(commands.find("a").is_some() && commands.find("c").is_none());
    }
}
