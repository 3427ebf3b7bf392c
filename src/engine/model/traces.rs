//! Regressions: each fault with the shortest trace that showed it.

use super::encoder::*;
use super::ops::{Op, Op::*, Recover::*, Setup};
use super::run::run;
use crate::config::SlowConsumer::*;

/// A setup with ample limits and no history.
pub(super) const WIDE: Setup = Setup {
    engines: 3,
    slow: DropOldest,
    slow_b: DropOldest,
    lag_bytes: 1 << 20,
    lag_messages: 0,
    history: 0,
    lane_items: 100,
    lane_batches: 8,
    outbox_messages: 1000,
    log_bytes: 1 << 20,
    backlog_bytes: 1 << 20,
    memory: usize::MAX,
    topics: 1000,
    grace_ms: 0,
    room: 1 << 20,
};

/// How often a trace is run: hash maps with random keys make some runs differ from time to time.
const TRIES: usize = 50;

/// Checks that a trace violates nothing.
fn passes(setup: &Setup, ops: &[Op]) {
    for _ in 0..TRIES {
        run(setup, ops).expect("nothing is wrong");
    }
}

#[test]
fn a_subscription_of_one_engine_meets_no_fault() {
    let setup = Setup { engines: 1, ..WIDE };
    passes(
        &setup,
        &[
            Join {
                client: 0,
                node: 0,
                format: PLAIN,
                greet: true,
            },
            Subscribe {
                client: 0,
                names: ["a.1", "b.1", "a.*"],
                recover: Nothing,
            },
            Publish {
                client: 0,
                topic: "a.1",
                key: "",
                answer: true,
                bytes: 10,
            },
            Run { rounds: 2 },
            Unsubscribe {
                client: 0,
                names: ["a.1", "a.*", ""],
            },
            Publish {
                client: 0,
                topic: "a.1",
                key: "",
                answer: true,
                bytes: 10,
            },
            Subscribe {
                client: 0,
                names: ["a.1", "", ""],
                recover: Stored,
            },
        ],
    );
}

/// A new membership is on hold until its confirmation has been handed over.
#[test]
fn a_confirmation_is_not_overtaken() {
    passes(
        &WIDE,
        &[
            Join {
                client: 6,
                node: 0,
                format: PLAIN,
                greet: true,
            },
            Subscribe {
                client: 6,
                names: ["p.2", "b.*", ""],
                recover: Nothing,
            },
        ],
    );
}

/// A topic already delivered is confirmed at the last message written to this connection.
#[test]
fn a_topic_that_flows_is_named_where_it_is() {
    let setup = Setup { engines: 1, ..WIDE };
    passes(
        &setup,
        &[
            Join {
                client: 0,
                node: 0,
                format: PLAIN,
                greet: false,
            },
            Subscribe {
                client: 0,
                names: ["a.*", "", ""],
                recover: Nothing,
            },
            Publish {
                client: 0,
                topic: "a.1",
                key: "",
                answer: false,
                bytes: 1,
            },
            Subscribe {
                client: 0,
                names: ["a.1", "", ""],
                recover: Nothing,
            },
        ],
    );
}

/// A home's answer does not affect memberships that are not on hold.
#[test]
fn recovery_skips_nothing_that_flows() {
    let setup = Setup {
        lane_items: 2,
        room: 100,
        ..WIDE
    };
    passes(
        &setup,
        &[
            Join {
                client: 5,
                node: 1,
                format: PLAIN,
                greet: false,
            },
            Subscribe {
                client: 5,
                names: ["*", "*", ""],
                recover: Stored,
            },
            History {
                node: 1,
                topic: "p.1",
                since: 6,
                limit: 5,
            },
            Exchange {
                node: 0,
                deliveries: 4,
                requests: 2,
            },
            Count {
                node: 0,
                topic: "p.1",
                key: "k1",
                only_live: false,
                bytes: 9,
            },
            Count {
                node: 1,
                topic: "p.1",
                key: "",
                only_live: false,
                bytes: 2,
            },
            Exchange {
                node: 1,
                deliveries: 3,
                requests: 3,
            },
            Flush {
                node: 1,
                writes: 3,
                bytes: 1 << 20,
            },
            Subscribe {
                client: 5,
                names: ["p*", "p.1", "p.1"],
                recover: Ahead,
            },
            Subscribe {
                client: 5,
                names: ["a.4", "a.*", ""],
                recover: Stored,
            },
        ],
    );
}

