//! What users get, against a model: whatever connections do and whenever the store is restarted, each message is
//! delivered until it is said to be, in the order of ids, and never after that.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

const USERS: [&str; 4] = ["ann", "bob", "cid", "dan"];

#[derive(Clone, Debug)]
enum Step {
    Register(usize),
    Direct(usize, usize),
    Broadcast(usize),
    /// How many of a burst of messages.
    Burst(usize, usize, usize),
    /// Whether the client says what it has got.
    Attach(usize, bool),
    /// Takes up to so many messages.
    Read(usize, usize),
    /// Says that up to so many of those taken were written.
    Deliver(usize, usize),
    /// Ends a connection, saying so of up to so many more.
    Detach(usize, usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (user, few) = (0..USERS.len(), 0..6_usize);
    let step = prop_oneof![
        1 => user.clone().prop_map(Step::Register),
        6 => (user.clone(), user.clone()).prop_map(|(from, to)| Step::Direct(from, to)),
        3 => user.clone().prop_map(Step::Broadcast),
        1 => (user.clone(), user.clone(), 0..600_usize).prop_map(|(from, to, n)| Step::Burst(from, to, n)),
        4 => (user.clone(), any::<bool>()).prop_map(|(user, after)| Step::Attach(user, after)),
        6 => (user.clone(), 0..400_usize).prop_map(|(user, n)| Step::Read(user, n)),
        4 => (user.clone(), few.clone()).prop_map(|(user, n)| Step::Deliver(user, n)),
        3 => (user, few).prop_map(|(user, n)| Step::Detach(user, n)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

/// A connection as its client sees it.
struct Client {
    mailbox: Arc<Mailbox>,
    /// What it has taken, by id.
    taken: Vec<i64>,
    /// How many of those are said to be written.
    delivered: usize,
    /// What it has said that it had.
    after: Option<i64>,
    /// What the user had got when it was attached.
    before: BTreeSet<i64>,
}

struct Model {
    home: Home,
    store: Arc<Store>,
    duplicate: Duplicate,
    /// By user: the messages that are for them.
    expected: BTreeMap<usize, BTreeSet<i64>>,
    /// By user: those that are said to be delivered.
    delivered: BTreeMap<usize, BTreeSet<i64>>,
    registered: BTreeSet<usize>,
    /// By user, the newest last. Only the last one is there where the others were replaced.
    clients: BTreeMap<usize, Vec<Client>>,
}

impl Model {
    fn new(mut home: Home, duplicate: Duplicate, memory: usize) -> Self {
        home.settings.max_mailbox_memory = memory;
        Self {
            store: home.open(),
            home,
            duplicate,
            expected: BTreeMap::new(),
            delivered: BTreeMap::new(),
            registered: BTreeSet::new(),
            clients: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Register(user) => {
                let is_new = self.registered.insert(user);
                let registered = register(&self.store, USERS[user]);
                assert_eq!(registered == Registered::New, is_new);
            }
            Step::Direct(from, to) => {
                let id = put(&self.store, USERS[from], USERS[to], "direct")
                    .message
                    .id;
                self.expected.entry(to).or_default().insert(id);
            }
            Step::Broadcast(from) => {
                let id = put(&self.store, USERS[from], "broadcast", "all").message.id;
                for to in self.registered.iter().filter(|to| **to != from) {
                    self.expected.entry(*to).or_default().insert(id);
                }
            }
            Step::Burst(from, to, count) => {
                let one = || message(USERS[from], USERS[to], "burst");
                let replies: Vec<_> = (0..count).map(|_| self.store.put(one())).collect();
                for reply in replies {
                    let id = reply.blocking_recv().unwrap().unwrap().message.id;
                    self.expected.entry(to).or_default().insert(id);
                }
            }
            Step::Attach(user, says_after) => self.attach(user, says_after),
            Step::Read(user, count) => self.read(user, count),
            Step::Deliver(user, count) => {
                let Some(client) = self.clients.get_mut(&user).and_then(|all| all.last_mut())
                else {
                    return;
                };
                let ids = next_delivered(client, count);
                self.store.delivered(&client.mailbox, ids.clone());
                self.delivered.entry(user).or_default().extend(ids);
            }
            Step::Detach(user, count) => self.detach(user, count),
            Step::Restart => {
                self.clients.clear();
                self.store.stop();
                self.store = self.home.open();
            }
        }
    }

    fn attach(&mut self, user: usize, says_after: bool) {
        if !self.registered.contains(&user) {
            return;
        }
        let clients = self.clients.entry(user).or_default();
        // What a client has got is what it has taken; here the last one tells.
        let delivered = self.delivered.entry(user).or_default();
        let last = delivered.last().copied();
        let after = last.filter(|_| says_after);
        let mailbox = attach_with(&self.store, USERS[user], after, self.duplicate);
        if let Some(after) = after
            && self.duplicate == Duplicate::Replace
        {
            let expected = self.expected.entry(user).or_default();
            delivered.extend(expected.range(..=after));
        }
        let taken = Vec::new();
        clients.push(Client {
            mailbox,
            taken,
            delivered: 0,
            after,
            before: delivered.clone(),
        });
        if self.duplicate == Duplicate::Replace {
            // Those that were replaced leave, in the order in which they came.
            while self.clients[&user].len() > 1 {
                let old = self.clients.get_mut(&user).unwrap().remove(0);
                assert!(old.mailbox.is_replaced());
                self.store.detach(&old.mailbox, Vec::new(), 0, 0);
            }
        }
    }

    fn read(&mut self, user: usize, count: usize) {
        let Some(client) = self.clients.get_mut(&user).and_then(|all| all.last_mut()) else {
            return;
        };
        for _ in 0..count {
            let Some(delivery) = next(&self.store, &client.mailbox) else {
                break;
            };
            let id = delivery.message.id;
            assert!(client.taken.last().is_none_or(|last| *last < id), "{id}");
            assert!(self.expected[&user].contains(&id), "{id} is for others");
            // What several connections wait for comes on each of them.
            let was_delivered = match self.duplicate {
                Duplicate::Replace => self.delivered.get(&user).is_some_and(|it| it.contains(&id)),
                Duplicate::Allow => client.before.contains(&id),
            };
            let is_asked = client.after.is_some_and(|after| id > after);
            assert!(!was_delivered || is_asked, "{id} was delivered");
            client.taken.push(id);
        }
    }

    fn detach(&mut self, user: usize, count: usize) {
        let Some(clients) = self.clients.get_mut(&user) else {
            return;
        };
        if clients.is_empty() {
            return;
        }
        let mut client = clients.remove(0);
        let ids = next_delivered(&mut client, count);
        self.store.detach(&client.mailbox, ids.clone(), 1, 1);
        self.delivered.entry(user).or_default().extend(ids);
    }

    /// In the end each user gets all that is not delivered.
    fn finish(mut self) {
        for user in self.registered.clone() {
            while self.clients.get(&user).is_some_and(|all| !all.is_empty()) {
                self.detach(user, 0);
            }
            let mailbox = attach(&self.store, USERS[user]);
            let mut taken = BTreeSet::new();
            while let Some(delivery) = next(&self.store, &mailbox) {
                assert!(taken.insert(delivery.message.id));
            }
            let delivered = self.delivered.entry(user).or_default();
            let expected = self.expected.entry(user).or_default();
            let left: BTreeSet<_> = expected.difference(delivered).copied().collect();
            assert_eq!(taken, left, "{}", USERS[user]);
        }
    }
}

/// The next message of a mailbox; `None` if there is none until something else happens.
fn next(store: &Store, mailbox: &Arc<Mailbox>) -> Option<Delivery> {
    for _ in 0..3 {
        if let Some(delivery) = mailbox.pop() {
            return Some(delivery);
        }
        if mailbox.is_behind() {
            store.refill(mailbox);
        }
        // The store's thread has filled what it was to fill before it answers the second one.
        for _ in 0..2 {
            let _ = store.user("nobody").blocking_recv().unwrap();
        }
    }
    None
}

/// Takes up to `count` of the messages that are not yet said to be written.
fn next_delivered(client: &mut Client, count: usize) -> Vec<i64> {
    let end = client.taken.len().min(client.delivered + count);
    let ids = client.taken[client.delivered..end].to_vec();
    client.delivered = end;
    ids
}

/// Each user gets everything until it is delivered, and nothing again: in so many cases, each in a home of its own.
pub(super) fn check(cases: u32, home: impl Fn() -> Home) {
    let memory = prop_oneof![Just(1_usize), Just(3000), Just(1 << 28)];
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let result = runner.run(
        &(steps(), any::<bool>(), memory),
        |(steps, replaces, memory)| {
            let duplicate = match replaces {
                true => Duplicate::Replace,
                false => Duplicate::Allow,
            };
            let mut model = Model::new(home(), duplicate, memory);
            for step in &steps {
                model.step(step);
            }
            model.finish();
            Ok(())
        },
    );
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn each_user_gets_everything_until_it_is_delivered_and_nothing_again() {
    check(48, Home::new);
}
