//! The connections that members were told of: each comes once, says what it says, and leaves once.

use std::collections::BTreeMap;

/// Faults in what was told of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LifecycleFaults {
    /// `connect` of a connection that had come before.
    pub(crate) connected_twice: u64,
    /// `disconnect` of a connection that had left before.
    pub(crate) disconnected_twice: u64,
    /// Messages before `connect` or after `disconnect`, and `disconnect` without `connect`.
    pub(crate) out_of_turn: u64,
    /// Messages of one client on two connections, or of two clients on one.
    pub(crate) mixed: u64,
    /// `disconnect` with another close code than the client's.
    pub(crate) wrong_codes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Lifecycle {
    /// Known from its first message on.
    client: Option<u32>,
    is_open: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Lifecycles {
    numbers: BTreeMap<Box<str>, u32>,
    connections: Vec<Lifecycle>,
    /// The connection of each client, once known.
    of_client: Vec<Option<u32>>,
    open: usize,
    disconnects: u64,
    pub(crate) faults: LifecycleFaults,
}

impl Lifecycles {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            of_client: vec![None; clients],
            ..Self::default()
        }
    }

    pub(crate) fn connects(&self) -> u64 {
        self.connections.len() as u64
    }

    pub(crate) fn disconnects(&self) -> u64 {
        self.disconnects
    }

    /// Connections that have not left.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// A connection has come; returns its number, and whether this is the first that is heard of it.
    pub(crate) fn connect(&mut self, conn: &str, again: bool) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(conn) {
            self.faults.connected_twice += u64::from(!again);
            return (number, false);
        }
        let number = self.connections.len() as u32;
        self.numbers.insert(conn.into(), number);
        self.connections.push(Lifecycle {
            client: None,
            is_open: true,
        });
        self.open += 1;
        (number, true)
    }

    /// A message of `client` has come from `conn`.
    pub(crate) fn message(&mut self, conn: &str, client: u32, again: bool) {
        let Some(&number) = self.numbers.get(conn) else {
            self.faults.out_of_turn += 1;
            return;
        };
        let connection = &mut self.connections[number as usize];
        self.faults.out_of_turn += u64::from(!connection.is_open && !again);
        let Some(of_client) = self.of_client.get_mut(client as usize) else {
            return;
        };
        let is_mixed = *connection.client.get_or_insert(client) != client
            || *of_client.get_or_insert(number) != number;
        self.faults.mixed += u64::from(is_mixed);
    }

    /// A connection has left; returns its number, whether this is the first that is heard of it, and its
    /// client, if it is known.
    pub(crate) fn disconnect(
        &mut self,
        conn: &str,
        again: bool,
    ) -> Option<(u32, bool, Option<u32>)> {
        let Some(&number) = self.numbers.get(conn) else {
            self.faults.out_of_turn += 1;
            return None;
        };
        let connection = &mut self.connections[number as usize];
        let is_first = connection.is_open;
        if is_first {
            connection.is_open = false;
            self.open -= 1;
            self.disconnects += 1;
        } else {
            self.faults.disconnected_twice += u64::from(!again);
        }
        Some((number, is_first, connection.client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_comes_speaks_and_leaves_once() {
        let mut lifecycles = Lifecycles::new(2);
        assert_eq!(lifecycles.connect("a", false), (0, true));
        assert_eq!(lifecycles.connect("b", false), (1, true));
        lifecycles.message("a", 1, false);
        assert_eq!(lifecycles.connect("a", true), (0, false));
        lifecycles.message("a", 1, true);
        assert_eq!(lifecycles.disconnect("a", false), Some((0, true, Some(1))));
        assert_eq!(lifecycles.disconnect("a", true), Some((0, false, Some(1))));
        lifecycles.message("a", 1, true);
        assert_eq!(lifecycles.faults, LifecycleFaults::default());
        assert_eq!((lifecycles.connects(), lifecycles.disconnects()), (2, 1));
        assert_eq!(lifecycles.open(), 1);
    }

    #[test]
    fn every_fault_is_counted() {
        let check = |act: fn(&mut Lifecycles), of: fn(&LifecycleFaults) -> u64| {
            let mut lifecycles = Lifecycles::new(2);
            lifecycles.connect("a", false);
            lifecycles.message("a", 0, false);
            act(&mut lifecycles);
            assert_eq!(of(&lifecycles.faults), 1, "{:?}", lifecycles.faults);
        };
        let again = |it: &mut Lifecycles| {
            it.connect("a", false);
        };
        check(again, |it| it.connected_twice);
        check(|it| it.message("b", 1, false), |it| it.out_of_turn);
        let unknown = |it: &mut Lifecycles| {
            it.disconnect("b", false);
        };
        check(unknown, |it| it.out_of_turn);
        check(|it| it.message("a", 1, false), |it| it.mixed);
        let on_two = |it: &mut Lifecycles| {
            it.connect("b", false);
            it.message("b", 0, false);
        };
        check(on_two, |it| it.mixed);
        let twice = |it: &mut Lifecycles| {
            it.disconnect("a", false);
            it.disconnect("a", false);
        };
        check(twice, |it| it.disconnected_twice);
        let after = |it: &mut Lifecycles| {
            it.disconnect("a", false);
            it.message("a", 0, false);
        };
        check(after, |it| it.out_of_turn);
    }
}