/// A new topic that exceeds its own hub's limit is removed from its home's interests, as for a topic of another home.
#[test]
fn a_home_keeps_no_interest_without_room() {
    let setup = Setup {
        engines: 2,
        topics: 5,
        room: 100,
        ..WIDE
    };
    passes(
        &setup,
        &[
            Join {
                client: 5,
                node: 3,
                format: GROUPED,
                greet: true,
            },
            Count {
                node: 3,
                topic: "a.2",
                key: "",
                only_live: false,
                bytes: 16,
            },
            Stream {
                client: 6,
                node: 1,
                topics: ["b.2", "p.2", "p.2"],
                resume: true,
            },
            Subscribe {
                client: 5,
                names: ["*", "a.2", ""],
                recover: Nothing,
            },
        ],
    );
}

/// The mapping of a home's topic id is removed with the interest it came with, even if another format of the topic has
/// been requested by then.
#[test]
fn a_name_of_an_earlier_life_is_forgotten() {
    let setup = Setup {
        engines: 2,
        lane_items: 1,
        ..WIDE
    };
    passes(
        &setup,
        &[
            Join {
                client: 1,
                node: 1,
                format: PLAIN,
                greet: true,
            },
            Leave { client: 1 },
            Run { rounds: 4 },
            SweepHome {
                node: 0,
                rarely: true,
            },
            Tick { node: 1 },
            Exchange {
                node: 0,
                deliveries: 4,
                requests: 4,
            },
            Join {
                client: 2,
                node: 3,
                format: GROUPED,
                greet: true,
            },
            SweepHome {
                node: 0,
                rarely: true,
            },
        ],
    );
}

/// A log may restart with a new epoch of its topic.
#[test]
fn numbers_may_fall_with_an_epoch() {
    let setup = Setup {
        engines: 2,
        room: 1000,
        ..WIDE
    };
    passes(
        &setup,
        &[
            Join {
                client: 5,
                node: 3,
                format: GROUPED,
                greet: true,
            },
            Broadcast { node: 1 },
            Cut { client: 5 },
            Run { rounds: 2 },
            SweepHome {
                node: 2,
                rarely: true,
            },
            Tick { node: 3 },
            Run { rounds: 2 },
            Tick { node: 3 },
            Join {
                client: 1,
                node: 3,
                format: GROUPED,
                greet: true,
            },
            Run { rounds: 2 },
            SweepHome {
                node: 2,
                rarely: true,
            },
            Broadcast { node: 3 },
        ],
    );
}

/// A request that waits for room holds up no other, not even of the same client on another connection.
#[test]
fn requests_after_a_stalled_one_may_be_overtaken_elsewhere() {
    let setup = Setup {
        log_bytes: 3000,
        ..WIDE
    };
    passes(
        &setup,
        &[
            Join {
                client: 0,
                node: 2,
                format: GROUPED,
                greet: true,
            },
            Publish {
                client: 0,
                topic: "a.4",
                key: "k1",
                answer: true,
                bytes: 13799,
            },
            Publish {
                client: 0,
                topic: "a.4",
                key: "",
                answer: false,
                bytes: 24,
            },
            Publish {
                client: 0,
                topic: "b.1",
                key: "",
                answer: true,
                bytes: 12316,
            },
            Join {
                client: 0,
                node: 0,
                format: GROUPED,
                greet: false,
            },
            Publish {
                client: 0,
                topic: "b.1",
                key: "",
                answer: true,
                bytes: 4,
            },
            Stream {
                client: 0,
                node: 1,
                topics: ["a.4", "", ""],
                resume: true,
            },
        ],
    );
}

/// A gap is reported only for current memberships: the topic's number may have been reused.
#[test]
fn a_gap_never_names_a_topic_of_others() {
    let setup = Setup { engines: 2, ..WIDE };
    passes(
        &setup,
        &[
            Join {
                client: 0,
                node: 2,
                format: GROUPED,
                greet: false,
            },
            Subscribe {
                client: 0,
                names: ["p.2", "", ""],
                recover: Stored,
            },
            Flush {
                node: 2,
                writes: 1,
                bytes: 1 << 20,
            },
            Subscribe {
                client: 0,
                names: ["p*", "a.4", "a.2"],
                recover: Stored,
            },
            Unsubscribe {
                client: 0,
                names: ["a.1", "p*", "p.2"],
            },
            Tick { node: 2 },
            Stream {
                client: 1,
                node: 2,
                topics: ["b.2", "", ""],
                resume: true,
            },
        ],
    );
}

