//! What becomes of a message whose sender leaves at once, and of a recipient who reads little.

use socket2::SockRef;

use super::{Account, MessengerClient, direct, everywhere};
use crate::support::{Client, frame};

#[test]
fn a_message_goes_its_way_though_its_sender_leaves_at_once() {
    everywhere("", |address| {
        let bob = Account::registered(address, "bob");
        let path = format!("/api/v1/ws?token={}", bob.token(address));
        let mut elsewhere = Client::connect(address, &path);
        elsewhere.json();
        drop(MessengerClient::new(address, "alice"));
        for number in 0..10 {
            let mut alice = MessengerClient::again(address, "alice", "");
            let message = direct("bob", &number.to_string()).to_string();
            let both = [frame(0x81, message.as_bytes()), frame(0x88, &[3, 232])];
            alice.client.send_bytes(&both.concat());
            let event = elsewhere.json();
            assert_eq!(event["data"]["content"], number.to_string(), "{event}");
            assert_eq!(alice.client.until_close(), Some(1000));
        }
    });
}

#[test]
fn what_a_slow_reader_has_taken_does_not_come_again() {
    let toml = "[server]\nsend_buffer = \"32KiB\"\n";
    everywhere(toml, |address| {
        let mut alice = MessengerClient::new(address, "alice");
        Account::registered(address, "bob");
        let filler = "x".repeat(20_000);
        for number in 0..60 {
            let mut message = direct("bob", &format!("{number} {filler}"));
            message["header"]["ack"] = true.into();
            alice.say(&message);
            alice.answer();
        }
        let number_of = |content: &str| content.split(' ').next().unwrap().parse::<usize>();
        // The first that no connection has read yet before it closed.
        let mut next = 0;
        while next < 60 {
            let mut bob = MessengerClient::again(address, "bob", "");
            SockRef::from(&bob.client.stream)
                .set_recv_buffer_size(16 * 1024)
                .unwrap();
            for _ in 0..15 {
                let number = number_of(&bob.content()).unwrap();
                assert!(number >= next, "{number} was read before");
                next = number + 1;
                if next == 60 {
                    break;
                }
            }
            // What was written before this counts as delivered, and what comes behind it does not.
            bob.client.send(0x88, &1000_u16.to_be_bytes());
            let mut written = next;
            while let Some(frame) = bob.client.next().filter(|frame| frame.first == 0x81) {
                let content = frame.json()["body"]["content"].as_str().unwrap().to_owned();
                assert_eq!(number_of(&content), Ok(written), "in order, without a gap");
                written += 1;
            }
            // All of it may have been written before the gateway saw the close: then nothing comes again.
            if written == 60 {
                break;
            }
        }
    });
}

#[test]
fn connections_of_a_user_share_its_rate() {
    let toml = "[messenger]\nduplicate = \"allow\"\nrate_limit = 0.001\nrate_burst = 10\n";
    everywhere(toml, |address| {
        let mut first = MessengerClient::new(address, "alice");
        let mut second = MessengerClient::again(address, "alice", "");
        for _ in 0..11 {
            first.tell("nobody", "x");
        }
        assert_eq!(first.content(), "Rate limit exceeded. Please slow down.");
        second.tell("nobody", "x");
        assert_eq!(second.content(), "Rate limit exceeded. Please slow down.");
    });
}
