//! Queue groups: a message goes to one member of each group.

use std::collections::BTreeSet;

use serde_json::json;

use super::everywhere;
use crate::support::{WseClient, wse_publish};

fn member(address: std::net::SocketAddr, topics: &[&str], group: &str) -> WseClient {
    let mut client = WseClient::open(address);
    let ack = client.subscribe_with(&json!({ "topics": topics, "queue_group": group }));
    assert_eq!(ack["success_topics"], json!(topics), "{ack}");
    client
}

#[test]
fn a_message_goes_to_one_member_of_each_group_in_turn() {
    const SENT: u64 = 60;
    everywhere("", |gateway| {
        let address = gateway.address;
        let mut workers: Vec<WseClient> = (0..3)
            .map(|_| member(address, &["jobs"], "workers"))
            .collect();
        let mut others: Vec<WseClient> = (0..2)
            .map(|_| member(address, &["jobs"], "others"))
            .collect();
        let mut plain = WseClient::open(address);
        plain.subscribe(&["jobs"]);
        for number in 0..SENT {
            wse_publish(address, "jobs", "job", &json!({ "n": number }));
        }
        for number in 0..SENT {
            assert_eq!(plain.expect("job")["n"], number);
        }
        for group in [&mut workers, &mut others] {
            let count = group.len() as u64;
            let mut seen = BTreeSet::new();
            for client in &mut *group {
                let mut last = None;
                for _ in 0..SENT / count {
                    let message = client.next();
                    assert_eq!(message.kind(), "job", "each has its share: {message:?}");
                    // The offsets that one member sees have holes, which clients would ask for.
                    assert!(
                        message.json.get("tp").is_none() && message.json.get("o").is_none(),
                        "{message:?}"
                    );
                    let number = message.payload()["n"].as_u64().unwrap();
                    assert!(last.is_none_or(|last| last < number), "in order");
                    last = Some(number);
                    assert!(seen.insert(number), "once");
                }
            }
            assert_eq!(seen.len() as u64, SENT);
        }
    });
}

#[test]
fn who_leaves_a_group_leaves_its_share_to_the_others() {
    everywhere("", |gateway| {
        let address = gateway.address;
        let mut first = member(address, &["jobs"], "g");
        let mut second = member(address, &["jobs"], "g");
        first.unsubscribe(&["jobs"]);
        for number in 0..10 {
            wse_publish(address, "jobs", "job", &json!({ "n": number }));
            assert_eq!(second.expect("job")["n"], number);
        }
        first.has_nothing();
    });
}

#[test]
fn patterns_have_no_queue_groups() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let (ack, _) = client
            .subscribe_failing(&json!({ "topics": ["jobs.*", "jobs.1"], "queue_group": "g" }));
        assert_eq!(
            (&ack["failed_topics"], &ack["success_topics"]),
            (&json!(["jobs.*"]), &json!(["jobs.1"]))
        );
    });
}