/// Frames dropped in an outbox are reported although the socket was never full.
#[test]
fn private_losses_are_told() {
    let setup = Setup {
        outbox_messages: 3,
        room: 1000,
        ..WIDE
    };
    passes(
        &setup,
        &[
            Join {
                client: 3,
                node: 3,
                format: PLAIN,
                greet: true,
            },
            Publish {
                client: 3,
                topic: "a.1",
                key: "",
                answer: true,
                bytes: 255,
            },
            Publish {
                client: 3,
                topic: "a.1",
                key: "k1",
                answer: true,
                bytes: 58,
            },
            Publish {
                client: 3,
                topic: "a.4",
                key: "",
                answer: true,
                bytes: 21,
            },
        ],
    );
}

/// Topics may be swept before groups are closed.
#[test]
fn a_group_ends_with_its_topic() {
    passes(
        &WIDE,
        &[
            Join {
                client: 2,
                node: 0,
                format: GROUPED,
                greet: true,
            },
            Subscribe {
                client: 2,
                names: ["b.2", "p.1", ""],
                recover: Nothing,
            },
            Close { client: 2 },
            SweepVacant { node: 0 },
        ],
    );
}

/// A topic delivered in groups is confirmed before the groups that have not been written.
#[test]
fn a_group_that_waits_is_behind_the_confirmation() {
    let setup = Setup {
        room: 1000,
        slow: DropLowest,
        ..WIDE
    };
    passes(
        &setup,
        &[
            Join {
                client: 1,
                node: 2,
                format: GROUPED,
                greet: false,
            },
            Join {
                client: 3,
                node: 2,
                format: GROUPED,
                greet: false,
            },
            Subscribe {
                client: 3,
                names: ["b.*", "", ""],
                recover: Ahead,
            },
            Publish {
                client: 1,
                topic: "b.2",
                key: "",
                answer: true,
                bytes: 241,
            },
            Subscribe {
                client: 3,
                names: ["b.2", "", ""],
                recover: Stored,
            },
        ],
    );
}

/// A topic that is resumed again, before its first catch-up has begun, is confirmed at most at its actual position: the
/// client's own claim is not trusted.
#[test]
fn a_topic_given_up_and_asked_for_again_is_named_where_it_is() {
    let setup = Setup {
        slow: Conflate,
        slow_b: Disconnect,
        lag_messages: 3,
        room: 1000,
        ..WIDE
    };
    let count = |node, key, bytes| Count {
        node,
        topic: "a.3",
        key,
        only_live: false,
        bytes,
    };
    passes(
        &setup,
        &[
            Join {
                client: 1,
                node: 1,
                format: DEFLATED,
                greet: true,
            },
            count(3, "", 2),
            count(2, "", 182),
            Subscribe {
                client: 1,
                names: ["b.*", "a.3", "a.*"],
                recover: Ahead,
            },
            count(3, "k3", 219),
            Unsubscribe {
                client: 1,
                names: ["a.3", "a.3", ""],
            },
            Subscribe {
                client: 1,
                names: ["a.3", "b.1", "*"],
                recover: Stored,
            },
            count(0, "", 6),
            Flush {
                node: 2,
                writes: 3,
                bytes: 1 << 20,
            },
        ],
    );
}

/// A stream over one topic with a comma in its name is not a stream over two topics.
#[test]
fn streams_over_other_topics_have_other_logs() {
    let setup = Setup { engines: 1, ..WIDE };
    let stream = |client, topics| Stream {
        client,
        node: 0,
        topics,
        resume: true,
    };
    let count = |topic| Count {
        node: 0,
        topic,
        key: "",
        only_live: false,
        bytes: 1,
    };
    passes(
        &setup,
        &[
            stream(0, ["a.1", "a.2", ""]),
            stream(1, ["a.1,a.2", "", ""]),
            Run { rounds: 2 },
            count("a.1"),
            count("a.1,a.2"),
            count("a.2"),
        ],
    );
}

/// A pattern of segments is silent about topics that its protocol cannot name; one of bytes with the same text is not,
/// and a topic may have that text for a name.
#[test]
fn a_pattern_is_what_its_subscriber_says() {
    let join = |client| Join {
        client,
        node: client,
        format: PLAIN,
        greet: false,
    };
    let subscribe = |client, label| Subscribe {
        client,
        names: [label, "", ""],
        recover: Nothing,
    };
    let publish = |topic| Publish {
        client: 3,
        topic,
        key: "",
        answer: false,
        bytes: 1,
    };
    passes(
        &WIDE,
        &[
            join(0),
            join(1),
            join(2),
            join(3),
            subscribe(0, "a.*"),
            subscribe(1, "~a.*"),
            subscribe(2, "=a.*"),
            Run { rounds: 3 },
            publish("a.1,a.2"),
            publish("a.1"),
            publish("a.*"),
            Run { rounds: 3 },
            Unsubscribe {
                client: 1,
                names: ["a.*", "=a.*", ""],
            },
            publish("a.*"),
        ],
    );
}
